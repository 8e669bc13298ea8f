# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Shape, signed, unsigned

from carrysave.hw.fixed import to_minifloat as hw
from carrysave.hw.fixed.to_minifloat import ToMinifloat, to_minifloat
from carrysave.quant.formats import Exponent, Minifloat, get
from carrysave.sim.prove import Core, prove
from carrysave.sim.reference.to_minifloat import cores, nearest
from carrysave.sim.stimulus import random, stimuli
from carrysave.sim.units import run_vectors

from ..units import check, check_everywhere

E4M3, FP32 = get("e4m3"), get("fp32")
FNUZ = Minifloat(4, 3, 8, "fnuz")

UNITS = {
    "short sums, below and above all numbers": (Minifloat(3, 4, bias=2), {
        "integer": signed(9), "exponent": -5}),
    "no mantissa": (Minifloat(3, 0), {"integer": signed(11), "exponent": -4, "lanes": 3}),
    "no mantissa, unsigned": (Minifloat(4, 0, specials="ieee"), {
        "integer": unsigned(12), "exponent": -9, "overflow": "ieee"}),
    "no -0": (FNUZ, {"integer": signed(16), "exponent": -14, "overflow": "ieee"}),
    "saturating without -0": (FNUZ, {"integer": signed(16), "exponent": -4}),
    "NaN in place of Inf": (E4M3, {"integer": signed(15), "exponent": -3, "overflow": "ieee"}),
    "all subnormal": (Minifloat(5, 6), {"integer": signed(5), "exponent": -22}),
    "all nearly 0": (Minifloat(2, 1), {"integer": signed(6), "exponent": -40}),
    "all too great": (Minifloat(2, 1), {"integer": signed(6), "exponent": 30}),
    "exact": (Minifloat(5, 10, specials="ieee"), {"integer": signed(8), "exponent": 0}),
    "one bit": (Minifloat(1, 1), {"integer": unsigned(1), "exponent": 0}),
    "exponents": (Minifloat(3, 2), {"integer": signed(7), "exponent": (-12, 5)}),
    "exponents, all normal": (Minifloat(5, 2, specials="ieee"), {
        "integer": signed(7), "exponent": (-14, 1), "lanes": 2}),
    "exponents of no mantissa": (Minifloat(4, 0), {"integer": unsigned(6), "exponent": (-12, 5)}),
}


@pytest.mark.parametrize("fmt, parameters", UNITS.values(), ids=UNITS)
def test_proofs(fmt, parameters, compared):
    unit = ToMinifloat(fmt, **parameters)
    for core in cores(unit):
        assert prove(core).status == "proved"
        compared(1 << core.bits)


@pytest.mark.parametrize("which", [
    "no -0", "no mantissa", "exponents", "exponents, all normal", "all nearly 0"])
def test_every_integer_in_the_unit(which, compared):
    fmt, parameters = UNITS[which]
    unit = ToMinifloat(fmt, **parameters)
    arrows = run_vectors(unit, stimuli(unit, 20_000))
    assert [(arrow.method, arrow.mismatches) for arrow in arrows] == [
        ("exhaustive", 0), ("random", 0)]
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("fmt, parameters", [
    (FP32, {"overflow": "ieee"}),
    (FP32, {"integer": signed(80), "exponent": (-220, 90), "overflow": "ieee"}),
    (get("bf16"), {"integer": unsigned(64), "exponent": -150}),
    (Minifloat(9, 12), {"integer": signed(40), "exponent": (-300, 240)}),
], ids=str)
def test_long_sums(fmt, parameters, compared):
    unit = ToMinifloat(fmt, **parameters, registers=2)
    [arrow] = run_vectors(unit, [random(unit, 20_000)])
    assert (arrow.mismatches, arrow.compared) == (0, 20_000)
    compared(arrow.compared)


def test_one_rounding_of_a_sum_with_more_below(compared):
    """A sticky bit counts as what lies below an integer, at the bottom of which there is room."""
    fmt = Minifloat(3, 2, specials="ieee")

    def implementation(integer, sticky):
        m = Module()
        return {"part": m}, to_minifloat(m, integer << 5, -9, fmt, sticky=sticky)

    def specification(integer, sticky):
        more = (integer << 6) + Mux(integer < 0, -1, 1) * sticky
        return nearest(more[:13].as_signed(), -10, fmt, "saturate")

    core = Core("sticky", {"integer": signed(6), "sticky": 1}, implementation, specification,
                assume=lambda integer, sticky: (integer != 0) | ~sticky)
    assert prove(core).status == "proved"
    compared(1 << 7)


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("exponent", [-3, (-20, 9)], ids=str)
def test_latency(registers, exponent, compared):
    unit = ToMinifloat(E4M3, integer=signed(12), exponent=exponent, registers=registers)
    inputs = [{"integers": [z]} for z in (0, -1, 2047, -2048, 77, 1000)]
    if unit.exponents:
        inputs = [{**each, "exponents": [k - 12]} for k, each in enumerate(inputs)]
    scales = [2.0 ** each.get("exponents", [-3])[0] for each in inputs]
    expected = [{"codes": [int(E4M3.encode(np.float64(each["integers"][0] * scale)))]}
                for each, scale in zip(inputs, scales, strict=True)]
    cycles = check(unit, inputs, expected)
    assert cycles == [registers + k for k in range(6)]
    assert unit.latency == registers
    compared(6)


def test_every_simulator(compared):
    unit = ToMinifloat(get("e2m1"), integer=signed(8), exponent=-4, lanes=3, registers=3)
    values = np.random.default_rng(0).integers(-128, 128, size=(60, 3))
    expected = unit.fmt.encode(values / 16.0)
    cycles = check_everywhere(
        unit, [{"integers": row} for row in values.tolist()],
        [{"codes": row} for row in expected.tolist()])
    assert cycles[0] == unit.latency
    compared(len(values))


def drop_sticky(m, sign, significand, shift, fmt, overflow, *, sticky=0):
    kept = significand[-(fmt.mantissa_bits + 2):]
    return ROUND(m, sign, kept, shift, fmt, overflow)


def no_limit(m, significand, shift, fmt):
    found, _ = NORMALISE(m, significand, 1000, fmt)
    return found, NORMALISE(m, significand, shift, fmt)[1]


ROUND, NORMALISE = hw.round_code, hw.normalise


@pytest.mark.parametrize("name, wrong", [
    ("round_code", drop_sticky), ("normalise", no_limit),
    ("magnitude_of", lambda m, x: (x[-1], (x ^ x[-1].replicate(len(x)))[:len(x)])),
], ids=["sticky", "limit", "magnitude"])
def test_a_wrong_step_is_found(name, wrong, monkeypatch):
    monkeypatch.setattr(hw, name, wrong)
    unit = ToMinifloat(E4M3, integer=signed(14), exponent=-12)
    [arrow] = run_vectors(unit, [random(unit, 5_000)])
    assert arrow.mismatches > 0
    assert prove(next(cores(unit))).status == "refuted"


def test_shapes_tell_the_truth(compared):
    unit = ToMinifloat(Minifloat(3, 4, bias=2), integer=signed(33), exponent=(-3, 9), lanes=3)
    assert unit.i.p.shape()["integers"].shape.elem_shape == Shape(33, True)
    assert unit.i.p.shape()["exponents"].shape.elem_shape == Shape(5, True)
    assert (unit.lanes, unit.formats) == (3, {"codes": "e3m4b2_none"})
    compared(3)


@pytest.mark.parametrize("args, kwargs, kind, message", [
    (("e4m3",), {}, TypeError, "Format must be a Minifloat, not 'e4m3'"),
    ((Exponent(),), {}, TypeError, "Format must be a Minifloat, not Exponent(bits=8, bias=127)"),
    ((E4M3,), {"overflow": "wrap"}, ValueError,
     "Overflow must be one of saturate, ieee, not 'wrap'"),
    ((get("e2m1"),), {"overflow": "ieee"}, ValueError,
     "Overflow must be 'saturate', not 'ieee': e2m1 has neither Inf nor NaN"),
    ((E4M3,), {"integer": unsigned(0)}, ValueError, "Width of integers must be 1 to 512, not 0"),
    ((E4M3,), {"exponent": 1.5}, TypeError, "Exponent must be an integer, not 1.5"),
    ((E4M3,), {"exponent": 3000}, ValueError, "Exponent must be -2048 to 2048, not 3000"),
    ((E4M3,), {"exponent": (3, 1)}, ValueError,
     "Exponent must be one, or the least and the greatest, not (3, 1)"),
    ((E4M3,), {"exponent": (1, 2, 3)}, ValueError,
     "Exponent must be one, or the least and the greatest, not (1, 2, 3)"),
    ((E4M3,), {"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ((E4M3,), {"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(args, kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        ToMinifloat(*args, **kwargs)
