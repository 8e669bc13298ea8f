# SPDX-License-Identifier: Apache-2.0
"""The plain multiplier against its golden function."""

from amaranth.hdl import Const, Mux

from ...quant.golden.multiplier import multiplier
from ..prove import Core
from . import exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    return grouped(exact(unit, multiplier(inputs["activations"], inputs["weights"])), inputs)


def cores(unit):
    ports = unit.i.p.shape()
    yield Core(
        "product",
        {"w": ports["weights"].shape.elem_shape, "a": ports["activations"].shape.elem_shape},
        lambda w, a: w * a, _long_multiplication, says="a sum of shifted terms",
    )


def _long_multiplication(w, a):
    """One row for each bit of the activation, from the lowest: an order that suits the solver."""
    total = Const(0)
    for k, bit in enumerate(a):
        row = Mux(bit, w, 0) << k
        total = total - row if a.shape().signed and k == len(a) - 1 else total + row
    return total


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
