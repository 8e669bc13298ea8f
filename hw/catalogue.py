# SPDX-License-Identifier: Apache-2.0
"""Every unit once, with its presets: what tests, proofs, tables and pages walk."""

import dataclasses

from ..quant.formats import Fixed, Int
from ..quant.formats import get as fmt
from .decode.block import BlockDecoder
from .decode.cast import Cast
from .decode.decoder import Decoder
from .decode.pair import PairDecoder
from .fixed.fixed_add import FixedAdd
from .fixed.fixed_cast import FixedCast
from .fixed.fixed_mul import FixedMul
from .fixed.fp32_add import FP32Add
from .fixed.fp32_multiply import FP32Multiply
from .fixed.khot import KHotMultiply
from .fixed.requantise import Requantise
from .fixed.to_minifloat import ToMinifloat
from .pe.bitserial_mac import BitSerialMAC
from .pe.dequantise_first import DequantiseFirst
from .pe.lut_mac import LUTMAC
from .pe.minifloat_mac import MinifloatMAC
from .pe.mixpe import MixPE
from .pe.mixpe_w4a16 import MixPEW4A16
from .pe.multiplier import Multiplier
from .pe.mx_dot import MXDot
from .pe.olive import OliVe
from .pe.packed import Packed
from .pe.two_scale import TwoScale

__all__ = ["PRESETS", "Preset", "get", "names"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A unit with parameters that have a name.

    Attributes
    ----------
    name : str
    unit : type
        A `wiring.Component` with streams ``i`` and ``o``, ``lanes``, ``latency`` and ``formats``.
    parameters : dict
        Keyword arguments of ``unit``.
    """

    name: str
    unit: type
    parameters: dict = dataclasses.field(default_factory=dict, hash=False)

    @property
    def room(self):
        """``decode``, ``pe``, ``fixed``, ``post``."""
        return self.unit.__module__.split(".")[-2]

    @property
    def summary(self):
        """What the unit is, in one line."""
        return (self.unit.__doc__ or "").splitlines()[0]

    def build(self, **parameters):
        """A new component; parameters given here go before the preset's."""
        return self.unit(**{**self.parameters, **parameters})


INT2, INT4, UINT4 = Int(2), Int(4), Int(4, signed=False)

DECODED = {
    "int8": "int8", "e2m1": "e2m1", "e4m3": "e4m3", "e5m2": "e5m2", "e2m3": "e2m3", "e3m2": "e3m2",
    "fp16": "fp16", "e8m0": "e8m0", "flint4": "flint4", "abfloat": "abfloat_e2m1b2",
    "log2": "log2_4", "log-sqrt2": "logsqrt2_4", "nf4": "nf4",
}
PAIRS = {"olive4": "olive4", "olive4-flint": "olive4_flint", "olive8": "olive8"}

PRESETS = (
    *(Preset(f"decode-{name}", Decoder, {"fmt": fmt(known), "lanes": 16, "registers": 1})
      for name, known in DECODED.items()),
    *(Preset(f"decode-{name}", PairDecoder, {"fmt": fmt(known), "lanes": 16, "registers": 1})
      for name, known in PAIRS.items()),
    *(Preset(f"decode-{name}", BlockDecoder, {"fmt": fmt(name), "registers": 1})
      for name in ("mxfp4", "nvfp4")),
    Preset("cast-e2m1-e4m3", Cast,
           {"source": fmt("e2m1"), "target": fmt("e4m3"), "shift": -3, "lanes": 16,
            "registers": 1}),
    Preset("cast-e2m1-e5m2", Cast,
           {"source": fmt("e2m1"), "target": fmt("e5m2"), "lanes": 16, "registers": 1}),
    Preset("cast-e4m3-e2m1", Cast,
           {"source": fmt("e4m3"), "target": fmt("e2m1"), "lanes": 16, "registers": 1}),
    Preset("multiplier-w8a8", Multiplier, {"group": 128, "lanes": 16}),
    Preset("multiplier-w4a8", Multiplier, {"group": 128, "lanes": 16, "weight": INT4}),
    Preset("multiplier-w4a4", Multiplier,
           {"group": 128, "lanes": 16, "activation": INT4, "weight": INT4}),
    Preset("dequantise-first-w4a8", DequantiseFirst, {"group": 128, "lanes": 16}),
    Preset("mixpe-w4a8", MixPE, {"group": 128, "lanes": 16}),
    Preset("mixpe-w4a8-unsigned", MixPE, {"group": 128, "lanes": 16, "weight": UINT4}),
    Preset("mixpe-w2a8", MixPE, {"group": 128, "lanes": 16, "weight": INT2}),
    Preset("mixpe-w4a8-zero", MixPE,
           {"group": 128, "lanes": 16, "weight": UINT4, "zero_points": True}),
    Preset("mixpe-w4a8-booth", MixPE, {"group": 128, "lanes": 16, "recoding": "booth"}),
    Preset("mixpe-w4a16-exact", MixPEW4A16, {"group": 128, "lanes": 16}),
    Preset("mixpe-w4a16-aligned", MixPEW4A16,
           {"lanes": 16, "variant": "aligned", "guard": 4, "registers": 3}),
    Preset("packed-w4a8", Packed, {"group": 128, "lanes": 16}),
    Preset("packed-w4a4", Packed, {"group": 128, "lanes": 16, "activation": INT4}),
    Preset("lut-w2a8", LUTMAC, {"group": 128, "lanes": 16}),
    Preset("lut-w4a8", LUTMAC, {"group": 128, "lanes": 16, "weight": INT4}),
    Preset("bitserial-w2a8", BitSerialMAC, {"group": 128, "lanes": 16}),
    Preset("bitserial-w4a4", BitSerialMAC,
           {"group": 128, "lanes": 16, "activation": INT4, "weight": INT4}),
    *(Preset(name, OliVe, {"a_format": fmt(known), "group": 128, "lanes": 16, "registers": 2})
      for name, known in PAIRS.items()),
    *(Preset(f"mac-{a}-{b}", MinifloatMAC, {
        "a_format": fmt(a), "b_format": fmt(b), "group": 128, "lanes": 16, "registers": 2})
      for a, b in (("e4m3", "e4m3"), ("e5m2", "e5m2"), ("e2m1", "e4m3"), ("e2m3", "e2m3"),
                   ("e3m2", "e3m2"), ("e2m1", "e2m1"), ("int8", "e2m1"), ("int4", "e4m3"))),
    Preset("mac-e4m3-e4m3-to-fp16", MinifloatMAC, {
        "a_format": fmt("e4m3"), "group": 128, "lanes": 16, "registers": 4,
        "result": fmt("fp16")}),
    Preset("mac-e2m1-e2m1-preshift", MinifloatMAC, {
        "a_format": fmt("e2m1"), "group": 128, "lanes": 16, "registers": 2, "preshift": 7}),
    Preset("two-scale-w4a8", TwoScale, {"group": 128, "lanes": 16}),
    *(Preset(f"{name.replace('_', '-')}-dot", MXDot, {"a_format": fmt(name)}) for name in (
        "mxint8", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4")),
    Preset("nvfp4-dot", MXDot, {"a_format": fmt("nvfp4"), "registers": 4}),
    Preset("nvint4-dot", MXDot, {"a_format": fmt("nvint4"), "registers": 4}),
    Preset("to-e4m3", ToMinifloat, {"fmt": fmt("e4m3"), "exponent": -18, "lanes": 4}),
    Preset("to-e5m2", ToMinifloat, {"fmt": fmt("e5m2"), "exponent": -16, "overflow": "ieee"}),
    Preset("to-e2m1", ToMinifloat, {"fmt": fmt("e2m1"), "exponent": -24, "lanes": 4}),
    Preset("to-bf16", ToMinifloat, {"fmt": fmt("bf16"), "exponent": -20, "lanes": 4}),
    Preset("to-fp32", ToMinifloat, {"fmt": fmt("fp32"), "exponent": (-170, 110),
                                    "overflow": "ieee", "registers": 2}),
    Preset("fp32-add", FP32Add),
    Preset("fp32-multiply", FP32Multiply),
    Preset("fixed-cast-rnd-conv-sat", FixedCast,
           {"source": Fixed(16, 6), "target": Fixed(8, 4, True, "RND_CONV", "SAT"), "lanes": 4}),
    Preset("fixed-cast-trn-wrap", FixedCast,
           {"source": Fixed(16, 6), "target": Fixed(8, 4), "lanes": 4}),
    Preset("fixed-cast-rnd-zero-wrap-sm", FixedCast,
           {"source": Fixed(16, 6), "target": Fixed(8, 4, True, "RND_ZERO", "WRAP_SM"),
            "lanes": 4}),
    Preset("fixed-add", FixedAdd, {"a": Fixed(8, 3), "b": Fixed(8, 5), "lanes": 4}),
    Preset("fixed-sub-sat", FixedAdd,
           {"a": Fixed(8, 3), "b": Fixed(8, 5), "subtract": True, "lanes": 4,
            "result": Fixed(8, 5, True, "RND", "SAT_SYM")}),
    Preset("fixed-mul", FixedMul, {"a": Fixed(16, 8), "b": Fixed(16, 2), "lanes": 4}),
    Preset("fixed-mul-rnd-inf-sat", FixedMul,
           {"a": Fixed(8, 3), "b": Fixed(8, 1), "lanes": 4, "registers": 2,
            "result": Fixed(8, 3, True, "RND_INF", "SAT")}),
    Preset("khot-2", KHotMultiply, {"constants": (3, -5, 96, 0, 1, -64, 65, 24)}),
    Preset("requantise-half-even", Requantise, {"shifts": (16, 20, 24), "lanes": 4}),
    Preset("requantise-half-up", Requantise,
           {"shifts": (16, 20, 24), "lanes": 4, "rounding": "half_up"}),
    Preset("requantise-per-channel", Requantise,
           {"shifts": (16, 20, 24), "lanes": 4, "per_channel": True, "zero_point": True,
            "signed_result": False}),
)


def names():
    """Names of all presets, in order."""
    return [preset.name for preset in PRESETS]


def get(name):
    """The preset of a name; ValueError lists the others."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    raise ValueError(f"Unit must be one of {', '.join(names())}, not {name!r}")
