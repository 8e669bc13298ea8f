# SPDX-License-Identifier: Apache-2.0
"""Dequantisation before the product against its golden function."""

import numpy as np

from ...hw.arithmetic import shift_add
from ...quant.golden.dequantise_first import dequantise_first
from ..prove import Core
from . import exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    scales = np.asarray(inputs["scale"]).astype(np.int64)[:, None]
    terms = dequantise_first(inputs["activations"], inputs["weights"], scales)
    return grouped(exact(unit, terms), inputs)


def cores(unit):
    ports = unit.i.p.shape()
    yield Core(
        "widened", {"w": ports["weights"].shape.elem_shape, "scale": ports["scale"].shape},
        lambda w, scale: w * scale, lambda w, scale: shift_add(scale, w),
        says="a sum of shifted terms",
    )


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
