# SPDX-License-Identifier: Apache-2.0
"""Rectified linear unit."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ReLU"]


class ReLU(wiring.Component):
    """``o = max(i, 0)`` where enabled, else ``i``.

    :Latency: :attr:`latency`: combinational.
    :Throughput: one transfer per cycle.
    :Backpressure: handed through.

    Parameters
    ----------
    bits : int
        Width of the signed values.
    lanes : int

    Members
    -------
    i : In(stream)
        ``values`` by lane, ``enable``.
    o : Out(stream)
        Values by lane.
    """

    latency = 0

    def __init__(self, bits=8, *, lanes=1):
        if not isinstance(bits, int) or isinstance(bits, bool) or bits < 2:
            raise ValueError(f"Bits must be 2 or more, not {bits!r}")
        if not isinstance(lanes, int) or isinstance(lanes, bool) or lanes < 1:
            raise TypeError(f"Lanes must be a positive integer, not {lanes!r}")
        values = data.ArrayLayout(signed(bits), lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"values": values, "enable": 1}))),
            "o": Out(stream.Signature(values)),
        })

    def elaborate(self, platform):
        m = Module()

        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        for before, after in zip(self.i.p.values, self.o.p, strict=True):
            m.d.comb += after.eq(Mux(self.i.p.enable & (before < 0), 0, before))

        return m
