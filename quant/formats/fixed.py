# SPDX-License-Identifier: Apache-2.0
"""Fixed point with the semantics of high-level synthesis."""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from .integer import twos_complement
from .rounding import OVERFLOWS, ROUNDINGS, choice, odd_float, round_floats, rounding_name
from .scalar import Operands, Scalar, as_float64, code_dtype, integer_parameter, real

__all__ = ["Fixed"]


@dataclass(frozen=True)
class Fixed(Scalar):
    """Fixed point as ``ap_fixed<W, I, rounding, overflow>`` has it [1]_.

    ``W`` bits, of which ``I`` stand left of the binary point, the sign included. Values are
    multiples of ``2 ** -(W - I)``; either side of the point may be negative or exceed W.

    .. [1] AMD UG1399, Vitis HLS User Guide, "Arbitrary Precision Fixed-Point Data Types".

    Parameters
    ----------
    width : int
        W, 1 to 53.
    integer : int
        I, -256 to 256.
    signed : bool
        Two's complement if true.
    rounding : str
        One of `ROUNDINGS`, by either name; kept by its HLS name.
    overflow : {"WRAP", "SAT", "SAT_ZERO", "SAT_SYM", "WRAP_SM"}
        Tested after rounding. ``WRAP_SM`` needs ``signed``.
    """

    width: int
    integer: int
    signed: bool = True
    rounding: str = "TRN"
    overflow: str = "WRAP"

    def __post_init__(self):
        integer_parameter("Width", self.width, low=1, high=53)
        integer_parameter("Integer", self.integer, low=-256, high=256)
        if not isinstance(self.signed, bool):
            raise TypeError(f"Signed must be True or False, not {self.signed!r}")
        object.__setattr__(self, "rounding", ROUNDINGS[rounding_name(self.rounding)])
        choice("Overflow", self.overflow, OVERFLOWS)
        if self.overflow == "WRAP_SM" and not self.signed:
            raise ValueError("Overflow must not be 'WRAP_SM' where signed is False")

    @property
    def name(self):
        return f"{'' if self.signed else 'u'}q{self.width}.{self.integer}"

    @property
    def bits(self):
        return self.width

    @property
    def fraction(self):
        """Bits right of the binary point: F = W - I."""
        return self.width - self.integer

    @property
    def lsb(self):
        return -self.fraction

    @property
    def integer_bits(self):
        """Width of the greatest magnitude that `decode` gives."""
        return self.width

    @property
    def limits(self):
        """Least and greatest integer, in units of ``2 ** lsb``."""
        return -(1 << (self.width - 1)) if self.signed else 0, (1 << (self.width - self.signed)) - 1

    @property
    def min(self):
        """Least value."""
        return self.limits[0] * 2.0**self.lsb

    @property
    def max(self):
        """Greatest value."""
        return self.limits[1] * 2.0**self.lsb

    def operands(self, codes):
        """Sign, exponent 0 and magnitude of codes; see `Operands`."""
        codes = self.check_codes(codes)
        value = twos_complement(codes, self.width) if self.signed else codes.astype(np.int64)
        return Operands((value < 0).astype(np.int64), np.zeros_like(value), np.abs(value))

    def encode(self, values, *, rounding=None, overflow=None):
        """Codes of real values, by the format's own rounding and overflow unless others are given.

        ``saturate`` is another name of ``SAT``. Raises ValueError for NaN, and for infinities
        where they would wrap.
        """
        rounding = rounding_name(self.rounding if rounding is None else rounding)
        overflow = self.overflow if overflow is None else overflow
        overflow = replace(self, overflow={"saturate": "SAT"}.get(overflow, overflow)).overflow
        values = as_float64(real(values))
        wraps = overflow in ("WRAP", "WRAP_SM")
        if np.isnan(values).any() or (wraps and np.isinf(values).any()):
            finite = f" where overflow is {overflow}" if wraps else ""
            raise ValueError(f"Values must be numbers{finite}: {self.name} has no NaN or Inf")
        # What is below a quarter of the least step rounds alike, what is far outside overflows
        # alike unless it wraps; this keeps ldexp exact.
        least, most = 2.0 ** (self.lsb - 2), 2.0 ** (self.width + self.lsb + 1)
        magnitude = np.clip(np.abs(values), least, None if wraps else most)
        magnitude = np.where(values == 0, 0, magnitude)
        with np.errstate(over="ignore"):
            scaled = np.ldexp(np.copysign(magnitude, values), -self.lsb)
        if not np.isfinite(scaled).all():
            raise ValueError(f"Values must be below 2 ** {1024 + self.lsb} where {self.name} wraps")
        rounded = round_floats(scaled, rounding)
        low, high = self.limits
        if wraps:
            # The remainder is exact. One more bit tells what WRAP_SM does.
            kept = np.fmod(rounded, 2.0 ** (self.width + 1)).astype(np.int64)
            if overflow == "WRAP_SM":
                deleted, sign = kept >> self.width & 1, kept >> (self.width - 1) & 1
                kept = np.where(deleted != sign, ~kept, kept)
        else:
            outside = (rounded < low) | (rounded > high)
            if overflow == "SAT_SYM" and self.signed:
                low = -high
            kept = np.clip(rounded, low, high).astype(np.int64)
            if overflow == "SAT_ZERO":
                kept = np.where(outside, 0, kept)
        return (kept & ((1 << self.width) - 1)).astype(code_dtype(self.width))

    def encode_integers(self, integers, scale=1, **how):
        """Codes of exact products ``integers * scale``, rounded once; see `Scalar`.

        Where they wrap, every bit of a product counts, however long it is.
        """
        integers, scale = np.asarray(integers), Fraction(scale)
        wraps = (how.get("overflow") or self.overflow) in ("WRAP", "WRAP_SM")
        if wraps and integers.dtype.kind in "iuO":
            most = max(abs(int(integers.max(initial=0))), abs(int(integers.min(initial=0))))
            if most * abs(scale) >= Fraction(2) ** (52 + self.lsb):
                period = Fraction(2) ** (self.width + 1 + self.lsb)
                products = [int(n) * scale for n in integers.reshape(-1).tolist()]
                kept = [odd_float(p % period if p > 0 else -(-p % period)) for p in products]
                return self.encode(np.array(kept).reshape(integers.shape), **how)
        return super().encode_integers(integers, scale, **how)

    # Formats of exact results (UG1399): no bit is lost in any of them.

    def product(self, other):
        """Format of an exact product."""
        return Fixed(self.width + other.width, self.integer + other.integer,
                     self.signed or other.signed)

    def sum(self, other):
        """Format of an exact sum."""
        return self._sum(other, self.signed or other.signed)

    def difference(self, other):
        """Format of an exact difference: always signed."""
        return self._sum(other, True)

    def quotient(self, other):
        """Format of a quotient, which is cut off towards zero."""
        return Fixed(
            other.signed + self.width + max(other.fraction, 0),
            other.signed + self.integer + other.fraction,
            self.signed or other.signed,
        )

    def _sum(self, other, signed):
        integer = 1 + max(self.integer + (other.signed and not self.signed),
                          other.integer + (self.signed and not other.signed))
        return Fixed(integer + max(self.fraction, other.fraction), integer, signed)
