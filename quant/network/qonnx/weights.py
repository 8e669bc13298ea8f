# SPDX-License-Identifier: Apache-2.0
"""Quantised constants of a QONNX file, and weights of layers made of them."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from ...formats import Group, Int

__all__ = ["SCALES", "Codes", "grouped"]

SCALES = 2.0**-100, 2.0**100
SCALE_BITS = 16  # of integer scales of groups


@dataclass(frozen=True)
class Codes:
    """A quantised constant: integers and what one unit of each is worth, in one shape."""

    codes: np.ndarray
    scales: np.ndarray
    bits: int

    def map(self, function):
        return replace(self, codes=function(self.codes), scales=function(self.scales))

    @property
    def values(self):
        return self.codes * self.scales


def grouped(weights, factor):
    """The members of a `Linear` that hold its weights.

    Parameters
    ----------
    weights : Codes
        Of shape (outputs, K).
    factor : float64 array, shape (outputs,)
        What each output is multiplied by; a negative one turns the codes over.

    Returns
    -------
    dict
        One scale, one for each output, or integer scales of groups along K, as the scales allow.
    """
    codes, scales = weights.codes, weights.scales
    outputs, k = codes.shape
    codes = np.where(factor[:, None] < 0, -codes, np.where(factor[:, None] == 0, 0, codes))
    factor = np.where(factor == 0, 1.0, np.abs(factor))
    bits = weights.bits + bool((codes > (1 << (weights.bits - 1)) - 1).any())
    if bits > 8:
        raise ValueError(
            "a negative factor behind it makes its weights wider than 8 bits; nearest: narrow "
            "weights"
        )
    scales = scales * factor[:, None]
    if not ((scales >= SCALES[0]) & (scales <= SCALES[1])).all():
        raise ValueError("its scales, times what follows, leave 2 ** -100 to 2 ** 100")
    # Groups begin where any scale changes along K.
    edges = np.flatnonzero((scales[:, 1:] != scales[:, :-1]).any(axis=0)) + 1
    size = math.gcd(*edges.tolist()) if len(edges) else k
    scales = scales[:, ::size]
    members = {"weights": torch.from_numpy(codes.astype(np.int8))}
    real, exponent, integers = _integer_scales(scales)
    if integers is None:
        if scales.shape[1] > 1:
            raise ValueError(
                f"scales of groups must be integers of {SCALE_BITS} bits times one number"
            )
        real, exponent, integers = scales[:, 0], 0, np.ones((outputs, 1), np.int64)
    scale_bits = int(integers.max()).bit_length()
    scale_bits = scale_bits if scale_bits in (1, *range(9, SCALE_BITS + 1)) else 8
    return {
        **members,
        "group": Group(Int(bits), size, scale_bits),
        "scales": torch.from_numpy(integers.astype(np.int32)),
        "exponent": exponent,
        "weight_scales": None if real is None else torch.from_numpy(np.array(real)),
    }


def _integer_scales(scales):
    """Scales as ``real * integers * 2 ** -exponent``; integers None where there are none."""
    exact = [Fraction(s) for s in np.unique(scales).tolist()]
    unit = exact[0]
    for other in exact[1:]:
        unit = Fraction(
            math.gcd(unit.numerator * other.denominator, other.numerator * unit.denominator),
            unit.denominator * other.denominator,
        )
        if exact[-1] / unit >= 1 << SCALE_BITS:
            return None, 0, None
    integers = np.array([[int(Fraction(s) / unit) for s in row] for row in scales.tolist()])
    mantissa, exponent = math.frexp(float(unit))
    if mantissa == 0.5:
        return None, 1 - exponent, integers
    return [float(unit)], 0, integers
