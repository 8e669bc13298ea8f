# SPDX-License-Identifier: Apache-2.0
"""Integers and fixed point: two's complement or unsigned."""

from amaranth.hdl import Const, Mux

__all__ = ["number", "operands"]


def number(fmt, code):
    """The code of an `Int` or a `Fixed` as a number."""
    return code[:fmt.bits].as_signed() if fmt.signed else code[:fmt.bits]


def operands(fmt, code):
    """Sign, exponent 0 and magnitude."""
    value = number(fmt, code)
    if not fmt.signed:
        return Const(0), Const(0), value
    # The magnitude of the least number needs all bits, and no sign.
    return value[-1], Const(0), Mux(value[-1], -value, value)[:fmt.bits]
