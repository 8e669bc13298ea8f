# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.pe.multiplier import Multiplier
from carrysave.quant.formats import Int

from ..units import cells
from .elements import proved, simulate, vectors

UNITS = {
    "int3 x uint5": {"group": 5, "lanes": 3, "activation": Int(5, signed=False), "weight": Int(3)},
    "uint1 x uint2": {"group": 1, "lanes": 1, "registers": 0,
                      "activation": Int(2, signed=False), "weight": Int(1, signed=False)},
    "int32 x int32": {"group": 7, "lanes": 2, "activation": Int(32), "weight": Int(32)},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(Multiplier(**UNITS[name])))


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(registers, stall, compared):
    unit = Multiplier(4, lanes=3, weight=Int(4, narrow=True), registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, stall=stall))


def test_widths(compared):
    unit = Multiplier(128)
    assert (unit.product_shape, unit.sum_shape) == (Shape(16, True), Shape(23, True))
    narrow = Multiplier(1, activation=Int(8, narrow=True), weight=Int(8, narrow=True))
    assert narrow.sum_shape == Shape(15, True)
    compared(3)


def test_one_multiplier_per_lane(compared):
    assert cells(Multiplier(4, lanes=5))["$mul"] == 5
    compared(5)


def test_proofs(compared):
    compared(proved(Multiplier(activation=Int(6), weight=Int(5, signed=False))))


def test_a_wrong_width_is_found():
    unit = Multiplier(4, lanes=2)
    unit.product_shape = Shape(15, True)
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(unit)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"group": 0}, TypeError, "Group must be a positive integer, not 0"),
    ({"lanes": True}, TypeError, "Lanes must be a positive integer, not True"),
    ({"activation": 8}, TypeError, "Activation must be an Int, not 8"),
    ({"weight": "int4"}, TypeError, "Weight must be an Int, not 'int4'"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
    ({"registers": 1.0}, TypeError, "Registers must be an integer, not 1.0"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Multiplier(**kwargs)
