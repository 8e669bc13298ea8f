# SPDX-License-Identifier: Apache-2.0
"""Integers in groups along K, each group with an integer scale."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .integer import Int
from .rounding import odd_quotient, odd_sum
from .scalar import as_float64, integer_parameter, real

__all__ = ["Group", "GroupCodes"]


class GroupCodes(NamedTuple):
    """Encoded tensor: codes (…, K), scales (…, groups), one exponent, zero points (…, groups).

    Weight ``k`` of group g is worth ``(decode(codes)[..., k] - zeros[..., g]) * scales[..., g]
    * 2 ** -exponent``; ``zeros`` is None in formats without zero points.
    """

    codes: np.ndarray
    scales: np.ndarray
    exponent: int
    zeros: np.ndarray | None = None


@dataclass(frozen=True)
class Group:
    """Groups of integers whose scales are themselves integers [1]_.

    The scale of a group is ``S * 2 ** -x``: S an unsigned integer of ``scale_bits``, x one exponent
    per tensor, so that nothing is left to round at run time. The last group is shorter where
    ``size`` does not divide K.

    .. [1] MixPE, dequantisation after the group; the integer scales are this project's.

    Parameters
    ----------
    element : Int
        Format of the elements.
    size : int
        Elements per group.
    scale_bits : int
        Width of the scales, 1 to 16.
    zero_point : bool
        An integer z in the range of the elements for each group: values are ``(q - z) * S``, so
        that a group need not be symmetric about 0.
    """

    element: Int = field(default_factory=lambda: Int(4))
    size: int = 16
    scale_bits: int = 8
    zero_point: bool = False

    def __post_init__(self):
        if not isinstance(self.element, Int):
            raise TypeError(f"Element must be an Int, not {self.element!r}")
        integer_parameter("Size", self.size, low=1, high=1 << 16)
        integer_parameter("Scale bits", self.scale_bits, low=1, high=16)
        if not isinstance(self.zero_point, bool):
            raise TypeError(f"Zero point must be True or False, not {self.zero_point!r}")

    @property
    def name(self):
        bits = "" if self.scale_bits == 8 else f"s{self.scale_bits}"
        return f"{self.element.name}g{self.size}{bits}{'z' if self.zero_point else ''}"

    @property
    def bits(self):
        return self.element.bits

    @property
    def scale_max(self):
        return (1 << self.scale_bits) - 1

    def groups(self, k):
        """Number of groups in K elements."""
        return -(-k // self.size)

    def expand(self, scales, k):
        """Scales (…, groups), one per element: (…, k)."""
        return np.repeat(scales, self.size, axis=-1)[..., :k]

    def encode(self, values):
        """Nearest codes for real values, scales from the range of each group.

        Parameters
        ----------
        values : float array, shape (…, K)

        Returns
        -------
        GroupCodes
        """
        values = as_float64(real(values))
        if values.ndim == 0 or not values.size:
            raise ValueError(f"Values must have at least one element along K, not {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("Values must be finite numbers")
        k, element = values.shape[-1], self.element
        starts = np.arange(0, k, self.size)
        if self.zero_point:
            low = np.minimum(np.minimum.reduceat(values, starts, axis=-1), 0)
            high = np.maximum(np.maximum.reduceat(values, starts, axis=-1), 0)
            if not (high <= low + np.finfo(np.float64).max).all():
                raise ValueError("Values of a group must not span more than float64 holds")
            reach = odd_sum(high, -low)
            steps = element.max - element.min
        else:
            reach = np.maximum.reduceat(np.abs(values), starts, axis=-1)
            steps = element.max
        if 0 < reach.max() < 2.0**-1000:
            raise ValueError(f"Values must not all be below 2 ** -1000, as {float(reach.max())!r}")
        ideal = odd_quotient(reach, steps)
        exponent = self.exponent(ideal.max())
        scales = np.clip(np.rint(np.ldexp(ideal, exponent)), 1, self.scale_max).astype(np.int64)
        units = np.ldexp(scales.astype(np.float64), -exponent)
        quotients = odd_quotient(values, self.expand(units, k), bits=16)
        if not self.zero_point:
            return GroupCodes(element.encode(quotients), scales, exponent)
        zeros = element.min - np.rint(odd_quotient(low, units, bits=16))
        zeros = np.clip(zeros, element.min, element.max)
        codes = element.encode(np.rint(quotients) + self.expand(zeros, k))
        return GroupCodes(codes, scales, exponent, zeros.astype(np.int64))

    def exponent(self, ideal):
        """Largest x for which ``ideal * 2 ** x`` still fits the scale; ``ideal`` is the largest."""
        if ideal == 0:
            return 0
        mantissa, exponent = np.frexp(float(self.scale_max) / float(ideal))
        return int(exponent) - 1

    def decode(self, encoded):
        """Exact values in units of ``2 ** -exponent``: int64, shape (…, K)."""
        encoded = GroupCodes(*encoded)
        k = np.shape(encoded.codes)[-1]
        integers = self.element.decode(encoded.codes)
        if self.zero_point:
            integers = integers - self.expand(encoded.zeros, k)
        return integers * self.expand(encoded.scales, k)

    def values(self, encoded):
        """Values as float64, exact, shape (…, K)."""
        return np.ldexp(self.decode(encoded).astype(np.float64), -encoded.exponent)
