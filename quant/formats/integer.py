# SPDX-License-Identifier: Apache-2.0
"""Two's complement and unsigned integers."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Int"]


@dataclass(frozen=True)
class Int:
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
        if not isinstance(self.bits, int) or isinstance(self.bits, bool):
            raise TypeError(f"Bits must be an integer, not {self.bits!r}")
        lowest = 2 if self.signed else 1
        if not lowest <= self.bits <= 32:
            raise ValueError(f"Bits must be {lowest} to 32, not {self.bits!r}")
        if self.narrow and not self.signed:
            raise ValueError("Narrow must be False where signed is False, not True")

    @property
    def name(self):
        return f"{'' if self.signed else 'u'}int{self.bits}{'n' if self.narrow else ''}"

    @property
    def min(self):
        """Least value."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def max(self):
        """Greatest value."""
        return (1 << (self.bits - self.signed)) - 1

    def decode(self, codes):
        """Values of codes, an int64 array of the same shape."""
        codes = np.asarray(codes)
        if codes.dtype.kind not in "iu":
            raise TypeError(f"Codes must be integers, not {codes.dtype}")
        codes = codes.astype(np.int64)
        if codes.size and (codes.min() < 0 or codes.max() >> self.bits):
            raise ValueError(
                f"Codes of {self.name} must be 0 to {(1 << self.bits) - 1}, "
                f"not {codes.min()} to {codes.max()}"
            )
        return codes - ((codes >> (self.bits - 1)) << self.bits) if self.signed else codes

    def values(self, codes):
        """Values of codes as float64."""
        return self.decode(codes).astype(np.float64)

    def is_nan(self, codes):
        return np.zeros(np.shape(codes), bool)

    is_inf = is_nan

    def encode(self, values):
        """Codes of the nearest values: round half to even, saturate.

        Raises ValueError for NaN, of which integers have none.
        """
        values = np.asarray(values, np.float64)
        if np.isnan(values).any():
            raise ValueError(f"Values must be numbers: {self.name} has no code for NaN")
        rounded = np.clip(np.rint(values), self.min, self.max).astype(np.int64)
        return rounded & ((1 << self.bits) - 1)
