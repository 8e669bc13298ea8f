# SPDX-License-Identifier: Apache-2.0
"""Checks and defaults of what the quantisers are asked for."""

import numpy as np

from ..formats import Block, Exponent, Fixed, Group, Minifloat, Pair, get
from ..formats.rounding import choice
from ..formats.scalar import Scalar, integer_parameter

__all__ = ["activation_options", "rule_of", "weight_options"]


def format_of(fmt):
    """A format, given itself or by its name."""
    if isinstance(fmt, str):
        return get(fmt)
    if not isinstance(fmt, (Scalar, Pair, Block, Group)):
        raise TypeError(f"Format must be a number format or its name, not {fmt!r}")
    return fmt


def weight_options(*, fmt, scale, per):
    """The same three, checked, defaults filled in."""
    fmt = format_of(fmt)
    if isinstance(fmt, Scalar) and fmt.min >= 0:
        raise ValueError(f"Format must have negative values for weights; {fmt.name} has none")
    scale = _scale(fmt, scale)
    if isinstance(fmt, (Block, Group)):
        if per is not None:
            raise ValueError(f"Per must be None, not {per!r}: {fmt.name} has scales of its own")
    else:
        per = "channel" if per is None else choice("Per", per, ("channel", "tensor"))
    return fmt, scale, per


def activation_options(*, fmt, scale, axis, collect_stats_steps):
    """``fmt`` and ``scale``, defaults filled in; all checked."""
    fmt = format_of(fmt)
    if isinstance(fmt, Group):
        raise ValueError(
            f"Format must not be a group for activations: in {fmt.name} the scales of a sample "
            "would follow the other samples"
        )
    integer_parameter("Axis", axis, low=-8, high=7)
    integer_parameter("Collect_stats_steps", collect_stats_steps, low=1, high=1 << 31)
    return fmt, _scale(fmt, scale)


def rule_of(fmt, scale):
    """The rule by which a scale begins: a learned one too is measured first."""
    if scale == "learned":
        return "search" if isinstance(fmt, Pair) else "max"
    return scale


def _scale(fmt, scale):
    if isinstance(fmt, Group) or isinstance(fmt, Block) and not fmt.two_level:
        if scale is not None:
            raise ValueError(f"Scale must be None, not {scale!r}: {fmt.name} has scales of its own")
        return None
    if scale is None:
        return _usual(fmt)
    names = _names(fmt)
    if isinstance(scale, str) and names:
        return choice("Scale", scale, names)
    if not isinstance(scale, (int, float, np.floating)) or isinstance(scale, bool):
        named = f" or one of {', '.join(names)}" if names else f" for {fmt.name}"
        raise TypeError(f"Scale must be a number{named}, not {scale!r}")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"Scale must be a positive number, not {scale!r}")
    scale = float(scale)
    if isinstance(fmt, Block) and not float(np.float32(scale)) == scale:
        raise ValueError(f"Scale must be an fp32 number for {fmt.name}, not {scale!r}")
    return scale


def _names(fmt):
    if isinstance(fmt, Block):
        return ["max"]
    names = [] if fmt.max <= 0 else ["max", "power_of_two", "learned"]
    return [*names, "search"] if isinstance(fmt, Pair) else names


def _usual(fmt):
    if isinstance(fmt, Pair):
        return "search"
    wide = isinstance(fmt, Minifloat) and fmt.bits >= 16
    return 1.0 if wide or isinstance(fmt, (Exponent, Fixed)) or not _names(fmt) else "max"
