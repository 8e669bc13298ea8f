# SPDX-License-Identifier: Apache-2.0
"""Fixed-point sums and differences against their golden functions."""

from amaranth.hdl import Module

from ...hw.fixed.fixed_add import fixed_sum
from ...hw.fixed.fixed_cast import fixed_cast, fixed_shape
from ...quant.golden import fixed as golden
from ..prove import Core
from .fixed_cast import cast_by_division

__all__ = ["cores", "expected"]


def expected(unit, inputs):
    operate = golden.fixed_sub if unit.subtract else golden.fixed_add
    exact, fmt = operate(inputs["a"], unit.a, inputs["b"], unit.b)
    return {"results": golden.fixed_cast(exact, fmt, unit.result)}


def cores(unit):
    def implementation(a, b):
        m = Module()
        total = fixed_sum(a, b, unit.a, unit.b, subtract=unit.subtract)
        return {"part": m}, fixed_cast(m, total, unit.exact, unit.result)

    def specification(a, b):
        a, b = a * 2 ** (unit.a.lsb - unit.exact.lsb), b * 2 ** (unit.b.lsb - unit.exact.lsb)
        total = a - b if unit.subtract else a + b
        return cast_by_division(total, unit.exact, unit.result)

    yield Core("fixed_add", {"a": fixed_shape(unit.a), "b": fixed_shape(unit.b)},
               implementation, specification, says="sum of the numbers, divided and compared")
