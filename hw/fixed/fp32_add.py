# SPDX-License-Identifier: Apache-2.0
"""Addition of IEEE 754 floating-point numbers."""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring

from ..arithmetic import add_carry, check_int, check_positive, shift_right_jam, wire
from ..pipeline import Pipeline
from .ieee import FP32, FP32_FORMATS, check_ieee, columns, finish, fp32_ports, unpack
from .to_minifloat import normalise

__all__ = ["FP32Add", "fp32_sum"]

GUARD = 3  # bits below the significand: two kept by a subtraction, one for all the rest


def fp32_sum(m, a, b, fmt=FP32, *, ordinary=False):
    """Code of the sum of two codes, rounded half to even.

    Parameters
    ----------
    m : Module
        Gets the intermediate values.
    a, b : Value
        Codes of ``fmt``.
    fmt : Minifloat
        With Inf and NaN.
    ordinary : bool
        Neither the operands nor the sum are ever subnormal, or Inf.

    Returns
    -------
    Value
        NaN is ``fmt.nan_code``.
    """
    check_ieee(fmt)
    aligned = align(m, a, b, fmt, ordinary=ordinary)
    total, sign = add(m, aligned)
    significand, shift = normalise(m, total, aligned.shift, fmt, limit=not ordinary)
    return finish(m, sign, significand, shift, aligned.inf, aligned.nan, fmt, ordinary=ordinary)


class Aligned(NamedTuple):
    """Two operands, that of the greater magnitude first.

    Attributes
    ----------
    sign : Value
        Of the first.
    subtract : Value
        The second has the other sign.
    first, second : Value
        Significands of one scale, with a bit above for the carry; the last bit of ``second`` is set
        where more was lost.
    shift : Value
        Of their sum, see `normalise`.
    inf, nan : Value
        Of the sum.
    """

    sign: Value
    subtract: Value
    first: Value
    second: Value
    shift: Value
    inf: Value
    nan: Value


def align(m, a, b, fmt, *, ordinary=False):
    """Order two codes by magnitude and bring them to the scale of the first."""
    swap = wire(m, a[:-1] < b[:-1], "swap")
    first, second = wire(m, Mux(swap, b, a), "first"), wire(m, Mux(swap, a, b), "second")
    x, y = (unpack(code, fmt, ordinary=ordinary) for code in (first, second))
    distance = wire(m, (x.exponent - y.exponent)[:fmt.exponent_bits], "distance")
    subtract = x.sign ^ y.sign
    return Aligned(
        x.sign, subtract, Cat(C(0, GUARD), x.significand, C(0, 1)),
        Cat(shift_right_jam(m, Cat(C(0, GUARD), y.significand), distance), C(0, 1)),
        # The carry is worth twice the hidden bit, whose shift is the exponent less one.
        x.exponent, x.inf, x.nan | (x.inf & y.inf & subtract))


def add(m, aligned):
    """Magnitude and sign of the sum; a difference of equal numbers is +0."""
    sign, subtract, first, second, *_ = aligned
    flipped = second ^ subtract.replicate(len(second))
    total = wire(m, add_carry(first, flipped, subtract)[:len(first)], "total")
    return total, sign & ~(subtract & ~total.any())


class FP32Add(wiring.Component):
    """Sums of IEEE 754 binary32 numbers, half to even, subnormals kept.

    ``o.codes[k] = a[k] + b[k]``. Every NaN is 0x7fc00000 [1]_.

    The operand of the smaller magnitude is shifted to the other's scale with two more bits and one
    that says whether anything was lost: enough to round once, wherever the leading one ends up.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] IEEE Std 754-2019, sections 4.3.1, 5.4.1 and 6.

    Parameters
    ----------
    lanes : int
    registers : int
        0 to 4: after the adder, the alignment, the normalisation, the rounding.

    Members
    -------
    i : In(stream)
        ``a`` and ``b``, codes by lane.
    o : Out(stream)
        ``codes`` by lane.
    """

    def __init__(self, *, lanes=1, registers=3):
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 4)
        self.lanes, self.registers, self.latency = lanes, registers, registers
        super().__init__(fp32_ports(lanes))

    @property
    def formats(self):
        return FP32_FORMATS

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: order and align.
        aligned = [align(m, a, b, FP32) for a, b in zip(self.i.p.a, self.i.p.b, strict=True)]
        aligned = pipe.register(aligned=aligned, when=self.registers >= 2)
        # Stage 2: add.
        totals, signs = columns(add(m, Aligned(*lane)) for lane in aligned)
        *_, shifts, infs, nans = columns(aligned)
        totals, signs, shifts, infs, nans = pipe.register(
            total=totals, sign=signs, shift=shifts, inf=infs, nan=nans, when=self.registers >= 1)
        # Stage 3: normalise.
        significands, shifts = columns(
            normalise(m, *lane, FP32) for lane in zip(totals, shifts, strict=True))
        signs, significands, shifts, infs, nans = pipe.register(
            sign=signs, significand=significands, shift=shifts, inf=infs, nan=nans,
            when=self.registers >= 3)
        # Stage 4: round.
        codes = [finish(m, *lane, FP32)
                 for lane in zip(signs, significands, shifts, infs, nans, strict=True)]
        pipe.output(Cat(*pipe.register(code=codes, when=self.registers >= 4)))
        return m
