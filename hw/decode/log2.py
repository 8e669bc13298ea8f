# SPDX-License-Identifier: Apache-2.0
"""Powers of two and of its square root."""

from amaranth.hdl import Const

__all__ = ["is_odd", "operands"]


def operands(fmt, code):
    """Sign 0, exponent, and 1, or 0 for the top code; the square root of two left out."""
    code = code[:fmt.bits]
    used = ~code.all()
    if fmt.sqrt2:
        # Counted down from the top: -ceil(q / 2) = ~(q >> 1) - (q is odd), modulo its width.
        return Const(0), (~code[1:] - (code[0] & used))[:fmt.bits - 1], used
    return Const(0), (~code - used)[:fmt.bits], used


def is_odd(fmt, code):
    """Whether a code stands for a power of two times the square root of two."""
    return code[0] & ~code[:fmt.bits].all() if fmt.sqrt2 else Const(0)
