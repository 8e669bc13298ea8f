# SPDX-License-Identifier: Apache-2.0
"""MixPE against its golden function."""

import numpy as np

from ...hw.arithmetic import shift_add
from ...hw.pe.booth import booth_product
from ...quant.golden.mixpe import mixpe
from ..prove import Core
from . import grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    activations, weights = inputs["activations"], inputs["weights"]
    sums = grouped(mixpe(activations, weights), inputs)
    if unit.zero_points:
        zeros = np.asarray(inputs["zero"])[np.asarray(inputs["last"]).astype(bool)]
        sums = sums - zeros * grouped(np.asarray(activations).sum(axis=-1), inputs)
    return sums


def cores(unit):
    multiply = {"terms": shift_add, "booth": booth_product}[unit.recoding]
    ports = unit.i.p.shape()
    yield Core(
        "product",
        {"w": ports["weights"].shape.elem_shape, "a": ports["activations"].shape.elem_shape},
        lambda w, a: multiply(w, a), lambda w, a: w * a,
    )


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
