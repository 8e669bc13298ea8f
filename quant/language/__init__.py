# SPDX-License-Identifier: Apache-2.0
"""A real language model: its weights, its activations, and their matrix products in low bits."""

from .gemms import KINDS, Gemm, Operand, QuantisedGemm, quantise_gemm
from .smollm2 import SmolLM2, block_gemms
from .text import address

__all__ = [
    "KINDS", "Gemm", "Operand", "QuantisedGemm", "SmolLM2", "address", "block_gemms",
    "quantise_gemm",
]
