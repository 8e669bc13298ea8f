# SPDX-License-Identifier: Apache-2.0
import dataclasses
import functools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from carrysave.arrows import cycle_arrow, engine_arrow, run_engine
from carrysave.hw.engine.engine import Engine
from carrysave.hw.engine.program import EngineConfig, compile_network
from carrysave.sim import cocotb_run
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.verilog import from_component

from ..units import cells, payloads
from .engines import AmaranthSimulator, extreme_network, random_inputs, random_network


def compare(network, program, x, *, simulator, formula=True, **stalls):
    """Every activation, logit, class and phase against the network and the formula.

    Returns
    -------
    int
        Values compared.
    """
    engine = Engine(program)
    simulator = simulator(engine)
    run = run_engine(
        engine, x, simulator=SimpleNamespace(run=functools.partial(simulator.run, **stalls)))
    arrow = engine_arrow(SimpleNamespace(network=network, x=x), program, run)
    assert arrow.compared == len(x) * (sum(layer.outputs for layer in network.layers) + 1)
    assert arrow.status == "exact", arrow.first
    trace = network.run(x)
    assert (run.logits == trace.logits.numpy()).all()
    assert (run.classes == trace.classes.numpy()).all()
    if not formula:
        return arrow.compared
    cycles = cycle_arrow(program, run)
    batches = -(-len(x) // program.config.rows)
    assert cycles.compared == batches * (5 * len(network.layers) + 1)
    assert cycles.status == "exact", cycles.first
    return arrow.compared + cycles.compared


def random_case(seed):
    """A network, a program and inputs of random shapes."""
    rng = random.Random(seed)
    widths = [rng.randint(1, rng.choice([3, 12, 12, 40])) for _ in range(rng.randint(1, 4) + 1)]
    network = random_network(
        widths, sizes=[rng.choice([1, 2, 5, 16, rng.randint(1, 40)]) for _ in widths[1:]],
        relu=[rng.random() < 0.6 for _ in widths[1:]], scale_bits=rng.choice([1, 4, 8]),
        multiplier_bits=rng.choice([1, 8, 16]), seed=seed,
    )
    rows = rng.randint(1, 4)
    drains = rng.choice([None, *(d for d in range(1, rows + 1) if rows % d == 0)])
    config = EngineConfig(rows=rows, columns=rng.randint(1, 9), drains=drains)
    x = random_inputs(rng.randint(1, rows + 2), widths[0], seed=seed)
    return network, compile_network(network, config), x


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed, compared):
    network, program, x = random_case(seed)
    compared(compare(network, program, x, simulator=AmaranthSimulator))


def test_the_random_networks_are_of_all_kinds(compared):
    kinds = set()
    for seed in range(25):
        program = random_case(seed)[1]
        config = program.config
        kinds |= {("layers", len(program.layers)), ("rows", config.rows)}
        kinds |= {("drains left open", config.drains is None)}
        kinds |= {("several rows and chains", config.rows > program.drains > 1)}
        kinds |= {("stalls", any(entry.stalls for entry in program.cycles()))}
        for layer in program.layers:
            kinds |= {("relu", layer.relu), ("short group", layer.inputs % layer.group > 0)}
            kinds |= {("padding", layer.outputs % config.columns > 0)}
    missing = {(name, k) for name in ("layers", "rows") for k in range(1, 5)} - kinds
    assert not missing
    assert len(kinds) == 2 * 4 + 6 * 2
    compared(25)


@pytest.mark.parametrize("widths, rows, columns", [
    ((1, 1), 1, 1), ((1, 1, 1), 1, 1), ((1, 1), 3, 2), ((2, 1, 2), 2, 1), ((7, 1), 1, 5),
    ((1, 9, 1, 9), 2, 4), ((16, 16, 16), 4, 4), ((17, 5), 1, 5),
], ids=str)
def test_corners_of_the_shape(widths, rows, columns, compared):
    network = random_network(widths, sizes=(4,))
    program = compile_network(network, EngineConfig(rows=rows, columns=columns))
    x = random_inputs(2 * rows + 1, widths[0])
    compared(compare(network, program, x, simulator=AmaranthSimulator))


@pytest.mark.parametrize("size, weight", [(3, -8), (40, -8), (16, 7)])
def test_extreme_weights_scales_and_inputs(size, weight, compared):
    network = extreme_network(40, size=size, weight=weight)
    program = compile_network(network, EngineConfig(rows=2, columns=2))
    x = random_inputs(4, 40)
    z = network.run(x).accumulators[0]
    if weight == -8:  # the worst case for which the width was computed
        assert int(z.max()) == 40 * 1024 * 255 + (1 << 20)
        assert int(z.max()).bit_length() + 1 == program.sum_shape.width
    compared(compare(network, program, x, simulator=AmaranthSimulator))


@pytest.mark.parametrize("widths, rows, columns, size, relu, samples", [
    ((100, 70, 50, 13), 3, 7, 16, (True, False), 200), ((784, 64, 10), 2, 8, 16, (True,), 60),
], ids=str)
def test_larger_networks_on_verilator(widths, rows, columns, size, relu, samples, compared):
    network = random_network(widths, sizes=(size,), relu=relu, multiplier_bits=16)
    program = compile_network(network, EngineConfig(rows=rows, columns=columns))
    x = random_inputs(samples, widths[0])
    compared(compare(network, program, x, simulator=BatchSimulator))
    for entry in program.cycles():  # the aim, for groups and layers of a usual size
        assert entry.utilisation >= 0.9


# One small engine in all ways to drive it.

@pytest.fixture(scope="module")
def small():
    network = random_network((9, 7, 5), sizes=(4, 3), relu=(False,), seed=5)
    program = compile_network(network, EngineConfig(rows=4, columns=3, drains=2))
    return network, program, BatchSimulator(Engine(program))


def frames(network, sizes, *, seed=0):
    """Input of batches of some sizes, and the payloads that must come."""
    x = random_inputs(sum(sizes), network.inputs, seed=seed)
    last = np.zeros(x.shape, np.int64)
    last[np.cumsum(sizes) - 1, -1] = 1
    logits = network.run(x).logits
    best = [[int(torch.argmax((row[: k + 1] == row[: k + 1].max()).int()))
             for k in range(len(row))] for row in logits]
    expected = [
        {"value": int(value), "best": b, "last": int(k == network.outputs - 1)}
        for row, bests in zip(logits, best, strict=True)
        for k, (value, b) in enumerate(zip(row, bests, strict=True))
    ]
    return {"value": x.reshape(-1).numpy(), "last": last.reshape(-1)}, expected


@pytest.mark.parametrize("stalls", [
    {}, {"stall_i": 0.6}, {"stall_o": 0.6}, {"stall_i": 0.3, "stall_o": 0.8, "seed": 2},
], ids=str)
def test_stalls_and_both_simulators(small, stalls, compared):
    """Only the last outputs depend on the sink: the formula holds wherever it is ready."""
    network, program, batch = small
    x = random_inputs(11, network.inputs)
    formula = "stall_o" not in stalls
    for simulator in AmaranthSimulator, lambda engine: batch:
        compared(compare(network, program, x, simulator=simulator, formula=formula, **stalls))


@pytest.mark.parametrize("stalls", [{}, {"stall_i": 0.4, "stall_o": 0.4}], ids=str)
def test_batches_of_every_size_back_to_back(small, stalls, compared):
    network, program, simulator = small
    sizes = [1, 4, 2, 3, 1, 1, 4, 4, 3, 2, 2]
    inputs, expected = frames(network, sizes)
    run = simulator.run(inputs, outputs=len(expected), extra=300, **stalls)
    assert payloads(run.outputs) == expected
    ends = np.cumsum(sizes)
    if not stalls:
        starts = run.input_cycles[ends * network.inputs - 1]
        latency = run.cycles[ends * network.outputs - 1] - starts
        assert latency.tolist() == [program.latency(size) for size in sizes]
        # The next batch is taken while the last logit of the one before leaves.
        first = run.input_cycles[ends[:-1] * network.inputs]
        assert (first == run.cycles[ends[:-1] * network.outputs - 1]).all()
    compared(len(expected))


def test_reset_in_every_cycle_of_a_batch(small, compared):
    network, program, simulator = small
    inputs, expected = frames(network, [4, 2])
    fresh = simulator.run(inputs, outputs=len(expected))
    batch = 4 * network.inputs + program.latency(4)
    for reset_at in range(batch + 5):
        run = simulator.run(inputs, outputs=len(expected), reset_at=reset_at, extra=100)
        assert payloads(run.outputs) == expected, reset_at
        assert (run.cycles == fresh.cycles).all(), reset_at
        compared(len(expected))


def test_cocotb_equals_batch_simulator(small, compared):
    network, program, simulator = small
    inputs, expected = frames(network, [3, 4, 1])
    options = {"stall_i": 0.3, "stall_o": 0.5, "seed": 1, "reset_at": 90}
    found = cocotb_run.run_stream(
        from_component(Engine(program)), inputs, outputs=len(expected), **options)
    run = simulator.run(inputs, outputs=len(expected), **options)
    assert [payload for _, payload in found] == expected
    assert [cycle for cycle, _ in found] == run.cycles.tolist()
    compared(len(found))


@pytest.mark.parametrize("rows, drains, widths", [
    (4, 2, (5, 4, 3)), (2, 2, (5, 3)), (1, 1, (5, 3)),
])
def test_multipliers_stand_behind_the_array_only(rows, drains, widths, compared):
    """One per chain for the scale, and one for requantisation where there is a hidden layer."""
    network = random_network(widths)
    program = compile_network(network, EngineConfig(rows=rows, columns=3, drains=drains))
    assert cells(Engine(program))["$mul"] == drains * (2 if len(widths) > 2 else 1)
    compared(1)


# A wrong engine is found out.

@pytest.mark.parametrize("part, layer", [
    ("weights", "fc1"), ("weights", "fc2"), ("scales", "fc1"), ("scales", "fc2"), ("biases", "fc2"),
])
def test_a_wrong_word_is_found(small, part, layer):
    """The first word of a layer belongs to its output 0, and that is where it must show."""
    network, program, _ = small
    first, second = program.layers
    words_of_first = {
        "weights": first.tiles * first.inputs,
        "scales": first.tiles * -(-first.inputs // first.group) * program.config.columns,
        "biases": first.tiles * program.config.columns,
    }
    index = words_of_first[part] if layer == "fc2" else 0
    words = [list(word) if isinstance(word, list) else word for word in getattr(program, part)]
    if part == "weights":
        words[index][0] ^= -8 if words[index][0] >= 0 else 7  # by much: clamping hides little
    else:
        words[index] ^= 0x80
    wrong = dataclasses.replace(program, **{part: words})
    x = random_inputs(8, network.inputs)
    run = run_engine(Engine(wrong), x, simulator=AmaranthSimulator(Engine(wrong)))
    arrow = engine_arrow(SimpleNamespace(network=network, x=x), wrong, run)
    assert arrow.status == "differs"
    assert (arrow.first["layer"], arrow.first["element"]) == (layer, 0)


@pytest.mark.parametrize("change", [{"readout": 3}, {"drains": 4}])
def test_a_wrong_formula_is_found(small, change):
    network, program, simulator = small
    run = run_engine(Engine(program), random_inputs(8, network.inputs), simulator=simulator)
    wrong = dataclasses.replace(program)
    for name, value in change.items():
        object.__setattr__(wrong, name, value)
    assert cycle_arrow(program, run).status == "exact"
    assert cycle_arrow(wrong, run).status == "differs"
