# SPDX-License-Identifier: Apache-2.0
"""Two's complement and unsigned integers."""

from dataclasses import dataclass

import numpy as np

from .rounding import choice, round_floats, rounding_name
from .scalar import Operands, Scalar, as_float64, code_dtype, integer_parameter, real

__all__ = ["Int", "twos_complement"]


def twos_complement(codes, bits):
    """Signed integers of codes of that many bits, int64."""
    codes = np.asarray(codes).astype(np.int64)
    return codes - ((codes >> (bits - 1)) << bits)


@dataclass(frozen=True)
class Int(Scalar):
    """Integer of a fixed width: two's complement if signed.

    Codes are bit patterns, 0 to ``2 ** bits - 1``.

    Parameters
    ----------
    bits : int
        Width, 1 to 32 (2 or more if signed).
    signed : bool
        Two's complement if true.
    narrow : bool
        Drop the most negative value, so that the range is symmetric.
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    lsb = 0

    def __post_init__(self):
        integer_parameter("Bits", self.bits, low=2 if self.signed else 1, high=32)
        if self.narrow and not self.signed:
            raise ValueError("Narrow must be False where signed is False, not True")

    @property
    def name(self):
        return f"{'' if self.signed else 'u'}int{self.bits}{'n' if self.narrow else ''}"

    @property
    def integer_bits(self):
        """Width of the greatest magnitude that `decode` gives."""
        return self.bits

    @property
    def min(self):
        """Least value."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def max(self):
        """Greatest value."""
        return (1 << (self.bits - self.signed)) - 1

    def operands(self, codes):
        """Sign, exponent 0 and magnitude of codes; see `Operands`."""
        codes = self.check_codes(codes)
        value = twos_complement(codes, self.bits) if self.signed else codes.astype(np.int64)
        return Operands((value < 0).astype(np.int64), np.zeros_like(value), np.abs(value))

    def encode(self, values, *, rounding="half_even", overflow="saturate"):
        """Codes of real values, rounded by one of `ROUNDINGS`, saturated.

        Raises ValueError for NaN, of which integers have none.
        """
        rounding = rounding_name(rounding)
        choice("Overflow", overflow, ("saturate",))
        values = real(values)
        if np.isnan(values).any():
            raise ValueError(f"Values must be numbers: {self.name} has no code for NaN")
        # The limits are floats of the values' own kind: a greater limit would be rounded up.
        values = values if self.bits <= 24 else as_float64(values)
        values = np.clip(values, self.min - 1, self.max + 1)
        rounded = np.clip(round_floats(values, rounding), self.min, self.max)
        return (rounded.astype(np.int64) & ((1 << self.bits) - 1)).astype(code_dtype(self.bits))
