# SPDX-License-Identifier: Apache-2.0
"""Radix-4 recoding after Booth: half as many terms as bits."""

from amaranth.hdl import Cat, Const, Mux

from ..arithmetic import as_signed
from .rows import Row, add_rows

__all__ = ["booth_product", "booth_rows"]


def booth_rows(weight, activation):
    """``weight * activation`` as one `Row` for two bits of the weight [1]_.

    Of the digits from -2 to 2 all but the highest make do with four, which with two bits of the
    activation fit a LUT of four inputs: the lowest is -2 to 1, those between are -1 to 2, each with
    a carry to the next.

    Parameters
    ----------
    weight, activation : Value
        Of any width, signed or not.

    Returns
    -------
    list of Row

    .. [1] MacSorley, High-speed arithmetic in binary computers, Proc. IRE 49 (1961).
    """
    signed = weight.shape().signed
    bits = [*weight]
    if len(bits) % 2:
        bits.append(bits[-1] if signed else Const(0, 1))
    x = as_signed(activation)
    once, twice = Cat(x, x[-1]), Cat(Const(0, 1), x)

    low, high = bits[:2]
    # -2 * high + low
    value = Mux(high, Mux(low, ~once, ~twice), Mux(low, once, 0))
    rows, carry = [Row(0, value.as_signed(), high)], high
    for place in range(2, len(bits), 2):
        low, high = bits[place:place + 2]
        if signed and place + 2 == len(bits):
            # -2 * high + low + carry
            one, two = low ^ high, carry ^ high
            value = Mux(one & two, twice, Mux(one | two, once, 0)) ^ high.replicate(len(once))
            rows.append(Row(place, value.as_signed(), high))
        else:
            # 2 * high + low + carry, less 4 where that is 3 or 4
            one, two = low ^ carry, high ^ (low & carry)
            value = Mux(two, Mux(one, ~once, twice), Mux(one, once, 0))
            rows.append(Row(place, value.as_signed(), one & two))
            carry = high & (low | carry)
    if not signed and len(bits) == len(weight):
        rows.append(Row(len(bits), Mux(carry, x, 0)))
    return rows


def booth_product(weight, activation):
    """``weight * activation`` by `booth_rows`."""
    return add_rows(booth_rows(weight, activation))
