# SPDX-License-Identifier: Apache-2.0
"""Average of each window, rounded once."""

import torch

from .requantise import requantise
from .windows import windows

__all__ = ["average_pool", "window_sum"]


def window_sum(values, *, kernel, stride, padding):
    """Sum of each window and channel; padding is 0.

    Parameters
    ----------
    values : integer tensor, shape (samples, *size, channels)
    kernel, stride, padding
        See `windows`.

    Returns
    -------
    int64 tensor, shape (samples, *positions, channels)
    """
    values = torch.as_tensor(values).long()
    return windows(values, kernel=kernel, stride=stride, padding=padding).sum(dim=-2)


def average_pool(values, *, kernel, stride, padding, multiplier, shift, low=-128, high=127):
    """``clamp(round(sum * multiplier / 2 ** shift), low, high)``, half to even.

    Division by the size of the window and the change of scale are one multiplier, and so there is
    one rounding.
    """
    sums = window_sum(values, kernel=kernel, stride=stride, padding=padding)
    return requantise(sums, multiplier=multiplier, shift=shift, low=low, high=high)
