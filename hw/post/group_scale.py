# SPDX-License-Identifier: Apache-2.0
"""Dequantisation after the group."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["GroupScale"]


class GroupScale(wiring.Component):
    """``terms = scale * sums``: an unsigned integer scale times the sum of a group [1]_.

    :Latency: :attr:`latency`.
    :Throughput: one transfer per cycle.
    :Backpressure: the register stalls; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] MixPE (Zhang et al., 2024): one multiplication per group instead of one per weight.

    Parameters
    ----------
    sum_shape : Shape
        Of the sums, signed.
    scale_bits : int
    lanes : int
        Sums that share one scale.

    Members
    -------
    i : In(stream)
        ``sums``, ``scale``, and a ``tag`` that is handed on.
    o : Out(stream)
        ``terms`` and ``tag``.
    """

    latency = 1

    def __init__(self, sum_shape, *, scale_bits=8, lanes=1, tag=2):
        sum_shape = Shape.cast(sum_shape)
        if not sum_shape.signed:
            raise ValueError(f"Sum shape must be signed, not {sum_shape!r}")
        if not isinstance(scale_bits, int) or not 1 <= scale_bits <= 16:
            raise ValueError(f"Scale bits must be 1 to 16, not {scale_bits!r}")
        if not isinstance(lanes, int) or isinstance(lanes, bool) or lanes < 1:
            raise TypeError(f"Lanes must be a positive integer, not {lanes!r}")
        self.term_shape = signed(sum_shape.width + scale_bits)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(sum_shape, lanes),
                "scale": unsigned(scale_bits),
                "tag": tag,
            }))),
            "o": Out(stream.Signature(data.StructLayout({
                "terms": data.ArrayLayout(self.term_shape, lanes),
                "tag": tag,
            }))),
        })

    def elaborate(self, platform):
        m = Module()

        advance = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            # Stage 1: multiply.
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.p.tag.eq(self.i.p.tag)
            for total, term in zip(self.i.p.sums, self.o.p.terms, strict=True):
                m.d.sync += term.eq(total * self.i.p.scale)

        return m
