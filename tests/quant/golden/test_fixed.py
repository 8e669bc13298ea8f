# SPDX-License-Identifier: Apache-2.0
import random
from fractions import Fraction
from math import trunc

import numpy as np
import pytest
import torch
from apytypes import APyFixedArray, OverflowMode, QuantizationMode

from carrysave.quant.formats import OVERFLOWS, ROUNDINGS, Fixed
from carrysave.quant.golden.fixed import fixed_add, fixed_cast, fixed_div, fixed_mul, fixed_sub

MODES = [
    (rounding, overflow, signed)
    for rounding in ROUNDINGS.values() for overflow in OVERFLOWS for signed in (True, False)
    if signed or overflow != "WRAP_SM"
]


def every(fmt):
    """Every integer of a format."""
    low, high = fmt.limits
    return torch.arange(low, high + 1)


def apy(x, fmt):
    return APyFixedArray(x.tolist(), int_bits=fmt.integer, bits=fmt.width)


def integers(array, width):
    """Integers of signed bit patterns."""
    bits = torch.tensor(array.to_bits())
    return torch.where(bits >= 1 << (width - 1), bits - (1 << width), bits)


# Casts.


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@pytest.mark.parametrize("overflow", ["WRAP", "SAT"])
def test_cast_is_that_of_apytypes(rounding, overflow, compared):
    """The modes that both have: 250 pairs of formats each."""
    rng, widths = random.Random(f"{rounding} {overflow}"), set()
    for _ in range(250):
        source = Fixed(rng.randint(1, 12), rng.randint(-6, 14))
        target = Fixed(rng.randint(1, 14), rng.randint(-6, 14), True, rounding, overflow)
        x = every(source)
        cast = apy(x, source).cast(
            int_bits=target.integer, bits=target.width,
            quantization=QuantizationMode[rounding], overflow=OverflowMode[overflow],
        )
        assert torch.equal(fixed_cast(x, source, target), integers(cast, target.width)), (
            source, target)
        widths.add(source.width)
        compared(len(x))
    assert widths == set(range(1, 13))


@pytest.mark.parametrize("rounding, overflow, signed", MODES)
def test_cast_in_every_mode(rounding, overflow, signed, fixed_reference, compared):
    rng = random.Random(f"{rounding} {overflow} {signed}")
    pairs = [(Fixed(9, 5), Fixed(4, 3, signed, rounding, overflow))]
    for _ in range(24):
        source = Fixed(rng.randint(1, 7), rng.randint(-3, 8), rng.random() < 0.6)
        pairs.append((source, Fixed(rng.randint(1, 7), rng.randint(-3, 8), signed, rounding,
                                    overflow)))
    for source, target in pairs:
        x, unit = every(source), Fraction(2) ** source.lsb
        expected = [fixed_reference(n * unit, target) for n in x.tolist()]
        assert fixed_cast(x, source, target).tolist() == expected, (source, target)
        compared(len(x))


@pytest.mark.parametrize("rounding, overflow, signed", MODES)
def test_cast_far_apart(rounding, overflow, signed, fixed_reference, compared):
    """The corners of wide formats, moved by up to 300 places."""
    rng, corners = random.Random(f"{rounding} {overflow} {signed}"), set()
    for width in 1, 2, 31, 52, 53:
        low, high = Fixed(width, 0).limits
        corners |= {low, low + 1, low // 2, -1, 0, 1, high // 2, high - 1, high}
    corners = sorted(corners)
    for shift in [*range(-66, 67), -300, 300]:
        source = Fixed(53, 53 - shift // 2 + rng.randint(-20, 20))
        width = rng.choice([1, 2, 8, 31, 32, 52, 53])
        target = Fixed(width, width + shift + source.lsb, signed, rounding, overflow)
        x = corners + [rng.randrange(-(2**52), 2**52) >> rng.randrange(52) for _ in range(6)]
        # At and beside the ties and the limits.
        x += [(n << abs(shift) >> 1) + d for n in range(-3, 4) for d in (-1, 0, 1)]
        limit = target.limits[1] << shift if shift > 0 else target.limits[1] >> -shift
        x += [sign * limit + d for sign in (-1, 1) for d in (-1, 0, 1)]
        x = [n for n in x if -(2**52) <= n < 2**52]
        expected = [fixed_reference(n * Fraction(2) ** source.lsb, target) for n in x]
        assert fixed_cast(torch.tensor(x), source, target).tolist() == expected, (source, target)
        compared(len(x))


@pytest.mark.parametrize("fmt, value, result", [
    # UG1399, "Quantization Modes": <3, 2> of 1.25 and -1.25.
    (Fixed(3, 2, True, "RND", "SAT"), 1.25, 1.5),
    (Fixed(3, 2, True, "RND", "SAT"), -1.25, -1.0),
    (Fixed(3, 2, True, "RND_ZERO", "SAT"), 1.25, 1.0),
    (Fixed(3, 2, True, "RND_ZERO", "SAT"), -1.25, -1.0),
    (Fixed(3, 2, True, "RND_MIN_INF", "SAT"), 1.25, 1.0),
    (Fixed(3, 2, True, "RND_MIN_INF", "SAT"), -1.25, -1.5),
    (Fixed(3, 2, True, "RND_INF", "SAT"), 1.25, 1.5),
    (Fixed(3, 2, True, "RND_INF", "SAT"), -1.25, -1.5),
    (Fixed(3, 2, True, "RND_CONV", "SAT"), 0.75, 1.0),
    (Fixed(3, 2, True, "RND_CONV", "SAT"), -1.25, -1.0),
    (Fixed(3, 2, True, "TRN", "SAT"), 1.25, 1.0),
    (Fixed(3, 2, True, "TRN", "SAT"), -1.25, -1.5),
    (Fixed(3, 2, True, "TRN_ZERO", "SAT"), 1.25, 1.0),
    (Fixed(3, 2, True, "TRN_ZERO", "SAT"), -1.25, -1.0),
    # "Overflow Modes": <4, 4> of 19, -19 and 31.
    (Fixed(4, 4, True, "RND", "SAT"), 19, 7),
    (Fixed(4, 4, True, "RND", "SAT"), -19, -8),
    (Fixed(4, 4, False, "RND", "SAT"), 19, 15),
    (Fixed(4, 4, False, "RND", "SAT"), -19, 0),
    (Fixed(4, 4, True, "RND", "SAT_ZERO"), 19, 0),
    (Fixed(4, 4, True, "RND", "SAT_ZERO"), -19, 0),
    (Fixed(4, 4, False, "RND", "SAT_ZERO"), 19, 0),
    (Fixed(4, 4, False, "RND", "SAT_ZERO"), -19, 0),
    (Fixed(4, 4, True, "RND", "SAT_SYM"), 19, 7),
    (Fixed(4, 4, True, "RND", "SAT_SYM"), -19, -7),
    (Fixed(4, 4, False, "RND", "SAT_SYM"), 19, 15),
    (Fixed(4, 4, False, "RND", "SAT_SYM"), -19, 0),
    (Fixed(4, 4, True, "RND", "WRAP"), 31, -1),
    (Fixed(4, 4, True, "RND", "WRAP"), -19, -3),
    (Fixed(4, 4, False, "RND", "WRAP"), 19, 3),
    (Fixed(4, 4, False, "RND", "WRAP"), -19, 13),
    (Fixed(4, 4, True, "RND", "WRAP_SM"), 19, -4),
    (Fixed(4, 4, True, "RND", "WRAP_SM"), -19, 2),
    # What the text says of an exact minimum, and of a carry that rounding brings.
    (Fixed(4, 4, True, "RND", "SAT_SYM"), -8, -7),
    (Fixed(4, 4, True, "RND", "SAT"), 7.5, 7),
    (Fixed(4, 4, True, "RND", "SAT_ZERO"), 7.5, 0),
    (Fixed(4, 4, True, "RND", "WRAP"), 7.5, -8),
    (Fixed(4, 4, True, "RND", "WRAP_SM"), 7.5, 7),
    (Fixed(4, 4, True, "RND", "WRAP_SM"), 15.5, -1),
    (Fixed(4, 4, True, "RND_MIN_INF", "WRAP_SM"), 15.5, 0),
])
def test_check_values(fmt, value, result, compared):
    source = Fixed(12, 8)
    x = torch.tensor(int(value * 16))
    assert int(fixed_cast(x, source, fmt)) == result / 2.0**fmt.lsb
    assert fmt.values(fmt.encode(value)) == result
    compared(2)


@pytest.mark.parametrize("rounding, overflow, signed", MODES)
def test_encode_does_the_same(rounding, overflow, signed, compared):
    rng = random.Random(f"{rounding} {overflow} {signed}")
    for _ in range(40):
        source = Fixed(rng.randint(1, 11), rng.randint(-40, 40), rng.random() < 0.7)
        target = Fixed(rng.randint(1, 16), source.integer + rng.randint(-6, 9), signed, rounding,
                       overflow)
        x = every(source)
        codes = target.encode(x.numpy() * 2.0**source.lsb)
        assert np.array_equal(target.decode(codes), fixed_cast(x, source, target)), (source, target)
        compared(len(x))


def test_shapes():
    for shape in (), (0,), (2, 3):
        found = fixed_cast(torch.ones(shape).int(), Fixed(8, 4), Fixed(4, 3))
        assert found.shape == shape and found.dtype == torch.int64


# Arithmetic.


def formats(rng, count, *, signed=None, width=5):
    return [
        Fixed(rng.randint(1, width), rng.randint(-3, 6),
              rng.random() < 0.5 if signed is None else signed)
        for _ in range(count)
    ]


@pytest.mark.parametrize("function, operation", [
    (fixed_add, lambda a, b: a + b), (fixed_sub, lambda a, b: a - b),
    (fixed_mul, lambda a, b: a * b),
])
def test_arithmetic_is_that_of_apytypes(function, operation, compared):
    rng = random.Random(0)
    for a_format, b_format in zip(
        formats(rng, 100, signed=True, width=7), formats(rng, 100, signed=True), strict=True
    ):
        a, b = torch.cartesian_prod(every(a_format), every(b_format)).T
        found, result = function(a, a_format, b, b_format)
        expected = operation(apy(a, a_format), apy(b, b_format))
        assert (result.width, result.integer) == (expected.bits, expected.int_bits)
        assert torch.equal(found, integers(expected, result.width))
        compared(len(a))


@pytest.mark.parametrize("function, operation", [
    (fixed_add, lambda a, b: a + b), (fixed_sub, lambda a, b: a - b),
    (fixed_mul, lambda a, b: a * b), (fixed_div, lambda a, b: a / b),
])
def test_arithmetic_of_rationals(function, operation, compared):
    """Signed and unsigned mixed; every result fits its format."""
    rng, signs = random.Random(1), set()
    for a_format, b_format in zip(formats(rng, 80), formats(rng, 80), strict=True):
        pairs = torch.cartesian_prod(every(a_format), every(b_format))
        a, b = pairs[(pairs[:, 1] != 0) | (function is not fixed_div)].T
        found, result = function(a, a_format, b, b_format)
        x, y, unit = (Fraction(2) ** fmt.lsb for fmt in (a_format, b_format, result))
        exact = [operation(n * x, m * y) / unit for n, m in zip(a.tolist(), b.tolist(),
                                                               strict=True)]
        assert found.tolist() == [trunc(q) for q in exact]
        assert function is fixed_div or all(q.denominator == 1 for q in exact)
        assert result.limits[0] <= min(found.tolist(), default=0)
        assert result.limits[1] >= max(found.tolist(), default=0)
        assert result.signed == (a_format.signed or b_format.signed or function is fixed_sub)
        signs.add((a_format.signed, b_format.signed))
        compared(len(a))
    assert len(signs) == 4


def test_formats_of_results():
    """UG1399, "Class Methods, Operators, and Data Members"; worked by hand."""
    a, b, u = Fixed(8, 3), Fixed(6, 5), Fixed(8, 3, False)
    assert fixed_add(1, a, 1, b)[1] == Fixed(11, 6) and fixed_sub(1, a, 1, b)[1] == Fixed(11, 6)
    assert fixed_add(1, u, 1, a)[1] == Fixed(10, 5) and fixed_add(1, a, 1, u)[1] == Fixed(10, 5)
    assert fixed_add(1, u, 1, u)[1] == Fixed(9, 4, False)
    assert fixed_sub(1, u, 2, u)[1] == Fixed(9, 4)
    assert fixed_mul(1, a, 1, b)[1] == Fixed(14, 8)
    assert fixed_mul(1, u, 1, u)[1] == Fixed(16, 6, False)
    assert fixed_div(1, a, 1, b)[1] == Fixed(10, 5)
    assert fixed_div(1, u, 1, u)[1] == Fixed(13, 8, False)
    assert fixed_div(1, a, 1, Fixed(3, 5))[1] == Fixed(9, 2)


def test_arithmetic_at_full_width(compared):
    wide, narrow = Fixed(52, 3), Fixed(51, 3, False)
    (low, high), (_, most) = wide.limits, narrow.limits
    assert fixed_add([high, low], wide, [high, low], wide)[0].tolist() == [2 * high, 2 * low]
    assert fixed_sub([high, low], wide, [low, high], wide)[0].tolist() == [high - low, low - high]
    assert fixed_mul([high, low], wide, -1, Fixed(1, 1))[0].tolist() == [-high, -low]
    assert fixed_mul(most, narrow, 3, Fixed(2, 2, False))[0] == 3 * most
    assert fixed_div([low, high], wide, -1, Fixed(1, 1))[0].tolist() == [-low, -high]
    compared(9)


# Errors.


@pytest.mark.parametrize("x, error, text", [
    ([1.0], TypeError, "X must be integers, not torch.float32"),
    ([True], TypeError, "X must be integers, not torch.bool"),
    ([8, -9], ValueError, "X must be -8 to 7 in q4.2, not -9 to 8"),
])
def test_cast_of_what_the_source_lacks(x, error, text):
    with pytest.raises(error) as caught:
        fixed_cast(torch.tensor(x), Fixed(4, 2), Fixed(4, 2))
    assert str(caught.value) == text


@pytest.mark.parametrize("function", [fixed_add, fixed_sub, fixed_mul, fixed_div])
@pytest.mark.parametrize("a, b, text", [
    ([1, 8], [1, 1], "A must be -8 to 7 in q4.2, not 1 to 8"),
    ([1, 1], [1, -1], "B must be 0 to 7 in uq3.3, not -1 to 1"),
])
def test_operands_outside_their_formats(function, a, b, text):
    with pytest.raises(ValueError) as caught:
        function(a, Fixed(4, 2), b, Fixed(3, 3, False))
    assert str(caught.value) == text


def test_formats_of_another_kind():
    with pytest.raises(TypeError, match="^Format of X must be Fixed, not 'q4.2'$"):
        fixed_cast([1], "q4.2", Fixed(4, 2))
    with pytest.raises(TypeError, match="^Target must be Fixed, not 'q4.2'$"):
        fixed_cast([1], Fixed(4, 2), "q4.2")
    with pytest.raises(TypeError, match="^Format of B must be Fixed, not None$"):
        fixed_add([1], Fixed(4, 2), [1], None)


@pytest.mark.parametrize("function, rule, integer, width", [
    (fixed_add, "sum", 35, 68), (fixed_sub, "difference", 35, 68), (fixed_mul, "product", 4, 72),
    (fixed_div, "quotient", 4, 69),
])
def test_results_too_wide(function, rule, integer, width):
    with pytest.raises(ValueError) as caught:
        function(1, Fixed(36, 4), 1, Fixed(36, integer))
    assert str(caught.value) == (
        f"No format holds the {rule} of q36.4 and q36.{integer}: Width must be 1 to 53, not {width}"
    )


def test_division_by_zero():
    with pytest.raises(ValueError) as caught:
        fixed_div([1, 2], Fixed(4, 4), [1, 0], Fixed(4, 4))
    assert str(caught.value) == "B must not be 0: it divides"
