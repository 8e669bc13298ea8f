# SPDX-License-Identifier: Apache-2.0
"""Fake quantisation to any number format, by the format's own codec."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ..formats import Block, Fixed, Group, Pair
from .scaling import array

__all__ = ["Encoded", "FormatQuant", "Quantised"]

SLACK = 2.0**-51  # what the rounding of a scale and of a quotient may add, relatively


class Encoded(NamedTuple):
    """Codes (…, K) of a tensor, worth ``fmt.values(codes) * scale``.

    ``codes`` are what the format's ``encode`` gives; ``scale`` is a float64 array, shape () or
    (outputs, 1), and 1 where the format has scales of its own.
    """

    codes: np.ndarray | tuple
    scale: np.ndarray


class Quantised(NamedTuple):
    """What Brevitas expects of a ``tensor_quant``.

    ``value / scale`` is a value of the format, or of its elements.
    """

    value: torch.Tensor
    scale: torch.Tensor | None
    zero_point: torch.Tensor
    bit_width: torch.Tensor


def encode(fmt, x, scale):
    """`Encoded` of a float array (…, K)."""
    if isinstance(fmt, Block):
        tensor_scale = float(scale) if fmt.two_level and scale is not None else None
        return Encoded(fmt.encode(x, tensor_scale=tensor_scale), np.float64(1))
    if isinstance(fmt, Group):
        return Encoded(fmt.encode(x), np.float64(1))
    with np.errstate(over="ignore", invalid="ignore"):
        return Encoded(fmt.encode(x.astype(np.float64) / scale), scale)


def decode(fmt, encoded, k):
    """Values of the format or its elements, float64 (…, K); their units; their limits."""
    codes, scale = encoded
    element = getattr(fmt, "element", fmt)
    low, high = -fmt.max if isinstance(fmt, Pair) else element.min, element.max
    if isinstance(fmt, Block):
        unit = np.repeat(fmt.scale_values(codes), fmt.size, axis=-1)[..., :k]
        values = element.values(codes.codes)[..., :k]
    elif isinstance(fmt, Group):
        unit = np.ldexp(fmt.expand(codes.scales, k).astype(np.float64), -codes.exponent)
        values = element.values(codes.codes)
        if fmt.zero_point:
            zeros = fmt.expand(codes.zeros, k)
            values, low, high = values - zeros, low - zeros, high - zeros
    else:
        unit, values = scale, fmt.values(codes)
    if isinstance(element, Fixed) and element.overflow == "SAT_SYM" and element.signed:
        low = -high
    return values, unit, low, high


class FakeQuantise(torch.autograd.Function):
    """``values(encode(x / scale)) * scale``, in float64, rounded once to the kind of ``x``.

    The gradient passes to ``x`` where ``x / scale`` is within the format's least and greatest
    value, and is 0 outside. That of the scale is ``values - x / scale`` inside and ``values``
    outside, times ``(count * max) ** -0.5`` with the count of values that share the scale [1]_.

    .. [1] Esser et al., Learned step size quantization. ICLR 2020, equations 3 and 4.
    """

    @staticmethod
    def forward(ctx, x, scale, fmt):
        rows = array(x)
        encoded = encode(fmt, rows, None if scale is None else array(scale))
        values, unit, low, high = decode(fmt, encoded, rows.shape[-1])
        quotient = np.zeros(rows.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            np.divide(rows, unit, out=quotient, where=np.broadcast_to(unit != 0, rows.shape))
            low, high = low - SLACK * np.abs(low), high + SLACK * np.abs(high)
            inside = ~((quotient < low) | (quotient > high))
            saved = [inside]
            if scale is not None and ctx.needs_input_grad[1]:
                saved.append(np.where(inside, values - quotient, values))
                ctx.shape = scale.shape
                ctx.gain = (x.numel() / scale.numel() * float(fmt.max)) ** -0.5
            value, unit, *saved = (
                torch.from_numpy(np.asarray(a)).to(x.device) for a in (values * unit, unit, *saved)
            )
        ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(unit)
        return value.to(x.dtype), unit

    @staticmethod
    def backward(ctx, grad, _):
        inside, *slope = ctx.saved_tensors
        grad_scale = None
        if slope:
            grad_scale = (grad.double() * slope[0]).sum_to_size(ctx.shape) * ctx.gain
        return grad * inside, grad_scale, None


class FormatQuant(nn.Module):
    """Fake quantisation to a number format, as a Brevitas ``tensor_quant``.

    Everything is computed in float64 by the format's codec, so the codes are the same before and
    after ``.double()``; see `FakeQuantise`.

    K, along which blocks, groups and pairs run, is ``axis``. Weights are flattened for it: each
    output channel is one row, the input channel its fastest index, after the kernel's positions.
    So the blocks of a convolution meet those of activations along channels.

    Parameters
    ----------
    fmt : format
    scaling : nn.Module or None
        Gives the scale of rows (…, K); see `scaling`. None where the format has scales of its own.
    axis : int
        Which axis is K, or of a weight the input channel.
    channel : int, optional
        Of a weight: its output channel.
    """

    def __init__(self, fmt, *, scaling, axis, channel=None):
        super().__init__()
        self.fmt, self.axis, self.channel = fmt, axis, channel
        self.scaling = scaling
        self.observer_only = False  # set by calibration_mode: look, but quantise nothing
        self.register_buffer("bit_width", torch.tensor(float(fmt.bits)), persistent=False)
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)

    def forward(self, x):
        rows = self.rows(x)
        if self.scaling is not None:
            self.scaling.observe(rows)
        if self.observer_only:
            return Quantised(x, None, self.zero_point, self.bit_width)
        scale = None if self.scaling is None else self.scaling(rows)
        value, unit = FakeQuantise.apply(rows, scale, self.fmt)
        return Quantised(self._back(value, x), self._back(unit, x), self.zero_point, self.bit_width)

    @torch.no_grad()
    def encoded(self, x):
        """`Encoded` of what `forward` would give for ``x``; nothing is collected."""
        rows = self.rows(x)
        scale = None if self.scaling is None else array(self.scaling(rows))
        return encode(self.fmt, array(rows), scale)

    def rows(self, x):
        """The view (…, K) of a tensor."""
        x = x.permute(self._order(x.ndim))
        return x if self.channel is None else x.flatten(1)

    def _order(self, ndim):
        first = [] if self.channel is None else [self.channel]
        last = self.axis % ndim
        return [*first, *(axis for axis in range(ndim) if axis not in (*first, last)), last]

    def _back(self, rows, x):
        """Rows (…, K), or a number for each row or for all, in the axes of ``x``."""
        if rows.ndim == 0:
            return rows
        order = self._order(x.ndim)
        per_row = self.channel is not None and rows.shape[-1] == 1
        shape = [1 if per_row and axis != self.channel else x.shape[axis] for axis in order]
        return rows.reshape(shape).permute(np.argsort(order).tolist()).contiguous()
