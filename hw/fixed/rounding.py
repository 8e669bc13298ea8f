# SPDX-License-Identifier: Apache-2.0
"""Rounding of integers by every rule, functions of Values."""

from amaranth.hdl import Const

from ...quant.formats.rounding import rounding_name

__all__ = ["round_up", "split"]


def split(value, shift):
    """Floor of ``value / 2 ** shift``, the highest dropped bit, whether another dropped one is set.

    Parameters
    ----------
    value : Value
    shift : int
        1 or more.
    """
    width, sign = len(value), value[-1] if value.shape().signed else Const(0, 1)
    half = value[shift - 1] if shift <= width else sign
    return value >> min(shift, width), half, value[:shift - 1].any()


def round_up(rounding, *, odd, half, less, negative):
    """Whether one is added to the floor: ``RND_CONV`` and so on, as UG1399 has them.

    Parameters
    ----------
    rounding : str
        One of `ROUNDINGS`, by either name.
    odd, negative : Value
        Last bit of the floor; whether the number is below 0.
    half, less : Value
        What `split` gives.
    """
    match rounding_name(rounding):
        case "floor":
            return Const(0, 1)
        case "half_up":
            return half
        case "half_down":
            return half & less
        case "half_zero":
            return half & (negative | less)
        case "half_away":
            return half & (~negative | less)
        case "half_even":
            return half & (odd | less)
        case _:  # zero
            return negative & (half | less)
