# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
import torch

from carrysave.quant.golden.fp32 import fp32_add, fp32_from_integers, fp32_multiply


def patterns(count, seed):
    """Random float32 bit patterns; a third of them near each other in magnitude."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 1 << 32, count, dtype=np.uint32).view(np.float32)
    near = rng.normal(size=count).astype(np.float32) * np.float32(2.0**-130)
    x = np.where(rng.random(count) < 0.3, near, x)
    return torch.from_numpy(np.where(np.isnan(x), np.float32(0), x))


@pytest.mark.parametrize("function, operator", [
    (fp32_add, np.add), (fp32_multiply, np.multiply),
])
def test_equal_to_numpy(function, operator, compared):
    a, b = patterns(300_000, 1), patterns(300_000, 2)
    with np.errstate(all="ignore"):
        expected = operator(a.numpy(), b.numpy())
    found = function(a, b).numpy()
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.array_equal(np.signbit(found[found == 0]), np.signbit(expected[found == 0]))
    compared(len(found))


def nearest(value):
    """float32 nearest to a Fraction, ties to even, by comparing with its neighbours."""
    start = np.float32(float(value))
    near = {float(start), *(float(np.nextafter(start, np.float32(s * 3e38))) for s in (-1, 1))}
    gap = min(abs(Fraction(x) - value) for x in near)
    best = [x for x in near if abs(Fraction(x) - value) == gap]
    even = [x for x in best if int(np.float32(x).view(np.uint32)) % 2 == 0]
    return (best if len(best) == 1 else even)[0]


def test_integers_rounded_once(compared):
    rng = np.random.default_rng(3)
    numbers = [int(n) << int(s) for n, s in zip(rng.integers(-(1 << 62), 1 << 62, 3000),
                                                rng.integers(0, 20, 3000), strict=True)]
    # Ties, and their neighbours, of every kind: a double rounding would show here.
    numbers += [s * ((1 << 24) + k << 30 | 1 << 29) + d for s in (-1, 1) for k in range(50)
                for d in (-1, 0, 1)]
    for exponent in (0, -60, -190):
        found = fp32_from_integers(np.array(numbers, object), exponent).tolist()
        assert found == [nearest(n * Fraction(2) ** exponent) for n in numbers]
    compared(3 * len(numbers))


def test_limits():
    assert fp32_from_integers(np.array([1, 3, 1 << 24]), [-149, -150, 103]).tolist() == [
        2.0**-149, 2.0**-148, 2.0**127]
    assert fp32_from_integers(np.array([-1]), 128).tolist() == [-np.inf]


def test_wrong_kind():
    for function in fp32_add, fp32_multiply:
        with pytest.raises(TypeError, match="^B must be float32, not torch.float64$"):
            function(torch.zeros(1), torch.zeros(1).double())
