# SPDX-License-Identifier: Apache-2.0
"""Dyadic requantisation."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Int
from ..arithmetic import check_choice, check_positive, tree_sum, wire
from ..pipeline import Pipeline
from .rounding import round_up, split

__all__ = ["Requantise", "rounded_shift"]

ROUNDINGS = ("half_even", "half_up")


def rounded_shift(m, product, shifts, select, rounding):
    """``round(product / 2 ** shifts[select])``: the floor, and one adder for its rounding bit."""
    floor = Signal(product.shape(), name="floor")
    half, less = Signal(name="half"), Signal(name="less")
    with m.Switch(select):
        for index, shift in enumerate(shifts):
            with m.Case(index):
                parts = split(product, shift) if shift else (product, 0, 0)
                m.d.comb += [floor.eq(parts[0]), half.eq(parts[1]), less.eq(parts[2])]
    up = round_up(rounding, odd=floor[0], half=half, less=less, negative=product[-1])
    return floor + up


class Requantise(wiring.Component):
    """Accumulators to numbers of few bits, by a multiplier and a shift.

    ``o.values[k] = clamp(round(sums[k] * multiplier / 2 ** shifts[select]) + zero)`` [1]_.

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
        Width of the result.
    lanes : int
    tag : shape
        Of what is handed on.
    rounding : {"half_even", "half_up"}
        Where ties go.
    per_channel : bool
        Whether each lane has its own multiplier and shift.
    zero_point : bool
        Whether ``zero``, a number as the results are, is added.
    signed_result : bool

    Members
    -------
    i : In(stream)
        ``sums`` by lane, ``multiplier``, ``select`` (index into ``shifts``), ``zero``, and a
        ``tag`` that is handed on. Per channel the second and third are by lane.
    o : Out(stream)
        ``values`` by lane, ``tag``.
    """

    latency = 2

    def __init__(self, sum_shape=signed(32), *, multiplier_bits=16, shifts=(16,), bits=8, lanes=1,
                 tag=1, rounding="half_even", per_channel=False, zero_point=False,
                 signed_result=True):
        sum_shape = Shape.cast(sum_shape)
        if not sum_shape.signed:
            raise ValueError(f"Sum shape must be signed, not {sum_shape!r}")
        if not isinstance(multiplier_bits, int) or not 1 <= multiplier_bits <= 32:
            raise ValueError(f"Multiplier bits must be 1 to 32, not {multiplier_bits!r}")
        shifts = tuple(shifts)
        if not shifts or any(not isinstance(c, int) or not 0 <= c <= 62 for c in shifts):
            raise ValueError(f"Shifts must be integers from 0 to 62, not {shifts!r}")
        check_positive("Lanes", lanes)
        if not isinstance(bits, int) or not 2 <= bits <= 32:
            raise ValueError(f"Bits must be 2 to 32, not {bits!r}")
        check_choice("Rounding", rounding, ROUNDINGS)
        self.shifts, self.bits, self.lanes, self.rounding = shifts, bits, lanes, rounding
        self.multiplier_bits = multiplier_bits
        self.per_channel, self.zero_point = bool(per_channel), bool(zero_point)
        self.result = Int(bits, signed=bool(signed_result))
        self.product_shape = signed(sum_shape.width + multiplier_bits)
        multiplier, select = unsigned(multiplier_bits), Shape.cast(range(len(shifts)))
        if per_channel:
            multiplier, select = (data.ArrayLayout(x, lanes) for x in (multiplier, select))
        result = Shape(bits, self.result.signed)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(sum_shape, lanes),
                "multiplier": multiplier,
                "select": select,
                **({"zero": result} if zero_point else {}),
                "tag": tag,
            }))),
            "o": Out(stream.Signature(data.StructLayout({
                "values": data.ArrayLayout(result, lanes),
                "tag": tag,
            }))),
        })

    @property
    def formats(self):
        return {"values": self.result.name}

    def elaborate(self, platform):
        m = Module()
        i, lanes = self.i.p, range(self.lanes)
        pipe = Pipeline(m, self)
        # Stage 1: multiply.
        products = [Signal(self.product_shape, name=f"product_{k}") for k in lanes]
        for k in lanes:
            multiplier = i.multiplier[k] if self.per_channel else i.multiplier
            m.d.comb += products[k].eq(i.sums[k] * multiplier)
        selects = list(i.select) if self.per_channel else [i.select]
        zeros = [i.zero] if self.zero_point else []
        products, selects, zeros, tag = pipe.register(
            product=products, select=selects, zero=zeros, tag=i.tag)
        # Stage 2: round, add the zero point and clamp.
        values = []
        for k in lanes:
            value = rounded_shift(m, products[k], self.shifts, selects[k % len(selects)],
                                  self.rounding)
            value = wire(m, tree_sum([value, *zeros]), f"rounded_{k}")
            low, high = self.result.min, self.result.max
            values.append(Mux(value < low, low, Mux(value > high, high, value))[:self.bits])
        values, tag = pipe.register(value=values, tag=tag)
        pipe.output(Cat(*values, tag))
        return m
