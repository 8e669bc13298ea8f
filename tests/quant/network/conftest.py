# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from carrysave.quant.formats import Group, Int
from carrysave.quant.golden.requantise import Requantiser, count_differing
from carrysave.quant.network import InputScaling, IntegerNetwork, Linear


def requantised(layer, output_scale, multiplier, shift):
    """The layer with this requantiser, whose claim is true."""
    z_min, z_max = layer.accumulator_range
    differing = count_differing(
        layer.accumulator_scale / Fraction(output_scale),
        Fraction(multiplier, 1 << shift),
        z_min=z_min,
        z_max=z_max,
        low=0 if layer.relu else -128,
        high=127,
    )
    found = Requantiser(multiplier, shift, differing, z_max - z_min + 1)
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
