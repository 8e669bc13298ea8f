# SPDX-License-Identifier: Apache-2.0
"""Multiplication of IEEE 754 floating-point numbers."""

from amaranth import *
from amaranth.lib import wiring

from ..arithmetic import check_int, check_positive, wire
from ..pipeline import Pipeline
from .ieee import FP32, FP32_FORMATS, check_ieee, columns, finish, fp32_ports, unpack
from .to_minifloat import normalise

__all__ = ["FP32Multiply", "fp32_product"]


def fp32_product(m, a, b, fmt=FP32, *, ordinary=False):
    """Code of the product of two codes, rounded half to even; see `.fp32_add.fp32_sum`.

    ``ordinary`` says that ``a`` is never subnormal and never Inf.
    """
    check_ieee(fmt)
    sign, product, shift, inf, nan = multiply(m, a, b, fmt, ordinary=ordinary)
    significand, shift = normalise(m, product, shift, fmt)
    return finish(m, sign, significand, shift, inf, nan, fmt)


def multiply(m, a, b, fmt, *, ordinary=False):
    """Sign, exact significand and its shift, see `normalise`; whether it is Inf, or NaN."""
    a, b = unpack(a, fmt, ordinary=ordinary), unpack(b, fmt)
    product = wire(m, a.significand * b.significand, "product")
    # Two significands in [1, 2): their point is below the product's second bit.
    shift = a.exponent + b.exponent - fmt.bias
    zero = ~a.significand.any() | ~b.significand.any()
    inf = a.inf | b.inf
    return a.sign ^ b.sign, product, shift, inf, a.nan | b.nan | (inf & zero)


class FP32Multiply(wiring.Component):
    """Products of IEEE 754 binary32 numbers, half to even, subnormals kept.

    ``o.codes[k] = a[k] * b[k]``. Every NaN is 0x7fc00000 [1]_.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] IEEE Std 754-2019, sections 4.3.1, 5.4.1 and 6.

    Parameters
    ----------
    lanes : int
    registers : int
        0 to 3: after the product, the normalisation, the rounding.

    Members
    -------
    i : In(stream)
        ``a`` and ``b``, codes by lane.
    o : Out(stream)
        ``codes`` by lane.
    """

    def __init__(self, *, lanes=1, registers=2):
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 3)
        self.lanes, self.registers, self.latency = lanes, registers, registers
        super().__init__(fp32_ports(lanes))

    @property
    def formats(self):
        return FP32_FORMATS

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: multiply.
        signs, products, shifts, infs, nans = columns(
            multiply(m, a, b, FP32) for a, b in zip(self.i.p.a, self.i.p.b, strict=True))
        signs, products, shifts, infs, nans = pipe.register(
            sign=signs, product=products, shift=shifts, inf=infs, nan=nans,
            when=self.registers >= 1)
        # Stage 2: normalise.
        significands, shifts = columns(
            normalise(m, *lane, FP32) for lane in zip(products, shifts, strict=True))
        signs, significands, shifts, infs, nans = pipe.register(
            sign=signs, significand=significands, shift=shifts, inf=infs, nan=nans,
            when=self.registers >= 2)
        # Stage 3: round.
        codes = [finish(m, *lane, FP32)
                 for lane in zip(signs, significands, shifts, infs, nans, strict=True)]
        pipe.output(Cat(*pipe.register(code=codes, when=self.registers >= 3)))
        return m
