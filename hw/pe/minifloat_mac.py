# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulate of any two scalar formats, exact."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import AbFloat, Exponent, Flint, Log2, Minifloat
from ..arithmetic import check_int, negate_if, product_range, range_shape, sum_shape
from ..decode.operand import check_scalar, decode, ranges, signed_operand
from ..fixed.to_minifloat import to_minifloat
from .mac import check_mac, mac_ports, multiply_accumulate

__all__ = ["MinifloatMAC", "element", "element_layout", "product"]

SIGN_MAGNITUDE = (AbFloat, Exponent, Flint, Log2, Minifloat)


def element_layout(fmt, other):
    """Layout of a decoded element that is multiplied by one of another format.

    ``integer``, the ``exponent`` that it is shifted by where there is any, and where both formats
    have a sign of their own ``sign``: the integer is a magnitude then.
    """
    exponent, integer, _ = ranges(fmt)
    apart = _apart(fmt, other)
    magnitude = unsigned(max(-integer[0], integer[1], 1).bit_length())
    return data.StructLayout({
        "integer": magnitude if apart else range_shape(*integer),
        **({"exponent": exponent[1].bit_length()} if exponent[1] else {}),
        **({"sign": 1} if apart else {}),
    })


def element(fmt, other, code):
    """A code as `element_layout` has it: a dict of Values."""
    sign = None
    if _apart(fmt, other):
        sign, exponent, integer = decode(fmt, code)
    else:
        exponent, integer = signed_operand(fmt, code)
    found = {"integer": integer, "exponent": exponent, "sign": sign}
    return {key: found[key] for key, _ in element_layout(fmt, other)}


def product(a, b, *, shift=None):
    """Exact product of two elements, in units of ``2 ** (a_format.lsb + b_format.lsb)``.

    The product of the significands, shifted left by the sum of the exponents. Where both have a
    sign of their own, one of the significands takes that of the product.

    Parameters
    ----------
    a, b : dict of Value
        As `element` gives them, each for the other's format.
    shift : Value, optional
        What else to shift by.
    """
    x, y = a["integer"], b["integer"]
    if "sign" in a:
        x, y = (x, y) if len(x) < len(y) else (y, x)
        x = negate_if(a["sign"] ^ b["sign"], x)
    exponents = [each["exponent"] for each in (a, b) if "exponent" in each]
    exponents += [] if shift is None else [shift]
    return x * y << sum(exponents) if exponents else x * y


def _apart(*formats):
    return all(isinstance(fmt, SIGN_MAGNITUDE) for fmt in formats)


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
    decoders : bool
        False leaves them outside, as in an array, which has them at its borders only: ``a`` and
        ``b`` are elements of `element_layout`.

    Members
    -------
    i : In(stream)
        Codes ``a`` and ``b``, or elements, one per lane; NaN and Inf count as 0, and are to be kept
        out. ``clear``, ``last``; ``shifts``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, a_format=Minifloat(4, 3, specials="ocp"), b_format=None, group=16, *,
                 lanes=1, registers=1, result=None, preshift=0, decoders=True):
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
        self.preshift, self.latency, self.decoders = preshift, registers, bool(decoders)
        low, high = product_range(ranges(a_format).value, ranges(b_format).value)
        low, high = low << preshift, high << preshift
        self.product_shape = range_shape(low, high)
        self.sum_shape = sum_shape(low, high, group * lanes)
        shifts = {"shifts": data.ArrayLayout(range_shape(0, preshift), lanes)} if preshift else {}
        shapes = ((a_format.bits, b_format.bits) if self.decoders else
                  (element_layout(a_format, b_format), element_layout(b_format, a_format)))
        super().__init__(mac_ports({
            "a": data.ArrayLayout(shapes[0], lanes),
            "b": data.ArrayLayout(shapes[1], lanes),
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

    def border(self, m, name, codes):
        """What decoders outside make of the codes of a port."""
        fmt, other = self.a_format, self.b_format
        if name == "b":
            fmt, other = other, fmt
        layout = data.ArrayLayout(element_layout(fmt, other), len(codes))
        elements = Signal(layout, name=f"{name}_elements")
        for each, code in zip(elements, codes, strict=True):
            m.d.comb += [each[key].eq(value) for key, value in element(fmt, other, code).items()]
        return elements

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        shifts = list(i.shifts) if self.preshift else [None] * self.lanes
        for each, a, b, shift in zip(products, i.a, i.b, shifts, strict=True):
            m.d.comb += each.eq(product(*self._elements(a, b), shift=shift))
        multiply_accumulate(
            m, self, products, finish=None if self.result is None else
            lambda total: to_minifloat(m, total, self.lsb, self.result))
        return m

    def _elements(self, a, b):
        """Elements of a lane, from codes or as they come."""
        if self.decoders:
            return (element(self.a_format, self.b_format, a),
                    element(self.b_format, self.a_format, b))
        return [{key: x[key] for key, _ in x.shape()} for x in (a, b)]
