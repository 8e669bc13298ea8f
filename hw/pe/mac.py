# SPDX-License-Identifier: Apache-2.0
"""What every multiply-accumulate element ends in: products, their sum, an accumulator."""

from amaranth.hdl import Cat, Shape
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...quant.formats import Int
from ..arithmetic import check_int, check_positive, tree_sum
from ..pipeline import Pipeline

__all__ = [
    "check_integers", "check_mac", "column_sums", "group_sums", "mac_ports", "multiply_accumulate",
    "shape_of", "span",
]


def check_mac(*, group, lanes, registers, most=3):
    """Check the parameters that all elements share; ``most`` registers."""
    check_positive("Group", group)
    check_positive("Lanes", lanes)
    check_int("Registers", registers, 0, most)


def check_integers(**formats):
    """Check that parameters are integer formats."""
    for name, fmt in formats.items():
        if not isinstance(fmt, Int):
            raise TypeError(f"{name.capitalize()} must be an Int, not {fmt!r}")


def shape_of(fmt):
    """Shape of the codes of an integer format."""
    return Shape(fmt.bits, fmt.signed)


def span(fmt):
    """Least and greatest value of an integer format."""
    return fmt.min, fmt.max


def mac_ports(fields, result):
    """Members of an element: fields of a transfer with ``clear`` and ``last``; result of a group.

    ``clear`` forgets the terms of the group before this transfer; ``last`` ends the group, whose
    result comes out, and the next transfer starts another.
    """
    return {
        "i": In(stream.Signature(data.StructLayout({**fields, "clear": 1, "last": 1}))),
        "o": Out(stream.Signature(result)),
    }


def multiply_accumulate(m, unit, products, *, add=tree_sum, finish=None):
    """From the products of a transfer to the sum of a group on ``o``.

    ``unit.registers`` says how many registers there are: after the products, after their tree, and
    after the accumulator's adder; a group's sum is on ``o`` so many cycles after its last transfer.

    Parameters
    ----------
    m : Module
    unit : wiring.Component
        With ``registers`` and ``sum_shape``, and ports from `mac_ports`.
    products : list of Value
    add : callable
        Gives the sum of such a list: :func:`.rows.add_rows` for one of `Row`.
    finish : callable, optional
        From the Value of a group's sum to what comes out, with a fourth register after it.
    """
    pipe = Pipeline(m, unit)
    (total,), _ = group_sums(pipe, [products], shapes=[unit.sum_shape], add=[add],
                             registers=unit.registers, clear=unit.i.p.clear, last=unit.i.p.last)
    total = pipe.register(sum=total, when=unit.registers >= 3)
    if finish is not None:
        # Stage 4: finish.
        total = pipe.register(result=finish(total), when=unit.registers >= 4)
    pipe.output(total)


def group_sums(pipe, columns, *, shapes, registers, clear, last, add=None, **carried):
    """Several sums of a group at once, and what comes along with its last transfer.

    Parameters
    ----------
    pipe : Pipeline
    columns : list of list of Value
        Products of a transfer, one list for each sum.
    shapes : list of Shape
        Of the sums.
    registers : int
        The first two of them are made here.
    clear, last : Value
    add : list of callable, optional
        From the products of each list to their sum; `tree_sum` otherwise.
    **carried : Value
        Kept in step with the sums.

    Returns
    -------
    list of Value, list of Value
        Sums, and what was carried, both valid with the last transfer only.
    """
    add = add or [tree_sum] * len(columns)
    # Stage 1: multiply.
    columns, clear, last, *values = pipe.register(
        product=columns, clear=clear, last=last, **carried, when=registers >= 1)
    carried = dict(zip(carried, values, strict=True))
    # Stage 2: add up.
    terms, clear, last, *values = pipe.register(
        term=[sums(each) for sums, each in zip(add, columns, strict=True)],
        clear=clear, last=last, **carried, when=registers >= 2)
    # Stage 3: accumulate.
    totals = [pipe.accumulate(term, shape=shape, clear=clear, last=last)
              for term, shape in zip(terms, shapes, strict=True)]
    pipe.keep(last)
    return totals, values


def column_sums(m, unit, columns, *, add=tree_sum):
    """As `multiply_accumulate`, with several sums of ``unit.sum_shape`` on ``o``."""
    pipe = Pipeline(m, unit)
    totals, _ = group_sums(pipe, columns, shapes=[unit.sum_shape] * len(columns),
                           add=[add] * len(columns), registers=unit.registers,
                           clear=unit.i.p.clear, last=unit.i.p.last)
    pipe.output(Cat(pipe.register(sum=totals, when=unit.registers >= 3)))
