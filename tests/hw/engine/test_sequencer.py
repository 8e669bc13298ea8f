# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from carrysave.hw.engine.program import EngineConfig, compile_network
from carrysave.hw.engine.sequencer import Phase, Sequencer
from carrysave.sim.payload import plain

from .engines import random_network


def steps(program):
    """What each step must be: its words and its place in group, dot product and program."""
    weight = 0
    for number, layer in enumerate(program.layers):
        for _ in range(layer.tiles):
            for k in range(layer.inputs):
                tag = {"first": int(k < layer.group), "last": int(k == layer.inputs - 1)}
                ends = k == layer.inputs - 1 or (k + 1) % layer.group == 0
                yield {
                    "weight": weight, "activation": k, "layer": number, "buffer": number % 2,
                    "tag": tag if ends else None,  # that of the group, with its last step
                }
                weight += 1


def run(program, *, stall=0.0, seed=0, passes=2):
    """Steps of some runs of the program, and the phases of all cycles."""
    sequencer, rng = Sequencer(program), random.Random(seed)
    found, phases = [], []

    async def bench(ctx):
        wait, words, held, current = 0, [], None, []
        while len(found) < passes:
            ready = rng.random() >= stall
            ctx.set(sequencer.step.ready, ready)
            phase = ctx.get(sequencer.phase)
            # The engine's other parts answer after some cycles.
            wait = wait + 1 if phase in (Phase.LOAD, Phase.DRAIN, Phase.READ) else 0
            answer = wait == 3
            ctx.set(sequencer.start, answer and phase == Phase.LOAD)
            ctx.set(sequencer.layer_done, answer and phase == Phase.DRAIN)
            ctx.set(sequencer.read_done, answer and phase == Phase.READ)
            if answer:
                wait = 0
                if phase == Phase.LOAD:
                    current = []
                if phase == Phase.READ:
                    found.append(current)
            phases.append(phase)
            _, _, valid, payload, layer, buffer, *ahead = await ctx.tick().sample(
                sequencer.step.valid, Value.cast(sequencer.step.payload), sequencer.layer,
                sequencer.buffer, sequencer.weight_ahead, sequencer.activation_ahead)
            assert valid == (phase == Phase.RUN)
            assert held in (None, (payload, words)), "a waiting step changed"
            held = (payload, words) if valid and not ready else None
            if valid and ready:
                step = plain(sequencer.step.payload.shape(), payload)
                # `words` are the addresses that the memories had in the cycle before.
                current.append({
                    "weight": words[0], "activation": words[1], "layer": layer, "buffer": buffer,
                    "tag": step["tag"] if step["last"] else None,
                })
            words = ahead

    sim = Simulator(sequencer)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return found, phases


PROGRAMS = [
    ((1, 1), 1, (1,)), ((5, 4), 2, (2,)), ((16, 9, 3), 3, (16,)), ((7, 1, 8, 2), 1, (3, 1, 5)),
    ((33, 4), 4, (16,)), ((8, 8), 8, (4,)),
]


@pytest.mark.parametrize("widths, columns, sizes", PROGRAMS, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_steps(widths, columns, sizes, stall, compared):
    program = compile_network(random_network(widths, sizes=sizes), EngineConfig(columns=columns))
    found, phases = run(program, stall=stall)
    expected = list(steps(program))
    assert len(expected) == len(program.weights)
    assert found == [expected, expected]
    if not stall:  # a step in each cycle of RUN, and one cycle of PREPARE per layer
        assert phases.count(Phase.RUN) == 2 * len(expected)
    assert phases.count(Phase.PREPARE) == 2 * len(program.layers)
    compared(2 * len(expected))


def test_wrong_steps_are_found():
    """Both the addresses and the ends of groups follow the program."""
    networks = [random_network((12, 4), sizes=(size,)) for size in (4, 5)]
    programs = [compile_network(network, EngineConfig(columns=2)) for network in networks]
    found, _ = run(programs[0], passes=1)
    assert found[0] == list(steps(programs[0])) != list(steps(programs[1]))
