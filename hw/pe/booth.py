# SPDX-License-Identifier: Apache-2.0
"""Radix-4 Booth recoding: half as many terms as bits."""

from amaranth.hdl import Cat, Const, Mux

from ..arithmetic import tree_sum

__all__ = ["booth_digits", "booth_product"]


def booth_digits(weight):
    """The digits of an integer in radix 4, each -2 to 2: ``(negative, two, one)``, lowest first.

    ``weight = sum(digit[k] * 4 ** k)``. A digit is 2 where ``two``, 1 where ``one``, else 0, and is
    subtracted where ``negative``.
    """
    shape = weight.shape()
    width = shape.width if shape.signed else shape.width + 1
    top = weight[-1] if shape.signed else Const(0, 1)
    bits = [Const(0, 1), *weight, *[top] * (width + width % 2 - shape.width)]
    digits = []
    for k in range(0, len(bits) - 2, 2):
        low, middle, high = bits[k:k + 3]
        one = low ^ middle
        digits.append((high, ~one & (high ^ middle), one))
    return digits


def booth_product(weight, activation):
    """``weight * activation``, two bits of the weight at a time [1]_.

    .. [1] MacSorley, High-speed arithmetic in binary computers, Proc. IRE 49 (1961).
    """
    terms = []
    for k, (negative, two, one) in enumerate(booth_digits(weight)):
        magnitude = Mux(two, activation << 1, Mux(one, activation, 0))
        # -x = ~x + 1, the 1 as a carry: x ^ negative, then + negative.
        term = magnitude.as_signed() if activation.shape().signed else Cat(magnitude, 0).as_signed()
        terms.append(((term ^ negative.replicate(len(term)).as_signed()) + negative) << 2 * k)
    return tree_sum(terms)
