# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.fixed import fixed_add as hw
from carrysave.hw.fixed.fixed_add import FixedAdd
from carrysave.quant.formats import Fixed
from carrysave.sim.prove import prove
from carrysave.sim.reference.fixed_add import cores
from carrysave.sim.stimulus import stimuli
from carrysave.sim.units import run_vectors

from ..units import check

UNITS = [
    (Fixed(5, 3), Fixed(4, 1), {}), (Fixed(5, 3, False), Fixed(4, 6), {"subtract": True}),
    (Fixed(3, -2, False), Fixed(4, 2, False), {"subtract": True}),
    (Fixed(3, 5, False), Fixed(4, 2, False), {}),
    (Fixed(6, 3), Fixed(5, 4, False), {"result": Fixed(4, 3, True, "RND_CONV", "SAT_SYM")}),
    (Fixed(6, 3), Fixed(5, 4, False), {"subtract": True,
                                       "result": Fixed(5, 5, False, "TRN_ZERO", "SAT")}),
]


@pytest.mark.parametrize("a, b, parameters", UNITS, ids=str)
def test_proofs(a, b, parameters, compared):
    unit = FixedAdd(a, b, **parameters)
    [core] = cores(unit)
    assert prove(core).status == "proved"
    compared(1 << core.bits)


@pytest.mark.parametrize("a, b, parameters", [
    UNITS[4], (Fixed(40, 3), Fixed(30, 1, False), {"subtract": True})], ids=str)
def test_units(a, b, parameters, compared):
    unit = FixedAdd(a, b, **parameters, lanes=3, registers=2)
    arrows = run_vectors(unit, stimuli(unit, 20_000))
    assert not any(arrow.mismatches for arrow in arrows)
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("subtract, low, high", [(False, -256, 254), (True, -255, 255)])
@pytest.mark.parametrize("registers", range(3))
def test_ends_and_latency(subtract, low, high, registers, compared):
    unit = FixedAdd(Fixed(8, 4), Fixed(8, 4), subtract=subtract, registers=registers)
    assert unit.o.p.shape()["results"].shape.elem_shape == Shape(9, True)
    inputs = [{"a": [-128], "b": [127 if subtract else -128]},
              {"a": [127], "b": [-128 if subtract else 127]}]
    cycles = check(unit, inputs, [{"results": [low]}, {"results": [high]}])
    assert cycles == [registers, registers + 1] and unit.latency == registers
    assert unit.formats == {"a": "q8.4", "b": "q8.4", "results": "q9.5"}
    compared(2)


def test_a_wrong_sum_is_found(monkeypatch):
    unit = FixedAdd(Fixed(5, 3), Fixed(4, 1))
    # Not aligned.
    monkeypatch.setattr(hw, "fixed_sum", lambda a, b, a_format, b_format, subtract: a + b)
    assert run_vectors(unit, stimuli(unit, 100))[0].mismatches > 0


@pytest.mark.parametrize("args, kwargs, kind, message", [
    ((8,), {}, TypeError, "A must be a Fixed, not 8"),
    ((Fixed(8, 3), "q8.3"), {}, TypeError, "B must be a Fixed, not 'q8.3'"),
    ((), {"result": 8}, TypeError, "Result must be a Fixed, not 8"),
    ((Fixed(8, 60), Fixed(8, 3)), {}, ValueError,
     "No format holds the sum of q8.60 and q8.3: Width must be 1 to 53, not 66"),
    ((), {"lanes": -1}, TypeError, "Lanes must be a positive integer, not -1"),
    ((), {"registers": 3}, ValueError, "Registers must be 0 to 2, not 3"),
])
def test_parameters_wrong(args, kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        FixedAdd(*args, **kwargs)
