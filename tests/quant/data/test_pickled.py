# SPDX-License-Identifier: Apache-2.0
import os
import pickle

import numpy as np
import pytest

from carrysave.quant.data import DataError
from carrysave.quant.data.pickled import Made, array, read


def old(value):
    """Pickle of a value under the names that were NumPy's when tables were first pickled."""
    return pickle.dumps(value, protocol=1).replace(b"numpy._core.", b"numpy.core.")


class Frame:
    """Pickled under pandas' name."""

    def __init__(self, blocks):
        self.blocks = blocks


def test_plain_values(compared):
    shared = [1, 2, 255, 256, 65535, 65536, -1, -(2**31), 2**31 - 1]
    value = {"a": shared, 7: (), "b": (1, "é", None, True, False), "c": [shared, (shared, {}), [1]]}
    found = read(old(value))
    assert found == value
    assert found["c"][0] is found["a"] and found["c"][1][0] is found["a"]
    compared(len(shared) + 4)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1",
                                   ">f8", ">i4"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), ()])
def test_arrays(dtype, order, shape, compared):
    rng = np.random.default_rng(0)
    expected = np.asarray(100 * rng.random(shape), dtype, order=order)
    found = array(read(old(expected)))
    assert found.dtype == expected.dtype and found.shape == shape
    assert found.tolist() == expected.tolist()
    compared(expected.size)


def test_objects_are_described(compared):
    content = old(Frame([np.arange(3.0)])).replace(
        f"{__name__}\nFrame".encode(), b"pandas.core.frame\nDataFrame"
    )
    made = read(content)
    assert isinstance(made, Made) and made.name == "copy_reg _reconstructor"
    assert made.args == ("pandas.core.frame DataFrame", "__builtin__ object", None)
    assert array(made.state["blocks"][0]).tolist() == [0, 1, 2]
    compared(3)


class Dangerous:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("value, named", [
    (Dangerous(), "posix mkdir"), ([1, {"a": Dangerous()}], "posix mkdir"), (eval, "eval"),
    (Frame([]), "Frame"), (1 + 2j, "complex"),
])
def test_other_names_are_refused(value, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^Pickle must hold tables of numbers, but at byte \d+ "
                                        rf"names .*{named}"):
        read(old(value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol, operation", [
    (0, "LIST|PUT"), (1, "LONG"), (2, "PROTO"), (4, "PROTO"),
])
def test_other_operations_are_refused(protocol, operation):
    with pytest.raises(DataError, match=rf"^Pickle must hold .* has the operation ({operation})$"):
        read(pickle.dumps([1 << 40], protocol))


def test_truncated(compared):
    content = old({"a": [1, np.arange(5.0)], "b": ("é", None)})
    for length in range(len(content)):
        with pytest.raises(DataError):
            read(content[:length])
        compared(1)


def test_flipped_bits(compared):
    """Whatever comes out is made of plain values, or refused in one line."""
    content = old({"a": [1, np.arange(5.0)], "b": ("é", None)})
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            try:
                read(bytes(damaged))
            except DataError as error:
                assert len(str(error).splitlines()) == 1
            compared(1)


@pytest.mark.parametrize("value", [
    None, [], {}, "numpy", np.array(["a"]), np.array([1 + 2j]), np.array([None]), np.dtype("f8"),
])
def test_no_array(value):
    with pytest.raises(DataError, match="^Pickle must hold an array of numbers, not ."):
        array(read(old(value)))
