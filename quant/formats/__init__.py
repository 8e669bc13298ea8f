# SPDX-License-Identifier: Apache-2.0
"""Number formats: one declaration each, with its codec in NumPy."""

from .abfloat import AbFloat
from .block import Block, BlockCodes, bfp
from .codebook import Codebook
from .fixed import Fixed
from .flint import Flint
from .group import Group, GroupCodes
from .integer import Int
from .log2 import Log2
from .minifloat import Exponent, Minifloat
from .packing import pack, pack_blocks, unpack, unpack_blocks
from .pair import Pair, PairCodes
from .registry import get, names
from .rounding import OVERFLOWS, ROUNDINGS

__all__ = [
    "OVERFLOWS", "ROUNDINGS",
    "AbFloat", "Block", "BlockCodes", "Codebook", "Exponent", "Fixed", "Flint", "Group",
    "GroupCodes", "Int", "Log2", "Minifloat", "Pair", "PairCodes",
    "bfp", "get", "names", "pack", "pack_blocks", "unpack", "unpack_blocks",
]
