# SPDX-License-Identifier: Apache-2.0
"""From trained fixed point to an integer network."""

from dataclasses import dataclass

import numpy as np
import torch

from ..formats import Fixed
from ..golden.exact import matmul
from ..golden.fixed import fixed_cast, operand
from .fixed_linear import bias_integers

__all__ = ["FrozenLinear", "FrozenNetwork", "freeze"]


@dataclass(frozen=True, eq=False)
class FrozenLinear:
    """``fixed_cast(relu(x @ weights.T + bias))`` on integers.

    Attributes
    ----------
    weights : int64 tensor, shape (N, K)
    bias : int64 tensor, shape (N,)
        In units of the accumulator.
    khot : int or None
        Greatest number of ones in the magnitude of a weight.
    relu : bool
    input_format, weight_format, accumulator_format, output_format : Fixed
        The accumulator is as wide as the weights can make it. Without a cast the output is it.
    """

    weights: torch.Tensor
    bias: torch.Tensor
    khot: int | None
    relu: bool
    input_format: Fixed
    weight_format: Fixed
    accumulator_format: Fixed
    output_format: Fixed

    def run(self, x):
        """Accumulators and outputs, int64, shapes (samples, N)."""
        accumulators = matmul(x, self.weights) + self.bias
        y = accumulators.clamp(min=0) if self.relu else accumulators
        return accumulators, fixed_cast(y, self.accumulator_format, self.output_format)


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A row of `FrozenLinear`."""

    layers: tuple[FrozenLinear, ...]

    def encode(self, x):
        """Integers of real inputs, an array or tensor (samples, K)."""
        fmt = self.layers[0].input_format
        return torch.from_numpy(np.asarray(fmt.decode(fmt.encode(np.asarray(x)))))

    def run(self, x):
        """Every value, in integer arithmetic.

        Parameters
        ----------
        x : integer tensor, shape (samples, K)
            See `encode`.

        Returns
        -------
        list of (Fixed, int64 tensor)
            The input, then each layer's accumulators and outputs, with their formats.
        """
        results = [(self.layers[0].input_format, operand(x, self.layers[0].input_format, "X"))]
        for layer in self.layers:
            accumulators, outputs = layer.run(results[-1][1])
            results += [(layer.accumulator_format, accumulators), (layer.output_format, outputs)]
        return results


def freeze(model):
    """Integer network of a trained `FixedNetwork`.

    Raises ValueError where an accumulator would need more than 53 bits: there float64 and integers
    could part.
    """
    layers, source = [], model.quantiser.format
    for place, layer in enumerate(model.layers, 1):
        quantiser, lsb = layer.weight_quantiser, layer.lsb(source)
        most = float((layer.bias.detach().double() * 2.0**-lsb).abs().max())
        if not most < 1 << 53:
            raise ValueError(
                f"Layer {place}: bias must be below 2 ** 53 accumulator units, not {most:g}"
            )
        weights, bias = quantiser.integers(layer.weight), bias_integers(layer.bias, lsb)
        accumulator = _accumulator(weights, bias, source, lsb=lsb, place=place)
        cast = layer.output_quantiser
        layers.append(FrozenLinear(
            weights, bias, quantiser.khot, layer.relu, source, quantiser.format, accumulator,
            accumulator if cast is None else cast.format,
        ))
        source = layers[-1].output_format
    return FrozenNetwork(tuple(layers))


def _accumulator(weights, bias, source, *, lsb, place):
    """Format that holds every sum, and every part of one."""
    x = torch.full((1, weights.shape[1]), max(-source.limits[0], source.limits[1]))
    sums = matmul(weights.abs(), x)[:, 0]
    most = max(int(a) + abs(b) for a, b in zip(sums, bias.tolist(), strict=True))
    width = most.bit_length() + 1
    try:
        return Fixed(width, width + lsb)
    except ValueError as error:
        raise ValueError(f"Layer {place}: no accumulator fits: {error}") from None
