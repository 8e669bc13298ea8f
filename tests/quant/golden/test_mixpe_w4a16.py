# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
import torch

from carrysave.quant.formats import get
from carrysave.quant.golden.mixpe_w4a16 import mixpe_w4a16, mixpe_w4a16_aligned

FP16 = get("fp16")
FINITE = np.arange(1 << 16, dtype=np.uint16)[np.isfinite(
    np.arange(1 << 16, dtype=np.uint16).view(np.float16))]


def test_every_activation(compared):
    for weight in range(-8, 8):
        found = mixpe_w4a16(FINITE[:, None], torch.full((len(FINITE), 1), weight))
        expected = FINITE.view(np.float16).astype(np.float64) * weight * 2.0**24
        assert found.tolist() == [int(x) for x in expected]
    compared(16 * len(FINITE))


def cases(seed):
    rng = np.random.default_rng(seed)
    codes = rng.choice(FINITE, size=(400, 16))
    codes[200:] = (rng.normal(size=(200, 16)) * 0.2).astype(np.float16).view(np.uint16)
    codes[0], codes[1] = 0x7BFF, 0xFBFF
    codes[2] = [0x7BFF, 0x0001] * 8
    return codes, rng.integers(-8, 8, (400, 16))


def test_sums_exact(compared):
    codes, weights = cases(1)
    found = mixpe_w4a16(codes, weights)
    values = codes.view(np.float16).astype(float)
    for row, w, x in zip(found.tolist(), weights.tolist(), values.tolist(), strict=True):
        exact = sum(Fraction(a) * b for a, b in zip(x, w, strict=True))
        assert Fraction(row, 1 << 24) == exact
    compared(len(found))


@pytest.mark.parametrize("guard", [0, 1, 3, 11, 32])
def test_aligned(guard, compared):
    codes, weights = cases(guard)
    sums, exponent = mixpe_w4a16_aligned(codes, weights, guard=guard)
    values = codes.view(np.float16).astype(float)
    for row, e, x, w in zip(sums.tolist(), exponent.tolist(), values.tolist(), weights.tolist(),
                            strict=True):
        # The unit of the last bit kept: guard bits below that of the largest activation.
        top = max(max(np.frexp(a)[1] - 11, -24) for a in x)
        unit = Fraction(2) ** int(top - guard)
        assert Fraction(2) ** (e - 24) == unit
        assert row == sum((Fraction(a) * b / unit).__floor__() for a, b in zip(x, w, strict=True))
    compared(len(sums))


def test_wide_guard_is_exact(compared):
    codes, weights = cases(4)
    sums, exponent = mixpe_w4a16_aligned(codes, weights, guard=32)
    assert torch.equal(sums, mixpe_w4a16(codes, weights) << -exponent)
    compared(len(sums))


def test_wrong():
    one = np.array([0x3C00], np.uint16)
    for code in 0x7C00, 0xFC00, 0x7E00:
        with pytest.raises(ValueError, match="^Activations must be finite: a code is NaN or Inf$"):
            mixpe_w4a16(one * 0 + code, torch.ones(1).int())
    with pytest.raises(ValueError, match="^Guard must be 0 to 32, not 33$"):
        mixpe_w4a16_aligned(one, torch.ones(1).int(), guard=33)
    with pytest.raises(ValueError, match="^Weights must be below 2 [*][*] 15, not 32768$"):
        mixpe_w4a16_aligned(one, torch.tensor([32768]), guard=0)
