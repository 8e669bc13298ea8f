# SPDX-License-Identifier: Apache-2.0
import random
from fractions import Fraction

import pytest
import torch
from torch import nn

from carrysave.quant.formats import Fixed
from carrysave.quant.train.fixed_linear import (
    FixedLinear,
    FixedNetwork,
    apart,
    bias_integers,
    fixed_mlp,
)
from carrysave.quant.train.fixed_point import FixedPoint


def layer(weights, bias, **options):
    """A layer in float64 with these parameters; weights as they are."""
    options = {"weight_bits": 8, "activation_bits": 4, **options}
    made = FixedLinear(len(weights[0]), len(weights), **options).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weights))
        made.bias.copy_(torch.tensor(bias))
    return made


def test_by_hand():
    """Units: inputs 1/4, weights 1/64, so accumulators 1/256; outputs 1/2."""
    made = layer([[0.5, -0.25], [1.0, 0.015625]], [0.1, -0.013])
    source = Fixed(6, 4)
    made.weight_quantiser.f.data.fill_(6)
    made.weight_quantiser.initialised.fill_(True)
    made.output_quantiser.f.data.fill_(1)
    made.output_quantiser.initialised.fill_(True)
    x = torch.tensor([[3.25, -1.5], [-3.0, 0.75]], dtype=torch.float64)
    accumulators = made.accumulate(x, source)
    # 0.1 = 25.6/256 becomes 26/256, -0.013 = -3.328/256 becomes -3/256.
    assert (accumulators * 256).tolist() == [
        [3.25 * 128 + 1.5 * 64 + 26, 3.25 * 256 - 1.5 * 4 - 3],
        [-3.0 * 128 - 0.75 * 64 + 26, -3.0 * 256 + 0.75 * 4 - 3],
    ]
    # 2.1016 and 3.2148 to the nearest half, negative ones to 0.
    assert made(x, source).tolist() == [[2.0, 3.0], [0.0, 0.0]]
    assert made.lsb(source) == -8


@pytest.mark.parametrize("lsb", [-40, -9, 0, 5])
def test_bias_is_rounded_once(lsb, compared):
    rng, unit = random.Random(lsb), 2.0**lsb
    bias = [rng.uniform(-1000, 1000) * unit for _ in range(200)]
    bias += [(k + 0.5) * unit for k in range(-9, 10)]
    expected = [round(Fraction(b) / Fraction(2) ** lsb) for b in bias]
    assert bias_integers(torch.tensor(bias, dtype=torch.float64), lsb).tolist() == expected
    compared(len(bias))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = fixed_mlp([5, 7, 3], weight_bits=4, activation_bits=4)
    model(torch.randn(20, 5)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_gradient_passes_the_bias():
    made = layer([[0.5, -0.25]], [0.3], activation_bits=None, relu=False)
    made.accumulate(torch.ones(4, 2, dtype=torch.float64), Fixed(6, 4)).sum().backward()
    assert made.bias.grad.tolist() == [4]
    assert made.weight.grad.tolist() == [[4, 4]]


@pytest.mark.parametrize("relu, signed", [(True, False), (False, True)])
def test_outputs_after_a_relu_are_unsigned(relu, signed):
    made = FixedLinear(3, 2, weight_bits=5, activation_bits=7, relu=relu, rounding="TRN",
                       overflow="SAT_ZERO")
    made(torch.ones(1, 3), Fixed(8, 1))
    fmt = made.output_quantiser.format
    assert (fmt.width, fmt.signed, fmt.rounding, fmt.overflow) == (7, signed, "TRN", "SAT_ZERO")
    fmt = made.weight_quantiser.format
    assert (fmt.width, fmt.signed, fmt.rounding, fmt.overflow) == (5, True, "RND_CONV", "SAT")


def test_mlp():
    model = fixed_mlp([6, 5, 4, 3], weight_bits=4, activation_bits=7, khot=2, rounding="RND",
                      signed=False)
    assert model.quantiser.kind == Fixed(7, 0, False, "half_even", "SAT")
    assert [(m.in_features, m.out_features) for m in model.layers] == [(6, 5), (5, 4), (4, 3)]
    assert [m.relu for m in model.layers] == [True, True, False]
    assert [m.weight_quantiser.khot for m in model.layers] == [2, 2, 2]
    assert model.layers[1].output_quantiser.kind == Fixed(7, 0, False, "RND", "SAT")
    assert model.layers[2].output_quantiser is None
    trace = model.trace(torch.rand(9, 6))
    assert [tuple(value.shape) for value in trace] == [(9, n) for n in (6, 5, 5, 4, 4, 3, 3)]
    assert torch.equal(model(torch.rand(9, 6).fill_(0.5)), model(torch.full((9, 6), 0.5)))


def test_float_parameters_load():
    """Names are those of nn.Linear."""
    torch.manual_seed(0)
    floating, made = nn.Linear(4, 3), FixedLinear(4, 3, weight_bits=8, activation_bits=8)
    report = made.load_state_dict(floating.state_dict(), strict=False)
    assert not report.unexpected_keys and torch.equal(made.weight, floating.weight)


def test_binary_points_apart():
    model = fixed_mlp([6, 5, 3], weight_bits=4, activation_bits=4)
    others, points = apart(model, learning_rate=0.25)
    assert set(others) == {"params"}
    assert (points["lr"], points["weight_decay"]) == (0.25, 0)
    assert [id(p) for p in points["params"]] == [
        id(m.f) for m in model.modules() if isinstance(m, FixedPoint)
    ]
    assert len(points["params"]) == 4 and len(others["params"]) == 4
    assert {id(p) for p in model.parameters()} == {
        id(p) for group in (others, points) for p in group["params"]
    }


def test_only_the_last_may_lack_a_cast():
    layers = [FixedLinear(4, 4, weight_bits=4, activation_bits=bits) for bits in (4, None, 4)]
    with pytest.raises(ValueError) as caught:
        FixedNetwork(FixedPoint(4), layers)
    assert str(caught.value) == "Layer 2: activation_bits must not be None but at the end"
