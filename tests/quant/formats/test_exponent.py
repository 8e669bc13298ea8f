# SPDX-License-Identifier: Apache-2.0
from bisect import bisect_right
from fractions import Fraction
from math import inf, nan

import ml_dtypes
import numpy as np
import pytest
from gfloat import RoundMode, encode_ndarray, round_ndarray
from gfloat.formats import format_info_ocp_e8m0

from carrysave.quant.formats import ROUNDINGS, Exponent

FP16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def fp32_patterns():
    bits = np.random.default_rng(8).integers(1 << 32, size=1_000_000, dtype=np.uint32)
    bits[:100_000] &= 0xFFC00000  # powers of two and ties
    bits[100_000:200_000] &= 0x81FFFFFF  # the least powers, and subnormals
    return bits.view(np.float32)


@pytest.mark.parametrize("values", [FP16, fp32_patterns()], ids=["fp16", "fp32"])
def test_as_ml_dtypes(values, compared):
    """Code for code, but for two differences that are known.

    ml_dtypes rounds ties away from zero, and whatever lies between its least power, 2 ** -127, and
    2 ** -126 up to the latter, nearer or not. Both are float32 subnormals.
    """
    with np.errstate(invalid="ignore"):
        oracle = values.astype(ml_dtypes.float8_e8m0fnu).view(np.uint8)
        x = np.float32(values).astype(np.float64)
    codes = Exponent().encode(x, overflow="ieee")
    significand, exponent = np.frexp(x)
    tie_to_even_below = (significand == 0.75) & (exponent % 2 == 0) & (x > 2**-127)
    subnormal = (x > 2**-127) & (x <= 1.5 * 2**-127)
    differ = tie_to_even_below | subnormal
    np.testing.assert_array_equal(codes[~differ], oracle[~differ])
    np.testing.assert_array_equal(codes[differ] + 1, oracle[differ])
    assert differ.any()
    compared(codes.size)


@pytest.mark.parametrize("rounding, mode", [
    ("half_even", RoundMode.TiesToEven), ("half_away", RoundMode.TiesToAway),
    ("floor", RoundMode.TowardNegative), ("zero", RoundMode.TowardZero),
])
def test_as_gfloat(rounding, mode, compared):
    """gfloat has e8m0 for numbers of at least 2 ** -127 only."""
    x = np.concatenate([FP16, fp32_patterns()])
    x = x[x >= 2**-127].astype(np.float64)
    for overflow in ("saturate", "ieee"):
        rounded = round_ndarray(format_info_ocp_e8m0, x, mode, overflow == "saturate")
        oracle = encode_ndarray(format_info_ocp_e8m0, rounded)
        codes = Exponent().encode(x, rounding=rounding, overflow=overflow)
        np.testing.assert_array_equal(codes, oracle)
        compared(codes.size)


@pytest.mark.parametrize("fmt", [
    Exponent(), Exponent(2), Exponent(3, -4), Exponent(5, 30), Exponent(7), Exponent(10, 1022),
    Exponent(10, -1),
], ids=lambda fmt: fmt.name)
def test_values_midpoints_and_neighbours(fmt, compared):
    codes = fmt.codes()
    top = len(codes) - 2
    powers = [Fraction(2) ** (code - fmt.bias) for code in range(top + 2)]
    assert [Fraction(value) for value in fmt.values(codes[:-1]).tolist()] == powers[:-1]
    assert fmt.decode(codes).tolist() == [*(1 << code for code in range(top + 1)), 0]
    assert fmt.is_nan(codes).tolist() == [False] * (top + 1) + [True]
    assert not fmt.is_inf(codes).any() and np.isnan(fmt.values(codes[-1:])).all()
    assert (fmt.min, fmt.max) == (powers[0], powers[-2])

    x = np.array([float(p) for p in powers if p < 2**1023] + [float(powers[0] / 4)])
    x = np.concatenate([x, 1.5 * x])
    x = np.concatenate([np.nextafter(x, 0), x, np.nextafter(x, inf)])
    for rounding in ROUNDINGS:
        expected = []
        for value in map(Fraction, x.tolist()):
            code = max(bisect_right(powers, value) - 1, 0)
            middle = powers[code] * 3 / 2
            tie = {"half_even": code % 2, "half_up": 1, "half_away": 1}.get(rounding, 0)
            nearest = rounding not in ("floor", "zero")
            expected.append(code + (nearest and (value > middle or (value == middle and tie))))
        for overflow, beyond in (("saturate", top), ("ieee", top + 1)):
            encoded = fmt.encode(x, rounding=rounding, overflow=overflow)
            limit = top if rounding in ("floor", "zero") else beyond
            assert encoded.tolist() == [min(code, limit) for code in expected]
            compared(len(x))


@pytest.mark.parametrize("overflow, codes", [
    ("saturate", [0, 0, 0, 0, 0, 254, 255]), ("ieee", [255, 255, 255, 255, 0, 255, 255]),
])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_no_zero_sign_or_infinity(overflow, codes, rounding):
    values = [0.0, -0.0, -1.0, -inf, 5e-324, inf, nan]
    assert Exponent().encode(values, overflow=overflow, rounding=rounding).tolist() == codes


def test_properties():
    fmt = Exponent()
    assert (fmt.name, fmt.bits, fmt.lsb, fmt.nan_code, fmt.inf_code) == ("e8m0", 8, -127, 255, None)
    assert [Exponent(5).name, Exponent(5, 3).name] == ["ue5m0", "ue5m0b3"]


@pytest.mark.parametrize("parameters, error, text", [
    ((1,), ValueError, "Bits must be 2 to 10, not 1"),
    ((11,), ValueError, "Bits must be 2 to 10, not 11"),
    (("8",), TypeError, "Bits must be an integer, not '8'"),
    ((8, 1023), ValueError, "Bias must be -769 to 1022, not 1023"),
    ((8, -770), ValueError, "Bias must be -769 to 1022, not -770"),
])
def test_parameters_refused(parameters, error, text):
    with pytest.raises(error) as caught:
        Exponent(*parameters)
    assert str(caught.value) == text
