# SPDX-License-Identifier: Apache-2.0
import random
from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from carrysave.quant.formats import OVERFLOWS, ROUNDINGS, Fixed, get

MODES = [
    (rounding, overflow, signed)
    for rounding in ROUNDINGS.values() for overflow in OVERFLOWS for signed in (True, False)
    if signed or overflow != "WRAP_SM"
]
PLACES = (-256, -70, -5, -1, 0, 1, 3, 4, 9, 70, 256)  # of the binary point: I


def code_of(n, fmt):
    return n & ((1 << fmt.width) - 1)


def value_of(code, fmt):
    """Bit by bit: the top one counts negative if signed."""
    bits = [(code >> k & 1) << k for k in range(fmt.width)]
    if fmt.signed:
        bits[-1] = -bits[-1]
    return sum(bits)


# Codes.


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", range(1, 14))
def test_every_code_both_ways(width, signed, compared):
    codes = np.arange(1 << width)
    for integer in PLACES:
        fmt = Fixed(width, integer, signed)
        integers = [value_of(code, fmt) for code in codes.tolist()]
        values = [float(n * Fraction(2) ** (integer - width)) for n in integers]
        assert fmt.decode(codes).tolist() == integers
        assert fmt.values(codes).tolist() == values
        assert fmt.encode(values).tolist() == codes.tolist()
        assert (fmt.min, fmt.max) == (min(values), max(values))
        assert fmt.limits == (min(integers), max(integers))
        assert not fmt.is_nan(codes).any() and not fmt.is_inf(codes).any()
        sign, exponent, magnitude = fmt.operands(codes)
        assert np.array_equal(np.where(sign, -magnitude, magnitude), integers)
        assert not exponent.any() and (magnitude >= 0).all()
        compared(len(codes))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", [17, 31, 32, 33, 48, 52, 53])
def test_wide_codes_both_ways(width, signed, compared):
    rng = random.Random(width)
    codes = [0, 1, (1 << width) - 1, 1 << (width - 1), (1 << (width - 1)) - 1]
    codes += [rng.randrange(1 << width) for _ in range(500)]
    for integer in PLACES:
        fmt = Fixed(width, integer, signed)
        integers = [value_of(code, fmt) for code in codes]
        values = [float(n * Fraction(2) ** (integer - width)) for n in integers]
        assert fmt.decode(np.array(codes)).tolist() == integers
        assert fmt.values(np.array(codes)).tolist() == values
        assert fmt.encode(values).tolist() == codes
        compared(len(codes))


# Rounding and overflow.


@pytest.mark.parametrize("rounding, overflow, signed", MODES)
def test_encode(rounding, overflow, signed, fixed_reference, compared):
    rng = random.Random(f"{rounding} {overflow} {signed}")
    for width, integer in (
        (1, 1), (1, -3), (2, 0), (3, 2), (4, 4), (4, 9), (5, -2), (8, 3), (24, 8), (53, 20),
        (53, 256), (50, -256),
    ):
        fmt = Fixed(width, integer, signed, rounding, overflow)
        size = min(1 << width, 16)
        n = np.arange(-8 * size, 8 * size + 1) / 4  # four times the range, in quarters
        low, high = fmt.limits
        far = [-low * 2.0, high * 2.0, high + 0.5, low - 0.5, high + 1.0, low - 1.0]
        far += [rng.uniform(-4, 4) * 2.0**width for _ in range(20)]
        n = np.concatenate([n, np.nextafter(n, inf), np.nextafter(n, -inf), far])
        n = n[(n == 0) | (np.abs(n) > 2.0**-60)]
        values = np.ldexp(n, fmt.lsb)
        expected = [code_of(fixed_reference(Fraction(x), fmt), fmt) for x in values.tolist()]
        assert fmt.encode(values).tolist() == expected, fmt
        compared(len(values))


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_floats_of_every_size(rounding, overflow, fixed_reference, compared):
    """From the least subnormal to the greatest float, wherever the point is."""
    rng = random.Random(f"{rounding} {overflow}")
    values = [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 1e-300, -1e-300]
    values += [s * rng.uniform(1, 2) * 2.0**e for s in (1, -1) for e in range(-1000, 1000, 37)]
    values += [s * 2.0**e for s in (1, -1) for e in range(-1000, 1000, 41)]
    for width, integer in (4, 4), (13, 300 - 53), (32, 16), (53, 250), (7, -250):
        fmt = Fixed(width, integer, True, rounding, overflow)
        fit = [x for x in values if abs(x) < 2.0 ** min(1023, 1000 + fmt.lsb)]
        expected = [code_of(fixed_reference(Fraction(x), fmt), fmt) for x in fit]
        assert fmt.encode(fit).tolist() == expected, fmt
        compared(len(fit))


def test_greatest_floats_saturate(compared):
    values = [inf, -inf, 1.7e308, -1.7e308]
    for width, integer in (4, 4), (53, -256), (53, 256), (1, 1):
        low, high = Fixed(width, integer).limits
        for overflow, expected in (
            ("SAT", [high, low] * 2), ("SAT_SYM", [high, -high] * 2), ("SAT_ZERO", [0] * 4),
        ):
            fmt = Fixed(width, integer, overflow=overflow)
            assert fmt.decode(fmt.encode(values)).tolist() == expected
            compared(4)


def test_huge_floats_wrap_exactly(compared):
    for value in 2.0**900 + 2.0**850, -(2.0**70) - 2.0**20, 1e30, -1e300, 3.0 * 2**52, 2.0**53 + 2:
        for fmt in Fixed(53, 53), Fixed(8, 8), Fixed(8, 8, False), Fixed(30, 40):
            n = int(value) >> fmt.lsb
            assert fmt.encode(value) == code_of(n, fmt)
            compared(1)


def test_rounding_and_overflow_given_anew():
    fmt = Fixed(4, 4)
    assert fmt.decode(fmt.encode([2.5, 9])).tolist() == [2, -7]
    assert fmt.decode(fmt.encode([2.5, 3.5], rounding="half_even")).tolist() == [2, 4]
    assert fmt.decode(fmt.encode([2.5, 3.5], rounding="RND")).tolist() == [3, 4]
    for overflow in "SAT", "saturate":
        assert fmt.decode(fmt.encode([9, -9], overflow=overflow)).tolist() == [7, -8]
    assert fmt == Fixed(4, 4)
    with pytest.raises(ValueError, match="^Overflow must not be 'WRAP_SM' where signed is False$"):
        Fixed(4, 4, False).encode(1.0, overflow="WRAP_SM")


def test_integers_are_rounded_once(compared):
    """A tie and its neighbours, which as floats would all be the tie."""
    fmt = Fixed(8, 64, rounding="half_even", overflow="SAT")  # in units of 2 ** 56
    integers = np.array([3 << 55, (3 << 55) + 1, (3 << 55) - 1, (1 << 55) + 1, 1 << 55])
    assert len(set((integers[1:3] * 1.0).tolist())) == 1
    assert fmt.decode(fmt.encode_integers(integers)).tolist() == [2, 2, 1, 1, 0]
    compared(5)


# Kinds, shapes, names.


@pytest.mark.parametrize("width, kind", [(1, "u1"), (8, "u1"), (9, "u2"), (17, "u4"), (53, "u8")])
def test_codes_are_of_the_least_kind(width, kind):
    assert Fixed(width, 1).encode([0.0]).dtype == np.dtype(kind)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_shape_is_kept(shape):
    fmt = Fixed(6, 3)
    codes = fmt.encode(np.ones(shape))
    assert codes.shape == fmt.decode(codes).shape == fmt.values(codes).shape == shape
    assert (fmt.values(codes) == 1).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64])
def test_values_of_any_kind(dtype):
    assert Fixed(8, 4).encode(np.array([0, 1, 3], dtype)).tolist() == [0, 16, 48]


def test_properties():
    fmt = Fixed(8, 3)
    assert (fmt.bits, fmt.fraction, fmt.lsb, fmt.integer_bits, fmt.name) == (8, 5, -5, 8, "q8.3")
    assert (fmt.min, fmt.max, fmt.limits) == (-4.0, 3.96875, (-128, 127))
    odd = Fixed(4, -2, False)
    assert (odd.fraction, odd.lsb, odd.name, odd.max) == (6, -6, "uq4.-2", 15 / 64)
    large = Fixed(4, 9)
    assert (large.fraction, large.lsb, large.min) == (-5, 5, -256.0)
    assert (fmt.rounding, fmt.overflow) == ("TRN", "WRAP")


@pytest.mark.parametrize("plain, hls", ROUNDINGS.items())
def test_either_name_of_a_rounding(plain, hls):
    assert Fixed(4, 2, rounding=plain) == Fixed(4, 2, rounding=hls)
    assert Fixed(4, 2, rounding=plain).rounding == hls


@pytest.mark.parametrize("name, fmt", [("q8.3", Fixed(8, 3)), ("uq4.-2", Fixed(4, -2, False))])
def test_by_name(name, fmt):
    assert fmt.name == name and get(name) == fmt


# Errors.


@pytest.mark.parametrize("parameters, error, text", [
    ((0, 1), ValueError, "Width must be 1 to 53, not 0"),
    ((54, 1), ValueError, "Width must be 1 to 53, not 54"),
    ((4.0, 1), TypeError, "Width must be an integer, not 4.0"),
    ((True, 1), TypeError, "Width must be an integer, not True"),
    ((4, 257), ValueError, "Integer must be -256 to 256, not 257"),
    ((4, -257), ValueError, "Integer must be -256 to 256, not -257"),
    ((4, "2"), TypeError, "Integer must be an integer, not '2'"),
    ((4, 2, 1), TypeError, "Signed must be True or False, not 1"),
    ((4, 2, True, "RNDD"), ValueError,
     "Rounding must be one of half_even, half_up, half_down, half_away, half_zero, floor, zero, "
     "not 'RNDD'"),
    ((4, 2, True, "TRN", "SATT"), ValueError,
     "Overflow must be one of SAT, WRAP, SAT_ZERO, SAT_SYM, WRAP_SM, not 'SATT'"),
    ((4, 2, False, "TRN", "WRAP_SM"), ValueError,
     "Overflow must not be 'WRAP_SM' where signed is False"),
])
def test_parameters_refused(parameters, error, text):
    with pytest.raises(error) as caught:
        Fixed(*parameters)
    assert str(caught.value) == text


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_no_code_for_nan(overflow):
    wraps = " where overflow is " + overflow if overflow.startswith("WRAP") else ""
    with pytest.raises(ValueError) as caught:
        Fixed(4, 2, overflow=overflow).encode([0, nan])
    assert str(caught.value) == f"Values must be numbers{wraps}: q4.2 has no NaN or Inf"


@pytest.mark.parametrize("overflow", ["WRAP", "WRAP_SM"])
@pytest.mark.parametrize("value", [inf, -inf])
def test_infinity_cannot_wrap(overflow, value):
    with pytest.raises(ValueError) as caught:
        Fixed(4, 2, overflow=overflow).encode(value)
    assert str(caught.value) == (
        f"Values must be numbers where overflow is {overflow}: q4.2 has no NaN or Inf"
    )


def test_too_large_to_wrap():
    assert Fixed(4, 2).encode(2.0**1021) == 0
    with pytest.raises(ValueError) as caught:
        Fixed(4, 2).encode(2.0**1022)
    assert str(caught.value) == "Values must be below 2 ** 1022 where q4.2 wraps"


@pytest.mark.parametrize("codes, error, text", [
    ([16], ValueError, "Codes of q4.2 must be 0 to 15, not 16 to 16"),
    ([-1], ValueError, "Codes of q4.2 must be 0 to 15, not -1 to -1"),
    ([1.0], TypeError, "Codes must be integers, not float64"),
])
def test_codes_refused(codes, error, text):
    with pytest.raises(error) as caught:
        Fixed(4, 2).decode(codes)
    assert str(caught.value) == text


def test_values_refused():
    with pytest.raises(TypeError, match="^Values must be real numbers, not bool$"):
        Fixed(4, 2).encode([True])
