# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from carrysave.quant.formats import Log2

FORMATS = [Log2(bits, sqrt2=sqrt2) for sqrt2 in (False, True) for bits in (2, 3, 4, 6, 8)]


@pytest.mark.parametrize("sqrt2, values", [
    (False, [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 0]),
    (True, [1, 2**0.5 / 2, 1 / 2, 2**0.5 / 4, 1 / 4, 2**0.5 / 8, 1 / 8, 0]),
])
def test_every_code_of_three_bits(sqrt2, values, compared):
    fmt = Log2(3, sqrt2=sqrt2)
    assert fmt.values(fmt.codes()).tolist() == values
    unit = 2.0**fmt.lsb
    # Integers leave out the square root.
    odd = fmt.is_odd(fmt.codes())
    assert odd.tolist() == [sqrt2 and code in (1, 3, 5) for code in range(8)]
    assert (fmt.decode(fmt.codes()) * unit).tolist() == [
        v / 2**0.5 if o else v for v, o in zip(values, odd, strict=True)]
    compared(8)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_every_code(fmt, compared):
    codes = fmt.codes()
    for code in codes.tolist()[:-1]:
        halvings = -(-code // 2) if fmt.sqrt2 else code
        assert fmt.decode([code]) * Fraction(2) ** fmt.lsb == Fraction(1, 2**halvings)
        assert fmt.is_odd([code]) == (fmt.sqrt2 and code % 2)
    assert fmt.decode([fmt.zero_code]) == fmt.values([fmt.zero_code]) == 0
    assert fmt.encode(fmt.values(codes)).tolist() == codes.tolist()
    assert max(fmt.decode(codes).tolist()).bit_length() == fmt.integer_bits
    assert (fmt.min, fmt.max) == (0, 1)
    compared(len(codes))


def exact(fmt, x):
    """round(-log2 x), or round(-2 log2 x), by comparing powers of a rational."""
    if x <= 0:
        return fmt.zero_code
    # -log2(x) * steps > q - 1/2, taken to the power that makes both sides rational.
    steps = 2 if fmt.sqrt2 else 1
    power = x ** (2 * steps)
    q = 0
    while q < fmt.zero_code and power < Fraction(1, 2 ** (2 * q + 1)):
        q += 1
    return q


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_encode_exactly(fmt, dtype, compared):
    rng = np.random.default_rng(fmt.bits)
    steps = np.arange(0, 2 * (1 << fmt.bits) + 2) / (4 if fmt.sqrt2 else 2)
    edges = np.exp2(-steps).astype(dtype)  # values and midpoints of logarithms, rounded
    x = [edges, rng.uniform(0, 1, 200), 2.0 ** -rng.uniform(0, steps[-1], 200)]
    x = np.concatenate([part.astype(dtype) for part in x])
    for _ in range(2):
        x = np.concatenate([np.nextafter(x, dtype(0)), x, np.nextafter(x, dtype(1))])
    x = np.unique(x)
    assert fmt.encode(x).tolist() == [exact(fmt, Fraction(value)) for value in x.tolist()]
    compared(len(x))


def test_outside_of_zero_to_one():
    values = [0.0, -0.0, -1, -inf, 1.0, 1.5, 1e300, inf, 5e-324]
    assert Log2(4).encode(values).tolist() == [15, 15, 15, 15, 0, 0, 0, 0, 15]


def test_refuses():
    fmt = Log2(4)
    for arguments, text in [
        (([nan],), "Values must be numbers: log2_4 has no code for NaN"),
        (([0.5], "floor"), "Rounding of log2_4 must be half_even, not 'floor'"),
        (([0.5], "half_even", "ieee"), "Overflow must be one of saturate, not 'ieee'"),
    ]:
        how = dict(zip(("rounding", "overflow"), arguments[1:], strict=False))
        with pytest.raises(ValueError) as caught:
            fmt.encode(arguments[0], **how)
        assert str(caught.value) == text


@pytest.mark.parametrize("parameters, error, text", [
    ((1,), ValueError, "Bits must be 2 to 8, not 1"),
    ((9,), ValueError, "Bits must be 2 to 8, not 9"),
    ((4, 1), TypeError, "Sqrt2 must be True or False, not 1"),
])
def test_parameters_refused(parameters, error, text):
    with pytest.raises(error) as caught:
        Log2(*parameters)
    assert str(caught.value) == text
