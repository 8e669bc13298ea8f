# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.pe.dequantise_first import DequantiseFirst
from carrysave.quant.formats import Int

from ..units import cells
from .elements import proved, simulate, vectors

UNITS = {
    "uint3 x int5": {"group": 3, "lanes": 1, "scale_bits": 5,
                     "activation": Int(5), "weight": Int(3, signed=False), "registers": 0},
    "int8 x uint4": {"group": 9, "lanes": 3, "scale_bits": 8, "registers": 3,
                     "activation": Int(4, signed=False), "weight": Int(8)},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(DequantiseFirst(**UNITS[name])))


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(registers, stall, compared):
    unit = DequantiseFirst(4, lanes=3, registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, stall=stall))


def test_widths(compared):
    unit = DequantiseFirst(128)
    assert (unit.widened_shape, unit.product_shape) == (Shape(12, True), Shape(19, True))
    assert DequantiseFirst(weight=Int(8, narrow=True)).widened_shape == Shape(16, True)
    compared(2)


def test_two_multipliers_per_lane(compared):
    assert cells(DequantiseFirst(4, lanes=5))["$mul"] == 10
    compared(10)


def test_proofs(compared):
    compared(proved(DequantiseFirst(weight=Int(5), scale_bits=6)))


@pytest.mark.parametrize("name, shape", [
    ("widened_shape", Shape(11, True)), ("widened_shape", Shape(12)),
    ("product_shape", Shape(18, True)), ("sum_shape", Shape(21, True)),
])
def test_a_wrong_width_is_found(name, shape):
    unit = DequantiseFirst(4, lanes=2)
    setattr(unit, name, shape)
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(unit)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"activation": 8}, TypeError, "Activation must be an Int, not 8"),
    ({"scale_bits": 0}, ValueError, "Scale bits must be 1 to 16, not 0"),
    ({"scale_bits": 8.0}, TypeError, "Scale bits must be an integer, not 8.0"),
    ({"scale_bits": 13}, ValueError, "Weights times scales must fit int16, not reach 65528"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        DequantiseFirst(**kwargs)
