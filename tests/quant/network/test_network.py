# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch

from carrysave.quant.formats import Int
from carrysave.quant.golden.requantise import Requantiser
from carrysave.quant.network import InputScaling, MaxPool


def python_layer(layer, activations):
    """Accumulators and outputs of one vector in Python integers and rationals."""
    size, weights, scales = layer.group.size, layer.weights.tolist(), layer.scales.tolist()
    accumulators = []
    for row, row_scales, bias in zip(weights, scales, layer.bias.tolist(), strict=True):
        for k, (a, q) in enumerate(zip(activations, row, strict=True)):
            bias += row_scales[k // size] * a * q
        accumulators.append(bias)
    if layer.requantiser is None:
        return accumulators, accumulators
    m = Fraction(layer.requantiser.multiplier, 1 << layer.requantiser.shift)
    low = 0 if layer.relu else -128
    return accumulators, [min(max(round(z * m), low), 127) for z in accumulators]


@pytest.mark.parametrize("widths", [(5, 3), (6, 4, 3), (17, 9, 8, 5, 2), (1, 1)])
@pytest.mark.parametrize("size", [1, 4, 7, 16])
@pytest.mark.parametrize("relu", [False, True])
def test_run(make_network, widths, size, relu, compared):
    network = make_network(widths, size=size, relu=relu)
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-128, 128, (40, widths[0]), generator=generator, dtype=torch.int8)
    x[0], x[1] = -128, 127
    trace = network.run(x)
    assert len(trace.activations) == len(widths) and len(trace.accumulators) == len(widths) - 1
    assert torch.equal(trace.activations[0], x.long())
    assert trace.logits is trace.activations[-1]
    expected = x.tolist()
    for number, layer in enumerate(network.layers):
        results = [python_layer(layer, vector) for vector in expected]
        expected = [outputs for _, outputs in results]
        assert trace.accumulators[number].tolist() == [sums for sums, _ in results]
        assert trace.activations[number + 1].tolist() == expected
        compared(len(expected) * layer.outputs)
    assert trace.classes.tolist() == [row.index(max(row)) for row in expected]


def test_equal_logits_give_the_first_class(make_network):
    network = make_network((3, 4))
    layer = replace(network.layers[0], weights=torch.zeros(4, 3, dtype=torch.int8))
    layer = replace(layer, bias=torch.tensor([5, 9, 9, 5]))
    assert replace(network, layers=[layer]).run([[1, 2, 3]]).classes.tolist() == [1]


def test_wrong_number_of_inputs(make_network):
    with pytest.raises(ValueError) as caught:
        make_network((5, 3)).run(torch.zeros(1, 6, dtype=torch.int64))
    assert str(caught.value) == "Activations must have shape (samples, 5), not (1, 6)"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("inputs", [1, 3, 5])
def test_accumulator_range_is_reached(make_network, seed, inputs, compared):
    """The extremes of a linear function lie in corners, and all corners are tried."""
    layer = make_network((inputs, 3), size=2, seed=seed).layers[0]
    corners = torch.tensor(list(product((-128, 127), repeat=inputs)))
    z = layer.accumulators(corners)
    assert layer.accumulator_range == (int(z.min()), int(z.max()))
    compared(z.numel())


@pytest.mark.parametrize("exponent", [-3, 0, 9, 1000])
def test_accumulator_scale(make_network, exponent):
    layer = replace(make_network().layers[0], exponent=exponent, input_scale=0.1)
    numerator, denominator = (0.1).as_integer_ratio()
    if exponent < 0:
        numerator <<= -exponent
    else:
        denominator <<= exponent
    assert layer.accumulator_scale == Fraction(numerator, denominator)


def test_sizes(make_network):
    network = make_network((6, 4, 3))
    assert (network.inputs, network.outputs) == (6, 3)
    assert [(layer.inputs, layer.outputs) for layer in network.layers] == [(6, 4), (4, 3)]


# Graphs.


def test_graph(make_graph, compared):
    """Each layer reads what its sources name; what a layer computes is tested in test_layers."""
    network = make_graph()
    assert network.places == [(0,), (1,), (2,), (2,), (4,), (3, 5), (6,), (7,)]
    assert network.shapes == [
        (5, 6, 2), (5, 6, 6), (3, 3, 6), (3, 2, 6), (3, 3, 6), (3, 2, 6), (3, 2, 6), (36,), (3,)
    ]
    assert (network.inputs, network.outputs) == (60, 3)
    x = network.encode(100 * np.random.default_rng(0).normal(size=(50, 60)))
    assert x.shape == (50, 5, 6, 2) and (int(x.min()), int(x.max())) == (-100, 90)
    trace = network.run(x)
    assert len(trace.accumulators) == 8 and torch.equal(trace.activations[0], x)
    for index, (layer, places) in enumerate(zip(network.layers, network.places, strict=True)):
        z = layer.accumulators(*(trace.activations[place] for place in places))
        assert torch.equal(trace.accumulators[index], z)
        assert torch.equal(trace.activations[index + 1], layer.finish(z))
        compared(z.numel())
    assert torch.equal(network.run(x.flatten(1)).logits, trace.logits)
    for batch in 1, 7, 50, 500:
        assert torch.equal(network.logits(x, batch=batch), trace.logits)
    for index in 0, 49:  # a batch is its samples
        assert torch.equal(network.run(x[index : index + 1]).logits[0], trace.logits[index])


def test_units(make_graph, make_network):
    assert make_graph().units == [0.5, 0.25, 0.25, 0.5, 0.3, 0.4, 0.5, 0.5, 0.5 / 256]
    network = make_network((5, 4, 3))
    last = network.layers[-1]
    assert network.units == [
        network.input.scale, last.input_scale, float(last.accumulator_scale)
    ]


def test_source_unknown(make_graph):
    network = make_graph()
    for source in "flat", "none", "sum":  # later, nowhere, itself
        layers = [replace(la, sources=("deep", source)) if la.name == "sum" else la
                  for la in network.layers]
        with pytest.raises(ValueError) as caught:
            replace(network, layers=layers).run(torch.zeros(1, 60))
        assert str(caught.value) == (
            f"Layer sum: source {source!r} is no layer before it; "
            "there are input, stem, pool, deep, short, mean"
        )


def test_shapes_that_do_not_fit(make_graph):
    with pytest.raises(ValueError) as caught:
        replace(make_graph(), input_shape=(5, 9, 2)).run(torch.zeros(1, 90))
    assert str(caught.value) == "Layer fc: inputs must be [36], not [54]"


def test_input_shape_missing(make_graph):
    with pytest.raises(ValueError, match="^Layer stem: input_shape must be given for conv$"):
        replace(make_graph(), input_shape=None).run(torch.zeros(1, 60))


# Inputs.


@pytest.mark.parametrize("features", [1, 7])
def test_inputs_are_scaled(features, compared):
    rng = np.random.default_rng(features)
    offset, gain = rng.integers(-9, 9, features) / 8, 2.0 ** rng.integers(-3, 3, features)
    scaling = InputScaling(0.03125, offset, gain)
    x = rng.integers(-2000, 2000, (200, 7)) / 64  # Multiples of 1/16 of a code: ties are met.
    expected = [
        [
            min(max(round((Fraction(value) - Fraction(offset)) * Fraction(gain) * 32), -128), 127)
            for value, offset, gain in zip(
                row, np.resize(scaling.offset, 7), np.resize(scaling.gain, 7), strict=True
            )
        ]
        for row in x.tolist()
    ]
    found = scaling.encode(x)
    assert found.dtype == torch.int64
    assert found.tolist() == expected
    assert len({value for row in expected for value in row}) > 100
    compared(found.numel())


def test_inputs_round_to_even_and_saturate(make_network):
    network = replace(make_network((8, 2)), input=InputScaling(0.5, np.zeros(1), np.ones(1)))
    x = [[-1e9, -64.25, -0.75, -0.25, 0.25, 0.75, 63.75, 1e9]]
    assert network.encode(x).tolist() == [[-128, -128, -2, 0, 0, 2, 127, 127]]


def test_normalise():
    scaling = InputScaling(1.0, np.array([1.0, 2.0]), np.array([0.5, 4.0]))
    found = scaling.normalise(np.array([[3, 1]], np.int8))
    assert found.dtype == np.float64 and found.tolist() == [[1.0, -4.0]]


def test_input_nan(make_network):
    with pytest.raises(ValueError, match="^Values must be numbers: int8 has no code for NaN$"):
        make_network((1, 2)).encode([[float("nan")]])


# Identity.


def changed(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[-1] += 1 if tensor.view(-1)[-1] < 7 else -1
    return tensor


def test_identity_is_of_what_is_computed(make_network):
    network = make_network()
    assert len(network.identity) == 8 and isinstance(network.identity, bytes)
    assert make_network().identity == network.identity
    layer, last = network.layers
    variants = [
        replace(layer, **{part: changed(getattr(layer, part))})
        for part in ("weights", "scales", "bias")
    ]
    variants += [
        replace(layer, relu=False),
        replace(layer, group=replace(layer.group, size=3)),
        replace(layer, requantiser=Requantiser(202, 17, 3, 1000)),
        replace(layer, requantiser=Requantiser(201, 16, 3, 1000)),
    ]
    identities = {replace(network, layers=[variant, last]).identity for variant in variants}
    identities |= {network.identity, replace(network, layers=[layer]).identity}
    assert len(identities) == len(variants) + 2


def test_identity_is_not_of_names(make_network):
    network = make_network()
    layers = [replace(layer, name=f"other{layer.name}") for layer in network.layers]
    assert replace(network, name="other", layers=layers).identity == network.identity


def test_identity_of_graphs(make_graph):
    """Every member that the result follows from, and none that it does not."""
    network = make_graph()
    stem, pool, deep, short, mean, add, flat, fc = network.layers
    first, *rest = deep.requantiser.channels
    window = {"kernel": (3, 1), "stride": (3, 1), "padding": ((0, 1), (1, 0))}
    variants = [
        *(replace(layer, **{part: value}) for layer in (stem, pool, mean)
          for part, value in window.items()),
        replace(deep, groups=3),
        replace(deep, high=99),
        replace(deep, low=-99),
        replace(deep, group=replace(deep.group, element=Int(7))),
        replace(deep, requantiser=replace(
            deep.requantiser, channels=(replace(first, multiplier=70), *rest)
        )),
        *(replace(layer, low=-7) for layer in (short, mean, add)),
        *(replace(layer, high=7) for layer in (short, mean, add)),
        *(replace(layer, requantiser=replace(layer.requantiser, shift=5))
          for layer in (short, mean, add)),
        replace(add, branches=add.branches[::-1]),
        replace(add, sources=add.sources[::-1]),
        replace(short, sources=()),
        MaxPool(name="mean", **{part: getattr(mean, part) for part in window}),
    ]
    networks = [
        replace(network, layers=[v if v.name == la.name else la for la in network.layers])
        for v in variants
    ]
    networks += [
        replace(network, input=replace(network.input, low=-99)),
        replace(network, input=replace(network.input, high=99)),
        network,
    ]
    assert len({other.identity for other in networks}) == len(networks) == 30
    scales = torch.full((6,), 0.5, dtype=torch.float64)
    same = [replace(deep, weight_scales=scales), replace(deep, output_scale=7.0)]
    for other in same:
        layers = [other if la is deep else la for la in network.layers]
        assert replace(network, layers=layers).identity == network.identity


def test_identity_of_shapes(make_graph):
    network = make_graph()
    network = replace(network, layers=network.layers[:1])
    shapes = [(5, 6, 2), (6, 5, 2), (30, 1, 2)]
    assert len({replace(network, input_shape=shape).identity for shape in shapes}) == 3
