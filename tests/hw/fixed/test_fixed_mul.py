# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.fixed import fixed_mul as hw
from carrysave.hw.fixed.fixed_mul import FixedMul
from carrysave.quant.formats import Fixed
from carrysave.sim.prove import prove
from carrysave.sim.reference.fixed_mul import cores
from carrysave.sim.stimulus import stimuli
from carrysave.sim.units import run_vectors

from ..units import check

UNITS = [
    (Fixed(5, 3), Fixed(4, -3, False), {}),
    (Fixed(5, 3, False), Fixed(6, 8, False), {"result": Fixed(4, 9, False, "RND_INF", "SAT")}),
    (Fixed(8, 2), Fixed(8, 2), {"result": Fixed(8, 2, True, "RND_CONV", "WRAP_SM")}),
]


@pytest.mark.parametrize("a, b, parameters", UNITS, ids=str)
def test_every_product(a, b, parameters, compared):
    unit = FixedMul(a, b, **parameters, lanes=3, registers=2)
    arrows = run_vectors(unit, stimuli(unit, 20_000))
    assert [(arrow.method, arrow.mismatches) for arrow in arrows] == [
        ("exhaustive", 0), ("random", 0)]
    [core] = cores(unit)
    assert prove(core).status == "proved"
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("registers", range(3))
def test_ends_and_latency(registers, compared):
    unit = FixedMul(Fixed(27, 4), Fixed(26, 4), registers=registers)
    assert unit.o.p.shape()["results"].shape.elem_shape == Shape(53, True)
    low, other = -(1 << 26), -(1 << 25)
    inputs = [{"a": [low], "b": [other]}, {"a": [low], "b": [~other]}]
    cycles = check(unit, inputs, [{"results": [low * other]}, {"results": [low * ~other]}])
    assert cycles == [registers, registers + 1] and unit.latency == registers
    assert unit.formats == {"a": "q27.4", "b": "q26.4", "results": "q53.8"}
    compared(2)


def test_a_wrong_cast_is_found(monkeypatch):
    unit = FixedMul(*UNITS[1][:2], **UNITS[1][2])
    monkeypatch.setattr(hw, "fixed_cast", lambda m, value, source, target: value >> 8)
    assert run_vectors(unit, stimuli(unit, 100))[0].mismatches > 0


@pytest.mark.parametrize("args, kwargs, kind, message", [
    ((8,), {}, TypeError, "A must be a Fixed, not 8"),
    ((), {"result": "q8.3"}, TypeError, "Result must be a Fixed, not 'q8.3'"),
    ((Fixed(30, 3), Fixed(24, 3)), {}, ValueError,
     "No format holds the product of q30.3 and q24.3: Width must be 1 to 53, not 54"),
    ((), {"lanes": 1.0}, TypeError, "Lanes must be a positive integer, not 1.0"),
    ((), {"registers": -1}, ValueError, "Registers must be 0 to 2, not -1"),
])
def test_parameters_wrong(args, kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        FixedMul(*args, **kwargs)
