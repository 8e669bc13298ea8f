# SPDX-License-Identifier: Apache-2.0
"""Casts against their golden function."""

from fractions import Fraction

import numpy as np
from amaranth.hdl import Module, unsigned

from ...hw.decode.cast import cast
from ...quant.formats import Codebook
from ...quant.golden.casts import cast as golden
from ..prove import Core
from .decoder import TABLE_BITS, table

__all__ = ["cores", "domain", "expected"]


def expected(unit, inputs):
    return {"codes": golden(np.asarray(inputs["codes"]), unit.source, unit.target,
                            shift=unit.shift, overflow=unit.overflow)}


def domain(unit):
    source = unit.source
    if unit.target.nan_code is None and getattr(source, "nan_code", None) is not None:
        codes = source.codes()
        return {"codes": codes[~source.is_nan(codes)]}
    return {"codes": source.codes()} if isinstance(source, Codebook) else {}


def nearest(unit, code):
    """Code of ``unit.target`` for a finite code: the nearest of all, by rational numbers."""
    source, target = unit.source, unit.target
    value = Fraction(int(source.decode(np.array(code)))) * Fraction(2) ** (source.lsb + unit.shift)
    magnitudes = target.decode(np.arange(target.max_code + 1))
    step = Fraction(2) ** target.lsb
    # The next power of two, or the next multiple of the last step, is where overflow begins.
    beyond = 2 * int(magnitudes[-1]) - int(magnitudes[-2]) if target.mantissa_bits else (
        2 * int(magnitudes[-1]))
    line = [int(x) * step for x in magnitudes] + [beyond * step]
    distances = [abs(abs(value) - x) for x in line]
    least = min(distances)
    ties = [k for k, distance in enumerate(distances) if distance == least]
    place = next(k for k in ties if len(ties) == 1 or k % 2 == 0)
    if place > target.max_code or abs(value) > line[-1]:
        place = target.max_code
        if unit.overflow == "ieee":
            place = target.nan_code if target.inf_code is None else target.inf_code
    negative = bool(source.operands(np.array(code)).sign)
    if target.specials == "fnuz" and place == 0:
        negative = False
    return place | (negative << target.bits - 1)


def cores(unit):
    source, target = unit.source, unit.target
    if source.bits > TABLE_BITS or target.bits > TABLE_BITS:
        return
    codes = source.codes()
    finite = ~(source.is_nan(codes) | source.is_inf(codes))
    wanted = [nearest(unit, code) if keep else 0 for code, keep in zip(codes, finite, strict=True)]

    def implementation(code):
        m = Module()
        return {"part": m}, cast(m, code, source, target, shift=unit.shift, overflow=unit.overflow)

    flags = [int(keep) for keep in finite] + [0] * ((1 << source.bits) - len(codes))
    yield Core("cast", {"code": unsigned(source.bits)}, implementation,
               lambda code: table(wanted, code), assume=lambda code: table(flags, code),
               says="the nearest code of a finite number, found among all")
