# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from itertools import pairwise

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    Uint8ActPerTensorFloat,
)
from torch import nn

from carrysave.quant.golden.requantise import Requantiser
from carrysave.quant.network import load, save
from carrysave.quant.train.freeze import (
    UnsupportedModel,
    freeze,
    freeze_module,
    settle,
    trained_trace,
)
from carrysave.quant.train.quantisers import Int4GroupWeight, Int8Act

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
    names = ["input", *(layer.name for layer in network.layers)]
    assert list(values) == names
    for name, integers, unit in zip(names, trace.activations, network.units, strict=True):
        assert values[name].dtype == torch.float64
        assert torch.equal(values[name], integers.double() * unit)
    return sum(value.numel() for value in values.values())


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
    assert (values["input"] / scale).tolist() == [[0, 2, 2, 0, 0, 3]]


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


# Modules of every kind.

GROUPS = {"weight_quant": Int4GroupWeight, "weight_group_size": 16}
TENSOR = {"weight_quant": Int8WeightPerTensorFloat}
CHANNEL = {"weight_quant": Int8WeightPerChannelFloat}
POWERS = {"weight_quant": Int8WeightPerTensorFixedPoint}


Short = Int8Act.let(collect_stats_steps=3)


def act(kind=RELU, act_quant=Short):
    return kind(act_quant=act_quant)


class Plain(nn.Sequential):
    """A convolution whose pool and ReLU come before the quantiser, and a flatten."""

    def __init__(self, quant):
        groups = {"weight_group_channels": 6} if quant is GROUPS else {}
        super().__init__(
            act(IDENTITY),
            qnn.QuantConv2d(2, 6, 3, stride=2, padding=1, bias=True, **quant),
            nn.BatchNorm2d(6),
            nn.MaxPool2d(2),
            nn.ReLU(),
            act(IDENTITY),
            nn.Dropout2d(),
            nn.Flatten(),
            qnn.QuantLinear(6 * 3 * 2, 5, bias=True, **(TENSOR if quant is CHANNEL else quant),
                            **groups),
        )


class Depthwise(nn.Sequential):
    """Depthwise and pointwise, in groups, 'same', and an average without a linear layer."""

    def __init__(self, quant):
        super().__init__(
            act(IDENTITY),
            qnn.QuantConv2d(2, 4, (3, 2), padding="same", bias=True, **quant),
            act(act_quant=Short.let(bit_width=4)),
            qnn.QuantConv2d(4, 4, 3, groups=4, bias=False, **quant),
            nn.BatchNorm2d(4, affine=False),
            act(),
            qnn.QuantConv2d(4, 6, 1, groups=2, bias=True, **quant),
            act(act_quant=Uint8ActPerTensorFloat.let(**{"bit_width": 7})),
            nn.AvgPool2d(3, stride=2, padding=1),
            act(IDENTITY, Short.let(narrow_range=True)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


class Fixed(nn.Sequential):
    """Scales that are powers of two, or given; both stay."""

    def __init__(self, quant):
        super().__init__(
            act(IDENTITY, Int8ActPerTensorFixedPoint),
            qnn.QuantConv2d(2, 4, 3, bias=False, **quant),
            act(act_quant=Int8ActPerTensorFixedPoint),
            qnn.QuantConv2d(4, 4, 3, bias=False, **quant),
            qnn.QuantHardTanh(min_val=-1.0, max_val=1.0),
            nn.AdaptiveAvgPool2d(1),
            act(IDENTITY),
            nn.Flatten(),
            qnn.QuantLinear(4, 3, bias=True, **(TENSOR if quant is CHANNEL else quant)),
        )


class Block(nn.Module):
    """A residual block: ``again`` quantises the sum by the quantiser of the branches."""

    def __init__(self, quant, again):
        super().__init__()
        self.begin = act(IDENTITY)
        self.stem = qnn.QuantConv2d(2, 4, 1, bias=True, **quant)
        self.norm, self.act = nn.BatchNorm2d(4), act()
        self.conv1 = qnn.QuantConv2d(4, 4, 3, padding=1, bias=False, **quant)
        self.norm1, self.act1 = nn.BatchNorm2d(4), act()
        self.conv2 = qnn.QuantConv2d(4, 4, 3, padding=1, bias=False, **quant)
        self.norm2, self.branch = nn.BatchNorm2d(4), act(IDENTITY)
        self.last = self.branch if again else act()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.mean, self.short = nn.AdaptiveAvgPool2d((1, 1)), act(IDENTITY)
        self.fc = qnn.QuantLinear(4, 3, bias=True, **(TENSOR if quant is CHANNEL else quant))

    def forward(self, x):
        x = self.act(self.norm(self.stem(self.begin(x))))
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.branch(self.norm2(self.conv2(y)))
        x = torch.relu(self.last(y + self.branch(x)))
        x = self.short(self.mean(self.pool(x)))
        return self.fc(x.view(x.size(0), -1))


class Series(nn.Module):
    """In one dimension; one result is read by three."""

    def __init__(self, quant):
        super().__init__()
        self.begin = act(IDENTITY)
        self.conv = qnn.QuantConv1d(2, 4, 5, stride=2, padding=2, bias=True, **quant)
        self.act, self.same, self.relu = act(IDENTITY), act(IDENTITY), nn.ReLU()
        self.pool, self.mean = nn.MaxPool1d(2), nn.AvgPool1d(2)
        self.final = act()
        self.fc = qnn.QuantLinear(4, 3, bias=True, **(TENSOR if quant is CHANNEL else quant))
        self.all = nn.AdaptiveAvgPool1d(1)

    def forward(self, x):
        x = self.act(self.conv(self.begin(x)))
        x = self.same(self.pool(x)) + self.same(self.mean(x))
        x = self.final(x)
        x = self.final(self.relu(x) + x)
        return self.fc(torch.flatten(self.same(self.all(x)), 1))


def calibrate(module, shape):
    torch.manual_seed(0)
    module.train()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d) and part.affine:
                part.weight.uniform_(-1, 2)
                part.bias.uniform_(-0.5, 0.5)
        for _ in range(5):
            module(torch.randn(16, *shape))
    return module.eval()


def compare_module(network, settled, shape, *, exact, count=60):
    """As `compare`, by codes where the scales of weights are no short numbers."""
    torch.manual_seed(9)
    x = torch.cat([torch.randn(count, *shape), 6 * torch.randn(count, *shape)]).double()
    trace = network.run(network.encode(x.movedim(1, -1).flatten(1).numpy()))
    values, _ = trained_trace(settled, x, shape)
    compared = 0
    places = zip(network.layers, trace.activations[1:], network.units[1:], strict=True)
    assert torch.equal(values["input"], trace.activations[0].double() * network.units[0])
    for layer, integers, unit in places:
        if layer.name not in values:
            continue
        value = values[layer.name]
        assert value.shape == integers.shape and len(integers.unique()) > 5
        if exact and layer.kind != "average_pool" and layer.requantiser:
            assert torch.equal(value, integers.double() * unit)
        assert torch.equal((value / unit).round(), integers.double())
        compared += value.numel()
    return compared


MODULES = {
    "plain": (Plain, (2, 12, 9)),
    "depthwise": (Depthwise, (2, 9, 8)),
    "fixed": (Fixed, (2, 7, 7)),
    "block": (lambda quant: Block(quant, False), (2, 8, 8)),
    "block again": (lambda quant: Block(quant, True), (2, 8, 8)),
    "series": (Series, (2, 33)),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("quant", [GROUPS, TENSOR, CHANNEL, POWERS], ids="gtcp")
@pytest.mark.parametrize("make, shape", MODULES.values(), ids=MODULES)
def test_module_and_network_are_equal(make, shape, quant, tmp_path, compared):
    module = calibrate(make(quant), shape)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network, settled = freeze_module(module, shape)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    compared(compare_module(network, settled, shape, exact=quant in (GROUPS, POWERS)))
    assert all(layer.requantiser.differing == 0 for layer in network.layers if layer.requantiser)
    save(network, tmp_path)
    loaded = load(tmp_path)
    assert loaded.identity == network.identity
    for layer, other in zip(loaded.layers, network.layers, strict=True):
        assert layer.requantiser == other.requantiser
    again, _ = freeze_module(settled, shape)
    assert again.identity == network.identity


def test_quant_tensors_between_modules(compared):
    """Brevitas' own tensors may pass from module to module."""
    quant = {"return_quant_tensor": True}
    module = nn.Sequential(
        IDENTITY(act_quant=Short, **quant),
        qnn.QuantConv1d(2, 4, 3, bias=True, **TENSOR, **quant),
        RELU(act_quant=Short, **quant),
        nn.MaxPool1d(2),
        nn.Flatten(),
        qnn.QuantLinear(28, 3, bias=True, **TENSOR),
    )
    network, settled = freeze_module(calibrate(module, (2, 16)), (2, 16))
    compared(compare_module(network, settled, (2, 16), exact=False))


def test_branch_that_saturates(compared):
    """It keeps a rescaling of its own."""
    module = calibrate(Block(GROUPS, True), (2, 8, 8))
    value = module.branch.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl.value
    value.data *= 0.2
    network, settled = freeze_module(module, (2, 8, 8))
    (add,) = [layer for layer in network.layers if layer.kind == "add"]
    assert [layer.kind for layer in network.layers[:5]] == ["conv"] * 3 + ["rescale", "add"]
    assert add.sources == ("conv2", network.layers[3].name)
    assert add.branches == (Requantiser(1, 0, 0, 256),) * 2
    compared(compare_module(network, settled, (2, 8, 8), exact=True))


def test_module_kinds():
    """What becomes of each module."""
    def kinds(make, shape):
        network, _ = freeze_module(calibrate(make(GROUPS), shape), shape)
        return [(layer.name, layer.kind, layer.sources) for layer in network.layers]

    assert kinds(*MODULES["plain"]) == [
        ("conv1", "conv", ()), ("pool1", "max_pool", ()), ("flatten1", "flatten", ()),
        ("fc1", "linear", ()),
    ]
    assert kinds(*MODULES["block"]) == [
        ("stem", "conv", ()), ("conv1", "conv", ()), ("conv2", "conv", ()),
        ("add", "add", ("conv2", "stem")), ("pool", "max_pool", ()), ("mean", "average_pool", ()),
        ("view", "flatten", ()), ("fc", "linear", ()),
    ]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_bounds():
    """Bits and signs of quantisers are the bounds of requantisation."""
    make, shape = MODULES["depthwise"]
    network, _ = freeze_module(calibrate(make(GROUPS), shape), shape)
    assert [layer.bounds for layer in network.layers if layer.requantiser] == [
        (0, 7), (0, 127), (0, 127), (-127, 127)
    ]
    assert network.layers[0].relu and network.layers[0].padding == ((1, 1), (0, 1))


def test_sum_of_branches_is_only_clamped():
    """Where the sum has the branches' scale: HAWQ-V3's addition."""
    make, shape = MODULES["block again"]
    network, _ = freeze_module(calibrate(make(GROUPS), shape), shape)
    (add,) = [layer for layer in network.layers if layer.kind == "add"]
    assert (add.requantiser.multiplier, add.requantiser.shift, add.bounds) == (1, 0, (0, 127))
    assert add.branches[0] == Requantiser(1, 0, 0, 256) and add.branches[1].multiplier > 1


def test_group_channels_missing():
    module = Plain(GROUPS)
    module[8] = qnn.QuantLinear(6 * 3 * 2, 5, bias=True, **GROUPS)
    module = calibrate(module, (2, 12, 9))
    text = "Node 8: weight_group_channels must be 6, the channels that were flattened, not None"
    refused(module, text, (2, 12, 9))


def test_normalisation_not_merged():
    module = calibrate(Plain(TENSOR), (2, 12, 9)).double()
    with pytest.raises(UnsupportedModel) as caught:
        freeze(module, name="try", offset=0.0, gain=1.0, input_shape=(2, 12, 9))
    text = "Node 2: batch normalisation must be merged; settle does it"
    assert str(caught.value) == text


def test_branches_of_two_scales():
    class Two(Series):
        def forward(self, x):
            x = self.act(self.conv(self.begin(x)))
            x = self.final(self.same(self.pool(x)) + self.pool(x))
            return self.fc(torch.flatten(self.same(self.all(x)), 1))

    module = calibrate(Two(GROUPS), (2, 33))
    text = (
        "Node add: both of + must have one scale: put one and the same QuantIdentity behind both"
    )
    refused(module, text, (2, 33))


# What has no integer counterpart is named.

BITS = "Node 2: act_quant must give integers of at most 8 bits signed or 7 unsigned, with one scale"
WEIGHTS = "Node 3: weight_quant must be Int4GroupWeight, or integers of 2 to 8 bits of Brevitas"
BEHIND = "Node 3: its input must be quantised: put a QuantReLU or QuantIdentity behind 1"
BEGIN = "Model must begin with a QuantIdentity, which quantises the input"
END = "Model must end with a QuantLinear, whose outputs are the logits"


class Int8ActPerChannel(Int8ActPerTensorFloat):
    scaling_per_output_channel = True
    per_channel_broadcastable_shape = (1, 5)
    scaling_stats_permute_dims = (1, 0)


def refused(model, text, input_shape=None):
    def only_freeze(model, input_shape):
        options = {"offset": 0, "gain": 1, "labels": [], "input_shape": input_shape}
        freeze(model.double().eval(), name="try", **options)

    for function in (settle, only_freeze):
        with pytest.raises(UnsupportedModel) as caught:
            function(model, input_shape=input_shape)
        assert str(caught.value) == text


@pytest.mark.parametrize(
    "make, text",
    [
        (nn.ReLU, BEHIND),
        (nn.Identity, BEHIND),
        (nn.Sigmoid, "Node 2: Sigmoid is not supported; nearest: QuantReLU"),
        (lambda: nn.Sequential(nn.GELU()), "Node 2.0: GELU is not supported; nearest: QuantReLU"),
        (lambda: nn.Linear(5, 5), "Node 2: Linear is not supported; nearest: QuantLinear"),
        (lambda: qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat), BITS),
        (lambda: qnn.QuantIdentity(act_quant=Int8ActPerChannel), BITS),
        (lambda: qnn.QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat), BITS),
    ],
)
def test_module_unsupported(linear, activation, make, text):
    refused(nn.Sequential(activation(), linear(6, 5), make(), linear(5, 3)), text)


@pytest.mark.parametrize(
    "weight_quant, text",
    [
        (None, WEIGHTS),
        (Int8WeightPerTensorFloat.let(**{"bit_width": 9}), WEIGHTS),
        (
            ShiftedUint8WeightPerTensorFloat,
            "Node 3: weights must be signed, without zero points",
        ),
    ],
)
def test_weights_unsupported(linear, activation, weight_quant, text):
    layer = qnn.QuantLinear(5, 3, bias=True, weight_quant=weight_quant)
    refused(nn.Sequential(activation(), linear(6, 5), activation(RELU), layer), text)


def test_stack_unsupported(linear, activation):
    refused(nn.Sequential(linear(6, 3)), BEGIN)
    refused(nn.Sequential(activation()), END, (6,))
    refused(nn.Sequential(activation(), linear(6, 3), activation(RELU)), END)


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
    refused(model, f"Node 1: {next(iter(quantiser))} must be None")


def test_activation_without_quantiser(linear, activation):
    model = nn.Sequential(activation(), linear(6, 5), activation(RELU, None), linear(5, 3))
    refused(model, "Node 2: act_quant must not be None")


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
    refused(model, "Node 1: weights and biases must be finite numbers")
