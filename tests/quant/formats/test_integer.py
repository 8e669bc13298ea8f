# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import Int

UP_TO_12 = [
    Int(bits, signed=signed, narrow=narrow)
    for bits in range(1, 13)
    for signed, narrow in ((True, False), (True, True), (False, False))
    if bits > signed
]


def value_of(fmt, code):
    """Bit by bit: the top one counts negative if signed."""
    bits = [code >> k & 1 for k in range(fmt.bits)]
    weights = [1 << k for k in range(fmt.bits)]
    if fmt.signed:
        weights[-1] = -weights[-1]
    return sum(bit * weight for bit, weight in zip(bits, weights, strict=True))


@pytest.mark.parametrize("fmt", [*UP_TO_12, Int(16), Int(16, signed=False)], ids=lambda f: f.name)
def test_every_code_both_ways(fmt, compared):
    codes = np.arange(1 << fmt.bits)
    if fmt.narrow:
        codes = np.delete(codes, 1 << (fmt.bits - 1))
    values = [value_of(fmt, int(code)) for code in codes]
    assert fmt.decode(codes).tolist() == values
    assert fmt.values(codes).tolist() == values
    assert fmt.values(codes).dtype == np.float64
    assert fmt.encode(values).tolist() == codes.tolist()
    assert (fmt.min, fmt.max) == (min(values), max(values))
    assert not fmt.is_nan(codes).any() and not fmt.is_inf(codes).any()
    compared(len(codes))


@pytest.mark.parametrize("fmt", UP_TO_12, ids=lambda f: f.name)
def test_half_to_even_and_saturation(fmt, compared):
    quarters = range(4 * fmt.min - 12, 4 * fmt.max + 13)
    expected = [min(max(round(Fraction(q, 4)), fmt.min), fmt.max) for q in quarters]
    codes = fmt.encode(np.array(quarters) / 4)
    assert codes.dtype == (np.uint8 if fmt.bits <= 8 else np.uint16)
    assert fmt.decode(codes).tolist() == expected
    compared(len(expected))


def test_next_to_a_tie(compared):
    ties = np.arange(-8.5, 7.5)
    values = np.concatenate([np.nextafter(ties, -inf), ties, np.nextafter(ties, inf)])
    expected = [min(max(round(Fraction(value)), -8), 7) for value in values.tolist()]
    assert Int(4).decode(Int(4).encode(values)).tolist() == expected
    compared(len(values))


@pytest.mark.parametrize("fmt", [Int(32), Int(32, signed=False), Int(4), Int(8, narrow=True)])
def test_far_outside(fmt):
    assert fmt.decode(fmt.encode([-inf, -1e300, 1e300, inf])).tolist() == [
        fmt.min,
        fmt.min,
        fmt.max,
        fmt.max,
    ]
    assert fmt.encode(-0.0) == 0


def test_widest():
    assert Int(32).decode([0, 2**31 - 1, 2**31, 2**32 - 1]).tolist() == [0, 2**31 - 1, -(2**31), -1]
    assert Int(32, signed=False).decode(np.array([2**32 - 1], np.uint32)).tolist() == [2**32 - 1]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_shape_is_kept(shape):
    codes = Int(4).encode(np.ones(shape))
    assert codes.shape == Int(4).decode(codes).shape == Int(4).is_nan(codes).shape == shape


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint64])
def test_codes_of_any_integer_kind(dtype):
    assert Int(4).decode(np.array([0, 7, 8, 15], dtype)).tolist() == [0, 7, -8, -1]


def test_name_and_lsb():
    assert [f.name for f in (Int(4), Int(8, signed=False), Int(8, narrow=True))] == [
        "int4",
        "uint8",
        "int8n",
    ]
    assert Int(4).lsb == 0


def test_equal_declarations_are_one_format():
    assert Int(4) == Int(4) and hash(Int(4)) == hash(Int(4)) and Int(4) != Int(4, narrow=True)


@pytest.mark.parametrize("bits", [4.0, "4", None, True, np.int64(4)])
def test_bits_of_wrong_kind(bits):
    with pytest.raises(TypeError) as caught:
        Int(bits)
    assert str(caught.value) == f"Bits must be an integer, not {bits!r}"


@pytest.mark.parametrize(
    "bits, signed, text",
    [
        (1, True, "Bits must be 2 to 32, not 1"),
        (33, True, "Bits must be 2 to 32, not 33"),
        (0, False, "Bits must be 1 to 32, not 0"),
        (-4, False, "Bits must be 1 to 32, not -4"),
    ],
)
def test_bits_out_of_range(bits, signed, text):
    with pytest.raises(ValueError) as caught:
        Int(bits, signed=signed)
    assert str(caught.value) == text


def test_narrow_unsigned():
    with pytest.raises(ValueError) as caught:
        Int(4, signed=False, narrow=True)
    assert str(caught.value) == "Narrow must be False where signed is False, not True"


@pytest.mark.parametrize("codes, dtype", [([1.0], "float64"), ([True], "bool"), (["1"], "<U1")])
def test_codes_of_wrong_kind(codes, dtype):
    with pytest.raises(TypeError) as caught:
        Int(4).decode(codes)
    assert str(caught.value) == f"Codes must be integers, not {dtype}"


@pytest.mark.parametrize("codes, found", [([0, 16], "0 to 16"), ([-1, 3], "-1 to 3")])
def test_codes_out_of_range(codes, found):
    with pytest.raises(ValueError) as caught:
        Int(4).decode(codes)
    assert str(caught.value) == f"Codes of int4 must be 0 to 15, not {found}"


def test_nan():
    with pytest.raises(ValueError) as caught:
        Int(4).encode([0, nan])
    assert str(caught.value) == "Values must be numbers: int4 has no code for NaN"


def test_registry(compared):
    for name in formats.names():
        assert formats.get(name).name == name
    compared(len(formats.names()))
    assert formats.get("int4") == Int(4) and formats.get("uint8") == Int(8, signed=False)


def test_registry_unknown():
    with pytest.raises(ValueError) as caught:
        formats.get("int44")
    assert str(caught.value).startswith("Format must be one of int4, ")
    assert str(caught.value).endswith(", not 'int44' (Bits must be 2 to 32, not 44)")
