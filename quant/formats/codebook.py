# SPDX-License-Identifier: Apache-2.0
"""Formats given by any table of values."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np

from .nearest import Listed
from .scalar import LISTED_BITS, Operands, code_dtype

__all__ = ["Codebook"]


@dataclass(frozen=True)
class Codebook(Listed):
    """Any table of values; a code is a place in it.

    Parameters
    ----------
    entries : sequence of float
        2 to 65536 finite numbers, taken at their exact values. Of equal ones the first is used.
    title : str
        Name of the format.
    source : str
        What it is and where it is from, for its readers.
    """

    entries: tuple
    title: str = "codebook"
    source: str = field(default="", compare=False, repr=False)

    symmetric = False

    def __post_init__(self):
        entries = np.asarray(self.entries)
        if entries.ndim != 1 or entries.dtype.kind not in "iuf":
            raise TypeError(f"Entries must be a list of real numbers, not {self.entries!r}")
        entries = entries.astype(np.float64)
        if not 2 <= len(entries) <= 1 << LISTED_BITS:
            raise ValueError(f"Entries must be 2 to {1 << LISTED_BITS} numbers, not {len(entries)}")
        if not np.isfinite(entries).all():
            raise ValueError("Entries must be finite numbers")
        object.__setattr__(self, "entries", tuple(entries.tolist()))

    @property
    def name(self):
        return self.title

    @property
    def bits(self):
        return max((len(self.entries) - 1).bit_length(), 1)

    @property
    def lsb(self):
        return _dyadic(self.entries)[1]

    @property
    def integer_bits(self):
        """Width of the greatest magnitude that `decode` gives."""
        return max(abs(n) for n in _dyadic(self.entries)[0]).bit_length()

    def codes(self):
        """Every code, in order."""
        return np.arange(len(self.entries), dtype=code_dtype(self.bits))

    def check_codes(self, codes):
        codes = super().check_codes(codes)
        if codes.size and int(codes.max()) >= len(self.entries):
            raise ValueError(
                f"Codes of {self.name} must be 0 to {len(self.entries) - 1}, not {codes.max()}"
            )
        return codes

    def operands(self, codes):
        """Sign, exponent 0 and magnitude of codes; see `Operands`."""
        integers, _ = _dyadic(self.entries)
        kind = np.int64 if self.integer_bits <= 63 else object
        value = np.array(integers, kind)[self.check_codes(codes)]
        return Operands((value < 0).astype(np.int64), np.zeros(np.shape(value), np.int64),
                        np.abs(value))

    def _values(self, codes):
        return np.array(self.entries)[codes]

    def used(self):
        return np.array(self.entries), self.codes()


@lru_cache(maxsize=64)
def _dyadic(entries):
    """Floats as integers times one power of two: the integers, and its exponent."""
    fractions = [Fraction(entry) for entry in entries]
    exponent = -max(f.denominator.bit_length() - 1 for f in fractions)
    integers = [int(f / Fraction(2) ** exponent) for f in fractions]
    common = min((n & -n).bit_length() - 1 for n in integers if n) if any(integers) else 0
    return [n >> common for n in integers], exponent + common
