# SPDX-License-Identifier: Apache-2.0
"""What every multiply-accumulate element ends in: products, their sum, an accumulator."""

from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arithmetic import check_int, check_positive, tree_sum
from ..pipeline import Pipeline

__all__ = ["check_mac", "mac_ports", "multiply_accumulate"]


def check_mac(*, group, lanes, registers):
    """Check the parameters that all elements share."""
    check_positive("Group", group)
    check_positive("Lanes", lanes)
    check_int("Registers", registers, 0, 3)


def mac_ports(fields, result):
    """Members of an element: fields of a transfer with ``clear`` and ``last``; result of a group.

    ``clear`` forgets the terms of the group before this transfer; ``last`` ends the group, whose
    result comes out, and the next transfer starts another.
    """
    return {
        "i": In(stream.Signature(data.StructLayout({**fields, "clear": 1, "last": 1}))),
        "o": Out(stream.Signature(result)),
    }


def multiply_accumulate(m, unit, products):
    """From the products of a transfer to the sum of a group on ``o``.

    ``unit.registers`` says how many registers there are: after the products, after their tree, and
    after the accumulator's adder; a group's sum is on ``o`` so many cycles after its last transfer.

    Parameters
    ----------
    m : Module
    unit : wiring.Component
        With ``registers`` and ``sum_shape``, and ports from `mac_ports`.
    products : list of Value
    """
    pipe = Pipeline(m, unit)
    # Stage 1: multiply.
    products, clear, last = pipe.register(
        product=products, clear=unit.i.p.clear, last=unit.i.p.last, when=unit.registers >= 1)
    # Stage 2: add up.
    term, clear, last = pipe.register(
        term=tree_sum(products), clear=clear, last=last, when=unit.registers >= 2)
    # Stage 3: accumulate.
    total = pipe.accumulate(term, shape=unit.sum_shape, clear=clear, last=last)
    pipe.keep(last)
    pipe.output(pipe.register(sum=total, when=unit.registers >= 3))
