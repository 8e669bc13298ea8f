# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from amaranth.hdl import Const, Module

from carrysave.hw.fixed import fp32_add as hw
from carrysave.hw.fixed.fp32_add import FP32Add, fp32_sum
from carrysave.quant.formats import Minifloat, get
from carrysave.sim import symfpu
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.prove import prove
from carrysave.sim.reference import ieee
from carrysave.sim.reference.fp32_add import cores
from carrysave.sim.stimulus import random
from carrysave.sim.units import run_vectors

from ..units import check

ONE, TINY, INF, NAN, SIGN = 0x3F800000, 0x00000001, 0x7F800000, 0x7FC00000, 1 << 31
MAX = INF - 1
CASES = [  # a, b, sum
    (ONE, ONE, 0x40000000), (ONE, ONE | SIGN, 0), (0, SIGN, 0), (SIGN, SIGN, SIGN), (SIGN, 0, 0),
    (TINY, TINY | SIGN, 0), (TINY | SIGN, TINY, 0), (TINY, TINY, 2), (0x007FFFFF, TINY, 0x00800000),
    (0x00800000, TINY | SIGN, 0x007FFFFF), (MAX, MAX, INF), (MAX | SIGN, MAX | SIGN, INF | SIGN),
    (MAX, 0x73000000, INF), (MAX, 0x72FFFFFF, MAX),  # half of the last bit, and less
    (INF, MAX | SIGN, INF), (INF, INF, INF), (INF, INF | SIGN, NAN), (INF | SIGN, INF, NAN),
    (NAN | SIGN, ONE, NAN), (INF + 1, ONE, NAN), (ONE, INF + 1 | SIGN, NAN), (NAN, INF, NAN),
    (ONE, 0x33800000, ONE), (ONE + 1, 0x33800000, ONE + 2), (ONE, 0x33800001, ONE + 1),  # ties
    (ONE, 0x33000000 | SIGN, ONE), (ONE, 0x33000001 | SIGN, ONE - 1),
]


def test_cases(compared):
    unit = FP32Add(registers=0)
    assert unit.latency == 0
    check(unit, [{"a": [a], "b": [b]} for a, b, _ in CASES],
          [{"codes": [total]} for *_, total in CASES])
    compared(len(CASES))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_lanes_and_latency(stall, compared):
    unit = FP32Add(lanes=2, registers=4)
    both = list(zip(CASES, CASES[::-1], strict=True))
    inputs = [{"a": [a, c], "b": [b, d]} for (a, b, _), (c, d, _) in both]
    expected = [{"codes": [x, y]} for (*_, x), (*_, y) in both]
    cycles = check(unit, inputs, expected, stall=stall)
    assert unit.latency == 4
    if not stall:
        assert cycles == list(range(4, 4 + len(CASES)))
    compared(2 * len(CASES))


def test_symfpu_gives_the_same(compared):
    """The adder of other people, on a million pairs."""
    unit = FP32Add()
    inputs = random(unit, 1_000_000).inputs
    a, b = (inputs[name].reshape(-1) for name in ("a", "b"))
    ours = BatchSimulator(unit).run(inputs, outputs=len(a)).outputs["codes"].reshape(-1)
    theirs = BatchSimulator(symfpu.design("add", get("fp32"))).run(
        {"a": a, "b": b}, outputs=len(a)).outputs
    assert (ours == theirs).all()
    assert np.mean((ours & ~SIGN) == 0) > 0.005 and np.mean(ours == NAN) > 0.01
    compared(len(a))


@pytest.mark.parametrize("e, m", [(2, 6), (5, 3), (6, 4), (2, 3)])
def test_proofs(e, m, monkeypatch, compared):
    monkeypatch.setattr(ieee, "SMALL", [Minifloat(e, m, specials="ieee")])
    [core] = cores(None)
    assert prove(core).status == "proved"
    compared(4 << 2 * (e + m))


def no_sticky(m, value, amount):
    return value >> amount


@pytest.mark.parametrize("name, wrong", [
    ("shift_right_jam", no_sticky), ("GUARD", 2),
    ("add", lambda m, aligned: (ADD(m, aligned)[0], aligned.sign)),
], ids=["sticky", "guard", "sign"])
def test_a_wrong_step_is_found(name, wrong, monkeypatch):
    monkeypatch.setattr(hw, name, wrong)
    [arrow] = run_vectors(FP32Add(), [random(FP32Add(), 20_000)])
    assert arrow.mismatches > 0
    assert prove(next(cores(None))).status == "refuted"


ADD = hw.add


@pytest.mark.parametrize("kwargs, kind, message", [
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"registers": 5}, ValueError, "Registers must be 0 to 4, not 5"),
    ({"registers": None}, TypeError, "Registers must be an integer, not None"),
])
def test_parameters_wrong(kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        FP32Add(**kwargs)


@pytest.mark.parametrize("fmt, kind, message", [
    ("fp32", TypeError, "Format must be a Minifloat, not 'fp32'"),
    (get("e4m3"), ValueError, "Format must have Inf and NaN, not Minifloat(exponent_bits=4, "
     "mantissa_bits=3, bias=7, specials='ocp')"),
])
def test_formats_wrong(fmt, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        fp32_sum(Module(), Const(0, 8), Const(0, 8), fmt)
