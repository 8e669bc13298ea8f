# SPDX-License-Identifier: Apache-2.0
"""Multiplication of fixed-point numbers."""

from amaranth import *
from amaranth.lib import wiring

from ...quant.formats import Fixed
from ..arithmetic import check_int, check_positive
from ..pipeline import Pipeline
from .fixed_cast import binary_ports, check_fixed, fixed_cast, fixed_shape, result_format

__all__ = ["FixedMul"]


class FixedMul(wiring.Component):
    """Products of fixed-point numbers, exact or cast to a format.

    ``o.results[k] = a[k] * b[k]``. An exact product has the integer and the fraction bits of both
    operands [1]_.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] AMD UG1399, Vitis HLS User Guide, ``ap_fixed`` binary arithmetic operators; SPECS 1.

    Parameters
    ----------
    a, b : Fixed
        Formats of the operands.
    result : Fixed, optional
        Format that the exact product is cast to.
    lanes : int
    registers : int
        0 to 2: after the multiplier, after the cast.

    Members
    -------
    i : In(stream)
        ``a`` and ``b`` by lane.
    o : Out(stream)
        ``results`` by lane.

    Attributes
    ----------
    exact, result : Fixed
        Formats of the product and of what comes out.
    """

    def __init__(self, a=Fixed(16, 8), b=Fixed(16, 8), *, result=None, lanes=1, registers=1):
        self.exact = result_format("product", a, b)
        self.result = self.exact if result is None else result
        check_fixed("Result", self.result)
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 2)
        self.a, self.b = a, b
        self.lanes, self.registers, self.latency = lanes, registers, registers
        super().__init__(binary_ports(a, b, self.result, lanes))

    @property
    def formats(self):
        return {"a": self.a.name, "b": self.b.name, "results": self.result.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: multiply.
        products = [Signal(fixed_shape(self.exact), name=f"product_{k}") for k in range(self.lanes)]
        for product, a, b in zip(products, self.i.p.a, self.i.p.b, strict=True):
            m.d.comb += product.eq(a * b)
        products = pipe.register(product=products, when=self.registers >= 1)
        # Stage 2: cast.
        results = [fixed_cast(m, product, self.exact, self.result) for product in products]
        pipe.output(Cat(*pipe.register(result=results, when=self.registers >= 2)))
        return m
