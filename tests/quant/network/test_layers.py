# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import prod

import pytest
import torch
from torch.nn import functional

from carrysave.quant.golden.requantise import ChannelRequantiser
from carrysave.quant.network import Flatten, MaxPool


def rounded(z, requantiser, bounds):
    """Requantised values, by rational arithmetic; channels are the last axis of ``z``."""
    if requantiser is None:
        return z
    each = isinstance(requantiser, ChannelRequantiser)
    channels = requantiser.channels if each else [requantiser] * z.shape[-1]
    low, high = bounds
    flat = [
        min(max(round(Fraction(value * r.multiplier, 1 << r.shift)), low), high)
        for row in z.reshape(-1, z.shape[-1]).tolist()
        for value, r in zip(row, channels, strict=True)
    ]
    return torch.tensor(flat).reshape(z.shape)


def first(x, layer, value=0.0):
    """Padded, in float64, channels first."""
    return functional.pad(
        x.double().movedim(-1, 1), [n for p in reversed(layer.padding) for n in p], value=value
    )


def expected(layer, *inputs):
    """Accumulators of a layer by torch in float64, or by Python."""
    x = inputs[0]
    if layer.kind in ("linear", "conv"):
        sizes = [min(layer.group.size, layer.inputs - k)
                 for k in range(0, layer.inputs, layer.group.size)]
        scales = layer.scales.repeat_interleave(torch.tensor(sizes), dim=1)
        kernel = getattr(layer, "kernel", ())
        w = (layer.weights.double() * scales).reshape(layer.outputs, *kernel, -1)
        if layer.kind == "linear":
            return (x.double() @ w.T).long() + layer.bias
        z = functional.conv2d(
            first(x, layer), w.movedim(-1, 1), stride=layer.stride, groups=layer.groups
        )
        return z.movedim(1, -1).long() + layer.bias
    if layer.kind == "max_pool":
        y = functional.max_pool2d(first(x, layer, -1e9), layer.kernel, layer.stride)
        return y.movedim(1, -1).long()
    if layer.kind == "average_pool":
        y = functional.avg_pool2d(first(x, layer), layer.kernel, layer.stride)
        return (y * prod(layer.kernel)).round().movedim(1, -1).long()
    if layer.kind == "add":
        wide = (-(1 << 40), 1 << 40)
        return sum(rounded(x, r, wide) for x, r in zip(inputs, layer.branches, strict=True))
    return x.flatten(1) if layer.kind == "flatten" else x


@pytest.mark.parametrize("seed", range(3))
def test_every_kind(make_graph, seed, compared):
    """Each layer, from random activations of its inputs' shapes."""
    network, kinds = make_graph(seed), set()
    shapes, generator = network.shapes, torch.Generator().manual_seed(seed)
    for layer, places, shape in zip(network.layers, network.places, shapes[1:], strict=True):
        inputs = [
            torch.randint(-128, 128, (7, *shapes[place]), generator=generator) for place in places
        ]
        z, sums = layer.accumulators(*inputs), expected(layer, *inputs)
        assert z.dtype == torch.int64 and torch.equal(z, sums)
        y = layer.finish(z)
        bounds = getattr(layer, "bounds", None)
        assert torch.equal(y, rounded(sums, layer.requantiser, bounds))
        assert y.shape == (7, *shape)
        if bounds and layer.requantiser:
            assert bounds[0] <= int(y.min()) < int(y.max()) <= bounds[1]
        kinds.add(layer.kind)
        compared(2 * z.numel())
    assert len(kinds) == 7


@pytest.mark.parametrize("name", ["stem", "deep", "short", "mean", "sum"])
def test_ranges_hold(make_graph, name, compared):
    """No random or extreme activations leave a channel's range; its requantiser claims so many."""
    network = make_graph()
    index = [layer.name for layer in network.layers].index(name)
    layer, shapes = network.layers[index], [network.shapes[k] for k in network.places[index]]
    inputs = [
        torch.cat([torch.randint(-128, 128, (20, *shape)),
                   torch.randint(0, 2, (200, *shape)) * 255 - 128]) for shape in shapes
    ]
    z = layer.accumulators(*inputs).flatten(0, -2)
    each = isinstance(layer.requantiser, ChannelRequantiser)
    channels = layer.channels(each)
    assert len(channels) == (z.shape[-1] if each else 1)
    limits = channels if each else channels * z.shape[-1]
    for column, (_, z_min, z_max) in zip(z.T, limits, strict=True):
        assert z_min <= int(column.min()) and int(column.max()) <= z_max
    claims = layer.requantiser.channels if each else [layer.requantiser]
    assert [r.reachable for r in claims] == [high - low + 1 for _, low, high in channels]
    compared(z.numel())


def test_range_of_each_channel_is_reached(make_graph, compared):
    layer = make_graph().layers[2]
    assert layer.name == "deep" and layer.groups == 6
    corners = torch.tensor(list(product((-128, 127), repeat=6))).reshape(-1, 3, 2, 1)
    x = corners.expand(-1, -1, -1, 6)
    z = replace(layer, padding=((0, 0), (0, 0))).accumulators(x).flatten(0, -2)
    found = [(low, high) for _, low, high in layer.channels(True)]
    assert found == list(zip(z.amin(dim=0).tolist(), z.amax(dim=0).tolist(), strict=True))
    compared(z.numel())


def test_accumulator_scales(make_graph):
    stem, _, deep, short, mean, add, *_ = make_graph().layers
    assert stem.accumulator_scales == (Fraction(1, 512),)
    assert stem.accumulator_scale == Fraction(1, 512)
    scales = torch.linspace(0.5, 1.5, 6, dtype=torch.float64).tolist()
    assert deep.accumulator_scales == tuple(Fraction(s) / 1024 for s in scales)
    with pytest.raises(ValueError, match="^Layer deep: each output has an accumulator scale of"):
        deep.accumulator_scale  # noqa: B018
    assert short.accumulator_scale == Fraction(0.25)
    assert mean.accumulator_scale == Fraction(0.3) / 6
    assert add.accumulator_scale == Fraction(0.45)


def test_requantisers_of_channels(make_graph):
    deep = make_graph().layers[2]
    r = deep.requantiser
    assert r.multiplier.tolist() == [71 + k for k in range(6)] and r.shift.tolist() == [11] * 6
    assert r.differing == sum(c.differing for c in r.channels)
    assert r.reachable == sum(c.reachable for c in r.channels) > 0


# Shapes.


def shape_error(layer, *shapes):
    with pytest.raises(ValueError) as caught:
        layer.shape(*shapes)
    return str(caught.value)


def test_shapes_wrong(make_graph):
    stem, pool, deep, _, mean, add, _, fc = make_graph().layers
    assert shape_error(fc, (7,)) == "inputs must be [36], not [7]"
    assert shape_error(fc, (6, 6)) == "inputs must be [36], not [6, 6]"
    assert shape_error(stem, (5, 2)) == (
        "kernel [3, 3] must have an axis for each of positions, of which the input [5, 2] has 1"
    )
    assert shape_error(stem, (5, 6, 3)) == "inputs must be 27, 9 taps of 3 channels, not 18"
    assert shape_error(deep, (5, 6, 4)) == "groups must divide 4 input and 6 output channels, not 6"
    assert shape_error(mean, (0, 6, 4)) == (
        "kernel [3, 2] on an input [0, 6, 4]: Kernel must fit into the 2 elements of its axis, "
        "not 3"
    )
    assert shape_error(add, (5, 6, 2), (5, 6, 3)) == (
        "both inputs must have one shape, not [5, 6, 2] and [5, 6, 3]"
    )
    wide = replace(pool, padding=((2, 0), (0, 0)))
    assert shape_error(wide, (5, 6, 2)) == "padding must be below the kernel, 2, not 2"


def test_layers_without_arithmetic(compared):
    x = torch.arange(24).reshape(2, 2, 2, 3)
    assert Flatten(name="a").accumulators(x).tolist() == x.reshape(2, 12).tolist()
    pool = MaxPool(name="b", kernel=(2, 2), stride=(1, 1), padding=((0, 0), (0, 0)))
    assert pool.accumulators(x).tolist() == x[:, 1:, 1:].tolist()
    assert pool.finish(x) is x
    compared(48)


@pytest.mark.parametrize(
    "relu, low, high, bounds",
    [
        (False, -128, 127, (-128, 127)),
        (True, -128, 127, (0, 127)),
        (True, -128, 90, (0, 90)),
        (True, 5, 90, (5, 90)),
        (False, -100, 90, (-100, 90)),
    ],
)
def test_bounds(make_graph, relu, low, high, bounds, compared):
    stem = replace(make_graph().layers[0], relu=relu, low=low, high=high)
    assert stem.bounds == bounds
    z = torch.tensor([[-(1 << 24)] * 6, [1 << 24] * 6])
    assert stem.finish(z).tolist() == [[bounds[0]] * 6, [bounds[1]] * 6]
    compared(12)


def test_scales_of_channels(make_graph):
    """Each channel has its own, where there are several, and all have the one, where there is."""
    stem, _, deep, *_ = make_graph().layers
    assert tuple(scale for scale, _, _ in deep.channels()) == deep.accumulator_scales
    assert deep.channels() == deep.channels(True) and len(set(deep.accumulator_scales)) == 6
    assert [scale for scale, _, _ in stem.channels(True)] == [stem.accumulator_scale] * 6
    assert stem.channels() == [(stem.accumulator_scale, *stem.accumulator_range)]
