# SPDX-License-Identifier: Apache-2.0
"""OliVe against its golden functions."""

import itertools
from functools import partial

import numpy as np
from amaranth.hdl import Cat, Const, unsigned

from ...hw.decode.pair import pair_parts
from ...hw.pe.olive import part_product, part_product_shapes
from ...quant.golden.olive import olive, olive_by_halves
from ..prove import Core
from . import grouped
from .decoder import integer_operand
from .pair import elements, pair_cores

__all__ = ["cores", "domain", "expected", "stimulus"]


def expected(unit, inputs):
    a, b = ("a", unit.a_format), ("b", unit.b_format)
    if not unit.decoders:
        values = [_values(fmt, inputs[name]) for name, fmt in (a, b)]
        return grouped((values[0] * values[1]).sum(axis=-1), inputs)
    both_halves = unit.a_format.bits == unit.b_format.bits == 8
    golden = olive_by_halves if both_halves else olive
    return grouped(golden(unit.a_format, inputs["a"], unit.b_format, inputs["b"]), inputs)


def _values(fmt, parts):
    """Integers that elements in parts stand for."""
    base = min(fmt.outlier.bias, 4) if fmt.bits == 8 else 0
    return (np.asarray(parts["integer"]) << np.asarray(parts["exponent"]) + base) + parts.get(
        "low", 0)


def domain(unit):
    """All words in the order of their left element, so that the ends are corners."""
    found = {}
    for name, fmt in ("a", unit.a_format), ("b", unit.b_format):
        if unit.decoders:
            words = fmt.words()
            found[name] = words[np.argsort(fmt.decode(words[:, None])[:, 0], kind="stable")]
    return found


def stimulus(unit, rng, count):
    """Random words, a quarter of their halves identifiers; decoded where the unit has elements."""
    found = {}
    for name, fmt in ("a", unit.a_format), ("b", unit.b_format):
        size = count, unit.lanes
        codes = rng.integers(1 << fmt.bits, size=size)
        codes = np.where(rng.random(size) < 0.25, fmt.identifier, codes)
        words = codes[:, ::2] | codes[:, 1::2] << fmt.bits
        found[name] = words if unit.decoders else elements(fmt, words, parts=True)
    return found


def cores(unit):
    a_format, b_format = unit.a_format, unit.b_format
    for name, fmt in {fmt: name for name, fmt in (("b", b_format), ("a", a_format))}.items():
        yield from pair_cores(name, f"decode_{fmt}")
    shapes = part_product_shapes(a_format, b_format)

    def implementation(a, b, outliers):
        words = [Cat(code, Const(fmt.identifier if outlier else 0, fmt.bits))
                 for code, fmt, outlier in zip((a, b), (a_format, b_format), outliers, strict=True)]
        x, y = (pair_parts(fmt, word)[0]
                for fmt, word in zip((a_format, b_format), words, strict=True))
        total = 0
        for parts, shape in zip(itertools.product(x, y), shapes, strict=True):
            bits = part_product(*parts)[:shape.width]
            total = total + (bits.as_signed() if shape.signed else bits)
        return total

    def specification(a, b, kinds):
        if a_format.bits == b_format.bits == 8 and kinds == [a_format.normal, b_format.normal]:
            # The four cross products. That they make up the product is the distributive law, for
            # which a solver needs a minute; that the halves make up a and b the decoders' proof.
            return sum((x * y) << i + j for x, i in ((a[4:].as_signed(), 4), (a[:4], 0))
                       for y, j in ((b[4:].as_signed(), 4), (b[:4], 0)))
        (a_exponent, x), (b_exponent, y) = (
            integer_operand(fmt, code) for fmt, code in zip(kinds, (a, b), strict=True))
        return x * y << a_exponent + b_exponent

    # Each kind of element by each; the identifier is neither.
    for outliers in itertools.product((False, True), repeat=2):
        kinds = [fmt.outlier if outlier else fmt.normal
                 for fmt, outlier in zip((a_format, b_format), outliers, strict=True)]
        names = "_".join("outlier" if outlier else "normal" for outlier in outliers)
        yield Core(
            f"product_{names}", {"a": unsigned(a_format.bits), "b": unsigned(b_format.bits)},
            partial(implementation, outliers=outliers), partial(specification, kinds=kinds),
            assume=lambda a, b: (a != a_format.identifier) & (b != b_format.identifier),
            says="the product of the integers that the formats give, shifted by both exponents")
