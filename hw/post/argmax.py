# SPDX-License-Identifier: Apache-2.0
"""Index of the greatest value of a vector."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ArgMax"]


class ArgMax(wiring.Component):
    """Hands values on and adds the index of the greatest so far; the first of equals counts.

    :Latency: :attr:`latency`.
    :Throughput: one transfer per cycle.
    :Backpressure: the register stalls; ``i.ready`` follows ``o.ready`` combinationally.

    Parameters
    ----------
    value_shape : Shape
    length : int
        Longest vector.

    Members
    -------
    i : In(stream)
        ``value``, and ``last`` with the last one of a vector.
    o : Out(stream)
        The same and ``best``, the arg-max of the vector up to here.
    """

    latency = 1

    def __init__(self, value_shape, length):
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise TypeError(f"Length must be a positive integer, not {length!r}")
        self.value_shape, self.length = Shape.cast(value_shape), length
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"value": value_shape, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "value": value_shape,
                "best": range(length),
                "last": 1,
            }))),
        })

    def elaborate(self, platform):
        m = Module()

        greatest = Signal(self.value_shape)
        index = Signal(range(self.length + 1))

        advance = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [self.o.p.value.eq(self.i.p.value), self.o.p.last.eq(self.i.p.last)]
                with m.If((index == 0) | (self.i.p.value > greatest)):
                    m.d.sync += [greatest.eq(self.i.p.value), self.o.p.best.eq(index)]
                m.d.sync += index.eq(Mux(self.i.p.last, 0, index + 1))

        return m
