# SPDX-License-Identifier: Apache-2.0
"""Packed products against their golden function."""

import numpy as np
from amaranth.hdl import Cat

from ...hw.arithmetic import product_range, sum_shape
from ...hw.pe.mac import span
from ...hw.pe.packed import pack, unpack
from ...quant.golden.packed import packed
from ..prove import Core
from . import exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    weights = np.swapaxes(np.asarray(inputs["weights"]), -1, -2)
    return grouped(exact(unit, packed(inputs["activations"], weights)), inputs)


def cores(unit):
    ports = unit.i.p.shape()
    activation = ports["activations"].shape.elem_shape
    weights = dict.fromkeys(
        [f"w{j}" for j in range(unit.columns)], ports["weights"].shape.elem_shape.elem_shape)

    def allowed(**numbers):
        """No number is below the least of its format."""
        return Cat(number >= (unit.activation if name == "a" else unit.weight).min
                   for name, number in numbers.items()).all()

    narrow = unit.activation.narrow or unit.weight.narrow

    yield Core(
        "word", weights, lambda **w: pack(list(w.values()), unit.spacing),
        lambda **w: sum(x * (1 << unit.spacing * j) for j, x in enumerate(w.values())),
        says="one number of all weights")

    def unpacked(wide):
        shape = unit.product_shape
        wide = wide[:shape.width].as_signed() if shape.signed else wide[:shape.width]
        return {f"w{j}": field if borrow is None else field + borrow for j, (field, borrow)
                in enumerate(unpack(wide, unit.spacing, unit.columns))}

    low, high = product_range(span(unit.weight), span(unit.activation))

    yield Core(
        "fields", dict.fromkeys(weights, sum_shape(low, high, 1)),
        lambda **p: unpacked(sum(x << unit.spacing * j for j, x in enumerate(p.values()))),
        lambda **p: p, assume=lambda **p: Cat((x >= low) & (x <= high) for x in p.values()).all(),
        says="the products in a sum of products")

    if len(weights) * unit.weight.bits + unit.activation.bits > 12:
        return  # the solver would need minutes
    yield Core(
        "products", {"a": activation, **weights},
        lambda a, **w: unpacked(pack(list(w.values()), unit.spacing) * a),
        lambda a, **w: {name: x * a for name, x in w.items()},
        assume=allowed if narrow else None, says="one product for each weight")


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
