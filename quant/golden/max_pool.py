# SPDX-License-Identifier: Apache-2.0
"""Greatest of each window."""

import torch

from .windows import windows

__all__ = ["max_pool"]


def max_pool(values, *, kernel, stride, padding):
    """Greatest value of each window and channel; padding never wins.

    Parameters
    ----------
    values : integer tensor, shape (samples, *size, channels)
    kernel, stride, padding
        See `windows`; padding below the kernel, so that no window lies outside.

    Returns
    -------
    int64 tensor, shape (samples, *positions, channels)
    """
    for size, pair in zip(kernel, padding, strict=True):
        if max(pair) >= size:
            raise ValueError(f"Padding must be below the kernel, {size}, not {max(pair)!r}")
    values, least = torch.as_tensor(values).long(), torch.iinfo(torch.int64).min
    return windows(values, kernel=kernel, stride=stride, padding=padding, fill=least).amax(dim=-2)
