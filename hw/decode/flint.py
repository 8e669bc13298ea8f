# SPDX-License-Identifier: Apache-2.0
"""ANT's flint."""

from amaranth.hdl import Cat

__all__ = ["operands"]


def operands(fmt, code):
    """Sign, exponent and integer of a 4-bit flint: see `Flint`."""
    b0, b1, b2, sign = code[:4]
    # 0xy: <0, xy>; 11x: <1, 1x>; 101: <3, 1>; 100: <4, 1>.
    exponent = Cat(b2 & (b1 | b0), b2 & ~b1 & b0, b2 & ~b1 & ~b0)
    return sign, exponent, Cat(b0 | (b2 & ~b1), b1)
