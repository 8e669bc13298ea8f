# SPDX-License-Identifier: Apache-2.0
"""Rounding to the nearest of listed values."""

from fractions import Fraction
from functools import lru_cache

import numpy as np

from .rounding import choice, rounding_name
from .scalar import Scalar, as_float64, real

__all__ = ["Listed", "Nearest"]


class Nearest:
    """Rounding to the nearest of a few values, exactly.

    Parameters
    ----------
    values : sequence of float
        Ascending, distinct.
    even : sequence of bool
        Whether a tie under ``half_even`` goes to this value rather than to its neighbour; where
        both or neither would take it, it goes to the lesser magnitude.
    """

    def __init__(self, values, even):
        self.values = np.array(values, np.float64)
        exact = [Fraction(float(value)) for value in values]
        middles = [(a + b) / 2 for a, b in zip(exact, exact[1:], strict=False)]
        # The greatest float that is not above each middle; and the one before, where that float is
        # the middle and a tie goes up: what is greater is nearer to the upper value.
        below = [float(middle) for middle in middles]
        below = np.array([x if Fraction(x) <= m else float(np.nextafter(x, -np.inf))
                          for x, m in zip(below, middles, strict=True)], np.float64)
        tie = np.array([Fraction(x) == m for x, m in zip(below.tolist(), middles, strict=True)],
                       bool)
        even = np.array(even, bool)
        outward = np.abs(self.values[1:]) > np.abs(self.values[:-1])
        up = {
            "half_even": np.where(even[1:] == even[:-1], ~outward, even[1:]),
            "half_up": np.ones(len(middles), bool),
            "half_down": np.zeros(len(middles), bool),
            "half_away": outward,
            "half_zero": ~outward,
        }
        self.limits = {name: np.where(tie & goes, np.nextafter(below, -np.inf), below)
                       for name, goes in up.items()}

    def index(self, x, rounding):
        """Index of the value that each float is rounded to; not for NaN."""
        if rounding in self.limits:
            return np.searchsorted(self.limits[rounding], x, side="left")
        index = np.searchsorted(self.values, x, side="right") - 1
        if rounding == "zero":
            # Up from below 0, and not across it: without a 0, to the least of the same sign.
            above = np.searchsorted(self.values, x, side="left")
            before, after = (np.searchsorted(self.values, 0, side=s) for s in ("right", "left"))
            index = np.where(np.asarray(x) < 0, np.minimum(above, before - 1),
                             np.maximum(index, after))
        return np.clip(index, 0, len(self.values) - 1)


class Listed(Scalar):
    """A scalar format that encodes by looking up the nearest of its values.

    A subclass also declares ``used()``: the values that are encoded, and their codes.
    """

    symmetric = True  # whether "even" counts magnitudes, or values

    @property
    def min(self):
        """Least value."""
        return float(_nearest(self)[0].values[0])

    @property
    def max(self):
        """Greatest value."""
        return float(_nearest(self)[0].values[-1])

    def encode(self, values, *, rounding="half_even", overflow="saturate"):
        """Codes of the nearest values, saturated.

        Under ``half_even`` a tie goes to the value with the even place in the list of magnitudes
        (in a codebook: of values). Raises ValueError for NaN.
        """
        rounding = rounding_name(rounding)
        choice("Overflow", overflow, ("saturate",))
        values = as_float64(real(values))
        if np.isnan(values).any():
            raise ValueError(f"Values must be numbers: {self.name} has no code for NaN")
        nearest, codes = _nearest(self)
        return codes[nearest.index(values, rounding)]


@lru_cache(maxsize=64)
def _nearest(fmt):
    """`Nearest` of a format's values, and the code of each."""
    values, codes = fmt.used()
    order = np.argsort(values, kind="stable")
    values, codes = values[order], codes[order]
    first = np.append(True, values[1:] != values[:-1])  # of equal values the lowest code
    values, codes = values[first], codes[first]
    key = np.abs(values) if fmt.symmetric else values
    return Nearest(values, np.searchsorted(np.unique(key), key) % 2 == 0), codes
