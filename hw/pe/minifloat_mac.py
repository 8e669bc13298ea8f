# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulate of any two scalar formats, exact."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import AbFloat, Exponent, Flint, Log2, Minifloat
from ..arithmetic import check_int, negate_if, product_range, range_shape, sum_shape
from ..decode.operand import check_scalar, decode, ranges, signed_operand
from ..fixed.to_minifloat import to_minifloat
from .mac import check_mac, mac_ports, multiply_accumulate

__all__ = ["MinifloatMAC", "product"]

SIGN_MAGNITUDE = (AbFloat, Exponent, Flint, Log2, Minifloat)


def product(a_format, a, b_format, b, *, shift=None):
    """Exact product of two codes, in units of ``2 ** (a_format.lsb + b_format.lsb)``.

    The product of the significands, shifted left by the sum of the exponents. Where both have a
    sign of their own, one of the significands takes that of the product.

    Parameters
    ----------
    a_format, b_format : scalar formats
    a, b : Value
        Codes.
    shift : Value, optional
        What else to shift by.
    """
    if isinstance(a_format, SIGN_MAGNITUDE) and isinstance(b_format, SIGN_MAGNITUDE):
        (a_sign, a_exponent, x), (b_sign, b_exponent, y) = decode(a_format, a), decode(b_format, b)
        x, y = (x, y) if len(x) < len(y) else (y, x)
        integer = negate_if(a_sign ^ b_sign, x) * y
    else:
        (a_exponent, x), (b_exponent, y) = signed_operand(a_format, a), signed_operand(b_format, b)
        integer = x * y
    exponents = [exponent for fmt, exponent in ((a_format, a_exponent), (b_format, b_exponent))
                 if ranges(fmt).exponent[1]]
    exponents += [] if shift is None else [shift]
    return integer << sum(exponents) if exponents else integer


class MinifloatMAC(wiring.Component):
    """Multiply-accumulate of any two scalar formats, exact (Kulisch).

    ``o = sum((-1) ** sign[k] * (x[k] * y[k] << ex[k] + ey[k]))`` over the transfers of a group, x
    and y the significands of ``a`` and ``b``, ex and ey their exponents, in units of ``2 ** (a.lsb
    + b.lsb)``: the sum has a place for every bit of every product, and nothing is lost [1]_. With
    ``result`` it is rounded once, half to even, saturated.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] Kulisch, Computer arithmetic and validity (2nd ed., 2013), chapter 8; SPECS 3.
    .. [2] Liu et al., LLM-FP4: 4-bit floating-point quantized transformers (EMNLP 2023), section 4.

    Parameters
    ----------
    a_format, b_format : scalar formats
        Minifloats, integers, fixed point, flints, …, mixed as one likes; but not `Log2` with steps
        of the square root of two.
    group : int
        Most transfers of a group, which sets the width of the sum.
    lanes : int
        Products per transfer.
    registers : int
        0 to 3: after the products, the tree, and the accumulator's adder. With ``result`` 0 to 4,
        the last after the rounding.
    result : Minifloat, optional
        Format of what comes out, in place of the exact sum.
    preshift : int
        Greatest exponent bias of a channel, 0 or more [2]_: with each product comes ``shifts``,
        which it is shifted left by.

    Members
    -------
    i : In(stream)
        Codes ``a`` and ``b``, one per lane; NaN and Inf count as 0, and are to be kept out.
        ``clear``, ``last``; ``shifts``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, a_format=Minifloat(4, 3, specials="ocp"), b_format=None, group=16, *,
                 lanes=1, registers=1, result=None, preshift=0):
        b_format = a_format if b_format is None else b_format
        if result is not None and not isinstance(result, Minifloat):
            raise TypeError(f"Result must be a Minifloat, not {result!r}")
        check_mac(group=group, lanes=lanes, registers=registers, most=3 if result is None else 4)
        for name, fmt in ("A format", a_format), ("B format", b_format):
            check_scalar(name, fmt)
            if isinstance(fmt, Log2) and fmt.sqrt2:
                raise ValueError(f"{name} must have values without roots, not {fmt.name}")
        check_int("Preshift", preshift, 0, 64)
        self.a_format, self.b_format, self.result = a_format, b_format, result
        self.group, self.lanes, self.registers = group, lanes, registers
        self.preshift, self.latency = preshift, registers
        low, high = product_range(ranges(a_format).value, ranges(b_format).value)
        low, high = low << preshift, high << preshift
        self.product_shape = range_shape(low, high)
        self.sum_shape = sum_shape(low, high, group * lanes)
        shifts = {"shifts": data.ArrayLayout(range_shape(0, preshift), lanes)} if preshift else {}
        super().__init__(mac_ports({
            "a": data.ArrayLayout(a_format.bits, lanes),
            "b": data.ArrayLayout(b_format.bits, lanes),
            **shifts,
        }, self.sum_shape if result is None else unsigned(result.bits)))

    @property
    def lsb(self):
        """Exponent of the unit of the sum."""
        return self.a_format.lsb + self.b_format.lsb

    @property
    def formats(self):
        found = {"a": self.a_format.name, "b": self.b_format.name}
        return found if self.result is None else {**found, "o": self.result.name}

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        shifts = list(i.shifts) if self.preshift else [None] * self.lanes
        for each, a, b, shift in zip(products, i.a, i.b, shifts, strict=True):
            m.d.comb += each.eq(product(self.a_format, a, self.b_format, b, shift=shift))
        multiply_accumulate(
            m, self, products, finish=None if self.result is None else
            lambda total: to_minifloat(m, total, self.lsb, self.result))
        return m
