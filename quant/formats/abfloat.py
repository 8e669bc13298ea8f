# SPDX-License-Identifier: Apache-2.0
"""OliVe's floats for outliers."""

from dataclasses import dataclass, replace

import numpy as np

from .nearest import Listed
from .scalar import Operands, integer_parameter

__all__ = ["AbFloat"]


@dataclass(frozen=True)
class AbFloat(Listed):
    """OliVe's adaptive biased float: ``±((1 << m) + M) << (E + bias)`` [1]_.

    There is no hidden-bit exception and no 0: the codes with E = M = 0 are never used, and
    decode to 0.

    .. [1] Guo et al., OliVe: Accelerating large language models via hardware-friendly
       outlier-victim pair quantization. ISCA 2023, section 4.

    Parameters
    ----------
    exponent_bits, mantissa_bits : int
        1 to 5 and 0 to 8.
    bias : int
        0 to 16.
    limit : int, optional
        Greatest magnitude, a value of the format: what lies beyond is clipped to it, in `encode`
        and in `decode`.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int = 0
    limit: int | None = None

    lsb = 0

    def __post_init__(self):
        integer_parameter("Exponent bits", self.exponent_bits, low=1, high=5)
        integer_parameter("Mantissa bits", self.mantissa_bits, low=0, high=8)
        integer_parameter("Bias", self.bias, low=0, high=16)
        if self.limit is not None:
            integer_parameter("Limit", self.limit, low=1, high=1 << 62)
            magnitudes = replace(self, limit=None).decode(self.codes())
            if self.limit not in magnitudes:
                raise ValueError(f"Limit must be a value of {self.name}, not {self.limit!r}")

    @property
    def name(self):
        limit = "" if self.limit is None else f"max{self.limit}"
        return f"abfloat_e{self.exponent_bits}m{self.mantissa_bits}b{self.bias}{limit}"

    @property
    def bits(self):
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def integer_bits(self):
        """Width of the greatest magnitude that `decode` gives."""
        if self.limit is not None:
            return self.limit.bit_length()
        return self.mantissa_bits + (1 << self.exponent_bits) + self.bias

    def operands(self, codes):
        """Sign, exponent and integer of codes; see `Operands`."""
        codes = self.check_codes(codes).astype(np.int64)
        m = self.mantissa_bits
        magnitude = codes & ((1 << (self.bits - 1)) - 1)
        exponent = (magnitude >> m) + self.bias
        integer = np.where(magnitude == 0, 0, (1 << m) | magnitude & ((1 << m) - 1))
        if self.limit is not None:
            top = int(self.limit).bit_length() - 1 - m
            beyond = (exponent > top) | (exponent == top) & (integer << top > self.limit)
            exponent = np.where(beyond, top, exponent)
            integer = np.where(beyond, self.limit >> top, integer)
        return Operands(codes >> (self.bits - 1), exponent, integer)

    def used(self):
        codes = self.codes()
        codes = codes[self.decode(codes) != 0]
        return self.values(codes), codes
