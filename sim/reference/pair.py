# SPDX-License-Identifier: Apache-2.0
"""The decoder of pairs against what the format splits words into."""

import numpy as np
from amaranth.hdl import Mux, unsigned

from ...hw.decode.pair import pair_operands, pair_parts
from ...quant.golden.olive import halves
from ..prove import Core
from .decoder import table

__all__ = ["cores", "elements", "expected", "pair_cores"]


def elements(fmt, words, parts=False):
    """Fields of the elements of words, each (…, 2 * words)."""
    words = np.asarray(words)
    shape = *words.shape[:-1], 2 * words.shape[-1]
    if parts and fmt.bits == 8:
        exponents, integers = (x.numpy() for x in halves(fmt, words))
        return {"exponent": exponents[..., 0] - min(fmt.outlier.bias, 4),
                "integer": integers[..., 0], "low": integers[..., 1]}
    codes, outlier = fmt.split(words)
    columns = []
    for part in fmt.normal, fmt.outlier:
        sign, exponent, integer = part.operands(codes)
        columns.append((exponent, np.where(sign, -integer, integer)))
    return {name: np.where(outlier, rare, usual).reshape(shape)
            for name, usual, rare in zip(("exponent", "integer"), *columns, strict=True)}


def expected(unit, inputs):
    return elements(unit.fmt, inputs["words"], unit.parts)


def pair_cores(fmt, name="decode"):
    """Proofs of both elements of a word: as operands, and as the sum of their parts."""
    normals = fmt.normal.decode(fmt.normal.codes())
    outliers = fmt.outlier.decode(fmt.outlier.codes())

    def specification(word):
        halves = word[:fmt.bits], word[fmt.bits:]
        found = {}
        for side, code, other in ("left", *halves), ("right", *halves[::-1]):
            value = Mux(code == fmt.identifier, 0, Mux(
                other == fmt.identifier, table(outliers, code), table(normals, code)))
            found |= {side: value, f"{side}_parts": value}
        return found

    def implementation(word):
        found = {}
        for side, operand, parts in zip(("left", "right"), pair_operands(fmt, word),
                                        pair_parts(fmt, word), strict=True):
            found[side] = operand.integer << operand.exponent
            found[f"{side}_parts"] = sum(
                part.integer << (0 if part.exponent is None else part.exponent) << part.base
                for part in parts)
        return found

    yield Core(name, {"word": unsigned(2 * fmt.bits)}, implementation, specification,
               says="the value that one of the formats gives a code, by its neighbour")


def cores(unit):
    yield from pair_cores(unit.fmt)
