# SPDX-License-Identifier: Apache-2.0
"""Fixed-point casts against their golden function."""

from amaranth.hdl import Const, Module, Mux

from ...hw.fixed.fixed_cast import fixed_cast, fixed_shape
from ...quant.golden import fixed as golden
from ..prove import Core

__all__ = ["cast_by_division", "cores", "expected", "rounded_quotient"]


def expected(unit, inputs):
    return {"results": golden.fixed_cast(inputs["values"], unit.source, unit.target)}


def cores(unit):
    def implementation(value):
        m = Module()
        return {"part": m}, fixed_cast(m, value, unit.source, unit.target)

    yield Core(
        "fixed_cast", {"value": fixed_shape(unit.source)}, implementation,
        lambda value: cast_by_division(value, unit.source, unit.target),
        says="quotient and remainder, twice the remainder against the divisor; limits compared")


def cast_by_division(value, source, target):
    """The cast as numbers: quotient, remainder and comparisons with the limits."""
    shift = target.lsb - source.lsb
    # Where nothing is left, or everything is zero, another place will do as well.
    shift = min(max(shift, -target.width - 2), source.width + 2)
    number = value << -shift if shift <= 0 else rounded_quotient(value, shift, target.rounding)
    low, high = target.limits
    count = 1 << target.width
    if target.overflow == "WRAP":
        return _modulo(number - low, count) + low
    if target.overflow == "WRAP_SM":
        # Up and down again: a triangle wave of twice the period.
        place = _modulo(number, 2 * count)
        return Mux(place < count // 2, place,
                   Mux(place < count * 3 // 2, count - 1 - place, place - 2 * count))
    least, most = low, high
    if target.overflow == "SAT_SYM" and target.signed:
        low = least = -high
    if target.overflow == "SAT_ZERO":
        least = most = 0
    return Mux(number < low, least, Mux(number > high, most, number))


def rounded_quotient(value, shift, rounding):
    """``value / 2 ** shift``, rounded by comparing twice the remainder with the divisor."""
    divisor = 1 << shift
    remainder = _modulo(value, divisor)
    quotient = (value - remainder) // divisor
    more, tie = 2 * remainder > divisor, 2 * remainder == divisor
    negative = value < 0
    up = {
        "TRN": Const(0), "TRN_ZERO": negative & (remainder != 0),
        "RND": more | tie, "RND_MIN_INF": more,
        "RND_INF": more | (tie & ~negative), "RND_ZERO": more | (tie & negative),
        "RND_CONV": more | (tie & (quotient % 2 == 1)),
    }[rounding]
    return quotient + up


def _modulo(value, divisor):
    """Remainder of 0 or more."""
    return value % divisor
