# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import inf

import numpy as np
import pytest

from carrysave.quant.formats.rounding import (
    ROUNDINGS,
    choice,
    odd_integers,
    odd_quotient,
    odd_sum,
    round_floats,
    rounding_name,
)


def rounded(x, rounding):
    """Integer that a rational is rounded to: the rules of UG1399 one by one."""
    floor, rest = divmod(x, 1)
    if rounding == "floor" or (rounding == "zero" and x >= 0):
        return floor
    if rounding == "zero":
        return floor + (rest > 0)
    up = {"half_even": floor % 2 == 1, "half_up": True, "half_down": False, "half_away": x > 0,
          "half_zero": x < 0}[rounding]
    return floor + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and up))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_round_floats(rounding, dtype, compared):
    halves = np.arange(-41, 42, dtype=dtype) / 2
    big = dtype(2) ** np.finfo(dtype).nmant  # the least whose neighbours are integers
    large = np.array([big - 0.5, big - 1, big, big + 1, 2 * big, big / 2 + 0.5, 1e30], dtype)
    x = np.concatenate([halves, large, -large, [np.finfo(dtype).tiny, np.finfo(dtype).max]])
    x = np.concatenate([np.nextafter(x, dtype(0)), x, np.nextafter(x[:-1], dtype(inf))])
    found = round_floats(x, rounding)
    assert found.dtype == dtype
    assert found.tolist() == [rounded(Fraction(value), rounding) for value in x.tolist()]
    compared(len(x))


def odd(x, bits):
    """A rational rounded to odd at so many significant bits."""
    if x == 0:
        return x
    unit = Fraction(2) ** (abs(x.numerator).bit_length() - x.denominator.bit_length() - bits)
    kept, rest = divmod(abs(x), unit)
    while kept >> bits:
        kept, rest, unit = kept >> 1, rest or kept & 1, 2 * unit
    return (kept | (rest > 0)) * unit * (-1) ** (x < 0)


@pytest.mark.parametrize("scale", [1, -1, 2.0**-900, -(2**700), 3, 0.1, Fraction(-1, 3),
                                   Fraction(10**40, 7), Fraction(1, 1 << 62)], ids=range(9))
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64, object])
def test_odd_integers(scale, dtype, compared):
    rng = np.random.default_rng(0)
    info = np.iinfo(np.int64 if dtype is object else dtype)
    near = [0, 1, 2, 2**53, 2**53 + 1, 2**54 - 1, 2**54 + 2, 2**60 + 2**7, 2**60 + 1]
    integers = [info.min, info.max, info.min + 1, *near, *(-n for n in near),
                *rng.integers(info.min, info.max, size=50, dtype=info.dtype).tolist()]
    integers = [n for n in integers if info.min <= n <= info.max]
    if dtype is object:
        integers += [10**60 + 1, -(2**200) - 1]
    found = odd_integers(np.array(integers, dtype), scale)
    assert found.dtype == np.float64
    # Just below a power of two 52 bits are left, enough for formats of 50.
    for n, value in zip(integers, found.tolist(), strict=True):
        assert Fraction(value) in [odd(n * Fraction(scale), bits) for bits in (53, 52)]
    assert not np.signbit(found[np.array(integers) == 0]).any()
    compared(len(integers))


@pytest.mark.parametrize("n, scale, error, text", [
    ([1], 0, ValueError, "Scale must not be 0"),
    ([1.5], 1, TypeError, "Integers must be integers, not float64"),
    ([1], Fraction(3, 1 << 1075), ValueError,
     "Integers times scale must be 0 or at least 2 ** -1022, not 1e-323"),
    ([-1], Fraction(3) ** 700, ValueError, "Integers times scale must be below 2 ** 1023"),
])
def test_odd_integers_refuses(n, scale, error, text):
    with pytest.raises(error) as caught:
        odd_integers(n, scale)
    assert str(caught.value) == text


@pytest.mark.parametrize("bits", [16, 36, 42])
def test_odd_quotient(bits, compared):
    """So many bits of the quotient are kept or one more, and of the rest whether there is one."""
    rng = np.random.default_rng(0)
    x = [0.0, 1, -1, 3, 2.0**-900, -(2.0**900), 1 + 2.0**-52, *rng.normal(size=200)]
    divisors = [1, 3, 7, 2.0**-30, 6 * 448, 2**bits - 1, *rng.integers(1, 1 << bits, size=40)]
    x = [*x, *(float(d) * k for d in divisors for k in (1, 2.5, -0.0625))]
    for divisor in map(float, divisors):
        found = odd_quotient(np.array(x), np.float64(divisor), bits=bits).tolist()
        for value, quotient in zip(x, found, strict=True):
            exact = Fraction(value) / Fraction(divisor)
            assert Fraction(quotient) in (odd(exact, 63 - bits), odd(exact, 64 - bits))
        compared(len(x))
    assert np.signbit(odd_quotient([-0.0, 0.0], 3.0)).tolist() == [True, False]


def test_odd_sum(compared):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=300), [1.0, 1, 1, 1e300, 0, 3]])
    y = np.concatenate([rng.normal(size=300) * 2.0 ** rng.integers(-70, 70, 300),
                        [2.0**-53, -(2.0**-53), 2.0**-60, -1e-300, 0, -3]])
    for a, b in ((x, y), (y, x), (-x, -y)):
        exact = [odd(Fraction(m) + Fraction(n), 53) for m, n in zip(a, b, strict=True)]
        assert odd_sum(a, b).tolist() == exact
        compared(len(a))


def test_names():
    for plain, hls in ROUNDINGS.items():
        assert rounding_name(plain) == rounding_name(hls) == plain
    assert choice("Kind", "a", ["a", "b"]) == "a"
    for value, listed in (("flor", "floor, half_even, half_up, half_down, half_away, half_zero, "
                           "zero"), (3, ", ".join(ROUNDINGS))):
        with pytest.raises(ValueError) as caught:
            rounding_name(value)
        assert str(caught.value) == f"Rounding must be one of {listed}, not {value!r}"
