# SPDX-License-Identifier: Apache-2.0
"""The definition, against rationals; `mx_gemm` is then held to it."""

from fractions import Fraction

import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.golden.mx_dot import mx_dot


def nearest_float32(x):
    """Nearest float32 of a Fraction, ties to even: integer arithmetic alone."""
    if x == 0:
        return Fraction(0)
    exponent = 0
    while abs(x) * Fraction(2) ** -exponent >= 2:
        exponent += 1
    while abs(x) * Fraction(2) ** -exponent < 1:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    return round(x / unit) * unit


def expected(a_format, a, b_format, b):
    total, size = Fraction(0), a_format.size
    x, y = (
        [Fraction(v) * Fraction(s) for v, s in zip(
            f.element.values(e.codes).tolist(),
            np.repeat(f.scale.values(e.scales), size).tolist(), strict=True)]
        for f, e in ((a_format, a), (b_format, b))
    )
    products = [p * q for p, q in zip(x, y, strict=True)]
    for start in range(0, len(products), size):
        block = sum(products[start : start + size])
        total = nearest_float32(total + nearest_float32(block))
    if a_format.two_level:
        tensor = nearest_float32(Fraction(a.tensor_scale) * Fraction(b.tensor_scale))
        total = nearest_float32(total * tensor)
    return total


@pytest.mark.parametrize("names", [
    ("mxint8",) * 2, ("mxfp8_e4m3",) * 2, ("mxfp8_e5m2",) * 2, ("mxfp6_e2m3",) * 2,
    ("mxfp6_e3m2",) * 2, ("mxfp4",) * 2, ("nvfp4",) * 2, ("nvint4",) * 2, ("bfp8",) * 2,
    ("mxfp8_e5m2", "mxfp4"), ("mxint8", "mxfp8_e4m3"), ("nvfp4", "nvint4"),
], ids="-".join)
def test_equal_to_rationals(names, compared):
    a_format, b_format = map(formats.get, names)
    rng = np.random.default_rng(len(names[0]))
    for case in range(60):
        k = int(rng.integers(1, 200))
        x, y = (rng.normal(size=k) * 2.0 ** rng.integers(-9, 9, k) for _ in range(2))
        if case % 3 == 0:  # near FP32's subnormals
            x, y = x * 2.0**-70, y * 2.0**-70
        a, b = a_format.encode(x), b_format.encode(y)
        found = float(mx_dot(a_format, a, b_format, b))
        assert Fraction(found) == expected(a_format, a, b_format, b)
    compared(60)


def test_blocks_are_added_in_ascending_order():
    mxint8 = formats.get("mxint8")
    x = np.zeros(96)
    x[[0, 32, 64]] = 2.0**24, 1, 1
    ones = mxint8.encode(np.ones(96))
    assert float(mx_dot(mxint8, mxint8.encode(x), mxint8, ones)) == 2.0**24
    assert float(mx_dot(mxint8, mxint8.encode(x[::-1]), mxint8, ones)) == 2.0**24 + 2


def test_wrong_blocks():
    mxfp4, nvfp4 = formats.get("mxfp4"), formats.get("nvfp4")
    x = np.ones(32)
    with pytest.raises(ValueError, match="^Both operands must have the same block size, not 32"):
        mx_dot(mxfp4, mxfp4.encode(x), nvfp4, nvfp4.encode(x))
    with pytest.raises(ValueError, match="^Both operands must have the same K, not 32 and 31$"):
        mx_dot(mxfp4, mxfp4.encode(x), mxfp4, mxfp4.encode(x[1:]))
