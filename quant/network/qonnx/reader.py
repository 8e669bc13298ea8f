# SPDX-License-Identifier: Apache-2.0
"""The walk through a QONNX file, apart from its operations."""

import inspect
import re
from collections import Counter
from dataclasses import replace
from math import inf, prod

import numpy as np

from ...golden.requantise import ChannelRequantiser
from ..build import find_requantiser, joined
from ..file import NetworkError
from ..layers import Flatten, Linear
from ..network import INPUT, InputScaling, IntegerNetwork
from .file import SIZE
from .values import Result, Value, channels_first
from .weights import Codes

__all__ = ["Reader"]

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


class Reader:
    """Walks a graph; ``values`` has what each of its tensors is."""

    def __init__(self, graph):
        self.graph = graph
        self.readers = Counter(name for node in graph.nodes for name in node.inputs)
        self.readers[graph.output] += 1
        self.layers = {}  # a Result, or a layer that leaves the scale, by name
        shape = graph.shape
        axes = tuple(range(len(shape)))
        if len(shape) > 1 and not self._channels_last():
            axes = channels_first(len(shape))
            shape = (*shape[1:], shape[0])
        self.input = Result("the graph's input", INPUT, "input")
        self.offset, self.gain = np.zeros(1), np.ones(1)
        self.values = {**graph.constants, graph.input: Value(INPUT, shape, axes, self.input)}

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
        if not isinstance(value, Value):
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
        result = Result(str(self.node), self._name(), kind, build, **more)
        self.layers[result.name] = result
        return Value(result.name, tuple(shape), axes, result, source.channels)

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
        return Value(**{**vars(value), **changed})

    def _finished(self, entry, last):
        """A layer with its scale and bounds; the last one's accumulators are the logits."""
        if not isinstance(entry, Result) or entry.build is None:
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
        if not isinstance(value, Value) or value.result.kind not in UNROUNDED:
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
