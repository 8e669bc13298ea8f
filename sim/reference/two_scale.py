# SPDX-License-Identifier: Apache-2.0
"""Groups with two scales against ``two_scale_dot``, a golden function of `casts`."""

from ...hw.arithmetic import shift_add
from ...quant.golden.casts import two_scale_dot
from ..prove import Core
from . import at_last, exact, grouped, narrow_codes

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    scales = {name: at_last(inputs[name], inputs) for name in ("positive", "negative")}
    terms = two_scale_dot(inputs["activations"], inputs["weights"], **scales)
    return grouped(exact(unit, terms), inputs)


def cores(unit):
    ports = unit.i.p.shape()
    yield Core(
        "product",
        {"w": ports["weights"].shape.elem_shape, "a": ports["activations"].shape.elem_shape},
        lambda w, a: shift_add(w, a), lambda w, a: w * a,
    )


def domain(unit):
    return narrow_codes(activations=unit.activation, weights=unit.weight)
