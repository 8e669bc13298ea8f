# SPDX-License-Identifier: Apache-2.0
"""Processing elements: multiply-accumulate in every format."""

from .bitserial_mac import BitSerialMAC
from .dequantise_first import DequantiseFirst
from .lut_mac import LUTMAC
from .minifloat_mac import MinifloatMAC
from .mixpe import MixPE
from .mixpe_w4a16 import MixPEW4A16
from .multiplier import Multiplier
from .mx_dot import MXDot
from .olive import OliVe
from .packed import Packed
from .two_scale import TwoScale

__all__ = [
    "BitSerialMAC", "DequantiseFirst", "LUTMAC", "MinifloatMAC", "MixPE", "MixPEW4A16",
    "MXDot", "Multiplier", "OliVe", "Packed", "TwoScale",
]
