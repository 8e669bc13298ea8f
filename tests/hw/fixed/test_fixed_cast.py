# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Module, Shape

from carrysave.hw.fixed import fixed_cast as hw
from carrysave.hw.fixed.fixed_cast import FixedCast, fixed_cast, fixed_shape
from carrysave.quant.formats import OVERFLOWS, ROUNDINGS, Fixed
from carrysave.sim.prove import Core, prove
from carrysave.sim.reference.fixed_cast import cast_by_division, cores
from carrysave.sim.stimulus import stimuli
from carrysave.sim.units import run_vectors

from ..units import cells, check

PAIRS = [  # width and integer bits of source and target, signs
    ((7, 3, True), (4, 2, True)), ((7, 3, False), (4, 2, True)), ((7, 3, True), (4, 2, False)),
    ((6, 2, True), (1, 1, True)), ((6, 8, True), (5, 6, True)),  # F negative in the source
    ((6, 3, True), (5, 9, True)), ((6, -2, True), (4, -3, True)),  # in the target; F above W
    ((5, -20, True), (4, 3, True)), ((5, 20, True), (4, 3, True)),  # nothing in common
    ((4, 2, False), (9, 4, True)),  # nothing lost
]


def modes(width, integer, signed):
    """The target with every rounding and overflow."""
    return {f"{rounding}_{overflow}": Fixed(width, integer, signed, rounding, overflow)
            for rounding in ROUNDINGS.values() for overflow in OVERFLOWS
            if signed or overflow != "WRAP_SM"}


@pytest.mark.parametrize("source, target", PAIRS, ids=str)
def test_every_rounding_and_overflow(source, target, compared):
    source, targets = Fixed(*source), modes(*target)
    assert len(targets) == (35 if target[2] else 28)

    def implementation(value):
        m = Module()
        return {"part": m}, {name: fixed_cast(m, value, source, fmt)
                             for name, fmt in targets.items()}

    core = Core("fixed_cast", {"value": fixed_shape(source)}, implementation, lambda value: {
        name: cast_by_division(value, source, fmt) for name, fmt in targets.items()})
    assert prove(core).status == "proved"
    compared(len(targets) << core.bits)


@pytest.mark.parametrize("values, expected", [  # SPECS 1: check values
    ((Fixed(4, 2), Fixed(3, 2, True, "RND"), 5), 3),
    ((Fixed(4, 2), Fixed(3, 2, True, "RND"), -5), -2),
    ((Fixed(4, 2), Fixed(3, 2, True, "RND_ZERO"), 5), 2),
    ((Fixed(4, 2), Fixed(3, 2, True, "RND_ZERO"), -5), -2),
    ((Fixed(4, 2), Fixed(3, 2, True, "RND_MIN_INF"), 5), 2),
    ((Fixed(4, 2), Fixed(3, 2, True, "RND_MIN_INF"), -5), -3),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "SAT"), 19), 7),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "SAT"), -19), -8),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "SAT_ZERO"), 19), 0),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "SAT_ZERO"), -19), 0),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "SAT_SYM"), 19), 7),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "SAT_SYM"), -19), -7),
    ((Fixed(6, 6), Fixed(4, 4, True, "TRN", "WRAP_SM"), 19), -4),
], ids=str)
def test_published_values(values, expected, compared):
    source, target, value = values
    check(FixedCast(source, target), [{"values": [value]}], [{"results": [expected]}])
    compared(1)


@pytest.mark.parametrize("source, target", [
    (Fixed(11, 14, False), Fixed(9, 11, True, "TRN_ZERO", "SAT")),
    (Fixed(53, 20), Fixed(24, 10, True, "RND_CONV", "SAT_SYM")),
], ids=str)
def test_units(source, target, compared):
    unit = FixedCast(source, target, lanes=3, registers=2)
    arrows = run_vectors(unit, stimuli(unit, 20_000))
    assert not any(arrow.mismatches for arrow in arrows)
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("registers", range(3))
def test_latency(registers, compared):
    unit = FixedCast(Fixed(8, 4), Fixed(4, 3, True, "RND"), registers=registers)
    inputs = [{"values": [value]} for value in range(-8, 8)]
    expected = [{"results": [(value + 4) >> 3]} for value in range(-8, 8)]
    assert check(unit, inputs, expected) == [k + registers for k in range(16)]
    assert unit.latency == registers
    compared(16)


def test_no_adder_where_nothing_is_added(compared):
    found = cells(FixedCast(Fixed(16, 6), Fixed(8, 4, True, "TRN", "SAT")))
    assert not found["$add"] and not found["$sub"] and found["$mux"]
    assert cells(FixedCast(Fixed(16, 6), Fixed(8, 4, True, "RND", "SAT")))["$add"] == 1
    compared(found.total())


@pytest.mark.parametrize("wrong", [
    lambda rounding, *, odd, half, less, negative: half,
    lambda rounding, *, odd, half, less, negative: half & odd,
    lambda rounding, *, odd, half, less, negative: half & (~odd | less),
], ids=["half up", "no rest", "half odd"])
def test_a_wrong_rounding_is_found(wrong, monkeypatch):
    unit = FixedCast(Fixed(8, 4), Fixed(5, 3, True, "RND_CONV", "SAT"))
    monkeypatch.setattr(hw, "round_up", wrong)
    assert run_vectors(unit, stimuli(unit, 100))[0].mismatches > 0
    assert prove(next(cores(unit))).status == "refuted"


def test_shapes_tell_the_truth(compared):
    unit = FixedCast(Fixed(9, 3, False), Fixed(4, 2), lanes=3)
    assert unit.i.p.shape()["values"].shape.elem_shape == Shape(9, False)
    assert unit.o.p.shape()["results"].shape.elem_shape == Shape(4, True)
    assert (unit.lanes, unit.formats) == (3, {"values": "uq9.3", "results": "q4.2"})
    compared(3)


@pytest.mark.parametrize("args, kwargs, kind, message", [
    ((8, Fixed(4, 2)), {}, TypeError, "Source must be a Fixed, not 8"),
    ((Fixed(4, 2), None), {}, TypeError, "Target must be a Fixed, not None"),
    ((), {"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ((), {"registers": 3}, ValueError, "Registers must be 0 to 2, not 3"),
])
def test_parameters_wrong(args, kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        FixedCast(*args, **kwargs)
