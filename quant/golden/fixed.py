# SPDX-License-Identifier: Apache-2.0
"""Fixed-point casts and arithmetic on integers, with the semantics of high-level synthesis."""

import torch

from ..formats import Fixed
from .rounding import int64, round_shift

__all__ = ["fixed_add", "fixed_cast", "fixed_div", "fixed_mul", "fixed_sub"]


def fixed_cast(x, source, target):
    """Values of one fixed-point format in another: rounded, then brought into range [1]_.

    Parameters
    ----------
    x : integer tensor
        In units of ``2 ** source.lsb``, within ``source.limits``.
    source, target : Fixed
        Rounding and overflow are the target's.

    Returns
    -------
    int64 tensor of the shape of ``x``
        In units of ``2 ** target.lsb``.

    .. [1] AMD UG1399, Vitis HLS User Guide, quantization and overflow modes of ``ap_fixed``. Its
       C++ header (as in hls4ml 1.3.0) parts from the text in two corners, in which this follows
       the text: where rounding carries, it takes the deleted bit of ``WRAP_SM`` from before; in
       one bit, ``SAT_SYM`` gives -1, not 0.
    """
    if not isinstance(target, Fixed):
        raise TypeError(f"Target must be Fixed, not {target!r}")
    x, left = operand(x, source, "X"), source.lsb - target.lsb
    if left <= 0:
        x, left = round_shift(x, -left, rounding=target.rounding), 0
    left = min(left, 63)
    shifted = x << left  # may lose bits at the top, but none that are looked at
    low, high = target.limits
    if target.overflow in ("WRAP", "WRAP_SM"):
        top = 1 << (target.width - 1)
        if target.overflow == "WRAP_SM":
            deleted, sign = shifted >> target.width & 1, shifted >> (target.width - 1) & 1
            shifted = torch.where(deleted != sign, ~shifted, shifted)
        kept = shifted & (2 * top - 1)
        return (kept ^ top) - top if target.signed else kept
    if target.overflow == "SAT_SYM" and target.signed:
        low = -high
    above, below = x > high >> left, x < -(-low >> left)
    if target.overflow == "SAT_ZERO":
        low = high = 0
    return torch.where(above, high, torch.where(below, low, shifted))


def fixed_add(a, a_format, b, b_format):
    """Exact sum; its integers, int64, and their format (``a_format.sum(b_format)``)."""
    return _aligned("sum", a, a_format, b, b_format)


def fixed_sub(a, a_format, b, b_format):
    """Exact difference, and its format (``a_format.difference(b_format)``): always signed."""
    return _aligned("difference", a, a_format, b, b_format)


def fixed_mul(a, a_format, b, b_format):
    """Exact product, and its format (``a_format.product(b_format)``)."""
    a, b = operand(a, a_format, "A"), operand(b, b_format, "B")
    return a * b, _result("product", a_format, b_format)


def fixed_div(a, a_format, b, b_format):
    """Quotient cut off towards zero, and its format (``a_format.quotient(b_format)``).

    Raises ValueError where a divisor is 0.
    """
    a, b = operand(a, a_format, "A"), operand(b, b_format, "B")
    result = _result("quotient", a_format, b_format)
    if not b.all():
        raise ValueError("B must not be 0: it divides")
    return torch.div(a << max(b_format.fraction, 0), b, rounding_mode="trunc"), result


def operand(x, fmt, name):
    """Integers as int64; ValueError where they are outside the format."""
    if not isinstance(fmt, Fixed):
        raise TypeError(f"Format of {name} must be Fixed, not {fmt!r}")
    x, (low, high) = int64(x, name), fmt.limits
    if x.numel():
        least, most = (int(end) for end in torch.aminmax(x))
        if least < low or most > high:
            raise ValueError(f"{name} must be {low} to {high} in {fmt.name}, not {least} to {most}")
    return x


def _result(rule, a, b):
    """Format of a result, by the method of `Fixed` that is named."""
    try:
        return getattr(a, rule)(b)
    except ValueError as error:
        raise ValueError(f"No format holds the {rule} of {a.name} and {b.name}: {error}") from None


def _aligned(rule, a, a_format, b, b_format):
    """Sum or difference of integers brought to the same unit."""
    a, b = operand(a, a_format, "A"), operand(b, b_format, "B")
    result = _result(rule, a_format, b_format)
    a, b = a << (a_format.lsb - result.lsb), b << (b_format.lsb - result.lsb)
    return (a + b if rule == "sum" else a - b), result
