# SPDX-License-Identifier: Apache-2.0
import enum
import re

import numpy as np
import pytest
from amaranth.hdl import Const, Shape, signed, unsigned
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from carrysave.sim.payload import pack, plain, to_ints, unpack

NESTED = data.StructLayout({
    "a": data.ArrayLayout(signed(5), 3),
    "b": data.StructLayout({"flag": 1, "wide": unsigned(70), "x": data.ArrayLayout(
        data.StructLayout({"y": range(-3, 4), "z": unsigned(64)}), 2)}),
    "c": data.ArrayLayout(data.ArrayLayout(4, 2), 3),
})


class Kind(enum.IntEnum):
    FIRST = 0
    SECOND = 5


def values(shape):
    """Strategy for one payload of a shape, as Amaranth takes it."""
    if isinstance(shape, data.ArrayLayout):
        return st.lists(values(shape.elem_shape), min_size=shape.length, max_size=shape.length)
    if isinstance(shape, data.StructLayout):
        return st.fixed_dictionaries({key: values(field.shape) for key, field in shape})
    shape = Shape.cast(shape)
    low = -(1 << shape.width - 1) if shape.signed else 0
    return st.integers(low, (1 << shape.width - shape.signed) - 1)


@given(st.lists(values(NESTED), min_size=1, max_size=5))
def test_pack_equals_amaranth(compared, payloads):
    packed = pack(NESTED, payloads)
    bits = [Const.cast(NESTED.const(payload)).value for payload in payloads]
    assert to_ints(packed) == bits
    assert [plain(NESTED, value) for value in bits] == payloads
    compared(len(payloads))


@given(st.lists(values(NESTED), min_size=1, max_size=5))
def test_unpack_inverts_pack(compared, payloads):
    arrays = unpack(NESTED, pack(NESTED, payloads))
    assert arrays["a"].shape == (len(payloads), 3)
    assert arrays["c"].shape == (len(payloads), 3, 2)
    assert arrays["b"]["x"]["y"].tolist() == [
        [x["y"] for x in payload["b"]["x"]] for payload in payloads]
    assert arrays["b"]["x"]["z"].dtype == np.uint64
    assert to_ints(arrays["b"]["wide"]) == [payload["b"]["wide"] for payload in payloads]
    assert (pack(NESTED, arrays) == pack(NESTED, payloads)).all()
    compared(len(payloads))


@pytest.mark.parametrize("width", [1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 300])
@pytest.mark.parametrize("sign", [False, True])
def test_every_corner_of_a_number(width, sign, compared):
    shape = Shape(width, sign)
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if sign else (0, (1 << width) - 1)
    numbers = [low, high, 0, (low + high) // 2]
    packed = pack(shape, numbers)
    assert packed.shape == (4, (width + 31) // 32)
    assert to_ints(packed) == [number & (1 << width) - 1 for number in numbers]
    assert [plain(shape, value) for value in to_ints(packed)] == numbers
    found = unpack(shape, packed)
    assert (to_ints(found) if width > 64 else found.tolist()) == (
        to_ints(packed) if width > 64 else numbers)
    for wrong in (low - 1, high + 1):
        with pytest.raises(ValueError, match=re.escape(
                f"input must be in {low} to {high}, not {wrong} (index 2)")):
            pack(shape, [0, 0, wrong])
    compared(4)


def test_many_vectors_take_more_than_one_block(compared):
    layout = data.ArrayLayout(signed(8), 9)
    numbers = np.random.default_rng(0).integers(-128, 128, (100_000, 9))
    assert (unpack(layout, pack(layout, numbers)) == numbers).all()
    compared(numbers.size)


@pytest.mark.parametrize("shape, numbers, message", [
    (NESTED, {"a": [[0] * 3]}, "input must have each of the fields a, b, c, not a"),
    (data.ArrayLayout(4, 3), np.zeros((5, 2), int),
     "input must have the shape ('n', 3), not (5, 2)"),
    (data.StructLayout({"a": data.ArrayLayout(4, 3)}), {"a": [[1, 2, 16]]},
     "input.a must be in 0 to 15, not 16 (index 0, 2)"),
    (unsigned(4), [[1]], "input must have the shape ('n',), not (1, 1)"),
])
def test_wrong_values(shape, numbers, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pack(shape, numbers)


def test_transfers_differ():
    with pytest.raises(ValueError, match=r"^input must have the fields a, b in each transfer, "
                                         r"not a$"):
        pack(data.StructLayout({"a": 1, "b": 1}), [{"a": 0, "b": 1}, {"a": 1}])


def test_wrong_kinds():
    with pytest.raises(TypeError, match=r"^input must be a dict of arrays or a list of dicts$"):
        pack(data.StructLayout({"a": 1}), [1, 2])
    with pytest.raises(TypeError, match=r"^input must be an array of integers, not of float64$"):
        pack(unsigned(4), [0.5])


def test_other_shapes(compared):
    union = data.UnionLayout({"number": signed(8), "bits": unsigned(8)})
    assert to_ints(pack(union, {"number": [-1, 1]})) == [255, 1]
    assert unpack(union, pack(union, {"bits": [200]}))["number"].tolist() == [-56]
    assert to_ints(pack(Kind, [0, 5])) == [0, 5]
    assert unpack(unsigned(4), pack(unsigned(4), [])).tolist() == []
    assert to_ints(pack(1, [True, False])) == [1, 0]
    compared(7)
