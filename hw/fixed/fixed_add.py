# SPDX-License-Identifier: Apache-2.0
"""Addition and subtraction of fixed-point numbers."""

from amaranth import *
from amaranth.lib import wiring

from ...quant.formats import Fixed
from ..arithmetic import check_int, check_positive
from ..pipeline import Pipeline
from .fixed_cast import binary_ports, check_fixed, fixed_cast, fixed_shape, result_format

__all__ = ["FixedAdd", "fixed_sum"]


def fixed_sum(a, b, a_format, b_format, *, subtract=False):
    """Exact sum or difference of integers of two formats, in units of the finer one.

    Parameters
    ----------
    a, b : Value
        In units of ``2 ** a_format.lsb`` and ``2 ** b_format.lsb``.
    a_format, b_format : Fixed
    subtract : bool
    """
    finer = min(a_format.lsb, b_format.lsb)
    a, b = a << (a_format.lsb - finer), b << (b_format.lsb - finer)
    return a - b if subtract else a + b


class FixedAdd(wiring.Component):
    """Sums or differences of fixed-point numbers, exact or cast to a format.

    ``o.results[k] = a[k] + b[k]``, or ``a[k] - b[k]``. An exact result has one more integer bit
    than the longer operand, two where the signs of the formats differ, and as many fraction bits as
    the finer one; a difference is signed [1]_.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] AMD UG1399, Vitis HLS User Guide, ``ap_fixed`` binary arithmetic operators; SPECS 1.

    Parameters
    ----------
    a, b : Fixed
        Formats of the operands.
    subtract : bool
    result : Fixed, optional
        Format that the exact result is cast to.
    lanes : int
    registers : int
        0 to 2: after the cast, after the adder.

    Members
    -------
    i : In(stream)
        ``a`` and ``b`` by lane.
    o : Out(stream)
        ``results`` by lane.

    Attributes
    ----------
    exact, result : Fixed
        Formats of the sum and of what comes out.
    """

    def __init__(self, a=Fixed(16, 8), b=Fixed(16, 8), *, subtract=False, result=None, lanes=1,
                 registers=1):
        self.exact = result_format("difference" if subtract else "sum", a, b)
        self.result = self.exact if result is None else result
        check_fixed("Result", self.result)
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 2)
        self.a, self.b, self.subtract = a, b, bool(subtract)
        self.lanes, self.registers, self.latency = lanes, registers, registers
        super().__init__(binary_ports(a, b, self.result, lanes))

    @property
    def formats(self):
        return {"a": self.a.name, "b": self.b.name, "results": self.result.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: add.
        sums = [Signal(fixed_shape(self.exact), name=f"sum_{k}") for k in range(self.lanes)]
        for total, a, b in zip(sums, self.i.p.a, self.i.p.b, strict=True):
            m.d.comb += total.eq(fixed_sum(a, b, self.a, self.b, subtract=self.subtract))
        sums = pipe.register(sum=sums, when=self.registers >= 2)
        # Stage 2: cast.
        results = [fixed_cast(m, total, self.exact, self.result) for total in sums]
        pipe.output(Cat(*pipe.register(result=results, when=self.registers >= 1)))
        return m
