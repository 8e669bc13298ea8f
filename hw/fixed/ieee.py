# SPDX-License-Identifier: Apache-2.0
"""What adders and multipliers of IEEE 754 formats share."""

from typing import Any, NamedTuple

from amaranth.hdl import C, Cat, Mux, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...quant.formats import Minifloat
from .to_minifloat import round_code

__all__ = ["FP32", "FP32_FORMATS", "Parts", "check_ieee", "columns", "finish", "fp32_ports",
           "unpack"]

FP32 = Minifloat(8, 23, specials="ieee")
FP32_FORMATS = dict.fromkeys(("a", "b", "codes"), FP32.name)


class Parts(NamedTuple):
    """A code taken apart.

    Attributes
    ----------
    sign : Value
    exponent : Value
        The field, 1 for subnormal numbers.
    significand : Value
        With the hidden bit.
    inf, nan : Value
    """

    sign: Value
    exponent: Value
    significand: Value
    inf: Value
    nan: Value


def fp32_ports(lanes):
    """Members of a unit with two operands by lane: ``a`` and ``b``; ``codes`` on ``o``."""
    codes = data.ArrayLayout(FP32.bits, lanes)
    return {
        "i": In(stream.Signature(data.StructLayout({"a": codes, "b": codes}))),
        "o": Out(stream.Signature(data.StructLayout({"codes": codes}))),
    }


def check_ieee(fmt):
    """Check a format; ValueError where it has no NaN for what has no number."""
    if not isinstance(fmt, Minifloat):
        raise TypeError(f"Format must be a Minifloat, not {fmt!r}")
    if fmt.inf_code is None or fmt.nan_code is None:
        raise ValueError(f"Format must have Inf and NaN, not {fmt!r}")


def unpack(code, fmt, *, ordinary=False):
    """The `Parts` of a code; ``ordinary`` where it is never subnormal and never Inf."""
    mantissa, exponent = code[:fmt.mantissa_bits], code[fmt.mantissa_bits:-1]
    normal, special, fraction = exponent.any(), exponent.all(), mantissa.any()
    if ordinary:  # the exponent of 0 does not matter
        return Parts(code[-1], exponent, Cat(mantissa, normal), C(0, 1), special)
    return Parts(code[-1], Cat(exponent[0] | ~normal, exponent[1:]), Cat(mantissa, normal),
                 special & ~fraction, special & fraction)


def finish(m, sign, significand, shift, inf, nan, fmt, *, ordinary=False):
    """Code of a normalised number, or Inf, or the one NaN: positive and quiet."""
    code = round_code(m, sign, significand, shift, fmt, None if ordinary else "ieee")
    if ordinary:
        return Mux(nan, fmt.nan_code, code)
    special = Mux(nan, fmt.nan_code, Cat(C(fmt.inf_code, fmt.bits - 1), sign))
    return Mux(inf | nan, special, code)


def columns(lanes) -> Any:
    """Lists of each value of tuples by lane."""
    return list(map(list, zip(*lanes, strict=True)))
