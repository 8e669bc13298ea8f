# SPDX-License-Identifier: Apache-2.0
"""Multiplication by constants with few ones."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Int
from ..arithmetic import check_int, product_range, range_shape, tree_sum, wire
from ..pipeline import Pipeline

__all__ = ["KHotMultiply", "khot_product"]


def khot_product(m, value, constant):
    """``value * constant`` as a sum of shifted terms, one per one in the constant's magnitude."""
    if constant < 0:
        value = wire(m, -value, "negated")
    shifts = [k for k in range(abs(constant).bit_length()) if abs(constant) >> k & 1]
    return tree_sum([value << k for k in shifts] or [C(0, 1)])


class KHotMultiply(wiring.Component):
    """Products with constants of at most K ones, by shifting and adding.

    ``o.products[k] = values[k] * constants[k]``, K - 1 adders for each, and one more where the
    constant is negative [1]_.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] QFX (Dai et al., Trainable fixed-point quantization for deep learning acceleration on
       FPGAs, 2024), K-hot encoding; SPECS 4.

    Parameters
    ----------
    constants : sequence of int
        One per lane, of at most ``k`` ones in its magnitude.
    k : int
        K.
    value : Int
        Format of the values.
    registers : int
        0 or 1: after the adders.

    Members
    -------
    i : In(stream)
        ``values`` by lane.
    o : Out(stream)
        ``products`` by lane, as wide as the greatest.
    """

    def __init__(self, constants=(3, -5, 96, 0), *, k=2, value=Int(8), registers=1):
        constants = tuple(constants)
        if not constants:
            raise ValueError("Constants must be at least one, not ()")
        check_int("K", k, 1, 62)
        for constant in constants:
            check_int("Constants", constant, -(1 << 61), 1 << 61)
            if abs(constant).bit_count() > k:
                raise ValueError(f"Constants must have at most {k} ones in their magnitude, "
                                 f"not {abs(constant).bit_count()} as {constant} has")
        if not isinstance(value, Int):
            raise TypeError(f"Value must be an Int, not {value!r}")
        check_int("Registers", registers, 0, 1)
        self.constants, self.k, self.value = constants, k, value
        self.lanes, self.registers, self.latency = len(constants), registers, registers
        low, high = product_range((value.min, value.max), (min(constants), max(constants)))
        self.product_shape = range_shape(low, max(high, 1))
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "values": data.ArrayLayout(Shape(value.bits, value.signed), self.lanes)}))),
            "o": Out(stream.Signature(data.StructLayout({
                "products": data.ArrayLayout(self.product_shape, self.lanes)}))),
        })

    @property
    def formats(self):
        return {"values": self.value.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: add shifted terms.
        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        for product, value, constant in zip(
                products, self.i.p.values, self.constants, strict=True):
            m.d.comb += product.eq(khot_product(m, value, constant))
        pipe.output(Cat(*pipe.register(product=products, when=self.registers >= 1)))
        return m
