# SPDX-License-Identifier: Apache-2.0
"""Powers of two, or of its square root, for numbers from 0 to 1."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from .rounding import choice, rounding_name
from .scalar import Operands, Scalar, as_float64, code_dtype, integer_parameter, real

__all__ = ["Log2"]


@dataclass(frozen=True)
class Log2(Scalar):
    """Powers of two for numbers in [0, 1]: ``q = round(-log2 x)`` [1]_.

    With ``sqrt2``, ``q = round(-2 log2 x)``, worth ``2 ** -ceil(q / 2)``, times the square root of
    two if q is odd. The top code is 0. Rounding is to the nearest logarithm, where a float never
    lies half way.

    .. [1] Li et al., RepQ-ViT: Scale reparameterization for post-training quantization of vision
       transformers. ICCV 2023, section 3.3.

    Parameters
    ----------
    bits : int
        Width, 2 to 8.
    sqrt2 : bool
        Steps of the square root of two.
    """

    bits: int
    sqrt2: bool = False

    def __post_init__(self):
        integer_parameter("Bits", self.bits, low=2, high=8)
        if not isinstance(self.sqrt2, bool):
            raise TypeError(f"Sqrt2 must be True or False, not {self.sqrt2!r}")

    @property
    def name(self):
        return f"log{'sqrt2' if self.sqrt2 else '2'}_{self.bits}"

    @property
    def zero_code(self):
        """The code of 0."""
        return (1 << self.bits) - 1

    @property
    def lsb(self):
        return -self._halvings(self.zero_code - 1)

    @property
    def integer_bits(self):
        """Width of the greatest integer that `decode` gives."""
        return 1 - self.lsb

    max = 1.0
    min = 0.0

    def _halvings(self, q):
        return (q + 1) // 2 if self.sqrt2 else q

    def is_odd(self, codes):
        """Which codes stand for a power of two times the square root of two."""
        codes = self.check_codes(codes)
        odd = (codes % 2 == 1) & (codes != self.zero_code)
        return odd if self.sqrt2 else np.zeros_like(odd)

    def operands(self, codes):
        """Sign 0, exponent, and 1 or 0; the square root of two left out, see `is_odd`."""
        codes = self.check_codes(codes).astype(np.int64)
        zero = codes == self.zero_code
        exponent = np.where(zero, 0, -self.lsb - self._halvings(codes))
        return Operands(np.zeros_like(codes), exponent, (~zero).astype(np.int64))

    def _values(self, codes):
        # The only values in this package that are not exact: of odd codes with sqrt2.
        values = super()._values(codes)
        return np.where(self.is_odd(codes), values * np.sqrt(2), values)

    def encode(self, values, *, rounding="half_even", overflow="saturate"):
        """Codes of numbers: above 1 as 1, below 0 as 0. Raises ValueError for NaN."""
        if rounding_name(rounding) != "half_even":
            raise ValueError(f"Rounding of {self.name} must be half_even, not {rounding!r}")
        choice("Overflow", overflow, ("saturate",))
        values = as_float64(real(values))
        if np.isnan(values).any():
            raise ValueError(f"Values must be numbers: {self.name} has no code for NaN")
        mantissa, exponent = np.frexp(np.where(values > 0, np.minimum(values, 1.0), 0.25))
        # x = mantissa * 2 ** exponent, mantissa in [1/2, 1): each root of 1/2 that it does not
        # exceed is one step further.
        steps = (1, 3) if self.sqrt2 else (1,)
        q = -exponent.astype(np.int64) * len(steps)
        for step in steps:
            q += mantissa <= _root(step, 2 * len(steps))
        q = np.where(values > 0, q, self.zero_code)
        return np.clip(q, 0, self.zero_code).astype(code_dtype(self.bits))


@lru_cache(maxsize=8)
def _root(numerator, denominator):
    """Greatest float below ``2 ** (-numerator / denominator)``."""
    power = Fraction(1, 1 << numerator)
    x = 2.0 ** (-numerator / denominator)
    while Fraction(x) ** denominator >= power:
        x = float(np.nextafter(x, 0))
    while Fraction(float(np.nextafter(x, 1))) ** denominator < power:
        x = float(np.nextafter(x, 1))
    return x
