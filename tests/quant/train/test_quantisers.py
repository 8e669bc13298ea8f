# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from torch import nn

from carrysave.quant.data import load
from carrysave.quant.formats import Group, Int, get, names
from carrysave.quant.train.freeze import UnsupportedModel, settle
from carrysave.quant.train.mlp import Recipe, accuracy, fit, float_mlp
from carrysave.quant.train.quantisers import (
    GroupScaled,
    activation_quantiser,
    codes,
    weight_quantiser,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small layers on several threads are slow where others use the cores too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check(layer, weight, group):
    """The layer's codes and scales are the format's; returns the number of weights."""
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
    encoded = group.encode(layer.weight.detach().numpy())
    scales, exponent = layer.weight_quant.tensor_quant.scales(layer.weight)
    quantised = layer.quant_weight()
    assert exponent == encoded.exponent
    assert scales.tolist() == encoded.scales.tolist()
    assert quantised.int().tolist() == Int(4).decode(encoded.codes).tolist()
    unit = 2.0**-exponent
    assert quantised.value.tolist() == (group.decode(encoded) * unit).tolist()
    return layer.weight.numel()


@pytest.mark.parametrize("size", [1, 4, 7, 16])
@pytest.mark.parametrize("inputs", [5, 16, 33])
def test_random_weights(linear, size, inputs, compared):
    generator = torch.Generator().manual_seed(10 * size + inputs)
    layer = linear(inputs, 6, size=size).double()
    for deviation in (1e-12, 0.02, 1.0, 300.0):
        weight = torch.randn(6, inputs, generator=generator, dtype=torch.float64) * deviation
        compared(check(layer, weight, Group(Int(4), size)))


def test_float32_weights_after_double(linear, compared):
    torch.manual_seed(0)
    layer = linear(20, 6, size=7).double()  # Its initial weights were float32.
    compared(check(layer, layer.weight.detach().clone(), Group(Int(4), 7)))


@pytest.mark.parametrize("x", [-5, 0, 14])
def test_midpoints(linear, x, compared):
    layer = linear(4, 1 + 27, size=4).double()
    halves = np.arange(-14, 15) / 2
    for scale in (1, 36, 37, 255):
        rows = [[7.0 * 255] * 4, *([7.0 * scale, *halves[i : i + 3] * scale] for i in range(27))]
        compared(check(layer, np.ldexp(np.array(rows), -x), Group(Int(4), 4)))


def test_zero_groups(linear, compared):
    layer = linear(6, 2, size=4).double()
    compared(check(layer, np.zeros((2, 6)), Group(Int(4), 4)))
    weight = [[0, 0, 0, 0, 0.3, -0.1], [0.2, 0, 0, 0.1, 0, 0]]
    compared(check(layer, np.array(weight), Group(Int(4), 4)))


@pytest.mark.parametrize("scale_bits", [1, 4, 12])
def test_scale_bits(linear, scale_bits, compared):
    torch.manual_seed(0)
    layer = linear(20, 6, size=4, weight_scale_bits=scale_bits).double()
    group = Group(Int(4), 4, scale_bits)
    assert layer.weight_quant.tensor_quant.group == group
    compared(check(layer, torch.randn(6, 20).double(), group))


def test_layer_multiplies_by_the_decoded_weights(linear, compared):
    torch.manual_seed(0)
    layer = linear(10, 5).double().eval()
    group = Group(Int(4), 4)
    encoded = group.encode(layer.weight.detach().numpy())
    x = torch.randint(-128, 128, (30, 10))
    with torch.no_grad():
        layer.bias.copy_(torch.round(layer.bias * 2**encoded.exponent) / 2**encoded.exponent)
        found = layer(x.double()) * 2.0**encoded.exponent
        bias = layer.bias * 2**encoded.exponent
    expected = x @ torch.from_numpy(group.decode(encoded)).T + bias.long()
    assert torch.equal(found, expected.double())
    compared(found.numel())


def test_gradient_passes_the_rounding(linear):
    layer = linear(6, 2).double()
    layer.quant_weight().value.sum().backward()
    # Clamped codes stop it; the scale of each group leaves none clamped but by its own rounding.
    clamped = (layer.weight.detach() / layer.quant_weight().scale.detach()).abs() > 7.5
    assert torch.equal(layer.weight.grad, (~clamped).double())


def test_kind_of_the_layer_is_kept(linear):
    for layer in (linear(6, 2), linear(6, 2).double()):
        assert layer.quant_weight().value.dtype == layer.weight.dtype
        assert isinstance(layer.weight_quant.tensor_quant, GroupScaled)
        assert not any("tensor_quant" in name for name in layer.state_dict())


def test_activation(activation, calibrated, compared):
    torch.manual_seed(0)
    model = calibrated(activation()).double()
    scale = float(model[0].act_quant.scale().detach())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=generator, dtype=torch.float64) * 100 * scale
    x[:20] = (torch.arange(120).reshape(20, 6) - 60.5) * scale
    expected = [min(max(round(Fraction(value / scale)), -128), 127) for value in x.ravel().tolist()]
    with torch.no_grad():
        assert (model(x).ravel() / scale).tolist() == expected
    compared(x.numel())


# Training and calibration in any format.

RECIPE = Recipe(batch=64, noise=0.0, label_smoothing=0.0)
WEIGHT_NAMES = [name for name in names() if getattr(get(name), "min", -1) < 0]


def of_activations(name):
    """Groups are for weights; their activations are integers."""
    return "int8" if isinstance(get(name), Group) else name


@pytest.fixture(scope="module")
def digits():
    """Float32 inputs from 0 to 1 and labels, for training and for tests."""
    data = load("digits")
    return [torch.from_numpy(a) for a in (
        data.x_train.astype(np.float32) / 16, data.y_train,
        data.x_test.astype(np.float32) / 16, data.y_test,
    )]


@pytest.fixture(scope="module")
def floating(digits):
    """A trained 64-32-10 network."""
    torch.manual_seed(0)
    model = float_mlp([64, 32, 10])
    fit(model, *digits[:2], recipe=RECIPE, epochs=10, learning_rate=1e-2)
    assert accuracy(model(digits[2]), digits[3]) > 0.94
    return model


def mlp(name, scale=None) -> Any:
    """The same network with one format for weights and activations."""

    def activation(kind):
        quantiser = activation_quantiser(of_activations(name), scale=scale, collect_stats_steps=4)
        return kind(act_quant=quantiser)

    torch.manual_seed(0)
    weights = weight_quantiser(name, scale=scale)
    return nn.Sequential(
        activation(qnn.QuantIdentity),
        qnn.QuantLinear(64, 32, bias=True, weight_quant=weights),
        activation(qnn.QuantReLU),
        qnn.QuantLinear(32, 10, bias=True, weight_quant=weights),
    )


@pytest.mark.parametrize(
    "name, scale, least",
    [
        ("e4m3", None, 0.85),
        ("e4m3", "learned", 0.85),
        ("mxfp4", None, 0.85),
        ("nvfp4", None, 0.85),
        ("mxint8", None, 0.85),
        ("bfp4", None, 0.85),
        ("olive4", None, 0.75),
        ("olive4", "learned", 0.75),
        ("int4", None, 0.85),
        ("int4", "power_of_two", 0.85),
        ("int4", "learned", 0.85),
        ("int4g16", None, 0.85),
        ("nf4", None, 0.85),
        ("flint4", None, 0.85),
        ("q8.3", None, 0.75),
    ],
)
def test_training(digits, name, scale, least):
    x, y, x_test, y_test = digits
    model = mlp(name, scale)

    @torch.no_grad()
    def loss():
        return float(nn.functional.cross_entropy(model(x), y))

    model(x[:64])  # scales begin
    losses = [loss()]
    for _ in range(2):
        fit(model, x, y, recipe=RECIPE, epochs=2, learning_rate=1e-2)
        losses.append(loss())
    assert losses[0] > 2 > losses[1] > losses[2]
    with torch.no_grad():
        assert accuracy(model(x_test), y_test) > least
        assert not any(value.isnan().any() for value in model.state_dict().values())


@pytest.mark.parametrize("name", WEIGHT_NAMES)
def test_calibration_of_a_trained_network(digits, floating, calibration_mode, name):
    x, _, x_test, y_test = digits
    model = mlp(name)
    for number in (1, 3):
        model[number].load_state_dict(floating[number - 1].state_dict(), strict=False)
    model.eval()
    with torch.no_grad(), calibration_mode(model):
        for batch in x[:600].split(200):
            model(batch)
    with torch.no_grad():
        found = accuracy(model(x_test), y_test)
    wide = get(name).bits >= 6 and not name.startswith(("q", "abfloat"))
    assert found > (0.92 if wide else 0.8 if get(name).bits > 2 else 0.2)


@pytest.mark.parametrize("name", ["e4m3", "int4", "flint4", "q8.3", "e2m1", "int8", "e3m2"])
def test_trained_model_and_its_codes_are_equal(digits, name, compared):
    """In float64, with scales that are powers of two, integers from the codes give the logits."""
    fmt, model = get(name), mlp(name, None if name == "q8.3" else "power_of_two")
    fit(model, *digits[:2], recipe=RECIPE, epochs=1, learning_rate=1e-2)
    model.double().eval()
    x = digits[2].double()
    with torch.no_grad():
        for layer in (model[1], model[3]):
            layer.bias.copy_(torch.round(layer.bias * 2**20) / 2**20)
        for quantiser, layer in ((model[0], model[1]), (model[2], model[3])):
            activations, weights = codes(quantiser, x), codes(layer)
            sums = fmt.decode(activations.codes).astype(np.int64) @ fmt.decode(weights.codes).T
            unit = activations.scale * weights.scale.T * 4.0**fmt.lsb
            x = layer(quantiser(x))
            assert np.array_equal(x.numpy(), sums * unit + layer.bias.numpy())
            compared(x.numel())


@pytest.mark.parametrize("name", WEIGHT_NAMES)
def test_convolutions(name, compared):
    """Forward and backward, blocks along channels; what comes out are the decoded codes' sums."""
    torch.manual_seed(0)
    fmt, options = get(name), {"weight_quant": weight_quantiser(name), "bias": False}
    first: Any = qnn.QuantConv2d(3, 8, 3, stride=2, groups=1, **options)
    second: Any = qnn.QuantConv2d(8, 8, (2, 3), padding=1, groups=2, **options)
    act_quant = activation_quantiser(of_activations(name), axis=1)
    model = nn.Sequential(first, qnn.QuantReLU(act_quant=act_quant), second, nn.Flatten()).double()
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    y = model(x)
    y.square().mean().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    for layer in (first, second):
        assert layer.weight.grad.isfinite().all()
        found = codes(layer)
        rows = torch.from_numpy(fmt.values(found.codes) * found.scale)
        weight = rows.reshape(8, *layer.weight.shape[2:], -1).permute(0, 3, 1, 2)
        assert torch.equal(weight, layer.quant_weight())
        compared(weight.numel())


def test_quantisers_inside_a_layer(compared):
    """As ``input_quant`` and ``output_quant``, and shared between layers."""
    torch.manual_seed(0)
    acts = {"input_quant": activation_quantiser("mxfp4"),
            "output_quant": activation_quantiser("e4m3", scale=0.5)}
    one: Any = qnn.QuantLinear(40, 6, weight_quant=weight_quantiser("nvfp4"), **acts)
    two: Any = qnn.QuantLinear(40, 6, weight_quant=one.weight_quant)
    x, (mxfp4, e4m3) = torch.randn(5, 40), (get("mxfp4"), get("e4m3"))
    found = one(x)
    inputs = torch.from_numpy(mxfp4.values(mxfp4.encode(x.numpy()))).float()
    sums = nn.functional.linear(inputs, one.quant_weight(), one.bias)
    assert np.array_equal(
        found.detach(), e4m3.values(e4m3.encode(sums.detach().double().numpy() / 0.5)) * 0.5
    )
    assert two.weight_quant is one.weight_quant
    nvfp4 = get("nvfp4")
    assert np.array_equal(
        two.quant_weight().detach(),
        nvfp4.values(nvfp4.encode(two.weight.detach().numpy())).astype(np.float32),
    )
    compared(found.numel())


@pytest.mark.parametrize("name", ["int8", "mxfp4"])
def test_freeze_refuses(linear, name):
    act_quant = activation_quantiser(name)
    model = nn.Sequential(qnn.QuantIdentity(act_quant=act_quant), linear(6, 3))
    model(torch.ones(2, 6))
    with pytest.raises(UnsupportedModel) as caught:
        settle(model)
    assert str(caught.value) == "Node 0: act_quant must be Int8Act or of Brevitas"
    model[1] = qnn.QuantLinear(6, 3, weight_quant=weight_quantiser("int4g4"))
    with pytest.raises(UnsupportedModel) as caught:
        settle(model)
    assert str(caught.value) == (
        "Node 1: weight_quant must be Int4GroupWeight, or integers of 2 to 8 bits of Brevitas"
    )
