# SPDX-License-Identifier: Apache-2.0
"""QONNX files in: a graph of ``Quant`` nodes becomes an integer network [1]_.

Weights are codes and scales as the file has them, in float64; what follows a weighted layer
channel by channel (a bias, a batch normalisation) goes into its scales and its bias. Activations
are channel-last inside, whatever the file's order.

.. [1] Pappalardo et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022.
"""

import inspect
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf, prod
from pathlib import Path

import numpy as np
import torch

from ..formats import Group, Int
from ..golden.requantise import ChannelRequantiser
from .build import SAME, find_requantiser, joined
from .file import NetworkError
from .layers import ACTIVATION, Add, AveragePool, Conv, Flatten, Linear, MaxPool, Rescale
from .network import INPUT, InputScaling, IntegerNetwork
from .qonnx_file import SIZE, read_graph
from .qonnx_weights import SCALES, Codes, grouped

__all__ = ["load_qonnx"]

MULTIPLIER_BITS = 24
UNROUNDED = "linear", "conv", "average_pool"  # kinds whose accumulators may be the logits
SUPPORTED = (
    "Quant, Conv, Gemm, MatMul, BatchNormalization, Add, Relu, Clip, MaxPool, AveragePool, "
    "GlobalAveragePool, Flatten, Reshape and Transpose"
)
NEAREST = {
    "BipolarQuant": "Quant of 2 bits", "FloatQuant": "Quant", "MultiThreshold": "Quant",
    "Trunc": "Quant with rounding_mode ROUND", "QuantizeLinear": "Quant",
    "DequantizeLinear": "Quant", "QLinearConv": "Conv of Quant", "ConvInteger": "Conv of Quant",
    "QLinearMatMul": "MatMul of Quant", "MatMulInteger": "MatMul of Quant",
    "ConvTranspose": "Conv", "Sigmoid": "Relu", "Tanh": "Clip", "HardSigmoid": "Clip",
    "HardSwish": "Relu", "LeakyRelu": "Relu", "PRelu": "Relu", "Elu": "Relu", "Gelu": "Relu",
    "Softplus": "Relu", "Erf": "Relu", "Selu": "Relu", "ThresholdedRelu": "Relu",
    "Softmax": "none: the greatest logit is the class", "LogSoftmax": "none: the greatest logit "
    "is the class", "ArgMax": "none: the greatest logit is the class", "TopK": "none: the greatest "
    "logit is the class", "LayerNormalization": "BatchNormalization",
    "InstanceNormalization": "BatchNormalization", "GroupNormalization": "BatchNormalization",
    "GlobalMaxPool": "MaxPool", "LpPool": "AveragePool", "Pad": "pads of the Conv or pool behind",
    "Squeeze": "Flatten", "Unsqueeze": "Reshape of the input", "Einsum": "MatMul",
}


@dataclass(eq=False)
class _Result:
    """What has a scale of its own: the input, or a layer whose result a Quant follows.

    Attributes
    ----------
    build : callable, optional
        The layer from its ``low`` and ``high``, without its requantiser.
    scale : float or None
        None until its Quant.
    codes : (int, int)
        Limits of the Quant.
    least, most : float
        Limits of a ReLU or Clip.
    weights, factor, bias
        Of a weighted layer: codes (outputs, K), and what its channels are multiplied by, then
        added.
    """

    where: str
    name: str
    kind: str
    build: Callable | None = None
    scale: float | None = None
    codes: tuple = (ACTIVATION.min, ACTIVATION.max)
    least: float = -inf
    most: float = inf
    weights: Codes | None = None
    factor: np.ndarray = field(default_factory=lambda: np.ones(1))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(1))

    @property
    def limits(self):
        """Limits of the codes."""
        low, high = self.codes
        if self.scale is None:
            return low, high
        ends = (round(Fraction(end) / Fraction(self.scale)) if math.isfinite(end) else None
                for end in (self.least, self.most))
        least, most = ends
        low = low if least is None else min(max(low, least), high)
        return low, (high if most is None else max(min(high, most), low))


@dataclass(eq=False)
class _Value:
    """An activation of the file.

    Attributes
    ----------
    name : str
        Of the layer whose output it is, or "input".
    shape : tuple
        Of a sample, channel-last.
    axes : tuple of int
        Where each axis of the file's tensor, without the samples, is in ``shape``.
    result : _Result
        Has its scale.
    channels : int or None
        Channels of what has been flattened with the channels outermost.
    """

    name: str
    shape: tuple
    axes: tuple
    result: _Result
    channels: int | None = None

    @property
    def file_shape(self):
        return tuple(self.shape[axis] for axis in self.axes)


def _first(axes):
    """Channels first: where each of the file's axes is in a channel-last shape."""
    return (axes - 1, *range(axes - 1))


def load_qonnx(path):
    """Integer network of a QONNX file.

    Inputs of the network are flat and channel-last; an affine step before the first Quant becomes
    their scaling.

    Parameters
    ----------
    path : path of an .onnx file

    Returns
    -------
    IntegerNetwork
        Each requantiser says for how many reachable accumulators it differs from the real scale.

    Raises
    ------
    NetworkError
        One line that names the file, the node, what was found and what is allowed, or the nearest
        operation that is supported.
    """
    path = Path(path)
    graph = read_graph(path)
    try:
        return _Reader(graph).network(re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:64] or "network")
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


class _Reader:
    """Walks a graph; ``values`` has what each of its tensors is."""

    def __init__(self, graph):
        self.graph = graph
        self.readers = Counter(name for node in graph.nodes for name in node.inputs)
        self.readers[graph.output] += 1
        self.layers = {}  # a _Result, or a layer that leaves the scale, by name
        shape = graph.shape
        axes = tuple(range(len(shape)))
        if len(shape) > 1 and not self._channels_last():
            axes = _first(len(shape))
            shape = (*shape[1:], shape[0])
        self.input = _Result("the graph's input", INPUT, "input")
        self.offset, self.gain = np.zeros(1), np.ones(1)
        self.values = {**graph.constants, graph.input: _Value(INPUT, shape, axes, self.input)}

    def _channels_last(self):
        """Whether the first operation that depends on an order brings the channels to the front."""
        for node in self.graph.nodes:
            if node.op == "Transpose" and node.inputs[0] not in self.graph.constants:
                perm = node.attributes.get("perm", [])
                return perm[1:2] == [len(perm) - 1]
            if node.op in ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool"):
                return False
        return False

    def network(self, name):
        for node in self.graph.nodes:
            self.node = node
            if node.op in NEAREST or not hasattr(self, f"_do_{node.op}"):
                hint = NEAREST.get(node.op)
                hint = f"nearest: {hint}" if hint else f"supported are {SUPPORTED}"
                self._refuse(f"is not supported; {hint}")
            function = getattr(self, f"_do_{node.op}")
            given = [self.values.get(name) if name else None for name in node.inputs]
            try:
                inspect.signature(function).bind(*given)
            except TypeError:
                self._refuse(f"has too few or too many inputs, {len(given)}")
            self.values[node.outputs[0]] = function(*given)
        last = self._logits()
        layers = joined([self._finished(entry, last) for entry in self.layers.values()],
                        bits=MULTIPLIER_BITS)
        for layer in layers:
            self._check(layer)
        if not np.isfinite([*self.offset, *self.gain]).all():
            raise NetworkError("what is done to the input must be within the range of float64")
        scaling = InputScaling(self.input.scale, self.offset, self.gain, *self.input.limits)
        shape = self.values[self.graph.input].shape
        if type(layers[0]) is Linear:
            shape = None
        labels = [str(k) for k in range(self.outputs)]
        return IntegerNetwork(name, scaling, layers, labels, shape)

    # Refusals.

    def _refuse(self, text):
        raise NetworkError(f"{self.node}: {text}")

    def _activation(self, value, what="its input"):
        if not isinstance(value, _Value):
            self._refuse(f"{what} must be an activation, not a constant")
        return value

    def _quantised(self, value, what="its input"):
        """A value with a scale."""
        value = self._activation(value, what)
        if value.result.scale is None:
            self._refuse(f"{what} must be quantised; put a Quant behind {value.result.where}")
        return value

    def _alone(self, value):
        """A value that nobody else reads, so that what is done to it may be done where it arose."""
        tensor = self.node.inputs[0]
        if self.readers[tensor] > 1:
            self._refuse(
                f"{value.result.where} is read twice before it is quantised; put a Quant behind it"
            )
        return value

    def _constant(self, value, what):
        """A constant's values: float64 or int64."""
        if isinstance(value, Codes):
            return value.values
        if not isinstance(value, np.ndarray):
            self._refuse(f"{what} must be a constant of the file")
        if not np.isfinite(value).all():
            self._refuse(f"{what} must be finite numbers")
        return value

    def _number(self, value, what):
        value = self._constant(value, what)
        if not value.size or (value != value.flat[0]).any():
            self._refuse(f"{what} must be one number for the tensor, not {value.size}")
        return float(value.flat[0])

    def _must(self, name, allowed, *, default):
        found = self.node.attributes.get(name, default)
        if found != allowed:
            self._refuse(f"{name} must be {allowed}, not {str(found)[:40]}")

    # Layers.

    def _put(self, kind, shape, axes, *, build, source, **more):
        """A new layer whose result still has to be quantised."""
        result = _Result(str(self.node), self._name(), kind, build, **more)
        self.layers[result.name] = result
        return _Value(result.name, tuple(shape), axes, result, source.channels)

    def _name(self):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.node.name).strip("_")[-56:] or self.node.op
        number = 1
        unique = name
        while unique in self.layers or unique == INPUT:
            number += 1
            unique = f"{name}_{number}"
        return unique

    def _shape(self, layer, *shapes):
        try:
            shape = layer.shape(*shapes)
        except ValueError as error:
            self._refuse(str(error))
        if prod(shape) > SIZE * 64:
            self._refuse(f"its result must have at most {SIZE * 64} elements, not {prod(shape)}")
        return shape

    def _kept(self, layer, value, **more):
        """A layer that leaves scales as they are, pending or not."""
        if value.result.kind == "input" and value.result.scale is None:
            self._quantised(value)
        if value.result.scale is None:
            self._alone(value)
        shape = self._shape(layer, value.shape)
        self.layers[layer.name] = layer
        changed = {"name": layer.name, "shape": shape, **more}
        return _Value(**{**vars(value), **changed})

    def _finished(self, entry, last):
        """A layer with its scale and bounds; the last one's accumulators are the logits."""
        if not isinstance(entry, _Result) or entry.build is None:
            return entry
        low, high = entry.limits
        layer = entry.build(low=low, high=high)
        if entry is last:
            if len(getattr(layer, "accumulator_scales", "1")) > 1:
                raise NetworkError(
                    f"{entry.where}: the logits must have one scale, to be compared; nearest: one "
                    "weight scale for the tensor, and no BatchNormalization behind it"
                )
            return layer
        layer = replace(layer, output_scale=entry.scale)
        if entry.kind == "add":
            return layer
        return replace(
            layer, requantiser=find_requantiser(layer, entry.scale, bits=MULTIPLIER_BITS)
        )

    def _check(self, layer):
        """Refuse what the arithmetic of a network has no room for."""
        where = f"layer {layer.name}"
        if isinstance(layer, Linear) and int(layer.bias.abs().max()) >= 1 << 31:
            raise NetworkError(f"{where}: its bias must be below 2 ** 31 accumulator units")
        if layer.requantiser is None:
            return
        r = layer.requantiser
        found = r.channels if isinstance(r, ChannelRequantiser) else (r,)
        channels = layer.channels(len(found) > 1)
        for (_, z_min, z_max), one in zip(channels, found, strict=True):
            if max(-z_min, z_max) * one.multiplier >= 1 << 62:
                raise NetworkError(f"{where}: its accumulators times a multiplier exceed 62 bits")

    def _logits(self):
        """Check the output; returns the result whose accumulators it is."""
        value = self.values[self.graph.output]
        allowed = "the output must be that of a Gemm, MatMul, Conv or AveragePool: the logits"
        if not isinstance(value, _Value) or value.result.kind not in UNROUNDED:
            raise NetworkError(f"{allowed}, not of {self.node}")
        result = value.result
        if result.scale is not None:
            raise NetworkError(
                f"{result.where}: the logits must not be quantised; nearest: no Quant at the output"
            )
        kinds = [entry.kind for entry in self.layers.values()]
        if (result.least, result.most) != (-inf, inf) or "max_pool" in kinds[
            list(self.layers).index(result.name):
        ]:
            raise NetworkError(f"{result.where}: the logits must not pass a Relu, Clip or pool")
        mixed = value.channels not in (None, 1, prod(value.shape))
        if max(value.file_shape) != prod(value.shape) or mixed:
            raise NetworkError(f"{allowed}, one axis of them, not {list(value.file_shape)}")
        if len(value.shape) > 1:
            layer = Flatten(name=self._name(), sources=(value.name,))
            self.layers[layer.name] = layer
        self.outputs = prod(value.shape)
        return result

    # Quantisers.

    def _do_Quant(self, x, scale, zero, bits):
        attributes = self.node.attributes
        rounding = str(attributes.get("rounding_mode", "ROUND"))
        if rounding.upper() not in ("ROUND", "HALF_EVEN"):
            self._refuse(f"rounding_mode must be ROUND, not {rounding[:40]!r}")
        scale = self._constant(scale, "scale").astype(np.float64)
        if not ((scale >= SCALES[0]) & (scale <= SCALES[1])).all():
            wrong = scale[~((scale >= SCALES[0]) & (scale <= SCALES[1]))].flat[0]
            self._refuse(f"scale must be positive, 2 ** -100 to 2 ** 100, not {wrong:g}")
        if np.any(self._constant(zero, "zero point")):
            self._refuse("zero point must be 0; nearest: a symmetric Quant")
        bits = self._number(bits, "bit width")
        signed = bool(attributes.get("signed", 1))
        narrow = bool(attributes.get("narrow", 1))
        constant = not isinstance(x, _Value)
        if bits != int(bits) or not 2 - (not signed) <= bits <= (32 if constant else 8):
            self._refuse(f"bit width must be 2 to 8, not {bits:g}")
        bits = int(bits)
        low = -(1 << (bits - 1)) + narrow if signed else 0
        high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
        if constant:
            x = self._constant(x, "its input").astype(np.float64)
            try:
                scale = np.broadcast_to(scale, x.shape)
            except ValueError:
                self._refuse(
                    f"scale must fit its input, {list(x.shape)}, not {list(scale.shape)}"
                )
            codes = np.clip(np.rint(x / scale), low, high).astype(np.int64)
            return Codes(codes, scale, bits + (not signed))
        if high > ACTIVATION.max:
            self._refuse(
                "an activation must have at most 8 bits signed or 7 unsigned, not 8 unsigned; "
                "nearest: signed, or 7 bits"
            )
        unit = self._number(scale, "scale of an activation")
        if x.result.scale is not None:
            build = self._rescale(x)
            x = self._put("rescale", x.shape, x.axes, build=build, source=x)
        else:
            self._alone(x)
        x.result.scale, x.result.codes = unit, (low, high)
        return x

    _do_IntQuant = _do_Quant

    def _rescale(self, x):
        scale, name, source = x.result.scale, self._name(), x.name

        def build(low, high):
            return Rescale(
                name=name, sources=(source,), input_scale=scale, output_scale=None,
                requantiser=None, low=low, high=high,
            )

        return build

    def _do_Relu(self, x):
        return self._clipped(x, 0.0, inf)

    def _do_Clip(self, x, least=None, most=None):
        least, most = (
            self.node.attributes.get(name, default) if value is None else self._number(value, name)
            for name, value, default in (("min", least, -inf), ("max", most, inf))
        )
        if not least <= most:
            self._refuse(f"min must be at most max, {most:g}, not {least:g}")
        return self._clipped(x, float(least), float(most))

    def _clipped(self, x, least, most):
        """A ReLU or Clip commutes with the Quant behind it, and with one before it if on codes."""
        x = self._activation(x)
        if x.result.scale is None:
            self._alone(x)
        else:
            for end in least, most:
                if math.isfinite(end) and Fraction(end) % Fraction(x.result.scale):
                    self._refuse(
                        f"its limit {end:g} must be a multiple of its input's scale, "
                        f"{x.result.scale:g}; nearest: Clip before the Quant"
                    )
            if x.name != x.result.name or self.readers[self.node.inputs[0]] > 1:
                before = x.result
                x = self._put("rescale", x.shape, x.axes, build=self._rescale(x), source=x)
                x.result.scale, x.result.codes = before.scale, before.codes
        result = x.result
        result.least = min(max(result.least, least), most)
        result.most = max(min(result.most, most), least)
        return x

    # Weighted layers.

    def _weights(self, value):
        if not isinstance(value, Codes):
            self._refuse("its weights must be a Quant of a constant; put a Quant behind them")
        if not 2 <= value.bits <= 8:
            self._refuse(f"its weights must have 2 to 8 bits signed, not {value.bits}")
        return value

    def _weighted(self, kind, x, weights, bias, **window):
        """`Linear` or `Conv` of codes (outputs, K)."""
        outputs, k = weights.codes.shape
        if max(outputs, k) > SIZE:
            self._refuse(f"its weights must be at most {SIZE} x {SIZE}, not {outputs} x {k}")
        bias = np.zeros(outputs) if bias is None else self._constant(bias, "bias")
        if bias.size not in (1, outputs):
            self._refuse(f"its bias must have {outputs} elements, not {bias.size}")
        name, node, scale, source = self._name(), self.node, x.result.scale, x.name
        blank = torch.zeros(outputs, k, dtype=torch.int8)
        common = {
            "name": name, "sources": (source,), "input_scale": scale, "output_scale": None,
            "requantiser": None, **window,
        }
        form = kind(
            **common, group=Group(Int(8), k, 1), weights=blank, scales=blank[:, :1], exponent=0,
            bias=torch.zeros(outputs, dtype=torch.int64), relu=False,
        )
        shape = self._shape(form, x.shape)

        def build(low, high):
            relu = result.least == 0 or result.codes[0] == 0
            try:
                members = grouped(weights, result.factor)
            except ValueError as error:
                raise NetworkError(f"{node}: {error}") from None
            layer = kind(
                **common, **members, relu=relu, bias=form.bias, high=high,
                low=result.codes[0] if relu else low,
            )
            units = np.array([float(unit) for unit in layer.accumulator_scales])
            bias = np.rint(result.bias / units)
            if not (np.abs(bias) < 1 << 31).all():
                raise NetworkError(f"{node}: its bias must be below 2 ** 31 accumulator units")
            return replace(layer, bias=torch.from_numpy(bias).long())

        axes = x.axes
        value = self._put(
            kind.kind, shape, axes, build=build, source=x, weights=weights,
            factor=np.ones(outputs), bias=np.broadcast_to(bias.ravel(), outputs).astype(float),
        )
        value.channels, result = None, value.result
        return value

    def _linear(self, x, weights, bias):
        """Weights (outputs, inputs) as the file orders its inputs."""
        if weights.codes.ndim != 2:
            self._refuse(f"its weights must have 2 axes, not {weights.codes.ndim}")
        if len(x.shape) != 1:
            self._refuse("its input must be flat; nearest: Flatten before it")
        channels, k = x.channels, weights.codes.shape[1]
        if channels and k == x.shape[0]:
            weights = weights.map(
                lambda a: a.reshape(len(a), channels, -1).transpose(0, 2, 1).reshape(len(a), -1)
            )
        return self._weighted(Linear, x, weights, bias)

    def _do_Gemm(self, x, weights, bias=None):
        for name in "alpha", "beta":
            self._must(name, 1.0, default=1.0)
        self._must("transA", 0, default=0)
        x, weights = self._quantised(x), self._weights(weights)
        if not self.node.attributes.get("transB", 0):
            weights = weights.map(np.transpose)
        return self._linear(x, weights, bias)

    def _do_MatMul(self, x, weights):
        x, weights = self._quantised(x), self._weights(weights)
        return self._linear(x, weights.map(np.transpose), None)

    def _do_Conv(self, x, weights, bias=None):
        x, weights = self._quantised(x), self._weights(weights)
        self._channels_first(x)
        kernel = weights.codes.shape[2:]
        window = self._window(x, kernel)
        groups = self.node.attributes.get("group", 1)
        if not 1 <= groups <= SIZE:
            self._refuse(f"group must be 1 or more, not {groups}")
        weights = weights.map(lambda a: np.moveaxis(a, 1, -1).reshape(len(a), -1))
        return self._weighted(Conv, x, weights, bias, **window, groups=groups)

    def _channels_first(self, x):
        if len(x.shape) < 2 or x.axes != _first(len(x.shape)):
            self._refuse(
                "its input must be (samples, channels, …), with axes of positions; nearest: "
                "Transpose before it"
            )

    def _window(self, x, kernel=None):
        """Kernel, stride and padding of the node, for each axis."""
        attributes, axes = self.node.attributes, len(x.shape) - 1

        def axes_of(name, default, count=axes):
            found = tuple(attributes.get(name) or default)
            if len(found) != count or not all(0 <= n <= SIZE for n in found):
                self._refuse(f"{name} must have {count} sizes, not {list(found)[:8]}")
            return found

        found = axes_of("kernel_shape", kernel or ())
        if kernel is not None and found != tuple(kernel):
            self._refuse(f"kernel_shape must be {list(kernel)} as the weights, not {list(found)}")
        stride = axes_of("strides", (1,) * axes)
        if 0 in (*found, *stride):
            self._refuse("kernel_shape and strides must be 1 or more")
        self._must("dilations", [1] * axes, default=[1] * axes)
        self._must("ceil_mode", 0, default=0)
        pads = axes_of("pads", (0,) * (2 * axes), 2 * axes)
        padding = tuple(zip(pads[:axes], pads[axes:], strict=True))
        auto = attributes.get("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            padding = tuple(
                _same(size, k, s, upper=auto == "SAME_UPPER")
                for size, k, s in zip(x.shape, found, stride, strict=False)
            )
        elif auto not in ("NOTSET", "VALID"):
            self._refuse(f"auto_pad must be NOTSET, VALID or SAME_UPPER, not {str(auto)[:40]!r}")
        return {"kernel": found, "stride": stride, "padding": padding}

    # What is done channel by channel.

    def _do_BatchNormalization(self, x, *parameters):
        if len(parameters) != 4:
            self._refuse("must have scale, bias, mean and variance")
        self._must("training_mode", 0, default=0)
        x, count = self._activation(x), len(x.shape) and x.file_shape[0]
        gamma, beta, mean, variance = (self._constant(p, "a parameter") for p in parameters)
        if any(p.shape != (count,) for p in (gamma, beta, mean, variance)):
            self._refuse(f"its parameters must have {count} elements, the channels")
        spread = variance + self.node.attributes.get("epsilon", 1e-5)
        if not (spread > 0).all():
            self._refuse("its variance must be positive")
        factor = gamma / np.sqrt(spread)
        shape = (count, *[1] * (len(x.shape) - 1))
        self._affine(x, factor.reshape(shape), None)
        return self._affine(x, None, (beta - mean * factor).reshape(shape))

    def _affine(self, x, factor, shift):
        """Multiply by constants, or add them: before the first Quant, or in a weighted layer."""
        result = x.result
        free = (result.least, result.most) == (-inf, inf) and x.name == result.name
        if result.scale is None and free:
            parts = [None if p is None else self._arranged(x, p) for p in (factor, shift)]
            if result.kind == "input":
                return self._input_affine(x, *parts)
            if result.weights is not None:
                self._alone(x)
                factor, shift = parts
                if factor is not None:
                    result.factor, result.bias = result.factor * factor, result.bias * factor
                if shift is not None:
                    result.bias = result.bias + shift
                return x
        self._refuse(
            "must directly follow a Conv, Gemm or MatMul, or come before the first Quant"
        )

    def _arranged(self, x, constant):
        """One element, or one for each channel or for each element of an input sample, flat."""
        constant = np.asarray(self._constant(constant, "its operand"), np.float64)
        if constant.size == 1:
            return constant.reshape(1)
        shape = constant.shape
        if len(shape) == len(x.shape) + 1 and shape[0] == 1:
            constant = constant[0]
        constant = constant.reshape((1,) * (len(x.shape) - constant.ndim) + constant.shape)
        if constant.ndim != len(x.shape) or any(
            found not in (1, size)
            for found, size in zip(constant.shape, x.file_shape, strict=True)
        ):
            self._refuse(f"its operand must fit {list(x.file_shape)}, not {list(shape)}")
        constant = constant.transpose([x.axes.index(axis) for axis in range(len(x.shape))])
        if x.result.kind == "input":
            return np.broadcast_to(constant, x.shape).ravel()
        if constant.size != constant.shape[-1]:
            self._refuse("its operand must be one number, or one for each channel")
        return np.broadcast_to(constant.ravel(), x.shape[-1:])

    def _input_affine(self, x, factor, shift):
        self._alone(x)
        if factor is not None:
            if not (np.abs(factor) >= SCALES[0]).all():
                self._refuse("its operand must not be 0")
            self.gain = self.gain * factor
        if shift is not None:
            self.offset = self.offset - shift / self.gain
        return x

    def _do_Add(self, a, b):
        if isinstance(a, _Value) and isinstance(b, _Value):
            return self._sum(a, b)
        if isinstance(a, _Value):
            return self._affine(a, None, b)
        return self._flipped(b, lambda: self._affine(self._activation(b), None, a))

    def _do_Mul(self, a, b):
        if isinstance(a, _Value) and isinstance(b, _Value):
            self._refuse("must be by a constant; two activations can only be added; nearest: Add")
        if isinstance(a, _Value):
            return self._affine(a, b, None)
        return self._flipped(b, lambda: self._affine(self._activation(b), a, None))

    def _flipped(self, value, function):
        """A constant came first."""
        self.node = replace(self.node, inputs=self.node.inputs[::-1])
        return function()

    def _do_Sub(self, a, b):
        if not isinstance(a, _Value) or isinstance(b, _Value):
            self._refuse("must subtract a constant; nearest: Add")
        return self._affine(a, None, np.negative(self._floats(b)))

    def _do_Div(self, a, b):
        if not isinstance(a, _Value) or isinstance(b, _Value):
            self._refuse("must divide by a constant; nearest: Mul")
        b = self._floats(b)
        if not (np.abs(b) >= SCALES[0]).all():
            self._refuse("its operand must not be 0")
        return self._affine(a, 1 / b, None)

    def _floats(self, value):
        """A constant with at least one axis, which arithmetic leaves an array."""
        return np.atleast_1d(self._constant(value, "its operand").astype(np.float64))

    def _sum(self, a, b):
        a, b = self._quantised(a, "its first input"), self._quantised(b, "its second input")
        if (a.shape, a.axes, a.channels) != (b.shape, b.axes, b.channels):
            self._refuse(
                f"both inputs must have one shape, not {list(a.file_shape)} and "
                f"{list(b.file_shape)}"
            )
        scales = a.result.scale, b.result.scale
        if scales[0] != scales[1]:
            self._refuse(
                f"both inputs must have one scale, not {scales[0]:g} and {scales[1]:g}; put a "
                "Quant of one scale behind both"
            )
        name = self._name()

        def build(low, high):
            return Add(
                name=name, sources=(a.name, b.name), input_scales=scales, branches=(SAME, SAME),
                branch_scale=scales[0], output_scale=None, requantiser=None, low=low, high=high,
            )

        return self._put("add", a.shape, a.axes, build=build, source=a)

    # Pools and shapes.

    def _do_MaxPool(self, x):
        self._channels_first(self._activation(x))
        window = self._window(x)
        if len(self.node.outputs) > 1 and self.node.outputs[1]:
            self._refuse("its indices must not be used")
        return self._kept(MaxPool(name=self._name(), sources=(x.name,), **window), x)

    def _do_AveragePool(self, x):
        self._channels_first(self._quantised(x))
        window = self._window(x)
        if any(map(any, window["padding"])):
            self._must("count_include_pad", 1, default=0)
        return self._average(x, window)

    def _do_GlobalAveragePool(self, x):
        self._channels_first(self._quantised(x))
        return self._average(x, _whole(x))

    def _do_ReduceMean(self, x, axes=None):
        self._channels_first(self._quantised(x))
        found = self.node.attributes.get("axes", []) if axes is None else list(
            self._constant(axes, "axes").ravel()
        )
        rank = len(x.shape) + 1
        if sorted(int(axis) % rank for axis in found) != list(range(2, rank)):
            self._refuse("its axes must be all of positions; nearest: GlobalAveragePool")
        value = self._average(x, _whole(x))
        if not self.node.attributes.get("keepdims", 1):
            value = self._flat(value)
        return value

    def _average(self, x, window):
        name, scale, source = self._name(), x.result.scale, x.name

        def build(low, high):
            return AveragePool(
                name=name, sources=(source,), **window, input_scale=scale, output_scale=None,
                requantiser=None, low=low, high=high,
            )

        shape = self._shape(build(ACTIVATION.min, ACTIVATION.max), x.shape)
        return self._put("average_pool", shape, x.axes, build=build, source=x)

    def _flat(self, x):
        """All axes but the samples in one."""
        if len(x.shape) == 1:
            return x
        last = tuple(range(len(x.shape)))
        if x.axes not in (last, _first(len(x.shape))):
            self._refuse("its input must have its channels first or last")
        channels = x.shape[-1] if x.axes != last else None
        layer = Flatten(name=self._name(), sources=(x.name,))
        self.layers[layer.name] = layer
        shape = (prod(x.shape),)
        return _Value(layer.name, shape, (0,), x.result, channels)

    def _do_Flatten(self, x):
        x = self._activation(x)
        axis = self.node.attributes.get("axis", 1)
        if axis not in (1, -len(x.shape)):
            self._refuse(f"axis must be 1, not {axis}")
        return self._flattened(x)

    def _flattened(self, x):
        if x.result.scale is None:
            if x.result.kind == "input":
                self._quantised(x)
            self._alone(x)
        return self._flat(x)

    def _do_Reshape(self, x, shape):
        target = [int(n) for n in self._constant(shape, "shape").ravel()]
        if not isinstance(x, _Value):
            return self._moved_constant(x, lambda a: a.reshape(target))
        sizes = target[1:]
        if not target or target[0] > 1 or min(sizes, default=-2) < -1 or 0 in sizes:
            self._refuse(f"its shape must be [samples, sizes …], not {target[:8]}")
        count = prod(x.shape)
        if sizes.count(-1) == 1 and not count % prod(n for n in sizes if n > 0):
            sizes = [count // prod(n for n in sizes if n > 0) if n < 0 else n for n in sizes]
        if prod(sizes) != count or -1 in sizes:
            sample = list(x.file_shape)
            self._refuse(f"its shape must hold {sample} for each sample, not {target[:8]}")
        if tuple(sizes) == x.file_shape:
            return x
        if len(sizes) == 1:
            return self._flattened(x)
        if x.name == INPUT and len(x.shape) == 1 and len(sizes) <= 3:
            return self._picture(x, sizes)
        self._refuse("must flatten, or give a flat input its axes; nearest: Flatten")

    def _picture(self, x, sizes):
        """A flat input with axes: the network's own is channel-last."""
        self._alone(x)
        if sizes[0] > 1 and max(len(self.offset), len(self.gain)) > 1:
            self._refuse("must come before what is done to each element of the input")
        x.shape, x.axes = (*sizes[1:], sizes[0]), _first(len(sizes))
        return x

    def _do_Transpose(self, x):
        perm = self.node.attributes.get("perm")
        if not isinstance(x, _Value):
            if perm is not None and sorted(perm) != list(range(len(perm))):
                self._refuse("perm must name each axis once")
            return self._moved_constant(x, lambda a: a.transpose(perm))
        rank = len(x.shape) + 1
        perm = list(range(rank))[::-1] if perm is None else perm
        if sorted(perm) != list(range(rank)) or perm[0]:
            self._refuse(f"perm must leave the samples first of {rank} axes, not {perm[:8]}")
        if x.result.scale is None:
            self._alone(x)
        axes = tuple(x.axes[axis - 1] for axis in perm[1:])
        if axes == x.axes:
            return x
        return _Value(x.name, x.shape, axes, x.result, x.channels)

    def _moved_constant(self, x, function):
        try:
            if isinstance(x, Codes):
                return x.map(function)
            return function(self._constant(x, "its input"))
        except ValueError as error:
            self._refuse(str(error).splitlines()[0])

    def _do_Identity(self, x, *_):
        return x

    _do_Dropout = _do_Identity

    # Shapes that a file computes: the samples count as 0, which Reshape leaves as they are.

    def _do_Shape(self, x):
        return np.array([0, *self._activation(x).file_shape])

    def _do_Gather(self, x, indices):
        index = self._integers(indices)
        values = self._integers(x)
        if (index >= len(values)).any() or (index < -len(values)).any() or values.ndim != 1:
            self._refuse("its indices must be within its input")
        return values[index]

    def _do_Unsqueeze(self, x, axes=None):
        return self._integers(x).reshape(-1)

    def _do_Concat(self, *parts):
        if any(isinstance(part, _Value) for part in parts):
            self._refuse("of activations is not supported; nearest: Add")
        return np.concatenate([self._integers(part).reshape(-1) for part in parts])

    def _integers(self, value):
        value = self._constant(value, "its input")
        if value.dtype != np.int64 or value.size > 16:
            self._refuse("its input must be the sizes of a shape")
        return value


def _whole(x):
    kernel = x.shape[:-1]
    return {"kernel": kernel, "stride": kernel, "padding": ((0, 0),) * len(kernel)}


def _same(size, kernel, stride, *, upper):
    """Padding with which there are ``ceil(size / stride)`` positions."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)
