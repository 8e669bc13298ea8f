# SPDX-License-Identifier: Apache-2.0
"""Rounding shifts of integers, by every rule."""

import numpy as np
import torch

from ..formats.rounding import rounding_name
from .exact import integers

__all__ = ["int64", "round_shift"]


def int64(values, name):
    """Integers as an int64 tensor; TypeError for what is none or may be wider."""
    values = integers(values, name)
    if isinstance(values, np.ndarray) or values.dtype == torch.uint64:
        raise TypeError(f"{name} must be integers of at most 64 bits signed, not {values.dtype}")
    return values.long()


def round_shift(values, shift, *, rounding="half_even"):
    """``round(values / 2 ** shift)``, exact [1]_.

    With V the floor, qb the highest dropped bit, r whether any other dropped bit is set, and s the
    sign, each rule adds one bit to V.

    Parameters
    ----------
    values : integer tensor
    shift : int or integer tensor, broadcast to ``values``
        0 or more.
    rounding : str
        One of `ROUNDINGS`, by either name.

    Returns
    -------
    int64 tensor

    .. [1] AMD UG1399, Vitis HLS User Guide, quantization modes of ``ap_fixed``.
    """
    rounding = rounding_name(rounding)
    values, shift = int64(values, "Values"), int64(shift, "Shift")
    if shift.numel() and int(shift.min()) < 0:
        raise ValueError(f"Shift must be 0 or more, not {int(shift.min())}")
    # Beyond bit 63 there is nothing but the sign: from 65 on, every shift is alike.
    shift = shift.clamp(max=65)
    below = (shift - 1).clamp(min=0)  # the place of qb
    v = values >> shift.clamp(max=63)
    qb = (values >> below.clamp(max=63) & 1).bool() & (shift > 0)
    r = (values & torch.where(below < 64, (1 << below.clamp(max=63)) - 1, -1)) != 0
    s = values < 0
    match rounding:
        case "floor":
            return v
        case "half_up":
            return v + qb
        case "half_zero":
            return v + (qb & (s | r))
        case "half_down":
            return v + (qb & r)
        case "half_away":
            return v + (qb & (~s | r))
        case "half_even":
            return v + (qb & ((v & 1).bool() | r))
        case _:  # zero
            return v + (s & (qb | r))
