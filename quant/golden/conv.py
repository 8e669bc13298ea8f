# SPDX-License-Identifier: Apache-2.0
"""Convolution in integers, exact."""

from math import prod

import torch

from .exact import integers, magnitude, matmul
from .windows import windows

__all__ = ["conv"]

ELEMENTS = 1 << 24  # of windows held at once


def conv(activations, weights, *, kernel, stride, padding, groups=1):
    """``z[n, p, o] = sum over taps t and channels c of a[n, p * stride + t, c] * w[o, (t, c)]``.

    In any number of dimensions; padding is 0. Output channels are cut into ``groups`` equal parts,
    each of which sees its own part of the input channels: as many groups as channels are a
    depthwise convolution.

    Parameters
    ----------
    activations : integer tensor, shape (samples, *size, channels)
    weights : integer tensor, shape (outputs, K)
        K runs over the taps in row-major order, then over the channels of a group.
    kernel, stride, padding
        See `windows`.
    groups : int

    Returns
    -------
    int64 tensor, shape (samples, *positions, outputs)
    """
    activations, weights = integers(activations, "Activations"), integers(weights, "Weights")
    channels, (outputs, k) = activations.shape[-1], weights.shape
    if groups < 1 or channels % groups or outputs % groups:
        raise ValueError(
            f"Groups must divide {channels} input and {outputs} output channels, not {groups!r}"
        )
    taps, part = prod(kernel), channels // groups
    if k != taps * part:
        raise ValueError(
            f"Weights must have a K of {taps} taps times {part} channels, {taps * part}, not {k}"
        )
    bounds, filters = (magnitude(activations), magnitude(weights)), weights.chunk(groups)
    results = []
    for some in activations.split(max(ELEMENTS // max(activations[:1].numel() * taps, 1), 1)):
        seen = windows(some, kernel=kernel, stride=stride, padding=padding)
        places = seen.shape[:-2]
        sums = [
            matmul(x.reshape(-1, k), w, bounds=bounds)
            for x, w in zip(seen.chunk(groups, dim=-1), filters, strict=True)
        ]
        results.append(torch.cat(sums, dim=1).reshape(*places, outputs))
    return torch.cat(results)
