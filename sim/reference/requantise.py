# SPDX-License-Identifier: Apache-2.0
"""Requantisation against its golden function."""

import numpy as np
from amaranth.hdl import Module, Mux, Shape, signed

from ...hw.fixed.requantise import rounded_shift
from ...quant.golden.requantise import requantise
from ..prove import Core
from .fixed_cast import rounded_quotient

__all__ = ["cores", "domain", "expected", "stimulus"]

FAR = 1 << 62  # no product reaches it


def expected(unit, inputs):
    sums = np.asarray(inputs["sums"]).astype(np.int64)
    multiplier, select = (np.asarray(inputs[name]).astype(np.int64).reshape(len(sums), -1)
                          for name in ("multiplier", "select"))
    values = requantise(sums, multiplier=multiplier, shift=np.array(unit.shifts)[select],
                        low=-FAR, high=FAR, rounding=unit.rounding).numpy()
    if unit.zero_point:
        values = values + np.asarray(inputs["zero"]).astype(np.int64).reshape(-1, 1)
    return {"values": values.clip(unit.result.min, unit.result.max), "tag": inputs["tag"]}


def domain(unit):
    return {"select": np.arange(len(unit.shifts))}


def stimulus(unit, rng, count):
    """Sums at and next to a step of the result, more often than not."""
    layout = unit.i.p.shape()
    each = (count, unit.lanes)
    shape = each if unit.per_channel else (count,)
    top = (1 << unit.multiplier_bits) - 1
    # Powers of two have ties, others hardly any.
    power = 1 << rng.integers(0, unit.multiplier_bits, size=shape)
    any_size = rng.integers(0, top, size=shape, endpoint=True) >> rng.integers(
        0, unit.multiplier_bits, size=shape)
    multiplier = np.where(rng.random(shape) < 0.5, power, any_size)
    multiplier[rng.random(shape) < 0.02] = top
    select = rng.integers(0, len(unit.shifts), size=shape)
    width = layout["sums"].shape.elem_shape.width
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    b = np.maximum(multiplier, 1).reshape(count, -1)
    step = np.exp2(np.array(unit.shifts)[select]).reshape(count, -1) / b
    reach = 1 << unit.bits + 1
    near = (rng.integers(-reach, reach, size=each) + 0.5) * step
    near = np.clip(np.rint(near), low, high).astype(np.int64)
    near = np.clip(near + rng.integers(-1, 1, size=each, endpoint=True), low, high)
    spread = rng.integers(low, high, size=each, endpoint=True)
    inputs = {"sums": np.where(rng.random(each) < 0.75, near, spread),
              "multiplier": multiplier, "select": select}
    if unit.zero_point:
        inputs["zero"] = rng.integers(
            unit.result.min, unit.result.max, size=count, endpoint=True)
    tag = Shape.cast(layout["tag"].shape)
    inputs["tag"] = rng.integers(0, 1 << tag.width, size=count)
    return inputs


def cores(unit):
    """Rounding shifts of short products; of these, all shifts."""
    width = min(unit.product_shape.width, 16)
    shifts = sorted({min(shift, width + 2) for shift in unit.shifts} | {0, 1, width})
    rule = {"half_even": "RND_CONV", "half_up": "RND"}[unit.rounding]

    def implementation(product, select):
        m = Module()
        return {"part": m}, rounded_shift(m, product, shifts, select, unit.rounding)

    def specification(product, select):
        result = product
        for index, shift in enumerate(shifts):
            if shift:
                result = Mux(select == index, rounded_quotient(product, shift, rule), result)
        return result

    yield Core("rounded_shift", {"product": signed(width), "select": range(len(shifts))},
               implementation, specification,
               assume=lambda product, select: select < len(shifts),
               says=f"quotient rounded {unit.rounding.replace('_', ' ')} by its remainder")
