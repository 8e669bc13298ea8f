# SPDX-License-Identifier: Apache-2.0
"""Codes of any scalar format as ``<sign, exponent, integer>``, functions of Values."""

from functools import lru_cache
from typing import NamedTuple

from amaranth.hdl import Const, Value

from ...quant.formats import AbFloat, Codebook, Exponent, Fixed, Flint, Int, Log2, Minifloat
from ..arithmetic import negate_if
from . import abfloat, codebook, flint, integer, log2, minifloat

__all__ = [
    "SCALARS", "Operand", "Ranges", "SignedOperand", "check_scalar", "decode", "is_inf", "is_nan",
    "is_odd", "ranges", "signed_operand",
]

FAMILIES = {
    Int: integer.operands, Fixed: integer.operands, Minifloat: minifloat.operands,
    Exponent: minifloat.power, Flint: flint.operands, AbFloat: abfloat.operands,
    Log2: log2.operands, Codebook: codebook.operands,
}
SCALARS = tuple(FAMILIES)


class Operand(NamedTuple):
    """Worth ``(-1) ** sign * integer * 2 ** (exponent + lsb)``, lsb that of the format."""

    sign: Value
    exponent: Value
    integer: Value


class SignedOperand(NamedTuple):
    """Worth ``integer * 2 ** (exponent + lsb)``; ``integer`` is unsigned in unsigned formats."""

    exponent: Value
    integer: Value


class Ranges(NamedTuple):
    """Least and greatest numbers, each ``(low, high)``.

    ``exponent`` and ``integer`` of a `SignedOperand`; ``value``, in units of ``2 ** lsb``, is what
    ``integer << exponent`` is of any code.
    """

    exponent: tuple
    integer: tuple
    value: tuple


def check_scalar(name, fmt):
    """Check that a parameter is a scalar format."""
    if not isinstance(fmt, SCALARS):
        raise TypeError(f"{name} must be a scalar format, not {fmt!r}")


def decode(fmt, code):
    """Sign, exponent and integer of a code, as ``fmt.operands`` has them; integer 0 for NaN, Inf.

    Parameters
    ----------
    fmt : scalar format
    code : Value, of ``fmt.bits`` bits

    Returns
    -------
    Operand
    """
    return Operand(*FAMILIES[type(fmt)](fmt, Value.cast(code)))


def signed_operand(fmt, code):
    """Exponent and signed integer of a code: what a multiplier takes.

    Integers stay in two's complement. The widths are those of `ranges`.
    """
    code = Value.cast(code)
    if isinstance(fmt, (Int, Fixed)):
        return SignedOperand(Const(0), integer.number(fmt, code))
    if isinstance(fmt, Codebook):
        return SignedOperand(Const(0), codebook.number(fmt, code))
    sign, exponent, magnitude = decode(fmt, code)
    if isinstance(fmt, (Exponent, Log2)):
        return SignedOperand(exponent, magnitude)
    return SignedOperand(exponent, negate_if(sign, magnitude))


def is_nan(fmt, code):
    """Whether a code is not a number; constant in formats without such."""
    if isinstance(fmt, Exponent):
        return minifloat.power_is_nan(fmt, Value.cast(code))
    return minifloat.is_nan(fmt, Value.cast(code)) if isinstance(fmt, Minifloat) else Const(0)


def is_inf(fmt, code):
    """Whether a code is an infinity; constant in formats without such."""
    return minifloat.is_inf(fmt, Value.cast(code)) if isinstance(fmt, Minifloat) else Const(0)


def is_odd(fmt, code):
    """Whether the value is the operand's times the square root of two: in `Log2` with ``sqrt2``."""
    return log2.is_odd(fmt, Value.cast(code)) if isinstance(fmt, Log2) else Const(0)


@lru_cache(maxsize=64)
def ranges(fmt):
    """The `Ranges` of a scalar format, over all of its codes."""
    if isinstance(fmt, (Int, Fixed)):
        low = -(1 << fmt.bits - 1) if fmt.signed else 0
        limits = low, (1 << fmt.bits - fmt.signed) - 1
        return Ranges((0, 0), limits, limits)
    if isinstance(fmt, Minifloat):
        m = fmt.mantissa_bits
        normals = fmt.max_code >> m > 0
        significand, shift = (1 << m + normals) - 1, (1 << fmt.exponent_bits) - 2
        exponent, mantissa = divmod(fmt.max_code, 1 << m)
        greatest = (normals << m | mantissa) << max(exponent, 1) - 1
        return Ranges((0, shift), (-significand, significand), (-greatest, greatest))
    codes = fmt.codes()
    sign, exponent, magnitude = fmt.operands(codes)
    signed = [-int(n) if s else int(n) for s, n in zip(sign, magnitude, strict=True)]
    if isinstance(fmt, Exponent):
        signed.append(0)  # of NaN
    values = [int(value) for value in fmt.decode(codes)]
    return Ranges((int(exponent.min()), int(exponent.max())), (min(signed), max(signed)),
                  (min(values), max(values)))
