# SPDX-License-Identifier: Apache-2.0
"""ANT's flint: part integer, part float."""

from dataclasses import dataclass

import numpy as np

from .nearest import Listed
from .scalar import Operands, integer_parameter

__all__ = ["Flint"]


@dataclass(frozen=True)
class Flint(Listed):
    """ANT's flint: 0, ±1, ±2, ±3, ±4, ±6, ±8, ±16 [1]_.

    Magnitude bits ``0xy`` are ``<0, xy>``, 110 is ``<1, 2>``, 111 ``<1, 3>``, 101 ``<3, 1>`` and
    100 ``<4, 1>``. The code 1000 is -0 and is never produced.

    .. [1] Guo et al., ANT: Exploiting adaptive numerical data type for low-bit deep neural network
       quantization. MICRO 2022, section IV.

    Parameters
    ----------
    bits : int
        4.
    """

    bits: int = 4

    lsb = 0
    integer_bits = 5

    def __post_init__(self):
        integer_parameter("Bits", self.bits, low=4, high=4)

    @property
    def name(self):
        return "flint4"

    def operands(self, codes):
        """Sign, exponent and integer of codes; see `Operands`."""
        codes = self.check_codes(codes).astype(np.int64)
        exponent = np.array([0, 0, 0, 0, 4, 3, 1, 1])[codes & 7]
        integer = np.array([0, 1, 2, 3, 1, 1, 2, 3])[codes & 7]
        return Operands(codes >> 3, exponent, integer)

    def used(self):
        codes = self.codes()
        return self.values(codes[codes != 8]), codes[codes != 8]
