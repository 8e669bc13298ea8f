# SPDX-License-Identifier: Apache-2.0
"""MixPE with half-precision activations against its golden functions."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux

from ...hw.pe.mixpe_w4a16 import FP16, align, largest, product
from ...quant.golden.mixpe_w4a16 import mixpe_w4a16, mixpe_w4a16_aligned
from ..prove import Core
from . import exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected", "stimulus"]

FINITE = np.array([code for code in range(1 << FP16.bits)
                   if code >> FP16.mantissa_bits & 31 != 31], np.int64)


def expected(unit, inputs):
    activations, weights = inputs["activations"], np.asarray(inputs["weights"]).astype(np.int64)
    if unit.variant == "exact":
        return grouped(exact(unit, mixpe_w4a16(activations, weights)), inputs)
    sums, exponents = mixpe_w4a16_aligned(activations, weights, guard=unit.guard)
    return {"sum": sums.numpy(), "exponent": exponents.numpy()}


def cores(unit):
    weight = unit.i.p.shape()["weights"].shape.elem_shape

    def specified(w, a):
        mantissa, exponent, sign = a[:10], a[10:15], a[15]
        significand = Cat(mantissa, exponent != 0)
        return {"shift": Mux(exponent == 0, 0, exponent - 1),
                "product": w * Mux(sign, -significand, significand)}

    yield Core(
        "product", {"w": weight, "a": FP16.bits},
        lambda w, a: dict(zip(("shift", "product"), product(w, a), strict=True)), specified,
        assume=lambda w, a: a[10:15] != 31,
        says="shift, and weight times significand",
    )
    if unit.variant == "exact":
        return

    def greatest(**values):
        m = Module()
        return {"tree": m}, largest(m, list(values.values()))

    def one_of(**values):
        found = Const(0)
        for number in range(1, 32):
            there = Const(0, 1)
            for value in values.values():
                there = there | (value == number)
            found = Mux(there, number, found)
        return found

    yield Core("largest", {f"shift_{k}": 5 for k in range(min(unit.lanes, 8))}, greatest, one_of,
               says="the greatest number that is among them")

    def divided(value, distance):
        result = value << unit.guard
        for bits in range(1, 30):
            result = Mux(distance == bits, (value << unit.guard) // (1 << bits), result)
        return result

    yield Core(
        "aligned", {"value": unit.product_shape, "distance": 5},
        lambda value, distance: align(value, unit.guard, distance), divided,
        assume=lambda value, distance: distance < 30,
        says="division by a power of two, rounded down",
    )


def domain(unit):
    return {"activations": FINITE, **narrow_codes(weights=unit.weight)}


def stimulus(unit, rng, count):
    """Exponents of a transfer within 12 of each other in half of all, so that nothing is lost."""
    shape = count, unit.lanes
    exponents = rng.integers(31, size=shape)
    near = np.clip(rng.integers(31, size=(count, 1)) + rng.integers(-6, 7, size=shape), 0, 30)
    exponents = np.where(rng.random((count, 1)) < 0.5, exponents, near)
    codes = exponents << 10 | rng.integers(1 << 10, size=shape) | rng.integers(2, size=shape) << 15
    weights = rng.integers(unit.weight.min, unit.weight.max, size=shape, endpoint=True)
    return {"activations": codes, "weights": weights}
