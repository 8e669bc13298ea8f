# SPDX-License-Identifier: Apache-2.0
"""Sliding windows over channel-last activations."""

from math import prod

import torch

__all__ = ["positions", "windows"]


def positions(size, *, kernel, stride, padding):
    """Windows along one axis: ``(before + size + after - kernel) // stride + 1``.

    Raises ValueError where not even one fits.
    """
    before, after = padding
    span = before + size + after
    if kernel > span:
        raise ValueError(f"Kernel must fit into the {span} elements of its axis, not {kernel!r}")
    return (span - kernel) // stride + 1


def windows(x, *, kernel, stride, padding, fill=0):
    """What a kernel covers at each of its positions.

    Parameters
    ----------
    x : tensor, shape (samples, *size, channels)
        As many axes of positions as ``kernel`` has: none, length, or height and width.
    kernel, stride : tuple of int
        Of each axis.
    padding : tuple of (int, int)
        Elements put before and after each axis.
    fill : int
        Value of the padding.

    Returns
    -------
    tensor, shape (samples, *positions, taps, channels)
        Taps in row-major order of the kernel.
    """
    x, axes = torch.as_tensor(x), len(kernel)
    if x.ndim != axes + 2 or not len(stride) == len(padding) == axes:
        raise ValueError(
            f"X must have {axes + 2} axes (samples, {axes} of positions, channels) with as many "
            f"strides and paddings, not {x.ndim}, {len(stride)} and {len(padding)}"
        )
    for size, k, s, p in zip(x.shape[1:-1], kernel, stride, padding, strict=True):
        positions(size, kernel=k, stride=s, padding=p)
    if any(map(any, padding)):
        amounts = [n for pair in reversed([*padding, (0, 0)]) for n in pair]
        x = torch.nn.functional.pad(x, amounts, value=fill)
    for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), start=1):
        x = x.unfold(axis, k, s)
    # (samples, *positions, channels, *kernel) to (samples, *positions, *kernel, channels)
    x = x.movedim(axes + 1, -1)
    return x.reshape(*x.shape[: axes + 1], prod(kernel), x.shape[-1])
