# SPDX-License-Identifier: Apache-2.0
"""Dyadic requantisation."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Requantise"]


class Requantise(wiring.Component):
    """``o = clamp(round_half_even(z * multiplier / 2 ** shifts[select]))`` [1]_.

    Half minus one unit and the bit above the point are added before the shift: a tie goes up only
    where the result would be odd.

    :Latency: :attr:`latency`.
    :Throughput: one transfer per cycle.
    :Backpressure: the whole pipeline stalls; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] HAWQ-V3 (Yao et al., 2021), section 3.2, equation 5; SPECS 4.

    Parameters
    ----------
    sum_shape : Shape
        Of the accumulators, signed.
    multiplier_bits : int
        Width of the unsigned multiplier.
    shifts : sequence of int
        Shift amounts to choose from.
    bits : int
        Width of the signed result.
    lanes : int

    Members
    -------
    i : In(stream)
        ``sums`` by lane, ``multiplier``, ``select`` (index into ``shifts``), and a ``tag`` that is
        handed on.
    o : Out(stream)
        ``values`` by lane, ``tag``.
    """

    latency = 2

    def __init__(self, sum_shape, *, multiplier_bits=16, shifts=(16,), bits=8, lanes=1, tag=1):
        sum_shape = Shape.cast(sum_shape)
        if not sum_shape.signed:
            raise ValueError(f"Sum shape must be signed, not {sum_shape!r}")
        if not isinstance(multiplier_bits, int) or not 1 <= multiplier_bits <= 32:
            raise ValueError(f"Multiplier bits must be 1 to 32, not {multiplier_bits!r}")
        shifts = tuple(shifts)
        if not shifts or any(not isinstance(c, int) or not 0 <= c <= 62 for c in shifts):
            raise ValueError(f"Shifts must be integers from 0 to 62, not {shifts!r}")
        if not isinstance(lanes, int) or isinstance(lanes, bool) or lanes < 1:
            raise TypeError(f"Lanes must be a positive integer, not {lanes!r}")
        if not isinstance(bits, int) or not 2 <= bits <= 32:
            raise ValueError(f"Bits must be 2 to 32, not {bits!r}")
        self.shifts, self.bits, self.lanes = shifts, bits, lanes
        self.product_shape = signed(sum_shape.width + multiplier_bits)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(sum_shape, lanes),
                "multiplier": unsigned(multiplier_bits),
                "select": range(len(shifts)),
                "tag": tag,
            }))),
            "o": Out(stream.Signature(data.StructLayout({
                "values": data.ArrayLayout(signed(bits), lanes),
                "tag": tag,
            }))),
        })

    def elaborate(self, platform):
        m = Module()

        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        select = Signal.like(self.i.p.select)
        tag = Signal.like(self.i.p.tag)
        valid = Signal()
        low, high = -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1

        advance = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            # Stage 1: multiply.
            m.d.sync += [valid.eq(self.i.valid), select.eq(self.i.p.select), tag.eq(self.i.p.tag)]
            for total, product in zip(self.i.p.sums, products, strict=True):
                m.d.sync += product.eq(total * self.i.p.multiplier)
            # Stage 2: round and clamp.
            m.d.sync += [self.o.valid.eq(valid), self.o.p.tag.eq(tag)]
            for lane, product in enumerate(products):
                rounded = Signal(signed(self.product_shape.width + 1), name=f"rounded_{lane}")
                with m.Switch(select):
                    for index, shift in enumerate(self.shifts):
                        with m.Case(index):
                            m.d.comb += rounded.eq(_round(product, shift))
                value = self.o.p.values[lane]
                with m.If(rounded < low):
                    m.d.sync += value.eq(low)
                with m.Elif(rounded > high):
                    m.d.sync += value.eq(high)
                with m.Else():
                    m.d.sync += value.eq(rounded)

        return m


def _round(product, shift):
    """``round_half_even(product / 2 ** shift)`` of a Value."""
    if shift == 0:
        return product
    if shift >= len(product):  # Less than one half, whatever the sign; -1/2 is a tie to 0.
        return C(0, 1)
    return (product + Cat(product[shift].replicate(1), C(0, 1)) + ((1 << (shift - 1)) - 1)) >> shift
