# SPDX-License-Identifier: Apache-2.0
"""Perceptrons in fixed point with learned binary points."""

from itertools import pairwise
from typing import cast

import torch
from torch import nn

from .fixed_point import FixedPoint

__all__ = ["FixedLinear", "FixedNetwork", "apart", "bias_integers", "fixed_mlp"]


def bias_integers(bias, lsb):
    """A bias in units of ``2 ** lsb``, half to even, int64."""
    return torch.round(bias.detach().double() * 2.0**-lsb).long()


class RoundBias(torch.autograd.Function):
    """A bias rounded to a multiple of ``2 ** lsb``; the gradient passes."""

    @staticmethod
    def forward(ctx, bias, lsb):
        return (bias_integers(bias, lsb).double() * 2.0**lsb).to(bias)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class FixedLinear(nn.Linear):
    """Linear layer, ReLU and cast in fixed point, each binary point learned [1]_.

    ``o = cast(relu(x @ q(weight).T + q(bias)))``; the bias is rounded to units of the accumulator.

    .. [1] Dai et al., Trainable fixed-point quantization for deep learning acceleration on FPGAs
       (QFX, 2024).

    Parameters
    ----------
    inputs, outputs : int
    weight_bits : int
    activation_bits : int or None
        Width of the output, unsigned after a ReLU. None: the accumulator is the output.
    khot : int, optional
        Greatest number of ones in a weight: multiplication by as many shifts.
    relu : bool
    rounding, overflow : str
        Of the output's cast, see `Fixed`. Weights are rounded half to even and saturate.
    """

    def __init__(self, inputs, outputs, *, weight_bits, activation_bits, khot=None, relu=True,
                 rounding="half_even", overflow="SAT"):
        super().__init__(inputs, outputs)
        self.relu = relu
        self.weight_quantiser = FixedPoint(weight_bits, khot=khot)
        self.output_quantiser = None if activation_bits is None else FixedPoint(
            activation_bits, signed=not relu, rounding=rounding, overflow=overflow
        )

    def lsb(self, source):
        """Unit of the accumulator, as a power of two."""
        return source.lsb + self.weight_quantiser.format.lsb

    def accumulate(self, x, source):
        """Accumulators of values ``x`` of the format ``source``."""
        weight = self.weight_quantiser(self.weight)
        return nn.functional.linear(x, weight, RoundBias.apply(self.bias, self.lsb(source)))

    def activate(self, accumulator):
        """What the layer makes of its accumulators."""
        y = accumulator.relu() if self.relu else accumulator
        return y if self.output_quantiser is None else self.output_quantiser(y)

    def forward(self, x, source):
        return self.activate(self.accumulate(x, source))


class FixedNetwork(nn.Module):
    """A quantised input and a row of `FixedLinear`, of which only the last may lack a cast."""

    def __init__(self, quantiser, layers):
        super().__init__()
        for place, layer in enumerate(layers[:-1], 1):
            if layer.output_quantiser is None:
                raise ValueError(f"Layer {place}: activation_bits must not be None but at the end")
        self.quantiser = quantiser
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.trace(x)[-1]

    def trace(self, x):
        """The quantised input, then each layer's accumulators and outputs; in float64 all exact."""
        results, source = [self.quantiser(x)], self.quantiser.format
        for layer in cast("list[FixedLinear]", self.layers):
            results.append(layer.accumulate(results[-1], source))
            results.append(layer.activate(results[-1]))
            if layer.output_quantiser is not None:
                source = layer.output_quantiser.format
        return results


def fixed_mlp(widths, *, weight_bits, activation_bits, signed=True, **options):
    """``widths[0]``-…-``widths[-1]`` perceptron with ReLU; its outputs are accumulators.

    Parameters
    ----------
    widths : sequence of int
    signed : bool
        Whether inputs may be negative.
    **options
        ``khot``, ``rounding`` and ``overflow`` of each `FixedLinear`.
    """
    last = len(widths) - 2
    layers = [
        FixedLinear(
            inputs, outputs, weight_bits=weight_bits,
            activation_bits=None if k == last else activation_bits, relu=k < last, **options,
        )
        for k, (inputs, outputs) in enumerate(pairwise(widths))
    ]
    return FixedNetwork(FixedPoint(activation_bits, signed=signed), layers)


def apart(model, *, learning_rate):
    """Parameters for `fit`: binary points at a rate of their own, without weight decay."""
    points = [module.f for module in model.modules() if isinstance(module, FixedPoint)]
    others = [p for p in model.parameters() if all(p is not point for point in points)]
    return [{"params": others}, {"params": points, "lr": learning_rate, "weight_decay": 0.0}]
