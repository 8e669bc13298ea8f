# SPDX-License-Identifier: Apache-2.0
"""Affine steps, which go into a weighted layer or into the scaling of the input; and sums."""

from dataclasses import replace
from math import inf

import numpy as np

from ..build import SAME
from ..layers import Add
from .reader import Reader
from .values import Value
from .weights import SCALES

__all__ = ["Channelwise"]

class Channelwise(Reader):
    """Operations on each channel or element."""

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
        if isinstance(a, Value) and isinstance(b, Value):
            return self._sum(a, b)
        if isinstance(a, Value):
            return self._affine(a, None, b)
        return self._flipped(b, lambda: self._affine(self._activation(b), None, a))

    def _do_Mul(self, a, b):
        if isinstance(a, Value) and isinstance(b, Value):
            self._refuse("must be by a constant; two activations can only be added; nearest: Add")
        if isinstance(a, Value):
            return self._affine(a, b, None)
        return self._flipped(b, lambda: self._affine(self._activation(b), a, None))

    def _flipped(self, value, function):
        """A constant came first."""
        self.node = replace(self.node, inputs=self.node.inputs[::-1])
        return function()

    def _do_Sub(self, a, b):
        if not isinstance(a, Value) or isinstance(b, Value):
            self._refuse("must subtract a constant; nearest: Add")
        return self._affine(a, None, np.negative(self._floats(b)))

    def _do_Div(self, a, b):
        if not isinstance(a, Value) or isinstance(b, Value):
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
