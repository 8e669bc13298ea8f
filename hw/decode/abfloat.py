# SPDX-License-Identifier: Apache-2.0
"""OliVe's floats for outliers."""

from amaranth.hdl import Cat, Mux

__all__ = ["operands"]


def operands(fmt, code):
    """Sign, exponent ``E + bias`` and significand ``1 << m | M``; 0 where E = M = 0."""
    m = fmt.mantissa_bits
    magnitude, sign = code[:fmt.bits - 1], code[fmt.bits - 1]
    if fmt.limit is not None:
        # Magnitudes are in the order of their codes, so the code is clipped.
        limit = _code(fmt, fmt.limit)
        magnitude = Mux(magnitude > limit, limit, magnitude)[:fmt.bits - 1]
    greatest = fmt.integer_bits - 1 - m
    exponent = (magnitude[m:] + fmt.bias)[:greatest.bit_length() or 1]
    used = magnitude.any()
    return sign, exponent, Cat(magnitude[:m] & used.replicate(m), used)


def _code(fmt, value):
    """Code of a positive value."""
    m = fmt.mantissa_bits
    exponent = value.bit_length() - 1 - m
    return (exponent - fmt.bias << m) | (value >> exponent) - (1 << m)
