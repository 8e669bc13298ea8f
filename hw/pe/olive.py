# SPDX-License-Identifier: Apache-2.0
"""OliVe: multiply-accumulate of outlier-victim pairs."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import AbFloat, Int, Pair
from ..arithmetic import product_range, range_shape, sum_shape
from ..decode.pair import (
    check_pair,
    pair_elements,
    pair_parts,
    pair_ranges,
    part_layout,
    part_ranges,
    parts_of,
    words_of,
)
from .mac import check_mac, mac_ports, multiply_accumulate

__all__ = ["OliVe", "part_product", "part_product_shapes"]

OLIVE4 = Pair(Int(4, narrow=True), AbFloat(2, 1, 2))


def part_product(a, b):
    """``(x * y) << (ex + ey)`` of two `Part` s, ``<ex, x>`` and ``<ey, y>``."""
    integer = a.integer * b.integer
    exponents = [part.exponent for part in (a, b) if part.exponent is not None]
    return (integer << sum(exponents) if exponents else integer) << a.base + b.base


def part_product_shapes(a_format, b_format):
    """Shapes of the products of all parts of two elements, those of ``b`` innermost."""
    return [range_shape(*product_range(a.value, b.value))
            for a in part_ranges(a_format) for b in part_ranges(b_format)]


class OliVe(wiring.Component):
    """Multiply-accumulate of outlier-victim pairs, exact.

    ``o = sum((x[k] * y[k]) << (ex[k] + ey[k]))`` over the transfers of a group, for elements
    ``<ex, x>`` and ``<ey, y>`` of ``a`` and ``b`` as their words are decoded [1]_. Elements of 8
    bits are multiplied by elements of 4 bits: a normal is ``<4, h> + <0, l>``, h its signed high
    and l its unsigned low half, an outlier ``<e, i> + <0, 0>``, and there are as many products as
    parts to combine, up to four.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] Guo et al., OliVe: Accelerating large language models via hardware-friendly
       outlier-victim pair quantization (ISCA 2023), section 4; SPECS 3.

    Parameters
    ----------
    a_format, b_format : Pair
        Of 4 bits, 8, or any mixture.
    group : int
        Most transfers of a group, which sets the width of the sum.
    lanes : int
        Products of elements per transfer, two for each word.
    registers : int
        0 to 3: after the products, the tree, and the accumulator's adder.
    decoders : bool
        False leaves them outside, as in an array, which has them at its borders only: ``a`` and
        ``b`` are elements as `PairDecoder` with ``parts`` gives them.

    Members
    -------
    i : In(stream)
        Words ``a`` and ``b``, one for two lanes, or elements, one per lane; ``clear``, ``last``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, a_format=OLIVE4, b_format=None, group=16, *, lanes=2, registers=1,
                 decoders=True):
        b_format = a_format if b_format is None else b_format
        check_pair("A format", a_format)
        check_pair("B format", b_format)
        check_mac(group=group, lanes=lanes, registers=registers)
        self.a_format, self.b_format = a_format, b_format
        self.group, self.lanes, self.registers = group, lanes, registers
        self.decoders, self.latency = bool(decoders), registers
        if self.decoders:
            self.words = words_of(lanes)
        span = product_range(pair_ranges(a_format).value, pair_ranges(b_format).value)
        terms = group * lanes
        if self.decoders:
            # An outlier has a victim beside it: then a word gives one product, which is not 0.
            usual = 2 * a_format.normal.max * b_format.normal.max
            span, terms = (min(span[0], int(-usual)), max(span[1], int(usual))), terms // 2
        self.sum_shape = sum_shape(*span, terms)

        def operand(fmt):
            if self.decoders:
                return data.ArrayLayout(2 * fmt.bits, self.words)
            return data.ArrayLayout(part_layout(fmt), lanes)

        super().__init__(mac_ports({"a": operand(a_format), "b": operand(b_format)},
                                   self.sum_shape))

    @property
    def formats(self):
        return {"a": self.a_format.name, "b": self.b_format.name}

    def border(self, m, name, words):
        """What decoders outside make of the words of a port."""
        return pair_elements(m, self.a_format if name == "a" else self.b_format, words)

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        elements = [self._elements(fmt, port)
                    for fmt, port in ((self.a_format, i.a), (self.b_format, i.b))]
        shapes = part_product_shapes(self.a_format, self.b_format)
        products = []
        for k, (a, b) in enumerate(zip(*elements, strict=True)):
            pairs = [(x, y) for x in a for y in b]
            for n, ((x, y), shape) in enumerate(zip(pairs, shapes, strict=True)):
                each = Signal(shape, name=f"product_{k}" if len(shapes) == 1 else
                              f"product_{k}_{n}")
                m.d.comb += each.eq(part_product(x, y))
                products.append(each)
        multiply_accumulate(m, self, products)
        return m

    def _elements(self, fmt, port):
        """Parts of the elements that come in a transfer."""
        if not self.decoders:
            return [parts_of(fmt, element) for element in port]
        return [element for word in port for element in pair_parts(fmt, word)]
