# SPDX-License-Identifier: Apache-2.0
"""Exact accumulation of scaled group sums."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Accumulator"]


class Accumulator(wiring.Component):
    """``o = bias + sum(terms)`` for each of ``slots`` outputs in turn, exact.

    Terms come group after group and, within a group, slot after slot. Those of the ``first`` group
    add to the bias, those of the ``last`` complete the sum and leave.

    :Latency: :attr:`latency` cycles from a transfer of the last group.
    :Throughput: one transfer per cycle.
    :Backpressure: stalls while a sum waits; ``i.ready`` follows ``o.ready`` combinationally.

    Parameters
    ----------
    term_shape, sum_shape : Shape
        The sum must be wide enough for its worst case: it wraps.
    slots : int
        Sums under way, at least 1.
    lanes : int

    Members
    -------
    i : In(stream)
        ``terms``, ``bias`` (used with the first group, shared by the lanes), ``first``, ``last``.
    o : Out(stream)
        ``sums`` by lane.
    """

    latency = 1

    def __init__(self, term_shape, sum_shape, *, slots, lanes=1):
        if not isinstance(slots, int) or isinstance(slots, bool) or slots < 1:
            raise TypeError(f"Slots must be a positive integer, not {slots!r}")
        if not isinstance(lanes, int) or isinstance(lanes, bool) or lanes < 1:
            raise TypeError(f"Lanes must be a positive integer, not {lanes!r}")
        self.slots, self.lanes, self.sum_shape = slots, lanes, Shape.cast(sum_shape)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "terms": data.ArrayLayout(term_shape, lanes),
                "bias": sum_shape,
                "first": 1,
                "last": 1,
            }))),
            "o": Out(stream.Signature(data.ArrayLayout(sum_shape, lanes))),
        })

    def elaborate(self, platform):
        m = Module()

        advance = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(self.i.valid & self.i.p.last)
        for lane in range(self.lanes):
            # Running sums go round a ring, so that the one that is due is always at its end.
            ring = [Signal(self.sum_shape, name=f"ring_{lane}_{s}") for s in range(self.slots)]
            total = Signal(self.sum_shape, name=f"total_{lane}")
            start = Mux(self.i.p.first, self.i.p.bias, ring[-1])
            m.d.comb += total.eq(start + self.i.p.terms[lane])
            with m.If(advance & self.i.valid):
                sources = [total, *ring[:-1]]
                m.d.sync += [to.eq(source) for to, source in zip(ring, sources, strict=True)]
                m.d.sync += self.o.p[lane].eq(total)

        return m
