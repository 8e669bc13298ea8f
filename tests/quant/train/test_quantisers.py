# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
import torch

from carrysave.quant.formats import Group, Int
from carrysave.quant.train.quantisers import GroupScaled


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
