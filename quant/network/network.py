# SPDX-License-Identifier: Apache-2.0
"""A stack of linear layers in integer arithmetic."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from ..formats import Group, Int
from ..golden.accumulator import accumulate
from ..golden.argmax import argmax
from ..golden.group_dot import group_dot
from ..golden.group_scale import group_scale
from ..golden.relu import relu
from ..golden.requantise import Requantiser, requantise

__all__ = ["ACTIVATION", "InputScaling", "IntegerNetwork", "Linear", "Trace"]

ACTIVATION = Int(8)


@dataclass(frozen=True)
class InputScaling:
    """Real inputs to codes: ``clamp(round_half_even((x - offset) * gain / scale))``, in float64.

    ``offset`` and ``gain`` have one element, or one per feature.
    """

    scale: float
    offset: np.ndarray
    gain: np.ndarray

    def normalise(self, x):
        """Inputs as the trained model sees them: float64, shape (samples, features)."""
        return (np.asarray(x, np.float64) - self.offset) * self.gain

    def encode(self, x):
        """Integer activations, int64 tensor (samples, features)."""
        codes = ACTIVATION.encode(self.normalise(x) / self.scale)
        return torch.from_numpy(ACTIVATION.decode(codes))


@dataclass(frozen=True)
class Linear:
    """``z = bias + sum_g S[n, g] * sum_k a[k] * q[n, k]``, then requantisation and activation.

    Attributes
    ----------
    weights : int8 tensor, shape (outputs, inputs)
        q, two's complement of ``group.element``.
    scales : int32 tensor, shape (outputs, groups)
        S, unsigned of ``group.scale_bits``.
    exponent : int
        x: a weight is worth ``q * S * 2 ** -x``.
    bias : int64 tensor, shape (outputs,)
        In accumulator units, ``input_scale * 2 ** -x``.
    requantiser : Requantiser or None
        None on the last layer, whose outputs are the accumulators.
    """

    name: str
    group: Group
    weights: torch.Tensor
    scales: torch.Tensor
    exponent: int
    bias: torch.Tensor
    relu: bool
    input_scale: float
    output_scale: float | None
    requantiser: Requantiser | None

    @property
    def inputs(self):
        return self.weights.shape[1]

    @property
    def outputs(self):
        return self.weights.shape[0]

    @property
    def accumulator_scale(self):
        """What one unit of the accumulator is worth, a Fraction."""
        return Fraction(self.input_scale) * Fraction(2) ** -self.exponent

    @property
    def accumulator_range(self):
        """Least and greatest accumulator that any activations can reach."""
        scales = torch.from_numpy(self.group.expand(self.scales.numpy(), self.inputs))
        w = self.weights.long() * scales
        extremes = torch.stack([w * ACTIVATION.min, w * ACTIVATION.max])
        low = self.bias + extremes.amin(dim=0).sum(dim=1)
        high = self.bias + extremes.amax(dim=0).sum(dim=1)
        return int(low.min()), int(high.max())

    def accumulators(self, activations):
        """Exact accumulators of a batch: int64, shape (samples, outputs)."""
        sums = group_dot(activations, self.weights.long(), size=self.group.size)
        return accumulate(group_scale(sums, self.scales), self.bias)

    def finish(self, accumulators):
        """Output activations: int64, the shape of the accumulators."""
        if self.requantiser is None:
            return accumulators
        low, high = ACTIVATION.min, ACTIVATION.max
        b, c = self.requantiser.multiplier, self.requantiser.shift
        y = requantise(accumulators, multiplier=b, shift=c, low=low, high=high)
        return relu(y) if self.relu else y


@dataclass(frozen=True)
class Trace:
    """Everything a batch computes: ``activations[l]`` enter layer l, the last are the logits."""

    activations: list
    accumulators: list

    @property
    def logits(self):
        return self.activations[-1]

    @property
    def classes(self):
        return argmax(self.logits)


@dataclass(frozen=True)
class IntegerNetwork:
    """Linear layers one after the other, from integer activations to integer logits."""

    name: str
    input: InputScaling
    layers: list
    labels: list

    @property
    def inputs(self):
        return self.layers[0].inputs

    @property
    def outputs(self):
        return self.layers[-1].outputs

    def encode(self, x):
        """Real inputs to integer activations."""
        return self.input.encode(x)

    def run(self, activations):
        """Run a batch of integer activations (samples, inputs).

        Returns
        -------
        Trace
        """
        activations = [torch.as_tensor(activations).long()]
        accumulators = []
        for layer in self.layers:
            accumulators.append(layer.accumulators(activations[-1]))
            activations.append(layer.finish(accumulators[-1]))
        return Trace(activations, accumulators)

    @property
    def identity(self):
        """Eight bytes that differ for networks that compute differently."""
        digest = hashlib.sha256()
        for layer in self.layers:
            r = layer.requantiser
            digest.update(
                repr((layer.outputs, layer.inputs, layer.group.size, layer.relu)).encode()
                + repr(r and (r.multiplier, r.shift)).encode()
            )
            for tensor in layer.weights, layer.scales, layer.bias:
                digest.update(tensor.long().contiguous().numpy().astype("<i8").tobytes())
        return digest.digest()[:8]
