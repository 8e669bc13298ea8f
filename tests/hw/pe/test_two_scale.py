# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.pe import two_scale as hw_two_scale
from carrysave.hw.pe.two_scale import TwoScale
from carrysave.quant.formats import Int

from ..units import cells
from .elements import proved, simulate, vectors

UNITS = {
    "uint5 x int3": {"group": 5, "lanes": 3, "activation": Int(5, signed=False), "weight": Int(3),
                     "scale_bits": 16},
    "narrow": {"group": 1, "lanes": 1, "activation": Int(4), "weight": Int(2, narrow=True),
               "scale_bits": 1, "registers": 0},
    "int8 x int8": {"group": 9, "lanes": 2, "weight": Int(8), "registers": 3},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(TwoScale(**UNITS[name])))


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(registers, stall, compared):
    unit = TwoScale(4, lanes=3, registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, stall=stall))


def test_two_multipliers_in_all(compared):
    assert cells(TwoScale(4, lanes=5))["$mul"] == 2
    compared(2)


def test_widths(compared):
    unit = TwoScale(128)
    assert unit.part_shapes == [Shape(18, True), Shape(19, True)]
    assert unit.sum_shape == unit.o.p.shape() == Shape(26, True)
    compared(3)


def test_proofs(compared):
    compared(proved(TwoScale(activation=Int(6, signed=False), weight=Int(5))))


def test_scales_in_the_wrong_order_are_found(monkeypatch):
    group_sums = hw_two_scale.group_sums

    def swapped(*args, **kwargs):
        sums, scales = group_sums(*args, **kwargs)
        return sums, scales[::-1]

    monkeypatch.setattr(hw_two_scale, "group_sums", swapped)
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(TwoScale(4, lanes=2))


@pytest.mark.parametrize("kwargs, error, message", [
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"activation": 8}, TypeError, "Activation must be an Int, not 8"),
    ({"weight": Int(4, signed=False)}, ValueError, "Weight must be signed, not uint4"),
    ({"scale_bits": 17}, ValueError, "Scale bits must be 1 to 16, not 17"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        TwoScale(**kwargs)
