# SPDX-License-Identifier: Apache-2.0
"""The multiply-accumulate of any two formats against its golden function."""

from fractions import Fraction

import numpy as np
from amaranth.hdl import unsigned

from ...hw.pe.minifloat_mac import element, product
from ...quant.formats import Codebook, Exponent
from ...quant.golden.casts import preshift
from ...quant.golden.exact import dot
from ...quant.golden.minifloat_mac import minifloat_mac
from ..prove import Core
from . import grouped
from .decoder import TABLE_BITS, integer_operand, scalar_cores

__all__ = ["cores", "domain", "expected"]


def _finite(fmt, codes):
    """Codes with that of 0 in place of those of NaN and Inf."""
    codes = np.asarray(codes)
    return np.where(fmt.is_nan(codes) | fmt.is_inf(codes), 0, codes)


def expected(unit, inputs):
    a, b = (_finite(fmt, inputs[name])
            for name, fmt in (("a", unit.a_format), ("b", unit.b_format)))
    if unit.preshift:
        # One lane is one channel.
        a = preshift(unit.a_format.decode(a), inputs["shifts"])
        terms = dot(a, unit.b_format.decode(b))
    else:
        terms = minifloat_mac(unit.a_format, a, unit.b_format, b)
    sums = grouped(terms, inputs)
    if unit.result is None:
        return sums
    return unit.result.encode_integers(sums, Fraction(2) ** unit.lsb)


def domain(unit):
    found = {}
    for name, fmt in ("a", unit.a_format), ("b", unit.b_format):
        if isinstance(fmt, Codebook):
            found[name] = fmt.codes()
        elif fmt.bits == 16:  # by value: the ends are corners
            codes = fmt.codes()
            codes = codes[~(fmt.is_nan(codes) | fmt.is_inf(codes))]
            found[name] = codes[np.argsort(fmt.decode(codes), kind="stable")]
        elif isinstance(fmt, Exponent):  # it has no 0 that NaN could count as
            found[name] = fmt.codes()[:-1]
    if unit.preshift:
        found["shifts"] = np.arange(unit.preshift + 1)
    return found


def cores(unit):
    a_format, b_format = unit.a_format, unit.b_format
    for name, fmt in {fmt: name for name, fmt in (("b", b_format), ("a", a_format))}.items():
        yield from scalar_cores(name, f"decode_{fmt}")
    if max(a_format.bits, b_format.bits) > TABLE_BITS or a_format.bits + b_format.bits > 16:
        return

    def specification(a, b):
        (a_exponent, x), (b_exponent, y) = (
            integer_operand(a_format, a), integer_operand(b_format, b))
        return x * y << a_exponent + b_exponent

    limits = [len(fmt.codes()) for fmt in (a_format, b_format)]
    yield Core(
        "product", {"a": unsigned(a_format.bits), "b": unsigned(b_format.bits)},
        lambda a, b: product(element(a_format, b_format, a), element(b_format, a_format, b)),
        specification,
        assume=lambda a, b: (a < limits[0]) & (b < limits[1]),
        says="the product of the integers that the formats give, shifted by both exponents",
    )
