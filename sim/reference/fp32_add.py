# SPDX-License-Identifier: Apache-2.0
"""The FP32 adder against its golden function."""

from ...hw.fixed.fp32_add import fp32_sum
from ...quant.golden.fp32 import fp32_add
from .ieee import codes_of, ieee_cores, pairs

__all__ = ["cores", "expected", "stimulus"]


def expected(unit, inputs):
    return {"codes": codes_of(fp32_add, inputs)}


def stimulus(unit, rng, count):
    """Exponents near to each other, and other pairs."""
    return pairs(rng, (count, unit.lanes), lambda a: a)


def cores(unit):
    return ieee_cores(fp32_sum, "add")
