# SPDX-License-Identifier: Apache-2.0
import copy
from fractions import Fraction
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from torch import nn

from carrysave.quant.formats import Codebook, get
from carrysave.quant.train.quantisers import activation_quantiser, codes, weight_quantiser
from carrysave.quant.train.scaling import statistic

KEY = "act_quant.fused_activation_quant_proxy.tensor_quant.scaling"


def linear(name, **options) -> Any:
    torch.manual_seed(0)
    return qnn.QuantLinear(20, 6, weight_quant=weight_quantiser(name, **options)).double()


def identity(name, **options) -> Any:
    return qnn.QuantIdentity(act_quant=activation_quantiser(name, **options)).double()


def scaling(module) -> Any:
    quantiser = getattr(module, "weight_quant", None)
    if quantiser is None:
        quantiser = module.act_quant.fused_activation_quant_proxy
    return quantiser.tensor_quant.scaling


def batches(count, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 20, generator=generator, dtype=torch.float64) for _ in range(count)]


# Rules.


@pytest.mark.parametrize("name", ["int4", "e4m3", "nf4", "uint8", "fp32", "abfloat_e2m1b2"])
def test_power_of_two(name, compared):
    """The least power of two under which nothing exceeds the greatest value."""
    fmt = get(name)
    exact = [Fraction(fmt.max) * Fraction(2) ** e for e in (-300, -60, -1, 0, 1, 10, 100)]
    near = [f(float(x)) for x in exact for f in (lambda x: np.nextafter(x, 0), float,
                                                 lambda x: np.nextafter(x, np.inf))]
    near += np.random.default_rng(0).lognormal(sigma=20, size=200).tolist()
    for amax in near:
        x = np.array([0, -amax, amax / 3])
        scale = Fraction(float(statistic(fmt, x, rule="power_of_two", channel=False)))
        assert (scale.numerator == 1 or scale.denominator == 1) and scale.numerator > 0
        assert (scale.numerator & (scale.numerator - 1), scale.denominator & (scale.denominator - 1)
                ) == (0, 0)
        assert scale * Fraction(fmt.max) / 2 < Fraction(amax) <= scale * Fraction(fmt.max)
    compared(len(near))


def test_statistics_of_rows():
    x, fmt = np.array([[1.0, -7.0], [0, 0], [3.5, 0]]), get("int4")
    for rule, rows, one in (("max", [1, 0, 0.5], 1), ("power_of_two", [1, 0, 0.5], 1)):
        assert statistic(fmt, x, rule=rule, channel=True).tolist() == [[r] for r in rows]
        assert statistic(fmt, x, rule=rule, channel=False).tolist() == one
    tiny = statistic(get("fp32"), np.array([1e-300]), rule="max", channel=False)
    assert tiny == 2.0**-1022
    assert statistic(get("fp32"), np.array([1e-300]), rule="power_of_two", channel=False) == tiny


@pytest.mark.parametrize("channel", [False, True])
def test_search(channel):
    pair, x = get("olive4"), torch.cat(batches(1)).numpy()
    found = statistic(pair, x, rule="search", channel=channel)
    assert np.array_equal(found, pair.scale(x, axis="channel" if channel else None))
    assert found.shape == ((8, 1) if channel else ())
    x[2] = 0
    assert not statistic(pair, x, rule="search", channel=True)[2]


# Weights.


@pytest.mark.parametrize("name", ["int4", "olive4"])
@pytest.mark.parametrize("scale", ["max", "power_of_two"])
def test_scale_follows_the_weight(name, scale):
    layer = linear(name, scale=scale)
    before = layer.weight_quant.scale()
    with torch.no_grad():
        layer.weight.mul_(4)
    assert torch.equal(layer.weight_quant.scale(), 4 * before)
    assert not any("scaling" in key for key in layer.state_dict())


@pytest.mark.parametrize("per, shape", [("channel", (6, 1)), ("tensor", ())])
@pytest.mark.parametrize("name, scale", [("int4", "learned"), ("olive4", "search"),
                                         ("olive4", "learned")])
def test_first_weight_gives_the_scale(name, scale, per, shape):
    fmt, layer = get(name), linear(name, scale=scale, per=per)
    parameter = scaling(layer).value
    assert isinstance(parameter, nn.Parameter) == (scale == "learned")
    assert parameter.shape == shape and parameter.isnan().all()
    with torch.no_grad():
        layer.weight.mul_(4)  # what is loaded before the first use counts
    rule = "search" if name == "olive4" else "max"
    expected = statistic(fmt, layer.weight.detach().numpy(), rule=rule, channel=per == "channel")
    for _ in range(2):
        assert np.array_equal(layer.weight_quant.scale().detach(), expected)
        assert np.array_equal(codes(layer).scale, expected)
        with torch.no_grad():
            layer.weight.mul_(2)
    assert scaling(layer).value is parameter
    layer.weight_quant.init_tensor_quant()
    assert scaling(layer).value.isnan().all()


def test_zero_weights():
    for scale in ("max", "power_of_two", "learned", "search"):
        layer = linear("olive4", scale=scale)
        with torch.no_grad():
            layer.weight[2] = 0
        value, found = layer.quant_weight(), layer.weight_quant.scale()
        assert not value[2].any() and found[2] == 1 and (found[3] != 1)


# Activations.


@pytest.mark.parametrize("scale", ["max", "power_of_two", "learned"])
def test_collected_in_training(scale, compared):
    fmt, activation = get("e4m3"), identity("e4m3", scale=scale, collect_stats_steps=3)
    rule, seen = "power_of_two" if scale == "power_of_two" else "max", []
    for number, x in enumerate(batches(5)):
        x = x * (number + 1)
        seen.append(float(statistic(fmt, x.numpy(), rule=rule, channel=False)))
        value = activation(x)
        expected = max(seen[:3])
        assert activation.act_quant.scale().item() == expected
        assert np.array_equal(
            value.detach(), fmt.values(fmt.encode(x.numpy() / expected)) * expected
        )
        assert value.requires_grad == (scale == "learned" and number >= 2)
        compared(x.numel())
    assert len(set(seen)) > 1
    # Nothing is collected in evaluation, nor by looking.
    activation = identity("e4m3", scale=scale)
    activation(batches(1)[0])
    before = copy.deepcopy(activation.state_dict())
    codes(activation, batches(1)[0] * 9)
    activation.act_quant.scale()
    activation.eval()(batches(1)[0] * 9)
    assert str(activation.state_dict()) == str(before)


def test_zeros_tell_nothing():
    activation = identity("int4")
    activation(torch.zeros(3, 20))
    assert activation.act_quant.scale() == 1
    activation(torch.full((3, 20), 0.07))
    assert activation.act_quant.scale().item() == np.float64(np.float32(0.07)) / 7
    activation(torch.zeros(0, 20))
    assert int(scaling(activation).batches) == 2


def test_pairs_are_searched():
    pair, activation = get("olive4"), identity("olive4", collect_stats_steps=2)
    expected = []
    for x in batches(3):
        activation(x)
        expected.append(float(pair.scale(x.numpy())))
    assert activation.act_quant.scale().item() == max(expected[:2])


def test_not_calibrated():
    activation = identity("int8").eval()
    for call in (lambda: activation(torch.ones(3)), activation.act_quant.scale,
                 lambda: codes(activation, torch.ones(3))):
        with pytest.raises(RuntimeError) as caught:
            call()
        assert str(caught.value) == (
            "Activations must be calibrated first: run brevitas.graph.calibrate's "
            "calibration_mode, or a batch in training mode"
        )
    assert not activation.training


@pytest.mark.parametrize("name, scale", [("int8", "max"), ("int8", "learned"), ("nvfp4", None),
                                         ("olive4", None), ("mxfp4", None)])
def test_calibration(name, scale, calibration_mode, compared):
    """Activations pass unchanged, every batch counts, and the scale is fixed afterwards."""
    torch.manual_seed(0)
    fmt = get(name)
    model: Any = nn.Sequential(
        identity(name, scale=scale, collect_stats_steps=2),
        qnn.QuantLinear(20, 20, weight_quant=weight_quantiser(name, scale=scale)).double(),
        identity(name, scale=scale),
    ).eval()
    seen = []
    with torch.no_grad(), calibration_mode(model):
        for x in batches(4):
            hidden = nn.functional.linear(x, model[1].weight, model[1].bias)
            assert torch.equal(model(x), hidden)
            seen.append(hidden.numpy())
    assert not any(module.training for module in model.modules())
    if name != "mxfp4":
        rule = "search" if name == "olive4" else "max"
        expected = max(float(statistic(fmt, x, rule=rule, channel=False)) for x in seen)
        assert model[2].act_quant.scale().item() == expected
    state = copy.deepcopy(model.state_dict())
    with torch.no_grad(), calibration_mode(model.eval()):  # once is enough
        model(9 * x)
    model.train()(9 * x)
    for key, before in state.items():
        assert torch.equal(model.state_dict()[key], before) or "weight_quant" in key
        compared(before.numel())


@pytest.mark.parametrize("scale", ["max", "learned"])
def test_calibration_after_training(scale, calibration_mode):
    """What was collected, or learned since, is kept."""
    activation = identity("int8", scale=scale, collect_stats_steps=2)
    for x in batches(2):
        activation(x)
    before = activation.act_quant.scale().clone()
    with torch.no_grad(), calibration_mode(activation):
        activation(9 * x)
    assert torch.equal(activation.act_quant.scale(), before)


def test_calibration_without_data(calibration_mode):
    activation = identity("int8")
    with calibration_mode(activation):
        pass
    activation.train()(torch.ones(3, dtype=torch.float64))
    assert activation.act_quant.scale().item() == 1 / 127


# State dictionaries.


def model_of(name, scale) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=activation_quantiser(name, scale=scale)),
        qnn.QuantConv1d(4, 6, 3, weight_quant=weight_quantiser(name, scale=scale)),
        qnn.QuantReLU(act_quant=activation_quantiser(name, scale=scale)),
    )


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("name, scale", [("int4", "max"), ("e4m3", "learned"), ("olive4", "search"),
                                         ("nvfp4", None), ("int8", "power_of_two"), ("q8.3", None)])
def test_state_dict(name, scale, assign, compared):
    model, x = model_of(name, scale).double(), torch.cat(batches(1)).reshape(2, 4, 20)
    for _ in range(3):
        model(x)
    for _ in range(31) if scale == "learned" else ():
        model[0](x)
    if scale == "learned":
        with torch.no_grad():
            scaling(model[0]).value *= 0.9
            scaling(model[1]).value *= 1.1
    model.eval()
    other = model_of(name, scale)
    other = other if assign else other.double()
    with torch.no_grad():
        other[1].weight.zero_()  # only what is loaded counts
    other.load_state_dict(model.state_dict(), assign=assign)
    other.eval()
    assert torch.equal(model(x), other(x)) and model(x).dtype == torch.float64
    assert list(model.state_dict()) == list(other.state_dict())
    for key, before in model.state_dict().items():
        after = other.state_dict()[key]
        assert torch.equal(before, after) and before.dtype == after.dtype
        compared(before.numel())
    clone = copy.deepcopy(model)
    assert torch.equal(clone(x), model(x))
    # Collection goes on where it was.
    for each in (model, other):
        each.train()(x)
    assert str(model.state_dict()) == str(other.state_dict())
    scales = [m for m in clone.modules() if hasattr(m, "value")]
    assert all(m.value is not n.value for m in scales for n in model.modules() if type(n) is type(m)
               and hasattr(n, "value"))


def test_scales_keep_float64():
    """Also in a float32 model: a scale is never rounded twice."""
    model = model_of("e4m3", "learned")
    model(torch.cat(batches(1)).reshape(2, 4, 20).float())
    assert {scaling(module).value.dtype for module in model} == {torch.float64}
    before = [scaling(module).value.detach().clone() for module in model]
    model.double()
    assert all(map(torch.equal, before, (scaling(module).value for module in model)))


def test_float_weights_begin_anew():
    """Loading the weights of a float model into one that was used initialises scales again."""
    layer = linear("int4", scale="learned", per="tensor")
    layer.quant_weight()
    floating = nn.Linear(20, 6).double()
    layer.load_state_dict(floating.state_dict(), strict=False)
    amax = float(floating.weight.detach().abs().max())
    assert layer.weight_quant.scale().item() == amax / 7


def test_optimiser_moves_a_learned_scale():
    torch.manual_seed(0)
    model = model_of("int4", "learned")
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    x = torch.randn(2, 4, 20)
    for _ in range(35):
        optimiser.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimiser.step()
    first = [scaling(module).value.detach().clone() for module in model]
    optimiser.zero_grad()
    (model(x) - 1).square().mean().backward()
    optimiser.step()
    for before, module in zip(first, model, strict=True):
        assert scaling(module).value.isfinite().all()
        assert not torch.equal(before, scaling(module).value)


def test_asymmetric_codebook():
    layer: Any = qnn.QuantLinear(4, 1, weight_quant=weight_quantiser(Codebook((-2.0, 0.0, 0.5))))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, -0.2, 0.2, 1.0]]))
    assert layer.weight_quant.scale().item() == 2
    assert layer.quant_weight().tolist() == [[0, 0, 0, 1]]
