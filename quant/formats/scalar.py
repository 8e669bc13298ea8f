# SPDX-License-Identifier: Apache-2.0
"""What all scalar formats share: checks, exact integers and values of codes."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .rounding import odd_integers

__all__ = [
    "Operands", "Scalar", "as_float64", "code_dtype", "integer_parameter",
    "real",
]

LISTED_BITS = 16  # codes of up to so many bits are decoded by table


class Operands(NamedTuple):
    """Codes taken apart: worth ``(-1) ** sign * integer * 2 ** (exponent + lsb)``, int64 each."""

    sign: np.ndarray
    exponent: np.ndarray
    integer: np.ndarray


def integer_parameter(name, value, *, low, high):
    """Check one parameter of a declaration."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value!r}")


def code_dtype(bits):
    """Smallest unsigned NumPy type that holds a code."""
    return np.dtype(f"u{next(size for size in (1, 2, 4, 8) if bits <= 8 * size)}")


def as_float64(values):
    """Floats as float64; signalling NaN raise no warning."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def real(values):
    """Values as a float32 or float64 array; TypeError for anything that is not a real number."""
    values = np.asarray(values)
    if values.dtype in (np.float32, np.float64):
        return values
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        raise TypeError(f"Values must be float64 or smaller, not {values.dtype}")
    if values.dtype.kind in "iu":
        return odd_integers(values)
    if values.dtype.kind == "f" or values.size == 0:
        return as_float64(values)
    raise TypeError(f"Values must be real numbers, not {values.dtype}")


@lru_cache(maxsize=64)
def _tables(fmt):
    """Integers, values, NaN and Inf of every code; shared, so not writable."""
    codes = fmt.codes()
    tables = fmt._decode(codes), fmt._values(codes), fmt._is_nan(codes), fmt._is_inf(codes)
    for table in tables:
        table.flags.writeable = False
    return tables


class Scalar:
    """A format whose every finite value is an integer times ``2 ** lsb``.

    A subclass declares ``bits``, ``lsb``, ``name``, ``operands`` and ``encode``.
    """

    def codes(self):
        """Every code, in order."""
        if self.bits > LISTED_BITS:
            raise ValueError(f"Codes of {self.name} are too many to list: 2 ** {self.bits}")
        return np.arange(1 << self.bits, dtype=code_dtype(self.bits))

    def check_codes(self, codes):
        """Codes as an array; TypeError or ValueError where they are none of this format."""
        codes = np.asarray(codes)
        if codes.dtype.kind not in "iu":
            raise TypeError(f"Codes must be integers, not {codes.dtype}")
        if codes.size and (self.bits % 8 or codes.dtype != code_dtype(self.bits)):
            low, high = int(codes.min()), int(codes.max())
            if low < 0 or high >> self.bits:
                raise ValueError(
                    f"Codes of {self.name} must be 0 to {(1 << self.bits) - 1}, "
                    f"not {low} to {high}"
                )
        return codes

    def decode(self, codes):
        """Integers that codes stand for, in units of ``2 ** lsb``; 0 for NaN and Inf.

        Returns
        -------
        int64 array of the shape of ``codes``
            Of Python integers (dtype object) in formats that do not fit int64.
        """
        codes = self.check_codes(codes)
        if self.bits > LISTED_BITS:
            return self._decode(codes)
        return _tables(self)[0][codes]

    def values(self, codes):
        """Values of codes as float64, exact; NaN and Inf where they are."""
        codes = self.check_codes(codes)
        if self.bits > LISTED_BITS:
            return self._values(codes)
        return _tables(self)[1][codes]

    def is_nan(self, codes):
        """Which codes are not a number."""
        codes = self.check_codes(codes)
        return self._is_nan(codes) if self.bits > LISTED_BITS else _tables(self)[2][codes]

    def is_inf(self, codes):
        """Which codes are an infinity."""
        codes = self.check_codes(codes)
        return self._is_inf(codes) if self.bits > LISTED_BITS else _tables(self)[3][codes]

    def encode_integers(self, integers, scale=1, **how):
        """Codes of exact products ``integers * scale``, rounded once.

        Parameters
        ----------
        integers : integer array, or object array of Python integers
        scale : int, float or Fraction
            At its exact value.
        **how
            ``rounding`` and ``overflow`` as `encode` takes them.
        """
        return self.encode(odd_integers(integers, scale), **how)

    def _finite(self, codes):
        return ~(self._is_nan(codes) | self._is_inf(codes))

    def _decode(self, codes):
        sign, exponent, integer = self.operands(codes)
        if self.integer_bits <= 63:
            magnitude = integer << np.minimum(exponent, 62)
            return np.where(self._finite(codes), np.where(sign, -magnitude, magnitude), 0)
        magnitude = integer.astype(object) << exponent.astype(object)
        return np.where(sign, -magnitude, magnitude) * self._finite(codes).astype(object)

    def _values(self, codes):
        sign, exponent, integer = self.operands(codes)
        with np.errstate(over="ignore"):  # of codes of NaN and Inf
            values = np.ldexp(integer.astype(np.float64), (exponent + self.lsb).astype(np.int32))
        values = np.where(sign, -values, values)
        values[self._is_inf(codes)] *= np.inf
        values[self._is_nan(codes)] = np.nan
        return values

    def _is_nan(self, codes):
        return np.zeros(np.shape(codes), bool)

    def _is_inf(self, codes):
        return np.zeros(np.shape(codes), bool)
