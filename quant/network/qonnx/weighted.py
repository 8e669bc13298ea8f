# SPDX-License-Identifier: Apache-2.0
"""``Gemm``, ``MatMul`` and ``Conv``."""

from dataclasses import replace

import numpy as np
import torch

from ...formats import Group, Int
from ..file import NetworkError
from ..layers import Conv, Linear
from .file import SIZE
from .weights import Codes, grouped
from .windows import Windows

__all__ = ["Weighted"]

class Weighted(Windows):
    """Operations with weights."""

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
