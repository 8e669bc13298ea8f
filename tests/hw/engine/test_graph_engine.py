# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from carrysave.hw.engine.graph_compiler import compile_graph
from carrysave.hw.engine.graph_engine import GraphEngine
from carrysave.hw.engine.graph_program import GraphConfig
from carrysave.hw.engine.program import DoesNotFit
from carrysave.hw.engine.sequencer import Phase
from carrysave.quant.formats import Group, Int
from carrysave.quant.golden.requantise import ChannelRequantiser, Requantiser
from carrysave.quant.network import InputScaling, IntegerNetwork
from carrysave.quant.network.layers import (
    Add,
    AveragePool,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    Rescale,
)
from carrysave.sim.batch import BatchSimulator


class Drawn:
    """A random network, layer by layer."""

    def __init__(self, rng, shape, *, bits=4):
        self.rng, self.bits, self.layers, self.input_shape = rng, bits, [], shape

    def network(self, name="drawn"):
        scaling = InputScaling(1.0, np.zeros(1), np.ones(1))
        shapes = self.shapes
        return IntegerNetwork(name, scaling, self.layers, [str(k) for k in range(shapes[-1][0])],
                              self.input_shape)

    @property
    def shapes(self):
        scaling = InputScaling(1.0, np.zeros(1), np.ones(1))
        return IntegerNetwork("part", scaling, self.layers, [], self.input_shape).shapes

    def factor(self):
        return Requantiser(int(self.rng.integers(1, 200)), int(self.rng.integers(9, 15)), 0, 1)

    def weights(self, outputs, k, *, last=False):
        rng, half = self.rng, 1 << self.bits - 1
        group = Group(Int(self.bits), int(rng.choice([3, 8, 16, 1000])))
        relu = bool(rng.integers(2)) and not last
        requantiser = self.factor()
        if rng.integers(2):
            requantiser = ChannelRequantiser(tuple(self.factor() for _ in range(outputs)))
        return {
            "name": f"layer{len(self.layers)}", "group": group, "exponent": 0, "relu": relu,
            "weights": torch.from_numpy(rng.integers(-half, half, (outputs, k)).astype(np.int8)),
            "scales": torch.from_numpy(
                rng.integers(0, 60, (outputs, group.groups(k))).astype(np.int32)),
            "bias": torch.from_numpy(rng.integers(-5000, 5000, outputs)), "input_scale": 1.0,
            "output_scale": None if last else 1.0, "requantiser": None if last else requantiser,
            "high": 127 if last else int(rng.choice([127, 100])),
        }

    def window(self, most):
        """A kernel, stride and padding that fit the last shape."""
        rng, sizes = self.rng, self.shapes[-1][:-1]
        kernel = tuple(int(rng.integers(1, min(most, size) + 1)) for size in sizes)
        stride = tuple(int(rng.integers(1, 3)) for _ in sizes)
        padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) for k in kernel)
        return {"kernel": kernel, "stride": stride, "padding": padding}

    def conv(self, outputs, *, groups=1, **given):
        window = {**self.window(3), **given}
        k = int(np.prod(window["kernel"])) * self.shapes[-1][-1] // groups
        self.layers.append(Conv(**self.weights(outputs, k), **window, groups=groups))

    def depthwise(self):
        channels = self.shapes[-1][-1]
        self.conv(channels, groups=channels)

    def same(self, outputs):
        sizes = self.shapes[-1][:-1]
        self.conv(outputs, kernel=(3,) * len(sizes), stride=(1,) * len(sizes),
                  padding=((1, 1),) * len(sizes))

    def max_pool(self):
        self.layers.append(MaxPool(name=f"layer{len(self.layers)}", **self.window(3)))

    def average_pool(self):
        self.layers.append(AveragePool(
            name=f"layer{len(self.layers)}", **self.window(2), input_scale=1.0, output_scale=1.0,
            requantiser=Requantiser(int(self.rng.integers(40, 100)), 8, 0, 1)))

    def add(self, one, other):
        rng = self.rng
        two = [Requantiser(int(rng.integers(1, 9)), int(rng.integers(0, 4)), 0, 1)
               for _ in range(2)]
        self.layers.append(Add(
            name=f"layer{len(self.layers)}", input_scales=(1.0, 1.0), branches=tuple(two),
            branch_scale=1.0, output_scale=1.0, sources=(one, other),
            requantiser=Requantiser(int(rng.integers(1, 5)), int(rng.integers(0, 3)), 0, 1),
            low=int(rng.choice([-128, 0]))))

    def rescale(self):
        self.layers.append(Rescale(name=f"layer{len(self.layers)}", input_scale=1.0,
                                   output_scale=1.0, requantiser=Requantiser(5, 3, 0, 1), low=-7))

    def finish(self, classes):
        self.layers.append(Flatten(name="flat"))
        self.layers.append(Linear(**self.weights(classes, self.shapes[-1][0], last=True)))


def images(rng):
    net = Drawn(rng, (7, 9, 2))
    net.conv(6)
    net.max_pool()
    net.same(10)
    net.same(10)
    net.add("layer2", "layer3")
    net.average_pool()
    net.finish(5)
    return net


def depthwise(rng):
    net = Drawn(rng, (6, 6, 3))
    net.conv(8)
    net.depthwise()
    net.conv(12, groups=4)
    net.rescale()
    net.finish(3)
    return net


def series(rng):
    net = Drawn(rng, (30, 6), bits=int(rng.integers(2, 9)))
    net.conv(5)
    net.depthwise()
    net.max_pool()
    net.conv(7)
    net.finish(4)
    return net


def mixed(rng):
    net = Drawn(rng, (8, 7, 3))
    for bits in 8, 3, 5:
        net.bits = bits
        net.conv(int(rng.integers(3, 9)))
    net.average_pool()
    net.bits = 2
    net.finish(5)
    return net


def vectors(rng):
    net = Drawn(rng, (21,), bits=8)
    net.layers.append(Linear(**net.weights(13, 21)))
    net.layers.append(Linear(**net.weights(9, 13)))
    net.layers.append(Linear(**net.weights(6, 9, last=True)))
    return net


ENGINES = [
    (images, {"rows": 3, "columns": 8, "lanes": 4}),
    (images, {"rows": 1, "columns": 4, "lanes": 1}),
    (images, {"rows": 2, "columns": 6, "lanes": 3, "element": "multiplier"}),
    (depthwise, {"rows": 2, "columns": 8, "lanes": 4}),
    (depthwise, {"rows": 4, "columns": 2, "lanes": 2, "element": "booth"}),
    (depthwise, {"rows": 1, "columns": 5, "lanes": 5}),
    (series, {"rows": 1, "columns": 8, "lanes": 8}),
    (series, {"rows": 5, "columns": 4, "lanes": 2, "element": "multiplier"}),
    (mixed, {"rows": 2, "columns": 8, "lanes": 4}),
    (mixed, {"rows": 1, "columns": 6, "lanes": 2, "element": "booth"}),
    (vectors, {"rows": 2, "columns": 4, "lanes": 2, "element": "multiplier"}),
    (vectors, {"rows": 1, "columns": 1, "lanes": 1, "element": "booth"}),
]


def run(network, program, x, *, simulator=None, **kwargs):
    """Logits of a batch, and the cycles from the last input to the last output."""
    simulator = simulator or BatchSimulator(GraphEngine(program), short=True)
    values = x.reshape(-1).numpy()
    found = simulator.run(
        {"value": values, "last": np.arange(len(values)) == len(values) - 1},
        outputs=len(x) * network.outputs, **kwargs)
    logits = np.asarray(found.outputs["value"]).reshape(len(x), -1)
    best = np.asarray(found.outputs["best"]).reshape(len(x), -1)[:, -1]
    last = np.asarray(found.outputs["last"]).reshape(len(x), -1)
    assert last[:, -1].all() and not last[:, :-1].any()
    return logits, best, int(found.cycles[-1] - found.input_cycles[-1]), found


@pytest.mark.parametrize("number", range(len(ENGINES)))
def test_logits_and_cycles(number):
    draw, parameters = ENGINES[number]
    rng = np.random.default_rng(number)
    network = draw(rng).network()
    program = compile_graph(network, GraphConfig(**parameters))
    simulator = BatchSimulator(GraphEngine(program), short=True)
    compared = 0
    for samples in {1, program.config.rows}:
        x = torch.from_numpy(rng.integers(-128, 128, (samples, *network.shapes[0])))
        trace = network.run(x)
        logits, best, cycles, found = run(network, program, x, simulator=simulator,
                                          record=["monitor__phase", "monitor__layer"])
        assert logits.tolist() == trace.logits.tolist()
        assert best.tolist() == trace.classes.tolist()
        assert cycles == program.latency(samples)
        # Each layer takes the cycles that the compiler gives.
        busy = found.records["monitor__phase"]
        busy = (busy != Phase.LOAD.value) & (busy != Phase.READ.value)
        layers = found.records["monitor__layer"][busy]
        spans = np.bincount(layers, minlength=len(program.layers))
        assert spans.tolist() == [c.prepare + c.macs + c.stalls + c.drain
                                  for c in program.cycles()]
        stalled = run(network, program, x, simulator=simulator, stall_i=0.3, stall_o=0.3, seed=2)
        assert stalled[0].tolist() == trace.logits.tolist()
        compared += logits.size
    assert compared > 0


def test_each_width_has_its_memory():
    network = mixed(np.random.default_rng(3)).network()
    program = compile_graph(network, GraphConfig(columns=4, lanes=2))
    assert sorted(program.weights) == [2, 3, 5, 8] and program.weight.bits == 8
    words = {la.name: la.steps * la.tiles for la in program.layers if la.weight_bits}
    bits = {la.name: la.weight_bits for la in program.layers}
    assert program.memory_bits["weights"] == 8 * sum(
        count * bits[name] for name, count in words.items())
    # The same codes in memories of one width take more.
    wide = [replace(la, group=replace(la.group, element=Int(8))) if hasattr(la, "group") else la
            for la in network.layers]
    uniform = compile_graph(replace(network, layers=wide), program.config)
    assert uniform.memory_bits["weights"] == 8 * 8 * sum(words.values())
    assert uniform.cycles() == program.cycles()


def test_a_wrong_bias_shows():
    rng = np.random.default_rng(0)
    network = vectors(rng).network()
    program = compile_graph(network, GraphConfig(columns=4, lanes=2, element="multiplier"))
    x = torch.from_numpy(rng.integers(-128, 128, (1, 21)))
    bias, *rest = program.channels[-1][0]
    program.channels[-1][0] = (bias + 1, *rest)
    assert run(network, program, x)[0].tolist() != network.run(x).logits.tolist()


def test_batches_follow_each_other():
    rng = np.random.default_rng(1)
    network = series(rng).network()
    program = compile_graph(network, GraphConfig(rows=2, columns=4, lanes=2))
    x = torch.from_numpy(rng.integers(-128, 128, (6, *network.shapes[0])))
    values = x.reshape(-1).numpy()
    last = np.zeros(len(values), np.int64)
    last[network.inputs * 2 - 1::network.inputs * 2] = 1
    found = BatchSimulator(GraphEngine(program), short=True).run(
        {"value": values, "last": last}, outputs=6 * network.outputs)
    logits = np.asarray(found.outputs["value"]).reshape(6, -1)
    assert logits.tolist() == network.run(x).logits.tolist()


@pytest.mark.parametrize("change, message", [
    (lambda net: net.layers.pop(), "Layer flat: the engine ends with a linear or convolution layer "
                                   "without a requantiser"),
    (lambda net: net.layers[-1].__dict__.update(bias=torch.full((3,), 1 << 40)),
     "Layer layer5: its accumulator needs 42 bits; the engine has at most 40"),
])
def test_what_the_engine_has_not(change, message):
    net = depthwise(np.random.default_rng(2))
    change(net)
    with pytest.raises(DoesNotFit, match=f"^{re.escape(message)}$"):
        compile_graph(net.network(), GraphConfig())


@pytest.mark.parametrize("capacity, message", [
    ({"weight_words": 15}, "Layer layer1: needs 20 weight_words, up to and with this layer; the "
                           "engine has 15"),
    ({"activation_words": 9}, "Layer layer0: with its inputs and what is needed later it takes 10 "
                              "activation_words; the engine has 9"),
])
def test_capacity(capacity, message):
    network = vectors(np.random.default_rng(2)).network()
    with pytest.raises(DoesNotFit, match=f"^{re.escape(message)}$"):
        compile_graph(network, GraphConfig(**capacity))


@pytest.mark.parametrize("arguments, message", [
    ({"rows": 0}, "rows must be a positive integer, not 0"),
    ({"columns": 6, "lanes": 4}, "lanes must divide the 6 columns, not 4"),
    ({"element": "x"}, "element must be one of multiplier, mixpe, booth, not 'x'"),
])
def test_configuration_wrong(arguments, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        GraphConfig(**arguments)
