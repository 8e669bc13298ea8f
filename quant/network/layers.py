# SPDX-License-Identifier: Apache-2.0
"""Exact layers: integer activations in, integer activations out.

Activations are channel-last: (samples, features), (samples, length, channels) or (samples, height,
width, channels). All kinds of layers have the same members:

name : str
sources : tuple of str
    Layers whose outputs are read, "input" for the network's; empty: the layer before.
input_scales : tuple of float
    What one unit of each input is worth; empty where it does not matter.
output_scale : float or None
    What one unit of the output is worth; None where it is an accumulator's, or the input's.
requantiser : Requantiser, ChannelRequantiser or None
    None where the accumulators themselves are the output.
bounds : (int, int)
    Limits of requantised outputs: a ReLU begins at 0, a clipped one ends at its code.
shape(*shapes)
    Shape of an output sample; ValueError where the inputs' shapes do not fit.
accumulators(*inputs)
    Exact int64 values before requantisation.
finish(accumulators)
    The output, int64.
channels(per_channel=None)
    ``(scale, z_min, z_max)`` of the accumulators: what one unit is worth, a Fraction, and which of
    them any activations can reach; one for the tensor, or one for each output channel, the default
    where each has a scale of its own.
signature : tuple
    Everything that the result follows from, in plain values and tensors.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import prod

import torch

from ..formats import Group, Int
from ..golden.accumulator import accumulate
from ..golden.average_pool import window_sum
from ..golden.conv import conv
from ..golden.group_dot import group_dot
from ..golden.group_scale import group_scale
from ..golden.max_pool import max_pool
from ..golden.requantise import ChannelRequantiser, Requantiser, requantise
from ..golden.residual_add import aligned_sum
from ..golden.windows import positions

__all__ = ["ACTIVATION", "Add", "AveragePool", "Conv", "Flatten", "Linear", "MaxPool", "Rescale"]

ACTIVATION = Int(8)


def _finish(layer, accumulators):
    """Requantised accumulators within the layer's bounds."""
    if layer.requantiser is None:
        return accumulators
    (low, high), r = layer.bounds, layer.requantiser
    return requantise(accumulators, multiplier=r.multiplier, shift=r.shift, low=low, high=high)


def _factors(requantiser):
    """Multiplier and shift in plain values, of each channel where there are several."""
    match requantiser:
        case ChannelRequantiser(channels):
            return [_factors(channel) for channel in channels]
        case Requantiser(multiplier, shift):
            return multiplier, shift


def _slide(layer, shape):
    """Shape of a sample whose axes of positions a kernel has slid along."""
    *sizes, channels = shape
    if len(sizes) != len(layer.kernel):
        raise ValueError(
            f"kernel {list(layer.kernel)} must have an axis for each of positions, of which the "
            f"input {list(shape)} has {len(sizes)}"
        )
    try:
        places = [
            positions(size, kernel=k, stride=s, padding=p)
            for size, k, s, p in zip(sizes, layer.kernel, layer.stride, layer.padding, strict=True)
        ]
    except ValueError as error:
        where = f"kernel {list(layer.kernel)} on an input {list(shape)}"
        raise ValueError(f"{where}: {error}") from None
    return (*places, channels)


@dataclass(frozen=True)
class Linear:
    """``z = bias + sum_g S[n, g] * sum_k a[k] * q[n, k]``, then requantisation and activation.

    Attributes
    ----------
    weights : int8 tensor, shape (outputs, inputs)
        q, two's complement of ``group.element``, at most 8 bits.
    scales : int32 tensor, shape (outputs, groups)
        S, unsigned of ``group.scale_bits``.
    exponent : int
        x: a weight is worth ``q * S * 2 ** -x``, times its weight scale.
    bias : int64 tensor, shape (outputs,)
        In accumulator units, ``input_scale * 2 ** -x`` times the weight scale.
    requantiser : Requantiser, ChannelRequantiser or None
        None on the last layer, whose outputs are the accumulators.
    low, high : int
        Limits of the output, besides those of ``relu``.
    weight_scales : float64 tensor, shape (1,) or (outputs,), or None
        Real scales of trained weights that are no powers of two; None: 1.
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
    requantiser: Requantiser | ChannelRequantiser | None
    low: int = ACTIVATION.min
    high: int = ACTIVATION.max
    weight_scales: torch.Tensor | None = None
    sources: tuple = ()

    kind = "linear"

    @property
    def inputs(self):
        return self.weights.shape[1]

    @property
    def outputs(self):
        return self.weights.shape[0]

    @property
    def input_scales(self):
        return (self.input_scale,)

    @property
    def bounds(self):
        return max(self.low, 0) if self.relu else self.low, self.high

    @property
    def accumulator_scales(self):
        """What one unit of the accumulator is worth: Fractions, one, or one for each output."""
        unit = Fraction(self.input_scale) * Fraction(2) ** -self.exponent
        if self.weight_scales is None:
            return (unit,)
        return tuple(unit * Fraction(scale) for scale in self.weight_scales.tolist())

    @property
    def accumulator_scale(self):
        """The same where it is one, a Fraction; ValueError where each output has its own."""
        (scale, *more) = self.accumulator_scales
        if more:
            raise ValueError(f"Layer {self.name}: each output has an accumulator scale of its own")
        return scale

    @property
    def scaled_weights(self):
        """Weights times the integer scales of their groups: int64, shape (outputs, inputs)."""
        scales = self.group.expand(self.scales.numpy(), self.inputs)
        return self.weights.long() * torch.from_numpy(scales)

    def _ranges(self):
        """Least and greatest accumulator of each output."""
        w = self.scaled_weights
        extremes = torch.stack([w * ACTIVATION.min, w * ACTIVATION.max])
        low = self.bias + extremes.amin(dim=0).sum(dim=1)
        return low, self.bias + extremes.amax(dim=0).sum(dim=1)

    @property
    def accumulator_range(self):
        """Least and greatest accumulator that any activations can reach."""
        low, high = self._ranges()
        return int(low.min()), int(high.max())

    def channels(self, per_channel=None):
        scales = self.accumulator_scales
        if not (len(scales) > 1 if per_channel is None else per_channel):
            return [(self.accumulator_scale, *self.accumulator_range)]
        low, high = (limit.tolist() for limit in self._ranges())
        scales = scales * self.outputs if len(scales) == 1 else scales
        return list(zip(scales, low, high, strict=True))

    @property
    def signature(self):
        # What networks had from the beginning comes first, and what is usual is left out: their
        # identities stay.
        element, limits = self.group.element.name, (self.low, self.high)
        more = (element, *limits)
        return (
            (self.outputs, self.inputs, self.group.size, self.relu),
            _factors(self.requantiser),
            *([more] if more != ("int4", ACTIVATION.min, ACTIVATION.max) else []),
            self.weights, self.scales, self.bias,
        )

    def shape(self, shape):
        if tuple(shape) != (self.inputs,):
            raise ValueError(f"inputs must be [{self.inputs}], not {list(shape)}")
        return (self.outputs,)

    def accumulators(self, activations):
        """Exact accumulators of a batch: int64, shape (samples, outputs)."""
        sums = group_dot(activations, self.weights.long(), size=self.group.size)
        return accumulate(group_scale(sums, self.scales), self.bias)

    def finish(self, accumulators):
        """Output activations: int64, the shape of the accumulators."""
        return _finish(self, accumulators)


@dataclass(frozen=True, kw_only=True)
class Conv(Linear):
    """A `Linear` at every position of a window: a convolution in one or two dimensions.

    K runs over the taps of the window in row-major order, then over the channels of a group of
    channels: (ky, kx, channel). Padding is 0.

    Attributes
    ----------
    kernel, stride : tuple of int
    padding : tuple of (int, int)
        Before and after each axis.
    groups : int
        Groups of channels that do not see each other; as many as channels: depthwise.
    """

    kernel: tuple
    stride: tuple
    padding: tuple
    groups: int = 1

    kind = "conv"

    @property
    def signature(self):
        window = self.kind, self.kernel, self.stride, self.padding, self.groups
        return (window, *super().signature)

    def shape(self, shape):
        *places, channels = _slide(self, shape)
        if channels % self.groups or self.outputs % self.groups:
            raise ValueError(
                f"groups must divide {channels} input and {self.outputs} output channels, "
                f"not {self.groups}"
            )
        k = prod(self.kernel) * channels // self.groups
        if self.inputs != k:
            raise ValueError(
                f"inputs must be {k}, {prod(self.kernel)} taps of {channels // self.groups} "
                f"channels, not {self.inputs}"
            )
        return (*places, self.outputs)

    def accumulators(self, activations):
        """Exact accumulators of a batch: int64, shape (samples, *positions, outputs).

        The scale of a group is a factor of its weights here: the sum is the same.
        """
        options = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        z = conv(activations, self.scaled_weights, **options, groups=self.groups)
        return z + self.bias


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """Greatest activation of each window; the scale stays."""

    name: str
    kernel: tuple
    stride: tuple
    padding: tuple
    sources: tuple = ()

    kind = "max_pool"
    input_scales = ()
    output_scale = None
    requantiser = None

    @property
    def signature(self):
        return ((self.kind, self.kernel, self.stride, self.padding),)

    def shape(self, shape):
        for size, pair in zip(self.kernel, self.padding, strict=True):
            if max(pair) >= size:
                raise ValueError(f"padding must be below the kernel, {size}, not {max(pair)}")
        return _slide(self, shape)

    def accumulators(self, activations):
        return max_pool(
            activations, kernel=self.kernel, stride=self.stride, padding=self.padding
        )

    def finish(self, accumulators):
        return accumulators


@dataclass(frozen=True, kw_only=True)
class AveragePool:
    """``z``, the sum of each window; the requantiser divides. Padding is 0 and counts."""

    name: str
    kernel: tuple
    stride: tuple
    padding: tuple
    input_scale: float
    output_scale: float | None
    requantiser: Requantiser | None
    low: int = ACTIVATION.min
    high: int = ACTIVATION.max
    sources: tuple = ()

    kind = "average_pool"

    @property
    def input_scales(self):
        return (self.input_scale,)

    @property
    def bounds(self):
        return self.low, self.high

    @property
    def accumulator_scale(self):
        return Fraction(self.input_scale) / prod(self.kernel)

    def channels(self, per_channel=None):
        taps = prod(self.kernel)
        return [(self.accumulator_scale, taps * ACTIVATION.min, taps * ACTIVATION.max)]

    @property
    def signature(self):
        window = self.kind, self.kernel, self.stride, self.padding
        return ((*window, *self.bounds), _factors(self.requantiser))

    def shape(self, shape):
        return _slide(self, shape)

    def accumulators(self, activations):
        return window_sum(
            activations, kernel=self.kernel, stride=self.stride, padding=self.padding
        )

    def finish(self, accumulators):
        return _finish(self, accumulators)


@dataclass(frozen=True, kw_only=True)
class Add:
    """``z = round(a * b_a / 2 ** c_a) + round(b * b_b / 2 ** c_b)``, then requantisation.

    Attributes
    ----------
    input_scales : (float, float)
    branches : (Requantiser, Requantiser)
        From each input's scale to the common one.
    branch_scale : float
        The common scale, of z.
    requantiser : Requantiser
        From the common scale to the output's. Where they are one its multiplier is 1 and its shift
        0, and the sum is only clamped, as HAWQ-V3 has it.
    """

    name: str
    input_scales: tuple
    branches: tuple
    branch_scale: float
    output_scale: float
    requantiser: Requantiser
    low: int = ACTIVATION.min
    high: int = ACTIVATION.max
    sources: tuple

    kind = "add"

    @property
    def bounds(self):
        return self.low, self.high

    @property
    def accumulator_scale(self):
        return Fraction(self.branch_scale)

    def channels(self, per_channel=None):
        ends = torch.tensor([ACTIVATION.min, ACTIVATION.max])
        low, high = self.accumulators(ends, ends).tolist()
        return [(self.accumulator_scale, low, high)]

    @property
    def signature(self):
        branches = tuple(_factors(branch) for branch in self.branches)
        return ((self.kind, branches, *self.bounds), _factors(self.requantiser))

    def shape(self, a, b):
        if tuple(a) != tuple(b):
            raise ValueError(f"both inputs must have one shape, not {list(a)} and {list(b)}")
        return tuple(a)

    def accumulators(self, a, b):
        one, other = self.branches
        return aligned_sum(
            a, b, a_multiplier=one.multiplier, a_shift=one.shift,
            b_multiplier=other.multiplier, b_shift=other.shift,
        )

    def finish(self, accumulators):
        return _finish(self, accumulators)


@dataclass(frozen=True, kw_only=True)
class Rescale:
    """Activations to another scale or other bounds; z is the input."""

    name: str
    input_scale: float
    output_scale: float
    requantiser: Requantiser
    low: int = ACTIVATION.min
    high: int = ACTIVATION.max
    sources: tuple = ()

    kind = "rescale"

    @property
    def input_scales(self):
        return (self.input_scale,)

    @property
    def bounds(self):
        return self.low, self.high

    @property
    def accumulator_scale(self):
        return Fraction(self.input_scale)

    def channels(self, per_channel=None):
        return [(self.accumulator_scale, ACTIVATION.min, ACTIVATION.max)]

    @property
    def signature(self):
        return ((self.kind, *self.bounds), _factors(self.requantiser))

    def shape(self, shape):
        return tuple(shape)

    def accumulators(self, activations):
        return activations

    def finish(self, accumulators):
        return _finish(self, accumulators)


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """All elements of a sample in one axis, the channels innermost."""

    name: str
    sources: tuple = ()

    kind = "flatten"
    input_scales = ()
    output_scale = None
    requantiser = None

    @property
    def signature(self):
        return ((self.kind,),)

    def shape(self, shape):
        return (prod(shape),)

    def accumulators(self, activations):
        return activations.flatten(1)

    def finish(self, accumulators):
        return accumulators
