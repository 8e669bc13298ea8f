# SPDX-License-Identifier: Apache-2.0
"""Products as rows that are not yet added up."""

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Value

from ..arithmetic import as_signed, tree_sum

__all__ = ["Row", "add_rows"]


class Row(NamedTuple):
    """Worth ``(value + carry) << place``.

    A negative row is the complement of its magnitude, with a carry of 1: only when rows are added
    does it become a two's complement, at no cost.

    Members
    -------
    place : int
    value : Value
    carry : Value or None
        One bit.
    """

    place: int
    value: Value
    carry: Value | None = None


def add_rows(rows):
    """Sum of rows, which may come from many products.

    The rows of each place have a tree of their own, of narrower adders than whole products would
    need; then the sums of all places are added.
    """
    places = {}
    for row in rows:
        row = Row(*row)  # a list, after registers
        places.setdefault(row.place, []).append(row)
    total, above = None, 0
    for place in sorted(places, reverse=True):
        values = [row.value for row in places[place]]
        carries = [row.carry for row in places[place] if row.carry is not None]
        if total is None:
            total = tree_sum(values, carries)
        else:
            # Below the sum of the higher places there is room for the carry that has no adder.
            spare = carries.pop() if len(carries) == len(values) else Const(0, 1)
            total = Cat(spare, Const(0, above - place - 1), as_signed(total)).as_signed()
            total += tree_sum(values, carries)
        above = place
    return total << above
