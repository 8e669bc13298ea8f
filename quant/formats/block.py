# SPDX-License-Identifier: Apache-2.0
"""Blocks of elements that share a scale: MX, NVFP4, block floating point."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .fixed import Fixed
from .integer import Int
from .minifloat import Exponent, Minifloat
from .rounding import choice, odd_quotient, rounding_name
from .scalar import Scalar, integer_parameter, real

__all__ = ["Block", "BlockCodes", "bfp"]

RULES = ("floor", "ceil")


class BlockCodes(NamedTuple):
    """Encoded tensor: element codes (…, blocks * size), scale codes (…, blocks).

    Element ``k`` is worth ``element * scale[k // size] * tensor_scale``. The codes cover the
    zeros appended to the last block as well: ``padding`` is how many.
    """

    codes: np.ndarray
    scales: np.ndarray
    k: int
    tensor_scale: float = 1.0

    @property
    def padding(self):
        return self.codes.shape[-1] - self.k


@dataclass(frozen=True)
class Block:
    """Blocks along K of one element format, each block with one scale.

    With a power-of-two scale [1]_, ``floor``: ``X = 2 ** (floor(log2 amax) - emax)``, emax the
    exponent of the greatest element; ``ceil``: the least X under which no element overflows. X is
    clamped to what the scale format holds; elements are rounded half to even and saturate. With a
    `Minifloat` scale [2]_, a block's is ``encode(amax / max / tensor_scale)`` and the tensor's
    ``amax / (max * scale max)`` in fp32. An all-zero block has the scale code 0; a block with a NaN
    or an infinity has a NaN scale and elements 0.

    .. [1] OCP Microscaling Formats (MX) v1.0, section 6.3.
    .. [2] NVIDIA, Pretraining large language models with NVFP4 (2025), section 3.

    Parameters
    ----------
    element : Minifloat, Int or Fixed
        With only finite numbers produced by `encode`.
    scale : Exponent or Minifloat
    size : int
        Elements in a block, 1 to 65536.
    rule : {"floor", "ceil"}
        Of power-of-two scales.
    """

    element: Scalar
    scale: Scalar = Exponent()
    size: int = 32
    rule: str = "floor"

    def __post_init__(self):
        if not isinstance(self.element, (Minifloat, Int, Fixed)):
            raise TypeError(f"Element must be a Minifloat, an Int or a Fixed, not {self.element!r}")
        if not isinstance(self.scale, (Exponent, Minifloat)):
            raise TypeError(f"Scale must be an Exponent or a Minifloat, not {self.scale!r}")
        if isinstance(self.element, Minifloat) and self.element.mantissa_bits > 17:
            raise ValueError("Element must have at most 17 mantissa bits, "
                             f"not {self.element.mantissa_bits}")
        if isinstance(self.element, (Int, Fixed)) and self.element.bits > 18:
            raise ValueError(f"Element must have at most 18 bits, not {self.element.bits}")
        if isinstance(self.element, Fixed) and self.element.overflow.startswith("WRAP"):
            raise ValueError(f"Element must saturate, not {self.element.overflow}")
        if isinstance(self.scale, Minifloat):
            if self.scale.mantissa_bits > 8:
                raise ValueError("Scale must have at most 8 mantissa bits, "
                                 f"not {self.scale.mantissa_bits}")
            if self.scale.nan_code is None:
                raise ValueError(f"Scale must have a NaN: {self.scale.name} has none")
        integer_parameter("Size", self.size, low=1, high=1 << 16)
        choice("Rule", self.rule, RULES)

    @property
    def name(self):
        for name, preset in PRESETS.items():
            if preset == self:
                return name
        if isinstance(self.element, Fixed) and self == bfp(self.size, self.element.width):
            return f"bfp{self.element.width}g{self.size}"
        rule = "" if self.rule == "floor" else f"_{self.rule}"
        return f"block{self.size}_{self.element.name}_{self.scale.name}{rule}"

    @property
    def bits(self):
        """Width of an element; with its share of the scale, see `bits_per_value`."""
        return self.element.bits

    @property
    def bits_per_value(self):
        """Bits stored for each value, the block's scale included."""
        return self.element.bits + self.scale.bits / self.size

    @property
    def emax(self):
        """Exponent of the greatest element: ``floor(log2 max)``."""
        return int(np.frexp(float(self.element.max))[1]) - 1

    @property
    def two_level(self):
        """Whether there is a scale of the tensor above those of the blocks."""
        return isinstance(self.scale, Minifloat)

    def blocks(self, k):
        """Number of blocks in K elements."""
        return -(-k // self.size)

    def encode(self, values, *, rounding="half_even", tensor_scale=None):
        """Codes and scales of real values.

        Parameters
        ----------
        values : float array, shape (…, K)
            Zeros are appended where the block size does not divide K; `BlockCodes` reports them.
        rounding : str
            Of the elements, one of `ROUNDINGS`.
        tensor_scale : float, optional
            In two-level formats: a given fp32 scale in place of the tensor's own.

        Returns
        -------
        BlockCodes
        """
        rounding = rounding_name(rounding)
        values = real(values)
        if values.ndim == 0:
            raise ValueError("Values must have an axis K, not shape ()")
        if tensor_scale is not None and not self.two_level:
            raise ValueError(f"Tensor scale must be None: {self.name} has none")
        k = values.shape[-1]
        padding = self.blocks(k) * self.size - k
        if padding:
            values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, padding)])
        x = values.reshape(*values.shape[:-1], self.blocks(k), self.size)
        # The greatest magnitude: NaN where there is one.
        amax = np.abs(np.maximum(x.max(axis=-1), -x.min(axis=-1)))  # of -0 too
        bad = ~np.isfinite(amax)
        if bad.any():
            x = np.where(bad[..., None], x.dtype.type(0), x)
        sound = np.where(bad, x.dtype.type(0), amax)
        if self.two_level:
            scales, codes, tensor_scale = self._by_minifloat(x, sound, rounding, tensor_scale)
        else:
            scales, codes = self._by_exponent(x, sound, rounding)
            tensor_scale = 1.0
        scales = np.where(bad, scales.dtype.type(self.scale.nan_code), scales)
        return BlockCodes(codes.reshape(values.shape), scales, k, tensor_scale)

    def _by_exponent(self, x, amax, rounding):
        significand, exponent = np.frexp(amax)
        most, _ = np.frexp(float(self.element.max))
        exponent = exponent.astype(np.int64) - self.emax - 1
        if self.rule == "ceil":
            exponent = exponent + (significand > most)
        bias, top = self.scale.bias, self.scale.nan_code - 1
        code = np.where(amax == 0, 0, np.clip(exponent + bias, 0, top))
        shift = (bias - code).astype(np.int32)[..., None]
        usual = bias <= 127 and top - bias <= 127 and self.element.lsb >= -124 and self.emax < 127
        # Exact but for what is far below the least element: half_even gives 0 all the same, other
        # roundings need a number that is not 0.
        if x.dtype == np.float32 and rounding == "half_even" and usual:
            scaled = x * np.ldexp(np.float32(1), shift)
        else:
            scaled = np.ldexp(x.astype(np.float64), shift)
            scaled = np.where((scaled == 0) & (x != 0), np.copysign(2.0**-1074, x), scaled)
        return code.astype(self.scale.codes().dtype), self.element.encode(scaled, rounding=rounding)

    def _by_minifloat(self, x, amax, rounding, tensor_scale):
        # A quotient of 24 bits by 33 that is not half way between two elements of at most 8 bits
        # is further from it than the rounding of a float64 can reach.
        plain = x.dtype == np.float32 and self.element.bits <= 8
        x, amax = x.astype(np.float64), amax.astype(np.float64)
        most = float(self.element.max)
        if tensor_scale is None:
            greatest = amax.max(initial=0)
            with np.errstate(over="ignore"):
                ratio = odd_quotient(greatest, most * self.scale.max).astype(np.float32)
            if ratio == np.inf:
                raise ValueError(f"Values must be small enough for an fp32 scale of the tensor in "
                                 f"{self.name}, not {float(greatest)!r}")
            tensor_scale = max(ratio, np.float32(2.0**-149)) if greatest else np.float32(1)
        elif not (0 < tensor_scale <= float(np.finfo(np.float32).max)
                  and float(np.float32(tensor_scale)) == tensor_scale):
            raise ValueError(f"Tensor scale must be a positive fp32 number, not {tensor_scale!r}")
        tensor_scale = float(tensor_scale)
        # 18 bits of an element by 24 of the tensor's scale; the block's scale has 9.
        scales = self.scale.encode(odd_quotient(amax, most * tensor_scale, bits=42))
        unit = self.scale.values(scales) * tensor_scale
        zero = (unit == 0)[..., None]
        x, unit = np.where(zero, 0, x), np.where(zero, 1, unit[..., None])
        scaled = x / unit if plain else odd_quotient(x, unit)
        return scales, self.element.encode(scaled, rounding=rounding), tensor_scale

    def decode(self, encoded):
        """Integers of the elements, in units of ``2 ** element.lsb`` times their scale: (…, K)."""
        return self.element.decode(encoded.codes)[..., : encoded.k]

    def scale_values(self, encoded):
        """Values of the blocks' scales, the tensor's included: float64, exact, (…, blocks)."""
        return self.scale.values(encoded.scales) * encoded.tensor_scale

    def values(self, encoded):
        """Values as float64, exact, (…, K); NaN in blocks with a NaN scale."""
        unit = np.repeat(self.scale_values(encoded), self.size, axis=-1)
        return (self.element.values(encoded.codes) * unit)[..., : encoded.k]


def bfp(size, mantissa_bits):
    """Block floating point: one exponent per block, mantissas in two's complement.

    Mantissas, of 2 to 18 bits, have one bit left of the point beside the sign: -2 to just below 2.
    """
    integer_parameter("Mantissa bits", mantissa_bits, low=2, high=18)
    return Block(Fixed(mantissa_bits, 2, rounding="half_even", overflow="SAT"), size=size)


_E8M0, _E4M3 = Exponent(), Minifloat(4, 3, specials="ocp")
PRESETS = {
    "mxint8": Block(Fixed(8, 2, rounding="half_even", overflow="SAT_SYM")),
    "mxint6": Block(Fixed(6, 2, rounding="half_even", overflow="SAT_SYM")),
    "mxint4": Block(Fixed(4, 2, rounding="half_even", overflow="SAT_SYM")),
    "mxfp8_e4m3": Block(_E4M3),
    "mxfp8_e5m2": Block(Minifloat(5, 2, specials="ieee")),
    "mxfp6_e2m3": Block(Minifloat(2, 3)),
    "mxfp6_e3m2": Block(Minifloat(3, 2)),
    "mxfp4": Block(Minifloat(2, 1)),
    "nvfp4": Block(Minifloat(2, 1), _E4M3, 16),
    "nvint4": Block(Int(4, narrow=True), _E4M3, 16),
    "bfp8": bfp(16, 8),
    "bfp6": bfp(16, 6),
    "bfp4": bfp(16, 4),
}
