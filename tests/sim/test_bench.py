# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from carrysave.sim.bench import run_stream
from carrysave.sim.stalls import stalled

from .units import Double, E2M1Dot, Pipe, e2m1_dot


def vectors(count, lanes):
    rng = random.Random(0)
    return [{key: [rng.randrange(16) for _ in range(lanes)] for key in "ab"} for _ in range(count)]


@pytest.mark.parametrize("kwargs", [
    {}, {"stall": 0.5}, {"stall_i": 0.7}, {"stall_o": 0.7, "seed": 3},
    {"reset_at": 0}, {"reset_at": 23, "stall": 0.3}, {"reset_at": 500},
])
def test_dot(kwargs, compared):
    inputs = vectors(100, 4)
    outputs = run_stream(E2M1Dot(4), inputs, **kwargs)
    assert [payload for _, payload in outputs] == [e2m1_dot(v["a"], v["b"]) for v in inputs]
    if "stall" not in "".join(kwargs):
        assert [cycle for cycle, _ in outputs] == list(range(2, 102))
    if "reset_at" in kwargs:
        kwargs = {key: value for key, value in kwargs.items() if key != "reset_at"}
        assert outputs == run_stream(E2M1Dot(4), inputs, **kwargs)
    compared(len(outputs))


def test_structures_and_constant_ready(compared):
    layout = data.StructLayout({"a": data.ArrayLayout(unsigned(3), 2), "b": 5})
    inputs = [{"a": [k % 8, 7 - k % 8], "b": k} for k in range(30)]
    outputs = run_stream(Pipe(layout), inputs, stall=0.5)
    assert [payload for _, payload in outputs] == inputs
    assert run_stream(Double(), range(20), stall_o=0.9) == [(k, 2 * k) for k in range(20)]
    compared(50)


def test_number_of_outputs(compared):
    assert [payload for _, payload in run_stream(Pipe(8, repeat=3), [1, 2], outputs=6)] == [
        1, 1, 1, 2, 2, 2]
    with pytest.raises(TimeoutError, match=r"^2 of 3 outputs after 50 cycles$"):
        run_stream(Pipe(8), [1, 2], outputs=3, max_cycles=50)
    compared(6)


def test_unstable_output_is_caught():
    with pytest.raises(AssertionError, match=r"^cycle \d+: output changed before it was taken$"):
        run_stream(Pipe(8, unstable=True), range(20), stall_o=0.8)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_stalls_have_their_probability(probability, compared):
    for seed in range(3):
        for side in range(2):
            count = sum(stalled(seed=seed, side=side, cycle=cycle, probability=probability)
                        for cycle in range(4000))
            assert abs(count - 4000 * probability) < 150
    compared(6)
