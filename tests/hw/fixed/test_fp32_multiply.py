# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest

from carrysave.hw.fixed import fp32_multiply as hw
from carrysave.hw.fixed.fp32_multiply import FP32Multiply
from carrysave.quant.formats import Minifloat, get
from carrysave.sim import symfpu
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.prove import prove
from carrysave.sim.reference import ieee
from carrysave.sim.reference.fp32_multiply import cores
from carrysave.sim.stimulus import random
from carrysave.sim.units import run_vectors

from ..units import check

ONE, TINY, INF, NAN, SIGN = 0x3F800000, 0x00000001, 0x7F800000, 0x7FC00000, 1 << 31
MAX, HALF, LEAST = INF - 1, 0x3F000000, 0x00800000
CASES = [  # a, b, product
    (ONE, ONE, ONE), (ONE, ONE | SIGN, ONE | SIGN), (0, SIGN, SIGN), (SIGN, SIGN, 0),
    (TINY, HALF, 0), (TINY | SIGN, HALF, SIGN), (3, HALF, 2), (TINY, 0x3F000001, 1),
    (LEAST, HALF, LEAST >> 1), (LEAST + 1, HALF, LEAST >> 1), (LEAST + 3, HALF, (LEAST >> 1) + 2),
    (0x00FFFFFF, HALF, LEAST), (TINY, MAX, 0x34FFFFFF), (TINY, TINY, 0),
    (MAX, 0x40000000, INF), (MAX, ONE, MAX), (MAX | SIGN, MAX, INF | SIGN),
    (INF, 0, NAN), (SIGN, INF, NAN), (INF, TINY, INF), (INF | SIGN, INF, INF | SIGN),
    (NAN | SIGN, ONE, NAN), (INF + 1, 0, NAN), (INF, INF + 1 | SIGN, NAN),
]


def test_cases(compared):
    unit = FP32Multiply(registers=0)
    assert unit.latency == 0
    check(unit, [{"a": [a], "b": [b]} for a, b, _ in CASES],
          [{"codes": [product]} for *_, product in CASES])
    compared(len(CASES))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_lanes_and_latency(stall, compared):
    unit = FP32Multiply(lanes=2, registers=3)
    both = list(zip(CASES, CASES[::-1], strict=True))
    inputs = [{"a": [a, c], "b": [b, d]} for (a, b, _), (c, d, _) in both]
    expected = [{"codes": [x, y]} for (*_, x), (*_, y) in both]
    cycles = check(unit, inputs, expected, stall=stall)
    assert unit.latency == 3
    if not stall:
        assert cycles == list(range(3, 3 + len(CASES)))
    compared(2 * len(CASES))


def test_symfpu_gives_the_same(compared):
    """The multiplier of other people, on a million pairs."""
    unit = FP32Multiply()
    inputs = random(unit, 1_000_000).inputs
    a, b = (inputs[name].reshape(-1) for name in ("a", "b"))
    ours = BatchSimulator(unit).run(inputs, outputs=len(a)).outputs["codes"].reshape(-1)
    theirs = BatchSimulator(symfpu.design("mul", get("fp32"))).run(
        {"a": a, "b": b}, outputs=len(a)).outputs
    assert (ours == theirs).all()
    exponent = ours >> 23 & 0xFF
    assert np.mean(exponent == 0) > 0.05 and np.mean(exponent == 255) > 0.02
    compared(len(a))


@pytest.mark.parametrize("e, m", [(2, 3), (2, 5), (6, 3)])
def test_proofs(e, m, monkeypatch, compared):
    monkeypatch.setattr(ieee, "SMALL", [Minifloat(e, m, specials="ieee")])
    [core] = cores(None)
    assert prove(core).status == "proved"
    compared(4 << 2 * (e + m))


def flush(m, sign, significand, shift, inf, nan, fmt):
    return FINISH(m, sign, significand & (shift >= 0).replicate(len(significand)), shift, inf, nan,
                  fmt)


FINISH, MULTIPLY = hw.finish, hw.multiply


@pytest.mark.parametrize("name, wrong", [
    ("finish", flush),
    ("multiply", lambda *args, **kwargs: (*MULTIPLY(*args)[:4], MULTIPLY(*args)[4] & 0)),
    ("normalise", lambda m, significand, shift, fmt: (significand, shift)),
], ids=["subnormals", "NaN", "normalise"])
def test_a_wrong_step_is_found(name, wrong, monkeypatch):
    monkeypatch.setattr(hw, name, wrong)
    [arrow] = run_vectors(FP32Multiply(), [random(FP32Multiply(), 20_000)])
    assert arrow.mismatches > 0
    assert prove(next(cores(None))).status == "refuted"


@pytest.mark.parametrize("kwargs, kind, message", [
    ({"lanes": True}, TypeError, "Lanes must be a positive integer, not True"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        FP32Multiply(**kwargs)
