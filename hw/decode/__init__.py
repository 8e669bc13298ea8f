# SPDX-License-Identifier: Apache-2.0
"""Decoders: codes of every format as operands of multipliers."""

from .block import BlockDecoder, block_scale
from .cast import Cast
from .decoder import Decoder, operand_layout
from .operand import (
    Operand,
    Ranges,
    SignedOperand,
    decode,
    is_inf,
    is_nan,
    is_odd,
    ranges,
    signed_operand,
)
from .pair import PairDecoder, pair_operands, pair_ranges

__all__ = [
    "BlockDecoder", "Cast", "Decoder", "Operand", "PairDecoder", "Ranges", "SignedOperand",
    "block_scale", "decode", "is_inf", "is_nan", "is_odd", "operand_layout", "pair_operands",
    "pair_ranges", "ranges", "signed_operand",
]
