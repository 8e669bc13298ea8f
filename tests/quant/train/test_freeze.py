# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from itertools import pairwise

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8BiasPerTensorFloatInternalScaling,
    Uint8ActPerTensorFloat,
)
from torch import nn

from carrysave.quant.network import load, save
from carrysave.quant.train.freeze import UnsupportedModel, freeze, settle, trained_trace
from carrysave.quant.train.quantisers import Int8Act

RELU, IDENTITY = qnn.QuantReLU, qnn.QuantIdentity


@pytest.fixture
def stack(linear, activation, calibrated):
    """Call ``stack(widths, ...)`` for a random, calibrated stack of linear layers."""

    def make(widths, *, size=4, kinds=(RELU,), bias=True, seed=0):
        torch.manual_seed(seed)
        modules = [activation()]
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            modules.append(linear(inputs, outputs, size=size, bias=bias))
            modules.append(activation(kinds[number % len(kinds)]))
        return calibrated(*modules[:-1], features=widths[0])

    return make


def frozen(model, *, offset=None, gain=None, bits=8):
    outputs = [module for module in model if isinstance(module, nn.Linear)][-1].out_features
    return freeze(
        model,
        name="try",
        offset=np.zeros(1) if offset is None else offset,
        gain=np.ones(1) if gain is None else gain,
        labels=[str(k) for k in range(outputs)],
        multiplier_bits=bits,
    )


def compare(model, network, x):
    """Every activation and logit of the model and its network; the number of them."""
    trace = network.run(network.encode(x))
    values, _ = trained_trace(model, torch.from_numpy(network.input.normalise(x)))
    units = [layer.input_scale for layer in network.layers]
    units.append(float(network.layers[-1].accumulator_scale))
    for value, integers, unit in zip(values, trace.activations, units, strict=True):
        assert value.dtype == torch.float64
        assert torch.equal(value, integers.double() * unit)
    return sum(value.numel() for value in values)


@pytest.mark.parametrize("kinds", [(RELU,), (IDENTITY,), (IDENTITY, RELU)], ids=["r", "i", "ir"])
@pytest.mark.parametrize(
    "widths, size", [((6, 3), 4), ((13, 9, 3), 7), ((20, 17, 4), 16), ((9, 7, 8, 5, 3), 4)]
)
def test_model_and_network_are_equal(stack, widths, size, kinds, compared):
    model = settle(stack(widths, size=size, kinds=kinds))
    network = frozen(model)
    assert len(network.layers) == len(widths) - 1
    for layer, (inputs, outputs) in zip(network.layers, pairwise(widths), strict=True):
        assert (layer.inputs, layer.outputs, layer.group.size) == (inputs, outputs, size)
    assert [layer.relu for layer in network.layers[:-1]] == [
        kinds[k % len(kinds)] is RELU for k in range(len(widths) - 2)
    ]
    for layer in network.layers[:-1]:
        assert layer.requantiser.differing == 0
        assert 1 <= layer.requantiser.multiplier < 1 << 8
        low, high = layer.accumulator_range
        assert layer.requantiser.reachable == high - low + 1
    # Ordinary inputs, and far ones that saturate.
    x = np.random.default_rng(0).normal(size=(400, widths[0]))
    compared(compare(model, network, x) + compare(model, network, 5 * x))


def test_hidden_values_are_not_trivial(stack):
    model = settle(stack((20, 17, 4), size=16))
    hidden = frozen(model).run(torch.randint(-128, 128, (300, 20))).activations[1]
    assert len(hidden.unique()) > 60 and 0 < (hidden == 0).double().mean() < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_more_models(stack, seed, compared):
    model = settle(stack((24, 10, 5), size=7, seed=seed))
    x = np.random.default_rng(seed).normal(size=(300, 24)) * 1.5
    compared(compare(model, frozen(model), x))


def test_multiplier_bits(stack, compared):
    for bits in (8, 12, 16):
        model = settle(stack((9, 8, 3)), multiplier_bits=bits)
        network = frozen(model, bits=bits)
        requantiser = network.layers[0].requantiser
        assert requantiser.differing == 0 and requantiser.multiplier < 1 << bits
        compared(compare(model, network, np.random.default_rng(0).normal(size=(200, 9))))


def test_without_bias(stack, compared):
    model = settle(stack((9, 8, 3), bias=False))
    network = frozen(model)
    assert not any(layer.bias.any() for layer in network.layers)
    compared(compare(model, network, np.random.default_rng(0).normal(size=(200, 9))))


def test_zero_weights(stack, compared):
    model = stack((9, 8, 3))
    with torch.no_grad():
        model[1].weight[:4] = 0
        model[3].weight[:] = 0
    settle(model)
    compared(compare(model, frozen(model), np.random.default_rng(0).normal(size=(200, 9))))


def test_ignored_modules(linear, activation, calibrated, compared):
    torch.manual_seed(0)
    model = calibrated(
        nn.Flatten(),
        activation(),
        nn.Dropout(),
        linear(6, 5),
        activation(RELU),
        nn.Identity(),
        linear(5, 3),
    )
    settle(model)
    network = frozen(model)
    assert [layer.name for layer in network.layers] == ["fc1", "fc2"]
    compared(compare(model, network, np.random.default_rng(0).normal(size=(200, 6))))


@pytest.mark.parametrize("features", [1, 6])
def test_normalisation_is_the_models_input(stack, features, compared):
    rng = np.random.default_rng(features)
    offset, gain = rng.normal(size=features), rng.uniform(0.3, 2, features)
    model = settle(stack((6, 5, 3)))
    network = frozen(model, offset=offset, gain=gain)
    compared(compare(model, network, rng.normal(size=(300, 6)) / gain + offset))


def test_network_is_the_file(stack, tmp_path, compared):
    model = settle(stack((6, 5, 3)))
    save(frozen(model), tmp_path)
    compared(compare(model, load(tmp_path), np.random.default_rng(0).normal(size=(200, 6))))


def test_settled_twice_is_settled_once(stack):
    model = settle(stack((9, 8, 6, 3)))
    first = frozen(model)
    assert frozen(settle(model)).identity == first.identity


def test_settling_moves_little(stack):
    """Hidden scales stay within a few steps of the multiplier, biases within half a unit."""
    model = stack((9, 8, 6, 3))
    scales = [float(model[k].act_quant.scale().detach()) for k in (0, 2, 4)]
    biases = [model[k].bias.detach().double().clone() for k in (1, 3, 5)]
    network = frozen(settle(model))
    assert network.input.scale == scales[0]
    for before, layer in zip(scales, network.layers, strict=True):
        assert abs(layer.input_scale - before) <= before / 32
    for before, layer in zip(biases, network.layers, strict=True):
        unit = float(layer.accumulator_scale)
        assert (layer.bias.double() * unit - before).abs().max() <= unit * 0.5000001


def test_ties_are_counted(activation, linear, calibrated):
    torch.manual_seed(0)
    model = settle(calibrated(activation(), linear(6, 3)))
    scale = float(model[0].act_quant.scale().detach())
    x = torch.tensor([[0.5, 1.5, 2, -0.5, 0.25, 3]], dtype=torch.float64) * scale
    values, ties = trained_trace(model, x)
    assert ties == 3
    assert (values[0] / scale).tolist() == [[0, 2, 2, 0, 0, 3]]


def test_real_scales_are_reported(stack):
    """Unsettled, no narrow multiplier is exact, and freezing says so."""
    model = stack((6, 5, 3)).double()
    layer = frozen(model, bits=4).layers[0]
    found = layer.requantiser
    low, high = layer.accumulator_range
    m = layer.accumulator_scale / Fraction(layer.output_scale)
    # A staircase of at most 127 steps: its exact steps, and those of the multiplier found.
    dyadic = Fraction(found.multiplier, 1 << found.shift)
    differing = sum(
        abs(first(m, k, low, high) - first(dyadic, k, low, high)) for k in range(1, 128)
    )
    # Steps that overlap would be counted twice; the union cannot be more.
    assert 0 < found.differing <= differing and found.reachable == high - low + 1


def first(m, k, low, high):
    """Least z within the range with round(z * m) >= k."""
    z = int((k - Fraction(1, 2)) / m) - 1
    while round(z * m) < k:
        z += 1
    return min(max(z, low), high + 1)


# What has no integer counterpart is named.

ACT = "Activations must be signed 8-bit integers, per tensor"


class Int4Act(Int8Act):
    bit_width = 4


def refused(model, text):
    def only_freeze(model):
        freeze(model.double().eval(), name="try", offset=0, gain=1, labels=[])

    for function in (settle, only_freeze):
        with pytest.raises(UnsupportedModel) as caught:
            function(model)
        assert str(caught.value) == text


@pytest.mark.parametrize(
    "make, text",
    [
        (nn.ReLU, "Module 2: ReLU is not supported; QuantLinear, QuantReLU and QuantIdentity are"),
        (
            lambda: nn.BatchNorm1d(5),
            "Module 2: BatchNorm1d is not supported; QuantLinear, QuantReLU and QuantIdentity are",
        ),
        (
            lambda: nn.Sequential(nn.ReLU()),
            "Module 2: Sequential is not supported; QuantLinear, QuantReLU and QuantIdentity are",
        ),
        (
            lambda: nn.Linear(5, 5),
            "Module 2: Linear is not supported; QuantLinear, QuantReLU and QuantIdentity are",
        ),
        (
            lambda: qnn.QuantLinear(5, 5, bias=True),
            "Module 2: weight_quant must be Int4GroupWeight",
        ),
        (
            lambda: qnn.QuantLinear(5, 5, bias=True, weight_quant=None),
            "Module 2: weight_quant must be Int4GroupWeight",
        ),
        (lambda: qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat), ACT),
        (lambda: qnn.QuantReLU(act_quant=Int4Act), ACT),
        (
            nn.Identity,
            "Module 3: a QuantReLU or QuantIdentity must stand between linear layers",
        ),
    ],
)
def test_module_unsupported(linear, activation, make, text):
    model = nn.Sequential(activation(), linear(6, 5), make(), linear(5, 3))
    refused(model, text)


def test_stack_unsupported(linear, activation):
    refused(nn.Sequential(), "Model must begin with a QuantIdentity, which quantises the input")
    refused(
        nn.Sequential(linear(6, 3)),
        "Model must begin with a QuantIdentity, which quantises the input",
    )
    refused(
        nn.Sequential(activation(RELU), linear(6, 3)),
        "Model must begin with a QuantIdentity, which quantises the input",
    )
    end = "Model must end with a QuantLinear, whose outputs are the logits"
    refused(nn.Sequential(activation()), end)
    refused(nn.Sequential(activation(), linear(6, 3), activation(RELU)), end)
    refused(
        nn.Sequential(activation(), activation(RELU), linear(6, 3)),
        "Module 1: an activation must follow a linear layer",
    )
    refused(
        nn.Sequential(activation(), linear(6, 3), activation(), activation(RELU), linear(3, 3)),
        "Module 3: an activation must follow a linear layer",
    )


@pytest.mark.parametrize(
    "quantiser",
    [
        {"input_quant": Int8ActPerTensorFloat},
        {"output_quant": Int8ActPerTensorFloat},
        {"bias_quant": Int8BiasPerTensorFloatInternalScaling},
    ],
    ids=lambda quantiser: next(iter(quantiser)),
)
def test_more_quantisers_in_a_layer(linear, activation, quantiser):
    layer = linear(6, 5, **quantiser)
    model = nn.Sequential(activation(), layer, activation(RELU), linear(5, 3))
    refused(model, f"Module 1: {next(iter(quantiser))} must be None")


def test_activation_without_quantiser(linear, activation):
    model = nn.Sequential(activation(), linear(6, 5), activation(RELU, None), linear(5, 3))
    refused(model, "Activations must be quantised: act_quant must not be None")


def test_bias_too_wide(linear, activation, calibrated):
    model = calibrated(activation(), linear(6, 3))
    with torch.no_grad():
        model[1].bias.fill_(1e6)
    text = r"^Layer fc1: bias must be below 2 \*\* 31 accumulator units, not \S+$"
    for function in settle, frozen:
        with pytest.raises(UnsupportedModel, match=text):
            function(model)


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_not_finite(linear, activation, calibrated, part, value):
    model = calibrated(activation(), linear(6, 3))
    with torch.no_grad():
        getattr(model[1], part).view(-1)[1] = value
    refused(model, "Module 1: weights and biases must be finite numbers")
