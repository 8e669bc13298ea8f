# SPDX-License-Identifier: Apache-2.0
"""A nest of loops."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .gemm_config import LEVELS, NEVER

__all__ = ["Nest"]


class Nest(wiring.Component):
    """Counts through a nest of loops, the innermost first.

    Members
    -------
    counts : In(ArrayLayout)
        Of the loops, each at least 1.
    advance : In(1)
        Go on to the next place; after the last one back to the first.
    first, last : Out
        By level; bit `NEVER` is always 1: a loop that there is not.
    level : Out
        Of the loop that goes on next; `NEVER` at the end.
    """

    def __init__(self):
        super().__init__({
            "counts": In(data.ArrayLayout(32, LEVELS)),
            "advance": In(1),
            "first": Out(LEVELS + 1),
            "last": Out(LEVELS + 1),
            "level": Out(range(NEVER + 1)),
        })

    def elaborate(self, platform):
        m = Module()

        m.d.comb += [self.first[NEVER].eq(1), self.last[NEVER].eq(1), self.level.eq(NEVER)]
        inner_last = Const(1)
        for level in range(LEVELS):
            index = Signal(32, name=f"index_{level}")
            last = index == self.counts[level] - 1
            m.d.comb += [self.first[level].eq(index == 0), self.last[level].eq(last)]
            with m.If(self.advance & inner_last):
                m.d.sync += index.eq(Mux(last, 0, index + 1))
            inner_last = inner_last & self.last[level]
        for level in reversed(range(LEVELS)):
            with m.If(~self.last[level] & self.last[:level].all()):
                m.d.comb += self.level.eq(level)

        return m
