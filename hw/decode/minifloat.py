# SPDX-License-Identifier: Apache-2.0
"""Minifloats of any exponent, mantissa, bias and specials; powers of two (E8M0)."""

from amaranth.hdl import Cat, Const

__all__ = ["is_inf", "is_nan", "operands", "power", "power_is_nan"]


def _fields(fmt, code):
    """Mantissa and exponent fields, sign."""
    m = fmt.mantissa_bits
    return code[:m], code[m:fmt.bits - 1], code[fmt.bits - 1]


def operands(fmt, code):
    """Sign, shift ``max(E, 1) - 1`` and significand ``(E > 0) << m | M``; 0 for NaN and Inf."""
    mantissa, exponent, sign = _fields(fmt, code)
    normal = exponent.any()
    shift = Const(0) if fmt.exponent_bits == 1 else (exponent - normal)[:fmt.exponent_bits]
    significand = Cat(mantissa, normal)
    if fmt.specials in ("none", "fnuz"):  # fnuz: NaN has neither exponent nor mantissa
        return sign, shift, significand
    finite = ~exponent.all() if fmt.specials == "ieee" else ~is_nan(fmt, code)
    return sign, shift, significand & finite.replicate(len(significand))


def is_nan(fmt, code):
    """Whether a code is not a number."""
    mantissa, exponent, sign = _fields(fmt, code)
    if fmt.specials == "ieee" and fmt.mantissa_bits:
        return exponent.all() & mantissa.any()
    if fmt.specials == "ocp":
        return code[:fmt.bits - 1].all()
    if fmt.specials == "fnuz":
        return sign & ~code[:fmt.bits - 1].any()
    return Const(0)


def is_inf(fmt, code):
    """Whether a code is an infinity."""
    if fmt.specials != "ieee":
        return Const(0)
    mantissa, exponent, _ = _fields(fmt, code)
    return exponent.all() & ~mantissa.any() if fmt.mantissa_bits else exponent.all()


def power(fmt, code):
    """Of an `Exponent`: sign 0, the code as exponent, and 1; 0 for NaN."""
    return Const(0), code[:fmt.bits], ~power_is_nan(fmt, code)


def power_is_nan(fmt, code):
    """Whether a code of an `Exponent` is not a number."""
    return code[:fmt.bits].all()
