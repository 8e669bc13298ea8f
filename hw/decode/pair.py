# SPDX-License-Identifier: Apache-2.0
"""Decoder of OliVe's outlier-victim pairs."""

from dataclasses import replace
from typing import NamedTuple

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Int, Pair
from ..arithmetic import check_int, check_positive, range_shape
from ..pipeline import Pipeline
from .operand import Ranges, SignedOperand, ranges, signed_operand

__all__ = [
    "PairDecoder", "Part", "check_pair", "pair_elements", "pair_operands", "pair_parts",
    "pair_ranges", "part_layout", "part_ranges", "parts_of", "words_of",
]

HALF = 4  # bits of the element that a pair of 8-bit formats is cut for


class Part(NamedTuple):
    """What one narrow multiplier takes of an element: worth ``integer << exponent + base``.

    Attributes
    ----------
    exponent : Value or None
        None where it is always 0.
    integer : Value
    base : int
    """

    exponent: Value | None
    integer: Value
    base: int


def check_pair(name, fmt):
    """Check that a parameter is a pair."""
    if not isinstance(fmt, Pair):
        raise TypeError(f"{name} must be a Pair, not {fmt!r}")


def words_of(lanes):
    """How many words hold so many elements; ValueError for an odd number."""
    check_positive("Lanes", lanes)
    if lanes % 2:
        raise ValueError(f"Lanes must be even, two for each word, not {lanes!r}")
    return lanes // 2


def pair_ranges(fmt):
    """The `Ranges` of the elements of a pair."""
    normal, outlier = ranges(fmt.normal), ranges(fmt.outlier)
    # Without the identifier, the only number that may lack its opposite.
    exponent, integer, value = (max(normal[k][1], outlier[k][1]) for k in range(3))
    return Ranges((0, exponent), (-integer, integer), (-value, value))


def _halves(fmt, word):
    """Left and right: normal code, outlier code, and whether it is an outlier."""
    bits = fmt.bits
    left, right = word[:bits], word[bits:2 * bits]
    victims = [code == fmt.identifier for code in (left, right)]
    for code, victim, neighbour in zip((left, right), victims, victims[::-1], strict=True):
        # A flint's identifier is -0; an integer's loses its only bit.
        normal = code
        if isinstance(fmt.normal, Int):
            normal = Cat(code[:-1], code[-1] & ~victim)
        yield normal, code, neighbour & ~victim


def pair_operands(fmt, word):
    """Both elements of a word, left first: a list of two `SignedOperand` s; 0 for a victim."""
    return [
        SignedOperand(*(Mux(is_outlier, x, y) for x, y in zip(
            signed_operand(fmt.outlier, outlier), signed_operand(fmt.normal, normal),
            strict=True)))
        for normal, outlier, is_outlier in _halves(fmt, Value.cast(word))
    ]


def in_halves(fmt):
    """Whether elements are cut in halves: those of 8 bits."""
    return fmt.bits == 2 * HALF


def _outlier(fmt):
    """Of a pair in halves: what all exponents of outliers and high halves have in common, and the
    format of the outliers without it."""
    outlier = fmt.outlier
    base = min(outlier.bias, HALF)
    limit = None if outlier.limit is None else outlier.limit >> base
    return base, replace(outlier, bias=outlier.bias - base, limit=limit)


def pair_parts(fmt, word):
    """Both elements of a word as lists of `Part` s for narrow multipliers.

    An 8-bit normal is ``<4, h> + <0, l>``, h its signed high and l its unsigned low half. An
    outlier needs one part only. Elements of other formats are one part as they are.
    """
    if not in_halves(fmt):
        return [[Part(*operand, 0)] for operand in pair_operands(fmt, word)]
    base, short = _outlier(fmt)
    elements = []
    for normal, outlier, is_outlier in _halves(fmt, Value.cast(word)):
        exponent, integer = signed_operand(short, outlier)
        exponent = Mux(is_outlier, exponent, HALF - base)
        integer = Mux(is_outlier, integer, normal[HALF:].as_signed())
        low = normal[:HALF] & ~is_outlier.replicate(HALF)
        elements.append([Part(exponent, integer, base), Part(None, low, 0)])
    return elements


def part_ranges(fmt):
    """The `Ranges` of the parts of an element, in order; exponents without base."""
    if not in_halves(fmt):
        return [pair_ranges(fmt)]
    base, short = _outlier(fmt)
    exponent, integer, value = ranges(short)
    half, step = 1 << HALF - 1, 1 << HALF - base
    high = Ranges((0, max(exponent[1], HALF - base)),
                  (min(integer[0], -half), max(integer[1], half - 1)),
                  (min(value[0], -half * step) << base, max(value[1], (half - 1) * step) << base))
    return [high, Ranges((0, 0), (0, 2 * half - 1), (0, 2 * half - 1))]


def part_layout(fmt):
    """Layout of an element in parts: ``exponent``, ``integer``, and the ``low`` half of 8 bits."""
    (_, exponent), integer, _ = part_ranges(fmt)[0]
    return data.StructLayout({
        "exponent": max(exponent.bit_length(), 1), "integer": range_shape(*integer),
        **({"low": HALF} if in_halves(fmt) else {}),
    })


def pair_elements(m, fmt, words):
    """All elements of some words, left first, each in `part_layout`: a View."""
    elements = Signal(data.ArrayLayout(part_layout(fmt), 2 * len(words)), name="elements")
    found = [parts for word in words for parts in pair_parts(fmt, word)]
    for element, (high, *low) in zip(elements, found, strict=True):
        m.d.comb += [element.exponent.eq(high.exponent), element.integer.eq(high.integer)]
        m.d.comb += [element.low.eq(part.integer) for part in low]
    return elements


def parts_of(fmt, element):
    """`Part` s of an element in `part_layout`."""
    if not in_halves(fmt):
        return [Part(element.exponent, element.integer, 0)]
    base, _ = _outlier(fmt)
    return [Part(element.exponent, element.integer, base), Part(None, element.low, 0)]


class PairDecoder(wiring.Component):
    """Outlier-victim pairs as exponents and signed integers.

    Each word gives two elements, the left one first, each worth ``integer << exponent``: a normal
    code, or next to the identifier an outlier's, or 0 for the victim, which is the identifier [1]_.

    :Latency: :attr:`latency` cycles, if never stalled.
    :Throughput: one transfer per cycle.
    :Backpressure: ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] Guo et al., OliVe (ISCA 2023), section 4; SPECS 2.

    Parameters
    ----------
    fmt : Pair
    lanes : int
        Elements per transfer, two for each word.
    parts : bool
        Whether elements of 8 bits come in halves, for multipliers of 4 bits.
    registers : int
        0 or 1, after the decoders.

    Members
    -------
    i : In(stream)
        ``words``.
    o : Out(stream)
        Elements: ``exponent``, ``integer``. In parts ``integer << exponent + 4``, or the outlier's
        bias in place of 4 where that is less, plus ``low``.
    """

    def __init__(self, fmt, *, lanes=2, parts=False, registers=0):
        check_pair("Format", fmt)
        self.words = words_of(lanes)
        check_int("Registers", registers, 0, 1)
        self.fmt, self.lanes, self.registers = fmt, lanes, registers
        self.parts, self.latency = bool(parts), registers
        (_, exponent), integer, _ = pair_ranges(fmt)
        element = part_layout(fmt) if parts else data.StructLayout({
            "exponent": max(exponent.bit_length(), 1), "integer": range_shape(*integer)})
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "words": data.ArrayLayout(2 * fmt.bits, self.words)}))),
            "o": Out(stream.Signature(data.ArrayLayout(element, lanes))),
        })

    @property
    def formats(self):
        return {"words": self.fmt.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: decode.
        if self.parts:
            elements = pair_elements(m, self.fmt, self.i.p.words)
        else:
            elements = Signal(self.o.p.shape(), name="elements")
            found = [operand for word in self.i.p.words
                     for operand in pair_operands(self.fmt, word)]
            for element, operand in zip(elements, found, strict=True):
                m.d.comb += [element.exponent.eq(operand.exponent),
                             element.integer.eq(operand.integer)]
        pipe.output(pipe.register(element=elements, when=self.registers >= 1))
        return m
