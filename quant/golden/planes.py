# SPDX-License-Identifier: Apache-2.0
"""Integers as bit planes."""

import torch

from .exact import integers

__all__ = ["planes"]


def planes(values, *, bits, signed):
    """Bits of integers and what each is worth.

    Returns
    -------
    planes : int64 tensor, shape (bits, *shape of values)
        0 or 1, the lowest bit first.
    weights : list of int
        Powers of two; the top one negative if signed.
    """
    values = integers(values, "Values").long()
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if values.numel() and not low <= int(values.min()) <= int(values.max()) <= high:
        raise ValueError(f"Values must be {low} to {high}, "
                         f"not {int(values.min())} to {int(values.max())}")
    weights = [1 << i for i in range(bits)]
    if signed:
        weights[-1] = -weights[-1]
    return torch.stack([values >> i & 1 for i in range(bits)]), weights
