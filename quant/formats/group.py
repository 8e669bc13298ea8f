# SPDX-License-Identifier: Apache-2.0
"""Integers in groups along K, each group with an integer scale."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .integer import Int

__all__ = ["Group", "GroupCodes"]


class GroupCodes(NamedTuple):
    """Encoded tensor: codes (…, K), scales (…, groups) and one exponent.

    Weight ``k`` is worth ``decode(codes)[..., k] * scales[..., k // size] * 2 ** -exponent``.
    """

    codes: np.ndarray
    scales: np.ndarray
    exponent: int


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
    """

    element: Int = field(default_factory=lambda: Int(4))
    size: int = 16
    scale_bits: int = 8

    def __post_init__(self):
        if not isinstance(self.element, Int):
            raise TypeError(f"Element must be an Int, not {self.element!r}")
        for name, value, high in ("Size", self.size, 1 << 16), ("Scale bits", self.scale_bits, 16):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if not 1 <= value <= high:
                raise ValueError(f"{name} must be 1 to {high}, not {value!r}")

    @property
    def name(self):
        return f"{self.element.name}g{self.size}"

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
        """Nearest codes for real values, scales from each group's largest magnitude.

        Parameters
        ----------
        values : float array, shape (…, K)

        Returns
        -------
        GroupCodes
        """
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("Values must be finite numbers")
        k = values.shape[-1]
        starts = np.arange(0, k, self.size)
        ideal = np.maximum.reduceat(np.abs(values), starts, axis=-1) / self.element.max
        exponent = self.exponent(ideal.max())
        scales = np.clip(np.rint(np.ldexp(ideal, exponent)), 1, self.scale_max).astype(np.int64)
        units = np.ldexp(self.expand(scales, k).astype(np.float64), -exponent)
        return GroupCodes(self.element.encode(values / units), scales, exponent)

    def exponent(self, ideal):
        """Largest x for which ``ideal * 2 ** x`` still fits the scale; ``ideal`` is the largest."""
        if ideal == 0:
            return 0
        mantissa, exponent = np.frexp(float(self.scale_max) / float(ideal))
        return int(exponent) - 1

    def decode(self, encoded):
        """Exact values in units of ``2 ** -exponent``: int64, shape (…, K)."""
        codes, scales, _ = encoded
        return self.element.decode(codes) * self.expand(scales, np.shape(codes)[-1])
