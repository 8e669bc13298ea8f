# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Const, Shape

from carrysave.hw.pe import packed as hw_packed
from carrysave.hw.pe.packed import Packed
from carrysave.hw.yosys import run_yosys
from carrysave.quant.formats import Int

from ..units import cells
from .elements import proved, simulate, vectors

UINT4, UINT8 = Int(4, signed=False), Int(8, signed=False)
UNITS = {
    "unsigned": {"group": 4, "lanes": 2, "activation": UINT8, "weight": UINT4},
    "mixed, three": {"group": 3, "lanes": 1, "activation": Int(3), "weight": Int(3, signed=False),
                     "columns": 3},
    "narrow, four": {"group": 5, "lanes": 3, "activation": Int(3, narrow=True),
                     "weight": Int(3, narrow=True), "multiplier": (27, 18)},
    "least product of its width": {"group": 3, "lanes": 1, "activation": Int(4),
                                   "weight": Int(1, signed=False)},
    "one": {"group": 2, "lanes": 3, "columns": 1, "activation": Int(5)},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(Packed(**UNITS[name])))


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(registers, stall, compared):
    unit = Packed(4, lanes=3, registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, stall=stall))


@pytest.mark.parametrize("weight, activation, multiplier, columns, spacing", [
    (Int(4), Int(8), (18, 18), 2, 12),  # SPECS 3
    (Int(4), Int(4), (18, 18), 2, 8),
    (Int(4, narrow=True), Int(4), (18, 18), 3, 7),
    (Int(2), Int(4), (18, 18), 3, 6),
    (Int(2), Int(8), (18, 18), 2, 10),
    (UINT4, UINT8, (18, 18), 2, 12),
    (Int(4), Int(8), (27, 18), 2, 12),
    (Int(4), Int(8), (8, 32), 3, 12),
    (UINT4, Int(8), (18, 8), 2, 12),
    (Int(8), Int(8), (18, 18), 1, 16),
    (Int(2), Int(5), (18, 18), 3, 7),
    (Int(1, signed=False), Int(4), (18, 18), 4, 5),
    (Int(1, signed=False), Int(1, signed=False), (18, 18), 18, 1),
])
def test_as_many_columns_as_fit(weight, activation, multiplier, columns, spacing, compared):
    unit = Packed(weight=weight, activation=activation, multiplier=multiplier)
    assert (unit.columns, unit.spacing) == (columns, spacing)
    greatest = weight.max * sum(1 << spacing * j for j in range(columns))
    assert unit.word_shape.width >= greatest.bit_length() + weight.signed
    compared(2)


def test_fields_that_just_fit_need_more_room_when_there_are_three(compared):
    """``(-32 << 6) - 32`` has 13 bits, though -32 has 6."""
    products = -32, 31
    assert [hw_packed.spacing_of(products, count) for count in (1, 2, 3)] == [6, 6, 7]
    compared(3)


def test_one_multiplier_per_activation(tmp_path, compared):
    unit = Packed(4, lanes=3)
    assert cells(unit)["$mul"] == 3
    (tmp_path / "top.il").write_text(rtlil.convert(unit, name="top", emit_src=False))
    log = run_yosys(["read_rtlil top.il", "tee -q -o synth.log synth_ecp5 -top top",
                     "tee -o stat.txt stat"], cwd=tmp_path)
    assert log
    found = re.findall(r"(?:(\d+) +)?MULT18X18D(?: +(\d+))?$",
                       Path(tmp_path, "stat.txt").read_text(), re.M)
    assert [int(before or after) for before, after in found] == [3]
    compared(3)


@pytest.mark.parametrize("kwargs", [
    {}, {"activation": Int(4), "weight": Int(2)}, {"weight": UINT4},
    {"activation": Int(4), "weight": Int(4, narrow=True)},
    {"activation": Int(3, signed=False), "weight": Int(3, signed=False), "columns": 2},
])
def test_proofs(kwargs, compared):
    compared(proved(Packed(**kwargs)))


@pytest.mark.parametrize("wrong", [
    lambda fields: [(field, None) for field, _ in fields],  # the borrow kept
    lambda fields: [(field, borrow if k else Const(1, 1))
                    for k, (field, borrow) in enumerate(fields)],
])
def test_a_wrong_borrow_is_found(wrong, monkeypatch):
    unpack = hw_packed.unpack
    monkeypatch.setattr(hw_packed, "unpack", lambda *args: wrong(unpack(*args)))
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(Packed(4, lanes=2))


def test_a_wrong_spacing_is_found():
    unit = Packed(4, activation=Int(5), weight=Int(4))
    unit.spacing -= 1
    unit.product_shape = Shape(unit.product_shape.width - 1, True)
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(unit)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"columns": 0}, TypeError, "Columns must be a positive integer, not 0"),
    ({"activation": 8}, TypeError, "Activation must be an Int, not 8"),
    ({"columns": 3}, ValueError,
     "Columns must be at most 2 for int4 x int8 in a multiplier of 18 x 18 bits, not 3"),
    ({"activation": Int(19)}, ValueError,
     "Activation and weight must fit a multiplier of 18 x 18 bits, not int19 and int4"),
    ({"activation": Int(18, signed=False)}, ValueError,
     "Activation and weight must fit a multiplier of 18 x 18 bits, not uint18 and int4"),
    ({"multiplier": 18}, TypeError, "Multiplier must be a pair of widths, not 18"),
    ({"multiplier": (18, 0)}, TypeError,
     "Width of the multiplier must be a positive integer, not 0"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Packed(**kwargs)
