# SPDX-License-Identifier: Apache-2.0
"""Floating point of any small width, and powers of two."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .rounding import choice, round_floats, rounding_name
from .scalar import Operands, Scalar, as_float64, code_dtype, integer_parameter, real

__all__ = ["PRESETS", "Exponent", "Minifloat"]

SPECIALS = ("none", "ieee", "ocp", "fnuz")
OVERFLOWS = ("saturate", "ieee")
# Specials of the formats that are written without them, by (exponent bits, mantissa bits).
PRESETS = {
    (2, 1): "none", (1, 2): "none", (3, 0): "none", (2, 3): "none", (3, 2): "none",
    (4, 3): "ocp", (5, 2): "ieee", (3, 4): "ieee", (5, 10): "ieee", (8, 7): "ieee", (8, 23): "ieee",
    (8, 0): "",  # e8m0 is `Exponent`
}
SHORT = {(5, 10): "fp16", (8, 7): "bf16", (8, 23): "fp32"}


@dataclass(frozen=True)
class Minifloat(Scalar):
    """Sign, exponent, mantissa; subnormals always [1]_ [2]_.

    With E and M the two fields: the significand is ``(E > 0) << m | M``, shifted left by
    ``max(E, 1) - 1``, in units of ``2 ** lsb``, ``lsb = 1 - bias - m``.

    .. [1] IEEE Std 754-2019.
    .. [2] OCP 8-bit Floating Point Specification (OFP8) v1.0; OCP Microscaling Formats v1.0.
    .. [3] Noune et al., 8-bit numerical formats for deep neural networks. arXiv:2206.02915 (2022).
    .. [4] Sun et al., Hybrid 8-bit floating point (HFP8) training and inference for deep neural
       networks. NeurIPS 2019 (bias 11).

    Parameters
    ----------
    exponent_bits : int
        e, 1 to 11.
    mantissa_bits : int
        m, 0 to 49.
    bias : int
        Default ``2 ** (e - 1) - 1``.
    specials : {"none", "ieee", "ocp", "fnuz"}
        ``none``: every code is finite. ``ieee``: the top exponent is Inf or NaN. ``ocp``: only all
        ones is NaN. ``fnuz``: only the code of -0 is NaN, and there is no -0 [3]_ [4]_.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int = None  # pyright: ignore[reportAssignmentType]
    specials: str = "none"

    def __post_init__(self):
        e, m = self.exponent_bits, self.mantissa_bits
        integer_parameter("Exponent bits", e, low=1, high=11)
        integer_parameter("Mantissa bits", m, low=0, high=49)
        if self.bias is None:
            object.__setattr__(self, "bias", (1 << (e - 1)) - 1)
        integer_parameter("Bias", self.bias, low=-1023, high=1074)
        choice("Specials", self.specials, SPECIALS)
        if self.max_code < 1:
            raise ValueError(f"Specials must leave a finite number above 0 in e{e}m{m}, "
                             f"not {self.specials!r}")
        if self.lsb < -1074 or self.integer_bits + self.lsb > 1024:
            raise ValueError(f"Bias must leave all values of e{e}m{m} within float64, "
                             f"not {self.bias!r}")

    @property
    def name(self):
        pair = e, m = self.exponent_bits, self.mantissa_bits
        usual = (1 << (e - 1)) - (self.specials != "fnuz")
        bias = "" if self.bias == usual else f"b{self.bias}"
        preset = PRESETS.get(pair, "none")
        if not bias and self.specials == preset and pair in SHORT:
            return SHORT[pair]
        return f"e{e}m{m}{bias}{'' if self.specials == preset else '_' + self.specials}"

    @property
    def bits(self):
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def lsb(self):
        return 1 - self.bias - self.mantissa_bits

    @property
    def max_code(self):
        """Code of the greatest finite value."""
        top = (1 << (self.bits - 1)) - 1
        if self.specials == "ieee":
            return top - (1 << self.mantissa_bits)
        return top - (self.specials == "ocp")

    @property
    def integer_bits(self):
        """Width of the greatest integer that `decode` gives."""
        exponent, mantissa = divmod(self.max_code, 1 << self.mantissa_bits)
        return max(exponent - 1, 0) + (
            mantissa + (1 << self.mantissa_bits) * (exponent > 0)
        ).bit_length()

    @property
    def max(self):
        """Greatest finite value."""
        return float(self._values(np.array(self.max_code, code_dtype(self.bits))))

    @property
    def min(self):
        """Least finite value."""
        return -self.max

    @property
    def nan_code(self):
        """Code of a positive NaN, or None."""
        m = self.mantissa_bits
        if self.specials == "ieee" and m:
            return self.max_code + 1 + (1 << (m - 1))
        return {"ocp": self.max_code + 1, "fnuz": 1 << (self.bits - 1)}.get(self.specials)

    @property
    def inf_code(self):
        """Code of plus infinity, or None."""
        return self.max_code + 1 if self.specials == "ieee" else None

    def operands(self, codes):
        """Sign, shift and significand of codes; see `Operands`."""
        codes = self.check_codes(codes).astype(np.int64)
        m = self.mantissa_bits
        exponent = codes >> m & ((1 << self.exponent_bits) - 1)
        integer = (exponent > 0).astype(np.int64) << m | codes & ((1 << m) - 1)
        return Operands(codes >> (self.bits - 1), np.maximum(exponent, 1) - 1, integer)

    def _is_nan(self, codes):
        if self.specials == "fnuz":
            return codes == self.nan_code
        magnitude = codes & ((1 << (self.bits - 1)) - 1)
        return magnitude > (self.max_code + (self.specials == "ieee"))

    def _is_inf(self, codes):
        if self.inf_code is None:
            return np.zeros(np.shape(codes), bool)
        return (codes & ((1 << (self.bits - 1)) - 1)) == self.inf_code

    def encode(self, values, *, rounding="half_even", overflow="saturate"):
        """Codes of real values.

        Parameters
        ----------
        values : float array
            -0 keeps its sign where the format has -0.
        rounding : str
            One of `ROUNDINGS`, by either name.
        overflow : {"saturate", "ieee"}
            What becomes of values that round beyond the greatest: the greatest, infinities
            included; or, as IEEE casts do, Inf (NaN where there is no Inf).

        Returns
        -------
        unsigned array of the shape of ``values``

        Raises
        ------
        ValueError
            For NaN where the format has none; for ``ieee`` where it has neither Inf nor NaN.
        """
        rounding = rounding_name(rounding)
        choice("Overflow", overflow, OVERFLOWS)
        if overflow == "ieee" and self.inf_code is None and self.nan_code is None:
            raise ValueError(
                f"Overflow must be 'saturate', not 'ieee': {self.name} has neither Inf nor NaN"
            )
        values = real(values)
        if self.nan_code is None and np.isnan(values).any():
            raise ValueError(f"Values must be numbers: {self.name} has no code for NaN")
        if self._short and values.size > 1 << 12:
            return _short_table(self, rounding, overflow)[odd_bfloat16(values)]
        return self._encode(as_float64(values), rounding, overflow)

    @property
    def _short(self):
        """Whether a value, rounded to odd at bfloat16's 8 bits, still rounds to the same code."""
        in_range = self.lsb >= -120 and self.integer_bits + self.lsb <= 127
        return in_range and self.mantissa_bits <= 5 and self.bits <= 16

    def _encode(self, values, rounding, overflow):
        m = self.mantissa_bits
        nan, negative = np.isnan(values), np.signbit(values)
        # Below a quarter of the least step every value rounds alike; this keeps ldexp exact.
        x = np.where(nan, 0, values)
        least, most = 2.0 ** max(self.lsb - 2, -1074), np.finfo(np.float64).max
        x = np.where(x == 0, 0, np.copysign(np.clip(np.abs(x), least, most), x))
        shift = np.maximum(np.frexp(x)[1] - 1 - m - self.lsb, 0)
        x = _scaled(x, -shift - self.lsb)
        integer = np.abs(round_floats(x, rounding)).astype(np.int64)
        if m == 0 and rounding == "half_even":
            # The significands 1 and 2 stand for two powers of two: the even one has an even code.
            integer -= (np.abs(x) == 1.5) & (shift % 2 == 1)
        # A significand that rounds up to 2 ** (m + 1) carries into the exponent field.
        code = np.where(integer == 0, 0, (shift.astype(np.int64) << m) + integer)
        beyond = (code > self.max_code) | np.isinf(values)
        code = np.where(beyond, self.max_code, code)
        if overflow == "ieee":
            # Directed roundings reach infinity on one side only, or not at all.
            reaches = {"floor": negative, "zero": False}.get(rounding, True) | np.isinf(values)
            special = self.nan_code if self.inf_code is None else self.inf_code
            code = np.where(beyond & reaches, np.int64(special), code)
        if self.nan_code is not None:
            code = np.where(nan, self.nan_code, code)
        sign = np.int64(1) << (self.bits - 1)
        if self.specials == "fnuz":
            negative = negative & (code != 0)
        return np.where(negative, code | sign, code).astype(code_dtype(self.bits))


def _scaled(x, exponent):
    """``x * 2 ** exponent`` where the exponent may exceed what one ldexp can take."""
    half = exponent // 2
    return np.ldexp(np.ldexp(x, half), exponent - half)


def odd_bfloat16(values):
    """Bit patterns of floats cut to bfloat16, the last bit set where anything was lost."""
    if values.dtype == np.float32:
        bits = np.ascontiguousarray(values).view(np.uint32)
    else:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            nearest = values.astype(np.float32)
        back = nearest.astype(np.float64)
        bits = nearest.view(np.uint32) - (np.abs(back) > np.abs(values))
        bits |= ~((back == values) | np.isnan(values))
    short = (bits >> 16).astype(np.uint16)
    short |= (bits & 0xFFFF) != 0
    return short


@lru_cache(maxsize=64)
def _short_table(fmt, rounding, overflow):
    """Codes of all bfloat16 values."""
    values = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    if fmt.nan_code is None:
        values = np.where(np.isnan(values), np.float32(0), values)
    return fmt._encode(as_float64(values), rounding, overflow)


@dataclass(frozen=True)
class Exponent(Scalar):
    """Unsigned powers of two ``2 ** (code - bias)``; the top code is NaN, and there is no 0 [1]_.

    .. [1] OCP Microscaling Formats v1.0, section 5.4.1 (E8M0).

    Parameters
    ----------
    bits : int
        Width, 2 to 10.
    bias : int
        Default ``2 ** (bits - 1) - 1``.
    """

    bits: int = 8
    bias: int = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        integer_parameter("Bits", self.bits, low=2, high=10)
        if self.bias is None:
            object.__setattr__(self, "bias", (1 << (self.bits - 1)) - 1)
        integer_parameter("Bias", self.bias, low=(1 << self.bits) - 1025, high=1022)

    @property
    def name(self):
        if (self.bits, self.bias) == (8, 127):
            return "e8m0"
        usual = (1 << (self.bits - 1)) - 1
        return f"ue{self.bits}m0" + ("" if self.bias == usual else f"b{self.bias}")

    @property
    def lsb(self):
        return -self.bias

    @property
    def nan_code(self):
        """Code of NaN."""
        return (1 << self.bits) - 1

    inf_code = None

    @property
    def integer_bits(self):
        """Width of the greatest integer that `decode` gives."""
        return self.nan_code

    @property
    def max(self):
        """Greatest value."""
        return 2.0 ** (self.nan_code - 1 - self.bias)

    @property
    def min(self):
        """Least value."""
        return 2.0**-self.bias

    def operands(self, codes):
        """Sign 0, the code as exponent, and integer 1; see `Operands`."""
        codes = self.check_codes(codes).astype(np.int64)
        return Operands(np.zeros_like(codes), codes, np.ones_like(codes))

    def _is_nan(self, codes):
        return codes == self.nan_code

    def encode(self, values, *, rounding="half_even", overflow="saturate"):
        """Codes of real values; a tie is half way between two powers, and even is an even code.

        Parameters and errors as in `Minifloat.encode`. What is too small, 0 and negative numbers
        included, becomes the least power, or with ``ieee`` NaN where it is not above 0.
        """
        rounding = rounding_name(rounding)
        choice("Overflow", overflow, OVERFLOWS)
        values = as_float64(real(values))
        nan = np.isnan(values)
        significand, exponent = np.frexp(np.where(np.isfinite(values), values, 1))
        code = exponent.astype(np.int64) - 1 + self.bias
        tie = {"half_even": code & 1 == 1, "half_up": True, "half_away": True}.get(rounding, False)
        up = (significand > 0.75) | ((significand == 0.75) & tie)
        code = code + (up & (rounding not in ("floor", "zero")))
        top = self.nan_code - 1
        if overflow == "ieee":
            reaches = rounding not in ("floor", "zero")
            code = np.where(code > top, self.nan_code if reaches else top, code)
            nan = nan | (values <= 0) | (values == np.inf)
        code = np.where(values == np.inf, top, np.where(values <= 0, 0, np.clip(code, 0, None)))
        code = np.minimum(code, self.nan_code if overflow == "ieee" else top)
        return np.where(nan, self.nan_code, code).astype(code_dtype(self.bits))
