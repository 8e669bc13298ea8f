# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch

from carrysave.quant.formats import Block, Exponent, Fixed, Group, Int, Minifloat, Pair, get, names
from carrysave.quant.formats.scalar import Scalar
from carrysave.quant.train.quantisers import activation_quantiser, codes, weight_quantiser

SCALARS = [name for name in names() if isinstance(get(name), Scalar)]
SIGNED = [name for name in SCALARS if get(name).min < 0]
BLOCKS = [name for name in names() if isinstance(get(name), Block)]
PAIRS = [name for name in names() if isinstance(get(name), Pair)]
LINEAR, CONV1D, CONV2D, TRANSPOSED = "linear", "conv1d", "conv2d", "transposed"
KINDS = (LINEAR, CONV1D, CONV2D, TRANSPOSED)


def layer_of(weight, kind, quantiser) -> Any:
    """A layer in float64 with the rows (outputs, K) as its weights, K padded with zeros."""
    size = {LINEAR: 1, CONV1D: 3, CONV2D: 6, TRANSPOSED: 6}[kind]
    rows = torch.from_numpy(np.pad(weight, [(0, 0), (0, -weight.shape[1] % size)]))
    outputs, inputs = rows.shape[0], rows.shape[1] // size
    if kind == LINEAR:
        layer: Any = qnn.QuantLinear(inputs, outputs, bias=False, weight_quant=quantiser)
    elif kind == CONV1D:
        layer: Any = qnn.QuantConv1d(inputs, outputs, 3, bias=False, weight_quant=quantiser)
        rows = rows.reshape(outputs, 3, inputs).permute(0, 2, 1)
    else:
        make = qnn.QuantConv2d if kind == CONV2D else qnn.QuantConvTranspose2d
        layer = make(inputs, outputs, (2, 3), bias=False, weight_quant=quantiser)
        order = (0, 3, 1, 2) if kind == CONV2D else (3, 0, 1, 2)
        rows = rows.reshape(outputs, 2, 3, inputs).permute(order)
    layer = layer.double()
    with torch.no_grad():
        layer.weight.copy_(rows)
    return layer


def rows_of(tensor, kind):
    """Weights (outputs, K): each output channel, its kernel's positions, its input channels."""
    order = {LINEAR: (0, 1), CONV1D: (0, 2, 1), CONV2D: (0, 2, 3, 1), TRANSPOSED: (1, 2, 3, 0)}
    return tensor.detach().permute(order[kind]).flatten(1).numpy()


def shaped(x, columns=7):
    """Points as rows, padded with zeros."""
    return np.pad(x, (0, -len(x) % columns)).reshape(-1, columns)


def beyond(fmt, x):
    """Points, and some outside the range."""
    far = [fmt.max * by for by in (1.01, 1.5, 1e3)] + [fmt.min * by for by in (1.01, 1.5, 1e3)]
    return np.concatenate([x, far])


# Scalar formats: the codes that a layer's values imply are those that the format gives.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SIGNED)
def test_weights(name, kind, points, implied, compared):
    fmt = get(name)
    x = shaped(beyond(fmt, points(fmt)))
    layer = layer_of(x / 8, kind, weight_quantiser(name, scale=0.125))
    value, scale = layer.quant_weight(), layer.weight_quant.scale()
    assert value.dtype == torch.float64 and scale.item() == 0.125
    expected = fmt.encode(rows_of(layer.weight, kind) * 8)
    assert np.array_equal(implied(fmt, rows_of(value / scale, kind)), expected)
    found = codes(layer)
    assert np.array_equal(found.codes, expected) and found.scale == 0.125
    compared(expected.size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SIGNED)
def test_weights_by_power_of_two(name, kind, points, implied, compared):
    fmt = get(name)
    x = points(fmt)
    x = x[np.abs(x) <= fmt.max]
    units = np.array([[0.25], [1], [64]])
    layer = layer_of(x * units, kind, weight_quantiser(name, scale="power_of_two"))
    value, scale = layer.quant_weight(), layer.weight_quant.scale()
    assert scale.ravel().tolist() == units.ravel().tolist()
    expected = fmt.encode(rows_of(layer.weight, kind) / units)
    assert np.array_equal(implied(fmt, rows_of(value / scale, kind)), expected)
    found = codes(layer)
    assert np.array_equal(found.codes, expected) and np.array_equal(found.scale, units)
    compared(expected.size)


@pytest.mark.parametrize("name", SCALARS)
def test_activations(name, points, implied, compared):
    fmt = get(name)
    x = torch.from_numpy(shaped(beyond(fmt, points(fmt)))) / 8
    for kind in (qnn.QuantIdentity, qnn.QuantReLU):
        activation: Any = kind(act_quant=activation_quantiser(name, scale=0.125)).double()
        expected = fmt.encode((x.relu() if kind is qnn.QuantReLU else x).numpy() * 8)
        for view in (x, x.reshape(1, -1, 7, 1), x.flatten()):
            shape = view.numpy().shape
            found = activation(view) / activation.act_quant.scale()
            assert np.array_equal(implied(fmt, found), expected.reshape(shape))
            assert np.array_equal(codes(activation, view).codes, expected.reshape(shape))
            compared(expected.size)


@pytest.mark.parametrize("name", SCALARS)
def test_activations_by_power_of_two(name, points, implied, compared):
    fmt = get(name)
    x = points(fmt)
    inside = torch.from_numpy(x[np.abs(x) <= fmt.max]) / 16
    activation: Any = qnn.QuantIdentity(act_quant=activation_quantiser(name, scale="power_of_two"))
    for seen in (inside[: len(inside) // 3], inside, inside[::2]):
        activation(seen)
    activation.double().eval()
    assert activation.act_quant.scale().item() == 1 / 16
    x = beyond(fmt, x)
    found = activation(torch.from_numpy(x) / 16) * 16
    assert np.array_equal(implied(fmt, found), fmt.encode(x))
    compared(x.size)


def test_negative_zero(implied, compared):
    """Kept where the format has it."""
    for name in SIGNED:
        if name.startswith("abfloat"):
            continue
        layer = layer_of(np.array([[-0.0, 1.0]]), LINEAR, weight_quantiser(name))
        code = codes(layer).codes[0, 0]
        assert code == get(name).encode(np.array(-0.0))
        kept = isinstance(get(name), Minifloat) and get(name).specials != "fnuz"
        assert (code != 0) == kept or name == "nf4"
        compared(1)


@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("scale", ["max", "learned"])
@pytest.mark.parametrize("name", ["int4", "e4m3", "nf4", "flint4"])
def test_real_scales(name, scale, per, compared):
    """The value is ``values(encode(x / scale)) * scale`` to the last bit."""
    fmt, w = get(name), np.random.default_rng(0).normal(size=(6, 33)) * 0.3
    w[3] = 0
    layer = layer_of(w, CONV2D, weight_quantiser(name, scale=scale, per=per))
    rows = rows_of(layer.weight, CONV2D)
    amax = np.abs(rows).max(axis=1, keepdims=True) if per == "channel" else np.abs(rows).max()
    unit = np.where(amax == 0, 1, amax / fmt.max)
    expected = fmt.encode(rows / unit)
    assert np.array_equal(rows_of(layer.quant_weight(), CONV2D), fmt.values(expected) * unit)
    assert np.array_equal(codes(layer).codes, expected)
    assert np.array_equal(codes(layer).scale, unit)
    compared(expected.size)


@pytest.mark.parametrize("scale", [0.1, 1 / 3])
@pytest.mark.parametrize("name", ["int8", "e4m3", "nf4"])
def test_midpoints_under_a_real_scale(name, scale, points, compared):
    """One division, rounded once: not a multiplication by the reciprocal."""
    fmt = get(name)
    x = shaped(points(fmt) * scale)
    expected = fmt.encode(x / scale)
    assert (fmt.encode(x * (1 / scale)) != expected).any()
    layer = layer_of(x, LINEAR, weight_quantiser(name, scale=scale))
    activation: Any = qnn.QuantIdentity(act_quant=activation_quantiser(name, scale=scale))
    for found in (layer.quant_weight().detach(), activation(torch.from_numpy(x))):
        assert np.array_equal(found, fmt.values(expected) * scale)
    assert np.array_equal(codes(layer).codes, expected) and codes(layer).scale == scale
    compared(x.size)


@pytest.mark.parametrize("name", ["e4m3", "int4", "mxfp4", "nvfp4", "olive4", "int4g4", "nf4"])
def test_codes_do_not_depend_on_the_kind_of_float(name, compared):
    torch.manual_seed(0)
    layer: Any = qnn.QuantLinear(40, 6, weight_quant=weight_quantiser(name))
    fmt, single, value = get(name), codes(layer), layer.quant_weight()
    assert value.dtype == torch.float32
    layer.double()
    double = codes(layer)
    assert torch.equal(layer.quant_weight().float(), value)
    for a, b in zip((*single.codes, single.scale), (*double.codes, double.scale), strict=True):
        assert np.array_equal(a, b)
    assert torch.equal(torch.from_numpy(fmt.values(double.codes) * double.scale).float(), value)
    half: Any = qnn.QuantIdentity(act_quant=activation_quantiser("e4m3", scale=1.0))
    for kind in (torch.float16, torch.bfloat16):
        x = layer.weight.detach().to(kind)
        assert torch.equal(half(x), half(x.double()).to(kind))
    compared(3 * value.numel())


# Blocks, groups and pairs.


def in_blocks(fmt, x):
    """Rows of two blocks and a half: points of the elements, each block with its own octave."""
    size, (top, x) = fmt.size, (float(fmt.element.max), x[np.abs(x) <= fmt.element.max])
    x = np.pad(x, (0, -len(x) % (size - 1))).reshape(-1, size - 1)
    x = np.concatenate([np.full((len(x), 1), top), x], axis=1)
    x = x * 2.0 ** (np.arange(len(x)) % 7 - 3)[:, None]
    k = 2 * size + size // 2
    return np.pad(x.ravel(), (0, -x.size % k)).reshape(-1, k)


@pytest.mark.parametrize("kind", [LINEAR, CONV2D])
@pytest.mark.parametrize("name", BLOCKS)
def test_block_weights(name, kind, points, implied, compared):
    fmt = get(name)
    layer = layer_of(in_blocks(fmt, points(fmt.element)), kind, weight_quantiser(name))
    value, scale = layer.quant_weight(), layer.weight_quant.scale()
    rows = rows_of(layer.weight, kind)
    expected, found = fmt.encode(rows), codes(layer)
    assert np.array_equal(rows_of(value, kind), fmt.values(expected))
    assert np.array_equal(found.codes.codes, expected.codes)
    assert np.array_equal(found.codes.scales, expected.scales)
    assert (found.codes.k, found.codes.tensor_scale) == (rows.shape[1], expected.tensor_scale)
    unit = rows_of(scale, kind)
    zero = unit == 0  # of an all-zero block with a minifloat scale
    assert fmt.two_level or not zero.any()
    elements = implied(fmt.element, rows_of(value, kind) / np.where(zero, 1, unit))
    assert np.array_equal(elements, expected.codes[:, : rows.shape[1]])
    if not fmt.two_level:
        blocks = np.pad(rows, [(0, 0), (0, expected.padding)]).reshape(len(rows), -1, fmt.size)
        for (row, block), amax in np.ndenumerate(np.abs(blocks).max(axis=-1)):
            x = math.frexp(amax)[1] - math.frexp(fmt.element.max)[1] if amax else -127
            assert unit[row, block * fmt.size] == 2.0**x
    compared(rows.size)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_activations(name, points, compared):
    fmt = get(name)
    x = torch.from_numpy(in_blocks(fmt, points(fmt.element)))
    scale = 2.0**-6 if fmt.two_level else None
    expected = fmt.encode(x.numpy(), tensor_scale=scale)
    last, second = (
        qnn.QuantIdentity(act_quant=activation_quantiser(name, scale=scale, axis=axis)).double()
        for axis in (-1, 1)
    )
    images = x.reshape(1, -1, 1, x.shape[1]).permute(0, 3, 1, 2)  # channels second
    for activation, view in ((last, x), (second, images)):
        found = activation(view)
        assert found.shape == view.shape
        back = found if view is x else found.permute(0, 2, 3, 1)
        assert np.array_equal(back.reshape(x.shape), fmt.values(expected))
        encoded = codes(activation, view).codes
        assert np.array_equal(encoded.codes.reshape(expected.codes.shape), expected.codes)
        assert np.array_equal(encoded.scales.reshape(expected.scales.shape), expected.scales)
        compared(x.numel())


@pytest.mark.parametrize("name", ["nvfp4", "nvint4"])
def test_tensor_scale_of_activations_is_collected(name, compared):
    """A sample's codes do not depend on the other samples of its batch."""
    fmt, x = get(name), torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    activation: Any = qnn.QuantIdentity(act_quant=activation_quantiser(name))
    activation(x)
    activation.eval()
    found = codes(activation, x[:3]).codes
    tensor_scale = fmt.encode(x.numpy()).tensor_scale
    assert found.tensor_scale == tensor_scale == activation.act_quant.scale().item()
    assert np.array_equal(found.codes, fmt.encode(x.numpy()).codes[:3])
    compared(found.codes.size)


def words(pair, values):
    """Words of exact values in the unit of the normal format, each looked up."""
    normal, outlier = {0.0: 0}, {}
    for code in range(1 << pair.bits):
        if code != pair.identifier:
            normal.setdefault(float(pair.normal.values(np.array(code))), code)
    for code in range(1 << pair.bits):
        value = float(pair.outlier.values(np.array(code)))
        if value not in normal and code != pair.identifier:
            outlier.setdefault(value, code)
    found = []
    for left, right in values:
        if left in outlier or right in outlier:
            assert left == 0 or right == 0
            halves = [outlier.get(value, pair.identifier) for value in (left, right)]
        else:
            halves = [normal[left], normal[right]]
        found.append(halves[0] | halves[1] << pair.bits)
    return found


def in_pairs(pair, points):
    """Points of both sets: each with each, or some where there are too many."""
    x = np.unique(np.concatenate([points(pair.normal), points(pair.outlier)]))
    x = beyond(type("Ends", (), {"max": pair.max, "min": -pair.max}), x)
    if len(x) ** 2 > 1 << 15:
        return np.random.default_rng(0).choice(x, (1 << 14, 2))
    return np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("kind", [LINEAR, CONV2D])
@pytest.mark.parametrize("name", PAIRS)
def test_pair_weights(name, kind, points, compared):
    fmt = get(name)
    x = shaped(in_pairs(fmt, points).ravel(), 120)
    layer = layer_of(x / 8, kind, weight_quantiser(name, scale=0.125))
    rows, value = rows_of(layer.weight, kind), rows_of(layer.quant_weight(), kind)
    expected, found = fmt.encode(rows * 8), codes(layer)
    assert np.array_equal(found.codes.words, expected.words) and found.scale == 0.125
    assert words(fmt, (value * 8).reshape(-1, 2)) == expected.words.ravel().tolist()
    compared(rows.size)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_activations(name, points, compared):
    fmt = get(name)
    x = torch.from_numpy(shaped(in_pairs(fmt, points).ravel(), 15))  # one zero is appended
    expected = fmt.encode(x.numpy())
    for axis, view in ((-1, x), (1, x.reshape(-1, 1, 1, 15).permute(0, 3, 1, 2))):
        quantiser = activation_quantiser(name, scale=0.125, axis=axis)
        activation: Any = qnn.QuantIdentity(act_quant=quantiser).double()
        found = activation(view / 8).reshape(x.shape) * 8
        assert np.array_equal(found, fmt.values(expected))
        assert np.array_equal(codes(activation, view / 8).codes.words.squeeze(), expected.words)
        padded = np.pad(found.numpy(), [(0, 0), (0, 1)]).reshape(-1, 2)
        assert words(fmt, padded) == expected.words.ravel().tolist()
        compared(x.numel())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["int4g16", "uint4g16z", "int8g7", "int4g128", "uint4g128z"])
def test_group_weights(name, kind, compared):
    fmt, rng = get(name), np.random.default_rng(0)
    layer = layer_of(rng.normal(size=(5, 150)) + 0.2, kind, weight_quantiser(name))
    rows, value = rows_of(layer.weight, kind), rows_of(layer.quant_weight(), kind)
    expected, found = fmt.encode(rows), codes(layer)
    for a, b in zip(found.codes, expected, strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(value, fmt.values(expected))
    integers = value / rows_of(layer.weight_quant.scale(), kind)
    zeros = 0 if expected.zeros is None else fmt.expand(expected.zeros, rows.shape[1])
    assert np.array_equal(integers + zeros, fmt.element.decode(expected.codes))
    compared(rows.size)


def test_group_is_what_freeze_reads(linear, compared):
    """The grouped weights of `Int4GroupWeight` and of the codec are the same in float64."""
    torch.manual_seed(0)
    old = linear(33, 6, size=7).double()
    new: Any = qnn.QuantLinear(33, 6, weight_quant=weight_quantiser(Group(Int(4), 7))).double()
    new.load_state_dict(old.state_dict())
    assert torch.equal(old.quant_weight().value, new.quant_weight())
    scales, exponent = old.weight_quant.tensor_quant.scales(old.weight)
    found = codes(new).codes
    assert np.array_equal(scales.detach(), found.scales) and exponent == found.exponent
    compared(old.weight.numel())


# Gradients.


def gradient(quantiser, x) -> Any:
    """Values of an activation for ``x``, and the gradient of their weighted sum."""
    activation: Any = qnn.QuantIdentity(act_quant=quantiser).double()
    leaf: Any = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(1.0, 1 + leaf.numel())
    value = activation(leaf)
    (value * weights).sum().backward()
    return (leaf.grad / weights).tolist(), value.tolist()


@pytest.mark.parametrize(
    "fmt, scale, low, high",
    [
        ("int4", 0.5, -4, 3.5),
        ("uint4", 0.5, 0, 7.5),
        ("e4m3", 0.5, -224, 224),
        ("olive4", 0.5, -48, 48),
        ("log2_4", 0.5, 0, 0.5),
        (Exponent(3), 0.5, 0.0625, 4),
        (Fixed(4, 2), 0.5, -1, 0.875),
        (Fixed(4, 2, overflow="SAT_SYM"), 0.5, -0.875, 0.875),
        (Fixed(4, 2, False, overflow="SAT_SYM"), 0.5, 0, 1.875),
    ],
)
def test_gradient_passes_inside_only(fmt, scale, low, high):
    x = [low - abs(low) / 1000 - 0.001, low, 0.9 * low + 0.1 * high, 0.1 * high, 0.9 * high, high,
         high * 1.001]
    passed, value = gradient(activation_quantiser(fmt, scale=scale), x)
    assert passed == [0, 1, 1, 1, 1, 1, 0]
    fmt = get(fmt) if isinstance(fmt, str) else fmt
    assert value == (fmt.values(fmt.encode(np.array(x) / scale)) * scale).tolist()


@pytest.mark.parametrize("name", ["int4n", "int8n", "e4m3"])
def test_gradient_of_the_greatest_weight_passes(name):
    """Rounding of ``amax / max`` puts nothing outside."""
    torch.manual_seed(0)
    layer: Any = qnn.QuantLinear(17, 400, weight_quant=weight_quantiser(name)).double()
    layer.quant_weight().sum().backward()
    assert bool((layer.weight.grad == 1).all())
    assert ((layer.weight / layer.weight_quant.scale()).abs() > get(name).max).any()


def test_gradient_of_blocks():
    passed, value = gradient(activation_quantiser("mxfp4"), [[7.9, 6.1, 6, -6.5, 0.2, 0]])
    assert value == [[6, 6, 6, -6, 0, 0]] and passed == [[0, 0, 1, 0, 1, 1]]
    x = [1.0] + [0] * 15 + [1e-9] + [0] * 15
    passed, value = gradient(activation_quantiser("nvfp4", scale=1.0), [x])
    assert value[0][16] == 0 and passed == [[1] * 32]  # a block whose scale is 0


def test_gradient_of_groups():
    group = Group(Int(4, signed=False), 4, zero_point=True)
    layer = layer_of(np.array([[-1.0, 0.3, 2, 1]]), LINEAR, weight_quantiser(group))
    layer.quant_weight().sum().backward()
    assert layer.weight.grad.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("name", ["int4", "e4m3", "olive4"])
def test_gradient_of_a_learned_scale(name, per, compared):
    fmt, rng = get(name), np.random.default_rng(0)
    quantiser = weight_quantiser(name, scale="learned", per=per)
    layer = layer_of(rng.normal(size=(5, 40)), LINEAR, quantiser)
    layer.quant_weight()  # the scale is initialised
    parameter = layer.weight_quant.tensor_quant.scaling.value
    with torch.no_grad():
        parameter *= 0.05 if name == "olive4" else 0.4  # some are outside
    grad = rng.normal(size=(5, 40))
    (layer.quant_weight() * torch.from_numpy(grad)).sum().backward()
    scale = parameter.detach().numpy()
    quotient = layer.weight.detach().numpy() / scale
    low = -fmt.max if name == "olive4" else fmt.min
    inside = (low <= quotient) & (quotient <= fmt.max)
    assert 0 < (~inside).sum() < 200
    slope = fmt.values(fmt.encode(quotient)) - np.where(inside, quotient, 0)
    count = quotient.size / scale.size
    expected = torch.from_numpy(grad * slope).sum_to_size(parameter.shape)
    assert torch.equal(parameter.grad, expected * (count * fmt.max) ** -0.5)
    assert torch.equal(layer.weight.grad, torch.from_numpy(grad * inside))
    compared(scale.size)


def test_negative_learned_scale_counts_as_positive():
    layer = layer_of(np.array([[0.3, -1.0]]), LINEAR, weight_quantiser("int4", scale="learned"))
    before, found = layer.quant_weight().detach().clone(), codes(layer)
    parameter = layer.weight_quant.tensor_quant.scaling.value
    with torch.no_grad():
        parameter.neg_()
    assert torch.equal(layer.quant_weight(), before)
    assert np.array_equal(codes(layer).codes, found.codes) and codes(layer).scale > 0
    layer.quant_weight().sum().backward()
    assert parameter.grad.item() != 0


def test_no_gradient_is_needed():
    layer = layer_of(np.array([[0.3, -1.0]]), LINEAR, weight_quantiser("int4", scale="learned"))
    with torch.no_grad():
        assert not layer.quant_weight().requires_grad
    layer.weight.requires_grad_(False)
    layer.quant_weight().sum().backward()
    assert layer.weight.grad is None


def test_not_numbers():
    layer = layer_of(np.array([[0.3, np.nan]]), LINEAR, weight_quantiser("int4"))
    with pytest.raises(ValueError) as caught:
        layer.quant_weight()
    assert str(caught.value) == "Values must be numbers: int4 has no code for NaN"
    for name in ("mxfp4", "e4m3"):
        layer = layer_of(np.array([[0.0, np.inf]]), LINEAR, weight_quantiser(name))
        assert layer.quant_weight().isnan().all()
