# SPDX-License-Identifier: Apache-2.0
"""The FP32 multiplier against its golden function."""

from ...hw.fixed.fp32_multiply import fp32_product
from ...quant.golden.fp32 import fp32_multiply
from .ieee import codes_of, ieee_cores, pairs

__all__ = ["cores", "expected", "stimulus"]


def expected(unit, inputs):
    return {"codes": codes_of(fp32_multiply, inputs)}


def stimulus(unit, rng, count):
    """Products near the ends of the normal numbers, and others."""
    return pairs(rng, (count, unit.lanes), lambda a: rng.choice([127, 254 + 127], a.shape) - a)


def cores(unit):
    return ieee_cores(fp32_product, "mul")
