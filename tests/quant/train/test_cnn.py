# SPDX-License-Identifier: Apache-2.0
import brevitas.nn as qnn
import pytest
import torch
from torch import nn

from carrysave.quant.train.cnn import (
    LayersError,
    float_cnn,
    parse_layers,
    quantised_cnn,
    weighted,
)
from carrysave.quant.train.freeze import freeze, settle, trained_trace
from carrysave.quant.train.graph import trace

EVERY = [
    {"conv": 6, "kernel": 5, "stride": 2},
    {"depthwise": 3, "relu": False},
    {"max_pool": 2},
    {"residual": [{"conv": 3, "kernel": 1}, {"depthwise": 3}, {"conv": 6}]},
    {"average_pool": 2},
    {"linear": 7},
    {"linear": 5, "relu": False},
]
SHAPES = [(17, 2), (17, 18, 1)]


def build(layers, shape, *, classes=4, group_size=8, bits=4):
    layers = parse_layers(layers)
    torch.manual_seed(0)
    return (
        float_cnn(layers, shape=shape, classes=classes),
        quantised_cnn(layers, shape=shape, classes=classes, group_size=group_size, bits=bits),
    )


def kinds(model):
    return [type(module).__name__ for module in model if not isinstance(module, nn.Identity)]


@pytest.mark.parametrize("shape", SHAPES)
def test_modules(shape):
    axes = f"{len(shape) - 1}d"
    floating, quantised = build(EVERY, shape)
    conv = [f"Conv{axes}", f"BatchNorm{axes}"]
    assert kinds(floating) == [
        "ChannelsFirst", *conv, "ReLU", *conv, f"MaxPool{axes}", "ResidualSum", f"AvgPool{axes}",
        "Flatten", "Linear", "ReLU", "Linear", "Linear",
    ]
    assert kinds(quantised) == [
        "ChannelsFirst", "QuantIdentity", f"QuantConv{axes}", "QuantReLU", f"QuantConv{axes}",
        "QuantIdentity", f"MaxPool{axes}", "ResidualSum", f"AvgPool{axes}", "QuantIdentity",
        "Flatten", "QuantLinear", "QuantReLU", "QuantLinear", "QuantIdentity", "QuantLinear",
    ]
    convs = [m for m in quantised.modules() if isinstance(m, (qnn.QuantConv1d, qnn.QuantConv2d))]
    assert [m.out_channels for m in convs] == [6, 6, 3, 3, 6]
    assert [m.groups for m in convs] == [1, 6, 1, 3, 1]
    assert [m.padding[0] for m in convs] == [2, 1, 0, 1, 1]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_agree(shape):
    """Of the builder, of torch and of the trace."""
    floating, quantised = build(EVERY, shape)
    x = torch.randn(3, int(torch.tensor(shape).prod()))
    assert floating.eval()(x).shape == quantised.train()(x).shape == (3, 4)
    assert trace(quantised)[0][0].shape == shape and trace(quantised)[0][-1].shape == (4,)


@pytest.mark.parametrize("shape", SHAPES)
def test_normalisation_is_merged(shape, compared):
    floating, _ = build(EVERY, shape)
    x = torch.randn(200, int(torch.tensor(shape).prod())).double()
    floating = floating.double().train()
    for _ in range(3):
        floating(2 * x + 1)
    y = floating.eval()(x)
    layers = weighted(floating)
    for module in list(floating.modules()):
        for name, child in list(module.named_children()):
            if "BatchNorm" in type(child).__name__:
                setattr(module, name, nn.Identity())
    assert len(layers) == 8 and all(layer.bias is not None for layer in layers)
    assert (floating(x) - y).abs().max() < 1e-9 * y.abs().max()
    compared(y.numel())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("bits", [4, (8, 2, 3, 5, 4, 7, 6, 2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_model_and_network_are_equal(shape, bits, compared):
    _, model = build(EVERY, shape, bits=bits)
    features = int(torch.tensor(shape).prod())
    torch.manual_seed(1)
    with torch.no_grad():
        for _ in range(33):
            model.train()(torch.randn(16, features))
    settle(model)
    network = freeze(model, name="try", offset=0.0, gain=1.0)
    x = torch.randn(50, features).double()
    values, _ = trained_trace(model, x)
    trace = network.run(network.encode(x.numpy()))
    assert network.input_shape == shape
    widths = [layer.group.element.bits for layer in network.layers if hasattr(layer, "group")]
    assert widths == ([bits] * 8 if bits == 4 else list(bits))
    # A branch that saturates is rescaled by itself.
    assert [layer.kind for layer in network.layers if layer.kind != "rescale"] == [
        "conv", "conv", "max_pool", "conv", "conv", "conv", "add", "average_pool", "flatten",
        "linear", "linear", "linear",
    ]
    names = ["input", *(layer.name for layer in network.layers)]
    for name, integers, unit in zip(names, trace.activations, network.units, strict=True):
        if name in values:
            assert torch.equal(values[name], integers.double() * unit)
            compared(integers.numel())
    assert len(values) >= len(names) - 1
    (add,) = [layer for layer in network.layers if layer.kind == "add"]
    assert (add.requantiser.multiplier, add.requantiser.shift) == (1, 0)


# What is wrong is named.


def refused(tables, text, shape=(12, 12, 1)):
    with pytest.raises(LayersError) as caught:
        build(tables, shape)
    assert str(caught.value) == text


KEYS = "conv, depthwise, max_pool, average_pool, linear, residual"


@pytest.mark.parametrize(
    "tables, text",
    [
        ("conv", "layers: should be a valid list, not 'conv'"),
        (["conv"], f"layers.0: must have one of the keys {KEYS}, not 'conv'"),
        ([{}], f"layers.0: must have one of the keys {KEYS}, not {{}}"),
        ([{"cnn": 3}], f"layers.0: must have one of the keys {KEYS}, not {{'cnn': 3}}"),
        (
            [{"conv": 3, "linear": 2}],
            f"layers.0: must have one of the keys {KEYS}, not {{'conv': 3, 'linear': 2}}",
        ),
        ([{"conv": 3, "kernal": 2}], "layers.0.kernal: unknown key"),
        ([{"conv": "3"}], "layers.0.conv: should be a valid integer, not '3'"),
        ([{"conv": 0}], "layers.0.conv: should be greater than or equal to 1, not 0"),
        ([{"conv": 3}, {"conv": 3, "relu": 1}], "layers.1.relu: should be a valid boolean, not 1"),
        ([{"average_pool": 65}], 'layers.0.average_pool: should be 1 to 64, or "all", not 65'),
        ([{"average_pool": 0}], 'layers.0.average_pool: should be 1 to 64, or "all", not 0'),
        (
            [{"residual": [{"linear": 3}]}],
            "layers.0.residual.0: must have one of the keys conv, depthwise, not {'linear': 3}",
        ),
        (
            [{"residual": [{"conv": 1}, {"conv": 1, "stride": 0}]}],
            "layers.0.residual.1.stride: should be greater than or equal to 1, not 0",
        ),
        (
            [{"residual": []}],
            "layers.0.residual: List should have at least 1 item after validation, not 0, not []",
        ),
        ([{"conv": 3, "kernel": 20, "padding": 1}],
         "layers.0: does not fit [12, 12, 1]: Kernel must fit into the 14 elements of its axis, "
         "not 20"),
        ([{"max_pool": 13}],
         "layers.0: does not fit [12, 12, 1]: Kernel must fit into the 12 elements of its axis, "
         "not 13"),
        ([{"linear": 3}, {"conv": 3}], "layers.1: must come before the linear layers"),
        ([{"linear": 3}, {"average_pool": "all"}], "layers.1: must come before the linear layers"),
        (
            [{"residual": [{"conv": 2}]}],
            "layers.0: residual must keep the shape [12, 12, 1], not make it [12, 12, 2]",
        ),
        (
            [{"residual": [{"conv": 1, "stride": 9}, {"depthwise": 30, "padding": 0}]}],
            "layers.0.residual.1: does not fit [2, 2, 1]: Kernel must fit into the 2 elements of "
            "its axis, not 30",
        ),
    ],
)
def test_layers_wrong(tables, text):
    refused(tables, text)


@pytest.mark.parametrize("bits", [(4,) * 7, (4,) * 9, ()])
def test_widths_for_other_layers(bits):
    with pytest.raises(LayersError, match="^weights must be one format, or 8, one for each layer "
                                          f"with weights, not {len(bits)}$"):
        build(EVERY, SHAPES[0], bits=bits)


def test_no_layers():
    """Nothing but the linear layer for the classes."""
    floating, quantised = build([], (3, 2))
    assert kinds(floating) == ["ChannelsFirst", "Flatten", "Linear"]
    assert kinds(quantised) == ["ChannelsFirst", "QuantIdentity", "Flatten", "QuantLinear"]
