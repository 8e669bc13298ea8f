# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from carrysave.quant.formats import Group, Int
from carrysave.quant.golden.requantise import ChannelRequantiser, Requantiser, count_differing
from carrysave.quant.network import (
    Add,
    AveragePool,
    Conv,
    Flatten,
    InputScaling,
    IntegerNetwork,
    Linear,
    MaxPool,
    Rescale,
)


def claim(channel, output_scale, bounds, multiplier, shift):
    """A requantiser whose claim is true."""
    scale, z_min, z_max = channel
    differing = count_differing(
        scale / Fraction(output_scale),
        Fraction(multiplier, 1 << shift),
        z_min=z_min,
        z_max=z_max,
        low=bounds[0],
        high=bounds[1],
    )
    return Requantiser(multiplier, shift, differing, z_max - z_min + 1)


def requantised(layer, output_scale, multiplier, shift, *, per_channel=False):
    """The layer with this requantiser, or with one for each channel about this one."""
    found = [
        claim(channel, output_scale, layer.bounds, multiplier + number, shift)
        for number, channel in enumerate(layer.channels(per_channel))
    ]
    found = ChannelRequantiser(tuple(found)) if per_channel else found[0]
    return replace(layer, output_scale=output_scale, requantiser=found)


@pytest.fixture
def make_network():
    """Call ``make_network(widths, ...)`` for a network of random integers."""

    def make(widths=(5, 4, 3), *, size=4, scale_bits=8, relu=True, seed=0, per_feature=False):
        generator = torch.Generator().manual_seed(seed)

        def draw(low, high, shape, dtype):
            return torch.randint(low, high, shape, generator=generator).to(dtype)

        group = Group(Int(4), size, scale_bits)
        layers, scale = [], 0.0107421875
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            last = index == len(widths) - 2
            groups = group.groups(inputs)
            layer = Linear(
                name=f"fc{index + 1}",
                group=group,
                weights=draw(-8, 8, (outputs, inputs), torch.int8),
                scales=draw(1, 1 << scale_bits, (outputs, groups), torch.int32),
                exponent=9,
                bias=draw(-4000, 4000, (outputs,), torch.int64),
                relu=relu and not last,
                input_scale=scale,
                output_scale=None,
                requantiser=None,
            )
            scale *= 1.25
            layers.append(layer if last else requantised(layer, scale, 201 - index, 17))
        features = widths[0] if per_feature else 1
        rng = np.random.default_rng(seed)
        scaling = InputScaling(layers[0].input_scale, rng.normal(size=features), np.ones(features))
        return IntegerNetwork("try", scaling, layers, [f"class {k}" for k in range(widths[-1])])

    return make


def square(kernel, stride, *padding):
    return {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}


@pytest.fixture
def make_graph():
    """Call ``make_graph(seed)`` for a network of random integers with every kind of layer."""

    def make(seed=0):
        generator = torch.Generator().manual_seed(seed)

        def draw(low, high, *shape, dtype):
            return torch.randint(low, high, shape, generator=generator).to(dtype)

        def weighted(kind, name, outputs, k, *, element=4, size=16, scale=0.5, **more):
            group = Group(Int(element), size, 8 if element == 4 else 1)
            half = 1 << (element - 1)
            values = {
                "group": group,
                "weights": draw(-half, half, outputs, k, dtype=torch.int8),
                "scales": draw(1, 1 << group.scale_bits, outputs, group.groups(k),
                               dtype=torch.int32),
                "exponent": 8,
                "bias": draw(-4000, 4000, outputs, dtype=torch.int64),
                "relu": False,
                "input_scale": scale,
                "output_scale": None,
                "requantiser": None,
            }
            return kind(name=name, **(values | more))

        deep = {"kernel": (3, 2), "stride": (1, 2), "padding": ((1, 1), (0, 1)), "groups": 6}
        real = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)
        layers = [
            requantised(
                weighted(Conv, "stem", 6, 18, relu=True, **square(3, 1, 1, 1)), 0.25, 93, 18
            ),
            MaxPool(name="pool", **square(2, 2, 1, 0)),
            requantised(
                weighted(Conv, "deep", 6, 6, scale=0.25, element=8, size=6, high=100,
                         weight_scales=real, **deep),
                0.5, 71, 11, per_channel=True,
            ),
            requantised(
                Rescale(name="short", input_scale=0.25, output_scale=None, requantiser=None,
                        low=-100, sources=("pool",)),
                0.3, 107, 7,
            ),
            requantised(
                AveragePool(name="mean", kernel=(3, 2), stride=(1, 2), padding=((1, 1), (0, 1)),
                            input_scale=0.3, output_scale=None, requantiser=None),
                0.4, 17, 7,
            ),
        ]
        branches = tuple(
            Requantiser(m, s, sum(
                round(z * Fraction(scale) / Fraction(0.45)) != round(Fraction(z * m, 1 << s))
                for z in range(-128, 128)
            ), 256)
            for scale, m, s in ((0.5, 9, 3), (0.4, 7, 3))
        )
        add = Add(
            name="sum", input_scales=(0.5, 0.4), branches=branches, branch_scale=0.45,
            output_scale=None, requantiser=None, low=0, high=110, sources=("deep", "mean"),
        )
        layers.append(requantised(add, 0.5, 7, 3))
        layers += [
            Flatten(name="flat"),
            weighted(Linear, "fc", 3, 6 * 3 * 2, size=7),
        ]
        scaling = InputScaling(0.5, np.zeros(1), np.ones(1), -100, 90)
        return IntegerNetwork("graph", scaling, layers, ["a", "b", "c"], (5, 6, 2))

    return make
