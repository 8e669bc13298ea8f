# SPDX-License-Identifier: Apache-2.0
"""Fixed point, requantisation, and floating point around them."""

from .fixed_add import FixedAdd
from .fixed_cast import FixedCast
from .fixed_mul import FixedMul
from .fp32_add import FP32Add
from .fp32_multiply import FP32Multiply
from .khot import KHotMultiply
from .requantise import Requantise
from .to_minifloat import ToMinifloat

__all__ = [
    "FP32Add", "FP32Multiply", "FixedAdd", "FixedCast", "FixedMul", "KHotMultiply", "Requantise",
    "ToMinifloat",
]
