# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks from a list of layers: float, and quantisation-aware with Brevitas."""

from math import prod
from typing import Annotated, Literal

import brevitas.nn as qnn
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from torch import nn

from ..golden.windows import positions
from .freeze import merge_norm
from .graph import ChannelsFirst
from .quantisers import Int4GroupWeight, Int8Act

__all__ = ["LayersError", "check_widths", "float_cnn", "parse_layers", "quantised_cnn", "weighted"]

Channels = Annotated[int, Field(ge=1, le=4096)]
Kernel = Annotated[int, Field(ge=1, le=64)]


class LayersError(ValueError):
    """A list of layers that cannot be built; the message names the layer and the field."""


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Conv(_Layer):
    """``{ conv = 16, kernel = 3, stride = 2 }``: 16 output channels."""

    conv: Channels
    kernel: Kernel = 3
    stride: Kernel = 1
    padding: Annotated[int, Field(ge=0, le=63)] | None = None
    relu: bool = True


class Depthwise(_Layer):
    """``{ depthwise = 3 }``: a kernel of 3 on each channel by itself."""

    depthwise: Kernel
    stride: Kernel = 1
    padding: Annotated[int, Field(ge=0, le=63)] | None = None
    relu: bool = True


class MaxPool(_Layer):
    """``{ max_pool = 2 }``: a kernel and stride of 2."""

    max_pool: Kernel


class AveragePool(_Layer):
    """``{ average_pool = 2 }``, or over all positions: ``{ average_pool = "all" }``."""

    average_pool: Kernel | Literal["all"]


class Linear(_Layer):
    """``{ linear = 32 }``: 32 outputs."""

    linear: Channels
    relu: bool = True


class Residual(_Layer):
    """``{ residual = [{ conv = 16 }, { conv = 16 }] }``: what comes in is added to what comes out.

    The last of its layers has no ReLU of its own; the sum has.
    """

    residual: Annotated[list["_Inner"], Field(min_length=1, max_length=100)]
    relu: bool = True


_ALL = (Conv, Depthwise, MaxPool, AveragePool, Linear, Residual)
_KINDS = {next(iter(kind.model_fields)): kind for kind in _ALL}


def _kind(value):
    """The key that says what a layer is."""
    if isinstance(value, _Layer):
        return next(iter(type(value).model_fields))
    found = [key for key in value if key in _KINDS] if isinstance(value, dict) else []
    return found[0] if len(found) == 1 else None


_Inner = Annotated[
    Annotated[Conv, Tag("conv")] | Annotated[Depthwise, Tag("depthwise")], Discriminator(_kind)
]
_Any = Annotated[
    Annotated[Conv, Tag("conv")]
    | Annotated[Depthwise, Tag("depthwise")]
    | Annotated[MaxPool, Tag("max_pool")]
    | Annotated[AveragePool, Tag("average_pool")]
    | Annotated[Linear, Tag("linear")]
    | Annotated[Residual, Tag("residual")],
    Discriminator(_kind),
]
Residual.model_rebuild()
_LAYERS = TypeAdapter(Annotated[list[_Any], Field(max_length=100)])


def parse_layers(tables):
    """Layers of a list of tables, as TOML has them.

    Raises
    ------
    LayersError
        One line that names the layer by its number, the field, what was found, what is allowed.
    """
    try:
        return _LAYERS.validate_python(tables)
    except ValidationError as error:
        raise LayersError(_reason(error)) from None


def _reason(error):
    first = error.errors()[0]
    location, message = first["loc"], first["msg"].removeprefix("Input ")
    # Behind each number stands the kind by which pydantic told layers apart.
    path = [
        str(part) for k, part in enumerate(location) if not k or isinstance(location[k - 1], str)
    ]
    if first["type"].startswith("union_tag"):
        allowed = ", ".join(("conv", "depthwise") if "residual" in path else _KINDS)
        message = f"must have one of the keys {allowed}"
    elif first["type"] == "extra_forbidden":
        return f"{'.'.join(['layers', *path])}: unknown key"
    elif "average_pool" in path:
        path, message = path[:2], 'should be 1 to 64, or "all"'
    return f"{'.'.join(['layers', *path])}: {message}, not {first['input']!r}"


# Models.


class _Float:
    """Modules in float, with batch normalisation."""

    def start(self):
        return []

    def conv(self, axes, **options):
        conv, norm = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))[axes - 1]
        return [conv(**options, bias=False), norm(options["out_channels"])]

    def linear(self, inputs, outputs, channels):
        return [nn.Linear(inputs, outputs)]

    def activation(self, relu):
        return [nn.ReLU()] if relu else []

    def average(self):
        return []

    def branches(self):
        return nn.Identity()


class _Quantised:
    """Modules of Brevitas: 8-bit activations, weights in groups with integer scales.

    ``bits`` is the width of all weights, or that of each layer.
    """

    def __init__(self, group_size, bits):
        self.group_size, self.bits, self.made = group_size, bits, 0

    def weights(self):
        """Options of the next layer with weights."""
        bits, self.made = self.bits, self.made + 1
        if not isinstance(bits, int):
            bits = bits[self.made - 1] if self.made <= len(bits) else 4  # counted in the end
        return {"bias": True, "weight_quant": Int4GroupWeight, "weight_bit_width": bits,
                "weight_group_size": self.group_size}

    def start(self):
        return [qnn.QuantIdentity(act_quant=Int8Act)]

    def conv(self, axes, **options):
        return [(qnn.QuantConv1d, qnn.QuantConv2d)[axes - 1](**options, **self.weights())]

    def linear(self, inputs, outputs, channels):
        return [qnn.QuantLinear(inputs, outputs, **self.weights(),
                                weight_group_channels=channels)]

    def activation(self, relu):
        return [(qnn.QuantReLU if relu else qnn.QuantIdentity)(act_quant=Int8Act)]

    def average(self):
        return [qnn.QuantIdentity(act_quant=Int8Act)]

    def branches(self):
        return qnn.QuantIdentity(act_quant=Int8Act)


class ResidualSum(nn.Module):
    """``relu(q(q(body(x)) + q(x)))``: one quantiser, so that both branches have one scale."""

    def __init__(self, body, quantiser, relu):
        super().__init__()
        self.body, self.quantiser = body, quantiser
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x):
        q = self.quantiser
        return self.relu(q(q(self.body(x)) + q(x)))


class _Builder:
    """Makes modules of layers; ``shape`` is that of a sample at this point, channels last."""

    def __init__(self, shape, parts):
        self.shape, self.parts, self.channels = tuple(shape), parts, None

    def add(self, layer, where):
        return getattr(self, f"_{_kind(layer)}")(layer, where)

    def _slide(self, kernel, stride, padding, where):
        *sizes, channels = self.shape
        if not sizes:
            raise LayersError(f"{where}: must come before the linear layers")
        try:
            places = [
                positions(size, kernel=kernel, stride=stride, padding=(padding, padding))
                for size in sizes
            ]
        except ValueError as error:
            raise LayersError(f"{where}: does not fit {list(self.shape)}: {error}") from None
        self.shape = (*places, channels)
        return len(sizes), channels

    def _convolve(self, layer, where, *, kernel, outputs, groups):
        padding = kernel // 2 if layer.padding is None else layer.padding
        axes, inputs = self._slide(kernel, layer.stride, padding, where)
        outputs = outputs or inputs
        self.shape = (*self.shape[:-1], outputs)
        return self.parts.conv(
            axes, in_channels=inputs, out_channels=outputs, kernel_size=kernel,
            stride=layer.stride, padding=padding, groups=inputs if groups else 1,
        )

    def _conv_alone(self, layer, where):
        if isinstance(layer, Depthwise):
            return self._convolve(layer, where, kernel=layer.depthwise, outputs=None, groups=True)
        return self._convolve(layer, where, kernel=layer.kernel, outputs=layer.conv, groups=False)

    def _conv(self, layer, where):
        return [*self._conv_alone(layer, where), *self.parts.activation(layer.relu)]

    _depthwise = _conv

    def _max_pool(self, layer, where):
        axes, _ = self._slide(layer.max_pool, layer.max_pool, 0, where)
        return [(nn.MaxPool1d, nn.MaxPool2d)[axes - 1](layer.max_pool)]

    def _average_pool(self, layer, where):
        if layer.average_pool == "all":
            self._slide(1, 1, 0, where)
            axes = len(self.shape) - 1
            self.shape = (*[1] * axes, self.shape[-1])
            pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[axes - 1](1)
        else:
            axes, _ = self._slide(layer.average_pool, layer.average_pool, 0, where)
            pool = (nn.AvgPool1d, nn.AvgPool2d)[axes - 1](layer.average_pool)
        return [pool, *self.parts.average()]

    def _residual(self, layer, where):
        before, body = self.shape, []
        *inner, last = layer.residual
        for number, part in enumerate(inner):
            body += self.add(part, f"{where}.residual.{number}")
        body += self._conv_alone(last, f"{where}.residual.{len(inner)}")
        if self.shape != before:
            raise LayersError(
                f"{where}: residual must keep the shape {list(before)}, not make it "
                f"{list(self.shape)}"
            )
        return [ResidualSum(nn.Sequential(*body), self.parts.branches(), layer.relu)]

    def _linear(self, layer, where):
        return [*self.outputs(layer.linear), *self.parts.activation(layer.relu)]

    def outputs(self, count):
        """A linear layer, and before it what makes one axis of several."""
        (*sizes, channels), inputs = self.shape, prod(self.shape)
        flatten = [nn.Flatten()] if sizes else []
        self.shape = (count,)
        return [*flatten, *self.parts.linear(inputs, count, channels if sizes else None)]


def _build(layers, shape, classes, parts):
    builder = _Builder(shape, parts)
    modules = [ChannelsFirst(shape), *parts.start()]
    for number, layer in enumerate(layers):
        modules += builder.add(layer, f"layers.{number}")
    return nn.Sequential(*modules, *builder.outputs(classes))


def float_cnn(layers, *, shape, classes):
    """Network in float, with batch normalisation behind convolutions.

    Parameters
    ----------
    layers : list
        Of `parse_layers`; a linear layer for the classes comes behind them.
    shape : tuple of int
        Of a sample, channels last: (length, channels) or (height, width, channels). The network
        reads samples flat, (samples, features).
    classes : int
    """
    return _build(layers, shape, classes, _Float())


def quantised_cnn(layers, *, shape, classes, group_size, bits=4):
    """The same in Brevitas, batch normalisation merged into biases and weights.

    Parameters
    ----------
    layers, shape, classes
        As in `float_cnn`.
    group_size : int
        Weights that share one scale.
    bits : int or sequence of int
        Width of weights, 2 to 8: of all, or of each layer with weights, the last one included.

    Raises
    ------
    LayersError
        Also where there are more widths than layers with weights, or fewer.
    """
    parts = _Quantised(group_size, bits)
    model = _build(layers, shape, classes, parts)
    check_widths(bits, parts.made)
    return model


def check_widths(bits, layers):
    """LayersError unless there is one width, or one for each of so many layers."""
    if not isinstance(bits, int) and len(bits) != layers:
        raise LayersError(f"weights must be one format, or {layers}, one for each layer with "
                          f"weights, not {len(bits)}")


def weighted(model):
    """Layers with weights, in order; batch normalisations are merged into them, in place."""
    found = []
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            merge_norm(found[-1], module)
        elif isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            found.append(module)
    return found
