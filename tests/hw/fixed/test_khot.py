# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.fixed import khot as hw
from carrysave.hw.fixed.khot import KHotMultiply
from carrysave.quant.formats import Fixed, Int
from carrysave.sim.prove import prove
from carrysave.sim.reference.khot import cores
from carrysave.sim.stimulus import stimuli
from carrysave.sim.units import run_vectors

from ..units import cells, check

UNITS = [
    (tuple(c for c in range(-72, 73) if abs(c).bit_count() <= 2), {"value": Int(6)}),
    ((7, -7, 11, 13, -14, 21), {"k": 3, "value": Int(7, signed=False)}),
    ((0,), {"value": Int(4)}), ((-1, 0), {"k": 1, "value": Int(8, narrow=True)}),
    ((1 << 12, -(1 << 12) - 1), {"value": Int(8)}),
]


@pytest.mark.parametrize("constants, parameters", UNITS, ids=[str(len(u[0])) for u in UNITS])
def test_every_value(constants, parameters, compared):
    unit = KHotMultiply(constants, **parameters)
    assert unit.lanes == len(constants)
    arrows = run_vectors(unit, stimuli(unit, 5_000))
    assert [(arrow.method, arrow.mismatches) for arrow in arrows] == [
        ("exhaustive", 0), ("random", 0)]
    [core] = cores(unit)
    assert prove(core).status == "proved"
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("registers", range(2))
def test_ends_and_latency(registers, compared):
    unit = KHotMultiply((3, -4), registers=registers)
    assert unit.o.p.shape()["products"].shape.elem_shape == Shape(11, True)  # 512 = -4 * -128
    values = [{"values": [value, value]} for value in (-128, 127)]
    cycles = check(unit, values, [{"products": [-384, 512]}, {"products": [381, -508]}])
    assert cycles == [registers, registers + 1] and unit.latency == registers
    compared(4)


def test_adders_and_no_multiplier(compared):
    """K - 1 adders for each constant, one for a sign."""
    found = cells(KHotMultiply((96, 5, -5, 64, 0, 1), value=Int(8)))
    assert not found["$mul"]
    assert found["$add"] + found["$sub"] + found["$neg"] == 1 + 1 + 2
    compared(found.total())


@pytest.mark.parametrize("wrong", [
    lambda m, value, constant: value * abs(constant),
    lambda m, value, constant: value << abs(constant).bit_length() - 1,
], ids=["sign", "one term"])
def test_a_wrong_product_is_found(wrong, monkeypatch):
    monkeypatch.setattr(hw, "khot_product", wrong)
    unit = KHotMultiply((3, -5))
    assert run_vectors(unit, stimuli(unit, 100))[0].mismatches > 0


@pytest.mark.parametrize("args, kwargs, kind, message", [
    (((),), {}, ValueError, "Constants must be at least one, not ()"),
    (((3, 7),), {}, ValueError,
     "Constants must have at most 2 ones in their magnitude, not 3 as 7 has"),
    (((-5,),), {"k": 1}, ValueError,
     "Constants must have at most 1 ones in their magnitude, not 2 as -5 has"),
    (((2.0,),), {}, TypeError, "Constants must be an integer, not 2.0"),
    (((1 << 62,),), {}, ValueError,
     f"Constants must be {-(1 << 61)} to {1 << 61}, not {1 << 62}"),
    ((), {"k": 0}, ValueError, "K must be 1 to 62, not 0"),
    ((), {"value": Fixed(8, 3)}, TypeError, f"Value must be an Int, not {Fixed(8, 3)!r}"),
    ((), {"registers": 2}, ValueError, "Registers must be 0 to 1, not 2"),
])
def test_parameters_wrong(args, kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        KHotMultiply(*args, **kwargs)
