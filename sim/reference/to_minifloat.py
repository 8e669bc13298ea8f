# SPDX-License-Identifier: Apache-2.0
"""Sums to minifloats against the formats' encoders."""

from fractions import Fraction

import numpy as np
from amaranth.hdl import C, Module, Mux, Shape

from ...hw.fixed.to_minifloat import to_minifloat
from ...quant.formats.rounding import odd_integers
from ..payload import to_ints
from ..prove import Core

__all__ = ["cores", "domain", "expected", "nearest", "stimulus"]


def expected(unit, inputs):
    integers, fmt = np.asarray(inputs["integers"]), unit.fmt
    if unit.integer.width > 64 and integers.dtype == np.uint32:
        flat = to_ints(integers.reshape(-1, integers.shape[-1]))
        sign = 1 << unit.integer.width - 1 if unit.integer.signed else 0
        integers = np.array([(x ^ sign) - sign for x in flat], object)
        integers = integers.reshape(-1, unit.lanes)
    if not unit.exponents:
        scale = Fraction(2) ** unit.exponent
        return {"codes": fmt.encode_integers(integers, scale, overflow=unit.overflow)}
    exponents = np.asarray(inputs["exponents"]).astype(np.int32)
    if -900 <= unit.exponents[0] and unit.exponents[1] + unit.integer.width <= 1000:
        values = np.ldexp(odd_integers(integers), exponents)  # exact
        return {"codes": fmt.encode(values, overflow=unit.overflow)}
    codes = np.zeros(integers.shape, np.uint64)
    for e in np.unique(exponents):
        mine = exponents == e
        codes[mine] = fmt.encode_integers(
            integers[mine], Fraction(2) ** int(e), overflow=unit.overflow)
    return {"codes": codes}


def domain(unit):
    if not unit.exponents:
        return {}
    return {"exponents": np.arange(unit.exponents[0], unit.exponents[1] + 1)}


def stimulus(unit, rng, count):
    """Integers of every length, near to a tie more often than not."""
    shape, m, lsb = unit.integer, unit.fmt.mantissa_bits, unit.fmt.lsb
    size = (count, unit.lanes)
    width = min(shape.width - shape.signed, 63)
    length = rng.integers(0, width, size=size, endpoint=True)
    top = rng.integers(0, 1 << min(m + 3, width), size=size)
    top >>= np.maximum(np.minimum(m + 3, width) - length, 0)
    low = np.maximum(length - m - 3, 0)
    # Off a tie by a bit at any place below: each of them counts.
    near = rng.integers(-1, 1, size=size, endpoint=True) << rng.integers(0, np.maximum(low, 1))
    spread = rng.integers(0, (1 << width) - 1, size=size, endpoint=True) >> (width - length)
    integers = np.where(rng.random(size) < 0.75, (top << low) + near, spread)
    exponents = np.zeros(size, np.int64)
    if unit.exponents:
        exponents = rng.integers(*unit.exponents, size=size, endpoint=True)
        # The same among subnormals, whose last place is where the format's is.
        first, last = np.clip((lsb - width - 1, lsb - 1), *unit.exponents)
        some = rng.random(size) < 0.25
        exponents[some] = rng.integers(first, last, size=some.sum(), endpoint=True)
        drop = np.clip(lsb - exponents, 1, width)
        above = spread >> drop << drop
        near = rng.integers(-1, 1, size=size, endpoint=True) << rng.integers(0, drop)
        integers = np.where(some, above + (1 << drop - 1) + near, integers)
    integers = np.clip(integers, 0, (1 << width) - 1)
    if shape.signed:
        integers = np.where(rng.random(size) < 0.5, -integers - 1, integers)
    if shape.width > 64:  # at any place in the long word
        up = rng.integers(0, shape.width - 64, size=size, endpoint=True)
        words = [int(x) << int(s) for x, s in zip(integers.flat, up.flat, strict=True)]
        integers = np.array(words, object).reshape(size)
    inputs = {"integers": integers}
    if unit.exponents:
        inputs["exponents"] = exponents
    return inputs


def cores(unit):
    fmt, overflow, shape = unit.fmt, unit.overflow, unit.integer
    if not unit.exponents:
        yield Core(
            "to_minifloat", {"integer": shape},
            lambda integer: _converted(integer, unit.exponent, fmt, overflow),
            lambda integer: nearest(integer, unit.exponent, fmt, overflow),
            says="the nearest code, found by its binade")
        return
    # Eight exponents that make short integers subnormal and normal, as all are alike.
    shape = Shape(min(shape.width, 8), shape.signed)
    low = min(max(fmt.lsb - shape.width // 2, unit.exponents[0]), unit.exponents[1])
    high = min(low + 7, unit.exponents[1])
    count = high - low + 1

    def nearest_of_any(integer, offset):
        code = C(0, fmt.bits)
        for e in range(low, high + 1):
            code = Mux(offset == e - low, nearest(integer, e, fmt, overflow), code)
        return code

    yield Core(
        "to_minifloat", {"integer": shape, "offset": range(count)},
        lambda integer, offset: _converted(integer, offset + low, fmt, overflow, (low, high)),
        nearest_of_any,
        assume=None if count.bit_count() == 1 else lambda integer, offset: offset < count,
        says=f"the nearest code, found by its binade, for exponents {low} to {high}")


def _converted(integer, exponent, fmt, overflow, exponents=None):
    m = Module()
    code = to_minifloat(m, integer, exponent, fmt, overflow, exponents=exponents)
    return {"part": m}, code


def nearest(integer, exponent, fmt, overflow):
    """Code nearest to ``integer * 2 ** exponent``: all binades side by side, each rounded by adding
    half to the whole number."""
    m, width = fmt.mantissa_bits, len(integer)
    negative = integer < 0
    magnitude = Mux(negative, -integer, integer)[:width]
    code = C(0, 1)
    for top in range(width):  # place of the leading one
        binade = max(top + exponent - fmt.lsb - m, 0)  # what the significand is shifted by
        drop = binade - exponent + fmt.lsb
        if drop <= 0:
            rounded = magnitude << -drop
        elif drop > width + 1:
            rounded = C(0, 1)
        else:
            odd = magnitude[drop] if drop < width else C(0, 1)
            if m == 0 and top == drop:
                odd = C(binade & 1 ^ 1, 1)  # the code counts, not the significand, which is 1
            rounded = (magnitude + ((1 << drop - 1) - 1) + odd) >> drop
        code = Mux(magnitude >> top == 1, (binade << m) + rounded, code)
    special = fmt.max_code
    if overflow == "ieee":
        special = fmt.nan_code if fmt.inf_code is None else fmt.inf_code
    code = Mux(code > fmt.max_code, special, code)
    negative = negative & ~((fmt.specials == "fnuz") & (code == 0))
    return Mux(negative, (1 << fmt.bits - 1) | code, code)[:fmt.bits]
