# SPDX-License-Identifier: Apache-2.0
"""Products of bit planes against their golden function."""

from ...hw.arithmetic import tree_sum
from ...hw.pe.bitserial_mac import plane_sums, popcount
from ...quant.golden.bitserial_mac import bitserial_mac
from ..prove import Core
from . import exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    terms = bitserial_mac(
        inputs["activations"], inputs["weights"],
        activation_bits=unit.activation.bits, weight_bits=unit.weight.bits,
        signed=(unit.activation.signed, unit.weight.signed))
    return grouped(exact(unit, terms), inputs)


def cores(unit):
    ports = unit.i.p.shape()
    yield Core(
        "product",
        {"a": ports["activations"].shape.elem_shape, "w": ports["weights"].shape.elem_shape},
        lambda a, w: tree_sum(plane_sums([a], [w])), lambda a, w: a * w,
    )
    yield Core("count", {"bits": 16}, lambda bits: popcount(list(bits)),
               lambda bits: sum(bits[1:], bits[0]), says="a sum of 16 bits")


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
