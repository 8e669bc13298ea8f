# SPDX-License-Identifier: Apache-2.0
"""Tables of values."""

from amaranth.hdl import Array, Const

from ..arithmetic import range_shape

__all__ = ["number", "operands"]


def number(fmt, code):
    """The integer that a code stands for; what codes beyond the table give is not defined."""
    values = [int(value) for value in fmt.decode(fmt.codes())]
    return _table(values, code[:fmt.bits])


def operands(fmt, code):
    """Sign, exponent 0 and magnitude."""
    values = [int(value) for value in fmt.decode(fmt.codes())]
    code = code[:fmt.bits]
    return (_table([int(value < 0) for value in values], code), Const(0),
            _table([abs(value) for value in values], code))


def _table(values, index):
    shape = range_shape(min(*values, 0), max(*values, 1))
    return Array([Const(value, shape) for value in values])[index]
