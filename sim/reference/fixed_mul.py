# SPDX-License-Identifier: Apache-2.0
"""Fixed-point products against their golden functions."""

from amaranth.hdl import Module

from ...hw.fixed.fixed_cast import fixed_cast, fixed_shape
from ...quant.golden import fixed as golden
from ..prove import Core
from .fixed_cast import cast_by_division

__all__ = ["cores", "expected"]


def expected(unit, inputs):
    exact, fmt = golden.fixed_mul(inputs["a"], unit.a, inputs["b"], unit.b)
    return {"results": golden.fixed_cast(exact, fmt, unit.result)}


def cores(unit):
    a, b = fixed_shape(unit.a), fixed_shape(unit.b)

    def cast(product):
        m = Module()
        return {"part": m}, fixed_cast(m, product, unit.exact, unit.result)

    def specification(product):
        return cast_by_division(product, unit.exact, unit.result)

    says = "quotient and remainder, twice the remainder against the divisor; limits compared"
    if a.width + b.width <= 16:
        yield Core("fixed_mul", {"a": a, "b": b}, lambda a, b: cast(a * b),
                   lambda a, b: specification(a * b), says=says)
    else:  # the product itself is ``*``
        yield Core("fixed_cast", {"product": fixed_shape(unit.exact)}, cast, specification,
                   says=says)
