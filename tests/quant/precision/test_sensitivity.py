# SPDX-License-Identifier: Apache-2.0
import copy

import numpy as np
import pytest
import torch
from torch import nn

from carrysave.quant.data import Data
from carrysave.quant.formats import Group, Int
from carrysave.quant.precision.sensitivity import calibration_loss, hessian_trace, monotone
from carrysave.quant.train.cnn import parse_layers, weighted
from carrysave.quant.train.mlp import Recipe
from carrysave.quant.train.train import inputs, quantised_network, train_float

WIDTHS = (2, 4, 8)
LAYERS = parse_layers([{"conv": 3}, {"max_pool": 2}])


@pytest.fixture(scope="module")
def trained():
    """A small network, and what it was trained on."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(3, 32))
    y = np.arange(256) % 3
    x = centres[y] + rng.normal(size=(256, 32))
    data = Data(x, y, x[:9], y[:9], ["a", "b", "c"], (16, 2))
    options = {"layers": LAYERS, "shape": (16, 2)}
    recipe = Recipe(epochs=80, noise=0.0, label_smoothing=0.0)
    floating = train_float(data, recipe=recipe, **options)
    quantised = quantised_network(data, **options, group_size=8, bits=8)
    return floating, quantised, *inputs(data, **options, normalise="max")[:2]


def test_loss(trained):
    floating, quantised, x, y = trained
    before = copy.deepcopy(floating.state_dict())
    found = calibration_loss(quantised, floating, x, y, widths=WIDTHS)
    assert found.shape == (2, 3) and (found[:, 2] == 0).all()
    assert found[:, 0].max() > 0.01 and abs(found[:, 1]).max() < found[:, 0].max()
    assert all(torch.equal(value, before[name]) for name, value in floating.state_dict().items())
    # What was changed meanwhile is as it was: the same again.
    assert (calibration_loss(quantised, floating, x, y, widths=WIDTHS) == found).all()
    # Against a network made with those widths.
    quantiser = weighted(quantised)[1].weight_quant.tensor_quant
    losses = []
    for bits in 2, 8:
        quantiser.group = Group(Int(bits), 8)
        with torch.no_grad():
            # In parts of as many samples, which add up to the same bits.
            losses.append(sum(
                float(nn.functional.cross_entropy(quantised(part), labels, reduction="sum"))
                for part, labels in zip(x.split(250), y.split(250), strict=True)) / len(x))
    loss, least = losses
    assert loss - least == found[1, 0]


def test_traces_against_the_hessian_itself(trained):
    floating, quantised, x, y = trained
    found = hessian_trace(quantised, floating, x, y, widths=WIDTHS)
    assert (found[:, 0] > found[:, 1]).all() and (found[:, 1] > found[:, 2]).all()
    # Layers whose batch normalisation is merged, in float: the Hessian of each weight.
    layers = weighted(copy.deepcopy(floating))
    plain = nn.Sequential(*[module for module in copy.deepcopy(floating)
                            if not isinstance(module, nn.BatchNorm1d)])
    targets = [m for m in plain.modules() if isinstance(m, (nn.Linear, nn.Conv1d))]
    for source, target in zip(layers, targets, strict=True):
        target.weight, target.bias = source.weight, nn.Parameter(source.bias.detach())
    assert (plain(x) - floating(x)).abs().max() < 1e-4
    for row, target in zip(found, targets, strict=True):
        name = next(n for n, p in plain.named_parameters() if p is target.weight)

        def loss(weight, name=name):
            return nn.functional.cross_entropy(
                torch.func.functional_call(plain, {name: weight}, (x,)), y)

        hessian = torch.autograd.functional.hessian(loss, target.weight.detach())
        size = target.weight.numel()
        trace = float(hessian.reshape(size, size).trace())
        # The same squared errors at 2 bits, of the quantised layer.
        layer = weighted(quantised)[list(targets).index(target)]
        layer.weight_quant.tensor_quant.group = Group(Int(2), 8)
        with torch.no_grad():
            error = float((layer.quant_weight().value - layer.weight).square().sum())
        layer.weight_quant.tensor_quant.group = Group(Int(8), 8)
        # A stochastic estimate, of 16 probes.
        assert row[0] == pytest.approx(0.5 * trace / size * error, rel=0.25)


def test_monotone():
    costs = np.array([[3, 1, 2, -1], [0.5, 0.7, 0.1, 0]])
    assert monotone(costs).tolist() == [[3, 2, 2, 0], [0.7, 0.7, 0.1, 0]]
