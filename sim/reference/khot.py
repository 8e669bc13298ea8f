# SPDX-License-Identifier: Apache-2.0
"""Products with K-hot constants against their golden function."""

import numpy as np
from amaranth.hdl import Module

from ...hw.fixed.khot import khot_product
from ...quant.golden.khot import khot_multiply
from ..prove import Core

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    return {"products": khot_multiply(inputs["values"], np.array(unit.constants))}


def domain(unit):
    value = unit.value
    return {"values": np.arange(value.min, value.max + 1)} if value.narrow else {}


def cores(unit):
    def implementation(value):
        m = Module()
        return {"part": m}, {f"lane_{k}": khot_product(m, value, constant)
                             for k, constant in enumerate(unit.constants)}

    yield Core("khot_product", {"value": unit.i.p.shape()["values"].shape.elem_shape},
               implementation,
               lambda value: {f"lane_{k}": value * constant
                              for k, constant in enumerate(unit.constants)},
               says="value * constant")
