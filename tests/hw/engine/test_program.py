# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re

import pytest
import torch
from amaranth.hdl import signed

from carrysave.hw.engine.program import (
    DoesNotFit,
    EngineConfig,
    LayerShape,
    check_capacity,
    compile_network,
)
from carrysave.quant.formats import Group, Int
from carrysave.quant.golden.requantise import Requantiser

from .engines import random_network

CASES = [  # widths, group sizes, rows, columns
    ((1, 1), (1,), 1, 1), ((12, 6, 3), (8,), 2, 4), ((64, 32, 10), (16,), 2, 8),
    ((33, 17, 9, 5), (16, 5, 40), 4, 3), ((7, 20), (3,), 3, 9),
]


def decode(program):
    """Weights, scales and biases of each layer, by way of the addresses that the engine reads."""
    columns = program.config.columns
    weights, scales, biases = map(iter, (program.weights, program.scales, program.biases))
    for layer in program.layers:
        groups = -(-layer.inputs // layer.group)
        shape = layer.tiles * columns
        w = torch.zeros(shape, layer.inputs, dtype=torch.long)
        s, b = torch.zeros(shape, groups, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        for tile in range(layer.tiles):
            here = slice(tile * columns, (tile + 1) * columns)
            for k in range(layer.inputs):
                w[here, k] = torch.tensor(next(weights))
            for g in range(groups):
                s[here, g] = torch.tensor([next(scales) for _ in range(columns)])
            b[here] = torch.tensor([next(biases) for _ in range(columns)])
        yield layer, (w, s, b)
    for left in weights, scales, biases:
        assert not list(left)


@pytest.mark.parametrize("widths, sizes, rows, columns", CASES, ids=str)
def test_memory_images_hold_the_network(widths, sizes, rows, columns, compared):
    network = random_network(widths, sizes=sizes, relu=(True, False))
    program = compile_network(network, EngineConfig(rows=rows, columns=columns))
    for layer, (entry, parts) in zip(network.layers, decode(program), strict=True):
        for found, wanted in zip(parts, (layer.weights, layer.scales, layer.bias), strict=True):
            assert torch.equal(found[: layer.outputs], wanted.long())
            assert not found[layer.outputs:].any()  # padding
            compared(wanted.numel())
        assert (entry.name, entry.inputs) == (layer.name, layer.inputs)
        assert entry.outputs == layer.outputs
        assert entry.tiles == -(-layer.outputs // columns)
        assert entry.group == min(layer.group.size, layer.inputs)
        assert entry.relu == layer.relu
        if layer.requantiser:
            assert entry.multiplier == layer.requantiser.multiplier
            assert entry.shift == layer.requantiser.shift
    assert (program.inputs, program.outputs) == (widths[0], widths[-1])
    assert program.identity == network.identity


def test_compiling_changes_nothing_and_repeats(compared):
    network = random_network((12, 6, 3))
    before = network.identity
    programs = [compile_network(network, EngineConfig()) for _ in range(2)]
    assert programs[0] == programs[1]
    assert network.identity == before
    compared(2)


def test_sizes_of_the_example(compared):
    """64-32-10 in groups of 16 on 2 by 8 elements, by hand."""
    program = compile_network(random_network((64, 32, 10)), EngineConfig(rows=2, columns=8))
    assert (program.drains, program.chain, program.group) == (1, 16, 16)
    assert (len(program.weights), len(program.scales), len(program.biases)) == (
        4 * 64 + 2 * 32, 4 * 4 * 8 + 2 * 2 * 8, 4 * 8 + 2 * 8)
    assert program.memory_bits["weights"] == 4 * 8 * (4 * 64 + 2 * 32)
    assert program.memory_bits["scales"] == 8 * (4 * 4 * 8 + 2 * 2 * 8)
    assert program.memory_bits["biases"] == program.sum_shape.width * 48
    assert program.memory_bits["activations"] == 2 * 64 * 2 * 8
    assert program.memory_bits["results"] == 16 * 2 * program.sum_shape.width
    found = [
        (c.name, c.prepare, c.macs, c.stalls, c.drain, c.useful, c.utilisation)
        for c in program.cycles()
    ]
    # After the last step: the shadow register, 16 sums, scale, accumulator; requantiser two more.
    assert found == [("fc1", 1, 256, 0, 21, 64 * 32, 1.0), ("fc2", 1, 64, 0, 19, 320, 1.0)]
    assert program.latency(2) == 278 + 84 + 2 + 20
    assert program.latency(1) == program.latency(2) - 10
    compared(10)


def busy(program):
    """Cycles from first to last step, by a queue of groups: each enters when the chain is free."""
    cycles = 0
    for layer in program.layers:
        sizes = [min(layer.group, layer.inputs - k) for k in range(0, layer.inputs, layer.group)]
        start = free = last = 0
        for size in sizes * layer.tiles:
            last = start + size  # one after the last step, when the sums are ready
            start = max(last, free)
            free = start + program.chain
        cycles += last
    return cycles


@pytest.mark.parametrize("widths, size", [
    ((64, 32, 10), 16), ((64, 32, 10), 8), ((60, 30, 10), 16), ((9, 40), 3), ((128, 20), 128),
    ((64, 24, 10), 16), ((33, 17, 9), 16),
])
@pytest.mark.parametrize("rows, columns", [(1, 8), (2, 8), (4, 4), (6, 2), (8, 1)])
def test_drains_left_open(widths, size, rows, columns, compared):
    """The fewest with which no layer takes over a twentieth longer than with the best."""
    network = random_network(widths, sizes=(size,))
    divisors = [d for d in range(1, rows + 1) if rows % d == 0]
    cycles = {}
    for drains in divisors:
        config = EngineConfig(rows=rows, columns=columns, drains=drains)
        program = compile_network(network, config)
        assert (program.drains, program.chain) == (drains, rows * columns // drains)
        cycles[drains] = [entry.macs + entry.stalls for entry in program.cycles()]
        assert sum(cycles[drains]) == busy(program)
    chosen = compile_network(network, EngineConfig(rows=rows, columns=columns)).drains
    best = [min(layer) for layer in zip(*cycles.values(), strict=True)]
    good = [
        d for d in divisors
        if all(20 * found <= 21 * least for found, least in zip(cycles[d], best, strict=True))
    ]
    assert chosen == good[0]
    compared(len(divisors))


@pytest.mark.parametrize("field, needed, layer, capacity", [
    ("weight_words", 256, "fc1 (64 to 32)", 255), ("weight_words", 320, "fc2 (32 to 10)", 319),
    ("scale_words", 128, "fc1 (64 to 32)", 100), ("scale_words", 160, "fc2 (32 to 10)", 128),
    ("bias_words", 32, "fc1 (64 to 32)", 1), ("bias_words", 48, "fc2 (32 to 10)", 47),
    ("activation_words", 64, "fc1 (64 to 32)", 63),
])
def test_capacities(field, needed, layer, capacity, compared):
    network = random_network((64, 32, 10))
    fits = EngineConfig(rows=2, columns=8, **{field: needed})
    if layer.startswith("fc2"):
        compile_network(network, fits)
    with pytest.raises(DoesNotFit) as caught:
        compile_network(network, dataclasses.replace(fits, **{field: capacity}))
    message = str(caught.value)
    assert message.startswith(f"Layer {layer}: needs {needed} {field}")
    assert message.endswith(f"the engine has {capacity}")
    assert "\n" not in message
    compared(1)


def test_hidden_outputs_count_as_activations(compared):
    """Whole tiles are written: 9 outputs on 8 columns take 16 words."""
    network = random_network((4, 9, 2))
    config = EngineConfig(columns=8, activation_words=16)
    assert compile_network(network, config).activation_words == 16
    with pytest.raises(DoesNotFit, match=r"^Layer fc1 \(4 to 9\): needs 16 activation_words"):
        compile_network(network, dataclasses.replace(config, activation_words=15))
    compared(1)


def test_block_ram(compared):
    """Four bits a weight and eight a scale, of this layer and those before."""
    shapes = [LayerShape("fc1", 64, 32, 16), LayerShape("fc2", 32, 10, 16)]
    first, both = 64 * 32 * 4 + 4 * 32 * 8, (64 * 32 + 32 * 16) * 4 + (4 * 32 + 2 * 16) * 8
    check_capacity(shapes, EngineConfig(columns=8), bram_bits=both)
    for name, needed, bits in ("fc2 (32 to 10)", both, both - 1), ("fc1 (64 to 32)", first, 0):
        message = (f"Layer {name}: weights and scales up to and with this layer take {needed} "
                   f"bits; there are {bits} bits of block RAM")
        with pytest.raises(DoesNotFit, match=f"^{re.escape(message)}$"):
            check_capacity(shapes, EngineConfig(columns=8), bram_bits=bits)
        compared(1)


def test_multiplier_too_wide():
    network = random_network((4, 3, 2))
    network.layers[0] = dataclasses.replace(
        network.layers[0], requantiser=Requantiser(1 << 12, 20, 0, 1))
    compile_network(network, EngineConfig(multiplier_bits=13))
    message = ("Layer fc1: requantisation multiplier 4096 needs 13 bits, multiplier_bits allows 12")
    with pytest.raises(DoesNotFit, match=f"^{re.escape(message)}$"):
        compile_network(network, EngineConfig(multiplier_bits=12))


@pytest.mark.parametrize("index, change, message", [
    (0, {"group": Group(Int(8), 16)}, "Layer fc1: its weights are int8; the engine computes with "
                                      "int4"),
    (1, {"group": Group(Int(4, signed=False), 16)},
     "Layer fc2: its weights are uint4; the engine computes with int4"),
    (0, {"requantiser": None},
     "Layer fc1: lacks its requantiser; the engine requantises every layer but the last"),
    (1, {"requantiser": Requantiser(3, 9, 0, 1)},
     "Layer fc2: has a requantiser; the engine requantises every layer but the last"),
])
def test_layers_that_the_engine_would_compute_differently(index, change, message):
    network = random_network((6, 4, 3))
    network.layers[index] = dataclasses.replace(network.layers[index], **change)
    with pytest.raises(DoesNotFit, match=f"^{re.escape(message)}$"):
        compile_network(network, EngineConfig())


def test_narrower_weights_fit(compared):
    network = random_network((6, 4, 3))
    for index, layer in enumerate(network.layers):
        network.layers[index] = dataclasses.replace(
            layer, group=Group(Int(3), 16), weights=layer.weights >> 1)
    program = compile_network(network, EngineConfig())
    for layer, (_, (weights, _, _)) in zip(network.layers, decode(program), strict=True):
        assert torch.equal(weights[: layer.outputs], layer.weights.long())
        compared(layer.weights.numel())


def test_accumulator_too_wide(compared):
    network = random_network((5, 4, 3))
    for layer in network.layers:
        layer.bias.zero_()
    second = network.layers[1]
    # K * 8 * 128 * 255 + bias: 31 bits and the sign are the most.
    second.bias[1] = -((1 << 31) - 1 - 4 * 1024 * 255)
    assert compile_network(network, EngineConfig()).sum_shape == signed(32)
    second.bias[1] -= 1
    with pytest.raises(DoesNotFit, match=r"^Layer fc2 \(4 to 3\): its accumulator needs 33 bits; "
                                         r"the engine has at most 32$"):
        compile_network(network, EngineConfig())
    second.bias[1] *= -1
    with pytest.raises(DoesNotFit, match=r"^Layer fc2 .* 33 bits"):
        compile_network(network, EngineConfig())
    compared(3)


@pytest.mark.parametrize("field, value", [
    ("rows", 0), ("rows", -1), ("rows", True), ("rows", 2.0), ("rows", None), ("columns", "8"),
    ("columns", None), ("drains", 0), ("weight_words", 0), ("scale_words", 1.5),
    ("bias_words", -4), ("activation_words", False), ("multiplier_bits", None),
])
def test_configuration_wrong(field, value):
    message = re.escape(f"{field} must be a positive integer, not {value!r}")
    with pytest.raises(TypeError, match=f"^{message}$"):
        EngineConfig(**{field: value})


@pytest.mark.parametrize("rows, drains", [(4, 3), (2, 4), (1, 2)])
def test_drains_wrong(rows, drains):
    with pytest.raises(ValueError, match=f"^drains must divide the {rows} rows, not {drains}$"):
        EngineConfig(rows=rows, drains=drains)
