# SPDX-License-Identifier: Apache-2.0
"""Dot products of blocks against their golden function; products, rows and specials proved."""

from functools import partial

import numpy as np
import torch
from amaranth.hdl import Array, C, Cat, Module, Mux, Shape, signed, unsigned

from ...hw.fixed.fp32_add import fp32_sum
from ...hw.fixed.fp32_multiply import fp32_product
from ...hw.pe.block_sum import block_product
from ...hw.pe.booth import booth_rows
from ...hw.pe.mx_dot import special_products
from ...hw.pe.rows import Row, add_rows
from ...quant.formats import Minifloat
from ...quant.golden.fp32 import fp32_add, fp32_multiply
from ...quant.golden.mx_dot import mx_terms
from ..prove import Core
from .ieee import mantissas, ordinary_cores

__all__ = ["cores", "expected", "stimulus"]

KINDS = np.array([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, np.nan, np.nan])  # three bits


def expected(unit, inputs):
    inputs = {name: np.asarray(values) for name, values in inputs.items()}
    a, a_scale, b, b_scale = (
        inputs[name].astype(np.uint32) for name in ("a", "a_scale", "b", "b_scale"))
    terms = mx_terms(unit.a_format, a, a_scale, unit.b_format, b, b_scale)
    sums = vector_sums(terms, inputs["clear"].astype(bool), inputs["last"].astype(bool))
    if unit.two_level:
        scales = inputs["tensor_scale"][inputs["last"].astype(bool)].astype(np.uint32)
        sums = fp32_multiply(sums, torch.from_numpy(scales.view(np.float32)))
    return np.where(sums.isnan().numpy(), 0x7FC00000, sums.numpy().view(np.uint32)).astype(np.int64)


def vector_sums(terms, clear, last):
    """FP32 sums of the terms of each vector, ascending from +0: of all vectors at once."""
    ends = np.flatnonzero(last)
    starts = clear.copy()
    starts[:1] = True
    starts[1:] |= last[:-1]
    begins = np.maximum.accumulate(np.where(starts, np.arange(len(terms)), 0))[ends]
    sums = torch.zeros(len(ends))
    for step in range(int((ends - begins).max(initial=-1)) + 1):
        place = begins + step
        open_ = np.flatnonzero(place <= ends)
        sums[open_] = fp32_add(sums[open_], terms[place[open_]])
    return sums


def stimulus(unit, rng, count):
    """Blocks whose sums are near to each other, some of them far away, few with NaN and Inf."""
    result = {}
    rare = rng.random(count) < 0.05
    for name, fmt in ("a", unit.a_format), ("b", unit.b_format):
        element, scale = fmt.element, fmt.scale
        codes = element.codes()
        finite = codes[~(element.is_nan(codes) | element.is_inf(codes))]
        drawn = finite[rng.integers(len(finite), size=(count, fmt.size))]
        # Small elements only, zeros among them, in some blocks.
        small = finite[np.argsort(np.abs(element.decode(finite)), kind="stable")][:5]
        drawn = np.where(rng.random(count)[:, None] < 0.1,
                         small[rng.integers(len(small), size=drawn.shape)], drawn)
        special = np.setdiff1d(codes, finite)
        special = special if len(special) else codes
        special = special[rng.integers(len(special), size=drawn.shape)]
        some = rng.random(drawn.shape) < 1 / fmt.size
        result[name] = np.where(rare[:, None] & some, special, drawn).astype(np.int64)
        scales = scale.codes()
        near = int(scale.encode(np.array(1.0))) + rng.integers(-8, 9, size=count)
        near = np.clip(near, 0, len(scales) - 1)
        anywhere = scales[rng.integers(len(scales), size=count)]
        far = 0.3 if unit.ordinary else 0.1
        result[f"{name}_scale"] = np.where(rng.random(count) < far, anywhere, near).astype(np.int64)
    if unit.two_level:
        # Near to 1, subnormal, and where products are subnormal or infinite.
        exponents = np.choose(rng.integers(0, 5, size=count), [
            rng.integers(low, high, size=count, endpoint=True)
            for low, high in ((100, 160), (0, 0), (0, 40), (220, 254), (0, 255))])
        result["tensor_scale"] = (rng.integers(0, 2, size=count) << 31 | exponents << 23
                                  | mantissas(rng, count))
    return result


def cores(unit):
    a, b = unit.a_format.element, unit.b_format.element
    shapes = {"a": unsigned(a.bits), "b": unsigned(b.bits)}

    def product(x, y):
        m = Module()
        return {"products": m}, block_product(m, x, y, a, b)

    def whole(a_code, b_code):
        (x, x_shift, x_sign), (y, y_shift, y_sign) = _parts(a, a_code), _parts(b, b_code)
        magnitude = (x * y) << (x_shift + y_shift)
        return Mux(x_sign ^ y_sign, -magnitude, magnitude)

    def finite(a_code, b_code):
        return _is_finite(a, a_code) & _is_finite(b, b_code)

    integers = not isinstance(a, Minifloat) and not isinstance(b, Minifloat)
    if integers and a.bits + b.bits > 12:
        yield from _booth_steps(a, b)
    else:
        yield Core("product", shapes, lambda a, b: product(a, b),
                   lambda a, b: whole(a, b), lambda a, b: finite(a, b),
                   says="significands times each other, shifted by the exponents, signed")
    yield from _sums()

    def specials(x, y):
        m = Module()
        nan, plus, minus = special_products(m, [(x, y)], a, b)
        return {"specials": m}, {"nan": nan, "plus": plus & ~nan, "minus": minus & ~nan}

    def by_value(x, y):
        with np.errstate(invalid="ignore"):
            table = np.multiply.outer(KINDS, KINDS)
        place = Cat(_kind(b, y), _kind(a, x))
        return {name: Array(C(int(bit), 1) for bit in of_kind.reshape(-1))[place]
                for name, of_kind in (("nan", np.isnan(table)), ("plus", table == np.inf),
                                      ("minus", table == -np.inf))}

    yield Core("specials", shapes, lambda a, b: specials(a, b), lambda a, b: by_value(a, b),
               says="products of the codes' values in IEEE 754")
    if unit.ordinary:
        yield from ordinary_cores(partial(fp32_sum, ordinary=True), "add", ("a", "b", "code"))
        yield from ordinary_cores(partial(fp32_product, ordinary=True), "mul", ("a",))


def _kind(fmt, code):
    """The place in `KINDS` of a code's value, by table."""
    values = fmt.values(fmt.codes())
    kinds = np.where(np.isfinite(values), np.sign(values), values)
    places = [next(k for k, kind in enumerate(KINDS) if np.array_equal(kind, value, equal_nan=True))
              for value in kinds]
    return Array(C(place, 3) for place in places)[code]


def _parts(fmt, code):
    """Integer, shift and sign of a code, from its fields."""
    if not isinstance(fmt, Minifloat):
        return code.as_signed() if fmt.signed else code, C(0, 1), C(0, 1)
    mantissa, exponent = code[:fmt.mantissa_bits], code[fmt.mantissa_bits:-1]
    shift = Mux(exponent == 0, 0, exponent - 1)[:fmt.exponent_bits]
    return Mux(exponent == 0, mantissa, mantissa + (1 << fmt.mantissa_bits)), shift, code[-1]


def _is_finite(fmt, code):
    codes = fmt.codes()
    return Array(C(int(x), 1) for x in ~(fmt.is_nan(codes) | fmt.is_inf(codes)))[code]


def _booth_steps(a, b):
    """The product of two wide integers in two steps: digits of the one, and what they multiply."""
    weight, number = (a, b) if a.bits < b.bits else (b, a)
    weight, number = (Shape(fmt.bits, fmt.signed) for fmt in (weight, number))

    def worth(row):
        return row.value if row.carry is None else row.value + row.carry

    def digits(w):
        return [worth(row) for row in booth_rows(w, C(1, signed(2)))]

    yield Core("digits", {"w": weight},
               lambda w: sum(d << 2 * k for k, d in enumerate(digits(w))), lambda w: w,
               says="digits in radix 4 are worth the number")
    yield Core("rows", {"w": weight, "x": number},
               lambda w, x: {f"row_{k}": worth(row) for k, row in enumerate(booth_rows(w, x))},
               lambda w, x: {f"row_{k}": d * x for k, d in enumerate(digits(w))},
               says="each row is its digit times the other number")


def _sums():
    """Rows of a few lanes, in one place and in two."""
    for name, places in ("sum", (0, 0, 0)), ("sum of places", (0, 0, 2, 2, 4)):
        names = [f"{kind}{k}" for k in range(len(places)) for kind in ("x", "c")]
        shapes = dict(zip(names, [signed(6), unsigned(1)] * len(places), strict=True))

        def rows(places=places, **values):
            return add_rows([Row(place, values[f"x{k}"], values[f"c{k}"])
                             for k, place in enumerate(places)])

        def terms(places=places, **values):
            return sum((values[f"x{k}"] + values[f"c{k}"]) << place
                       for k, place in enumerate(places))

        yield Core(name, shapes, rows, terms, says="the sum of all rows with their carries")
