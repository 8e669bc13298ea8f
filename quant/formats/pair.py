# SPDX-License-Identifier: Apache-2.0
"""OliVe's outlier-victim pairs."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .abfloat import AbFloat
from .flint import Flint
from .integer import Int
from .nearest import Nearest
from .rounding import choice
from .scalar import as_float64, code_dtype, real

__all__ = ["Pair", "PairCodes"]

RULES = ("larger", "left")
CACHED = 1 << 15  # values of a search at a time: what fits a cache


class PairCodes(NamedTuple):
    """Encoded tensor: words (…, ceil(K / 2)), K, and what was lost.

    ``outliers`` counts elements that needed an outlier code, ``doubled`` the pairs in which both
    did, so that one of them became 0. ``padding`` is the number of zeros appended to K: 0 or 1.
    """

    words: np.ndarray
    k: int
    outliers: int
    doubled: int

    @property
    def padding(self):
        return self.k % 2


@dataclass(frozen=True)
class Pair:
    """Two neighbours along K in one word, the left one in the low half [1]_.

    The *identifier* is the most negative normal code. Normal and normal: both codes. An outlier
    takes its own half; its neighbour, the *victim*, becomes 0 and its half the identifier.

    .. [1] Guo et al., OliVe: Accelerating large language models via hardware-friendly
       outlier-victim pair quantization. ISCA 2023.

    Parameters
    ----------
    normal : Int (signed) or Flint
        Format of normal values, without the code of the identifier.
    outlier : AbFloat
        Format of outliers, of the same width.
    """

    normal: Int | Flint
    outlier: AbFloat

    def __post_init__(self):
        if not isinstance(self.normal, (Int, Flint)):
            raise TypeError(f"Normal must be an Int or a Flint, not {self.normal!r}")
        if isinstance(self.normal, Int) and not (self.normal.signed and self.normal.bits <= 8):
            raise ValueError(f"Normal must be signed, of at most 8 bits, not {self.normal.name}")
        if not isinstance(self.outlier, AbFloat):
            raise TypeError(f"Outlier must be an AbFloat, not {self.outlier!r}")
        if self.outlier.bits != self.normal.bits:
            raise ValueError(f"Outlier must have the {self.normal.bits} bits of the normal format, "
                             f"not {self.outlier.bits}")

    @property
    def name(self):
        if isinstance(self.normal, Flint):
            preset = AbFloat(2, 1, 3), "olive4_flint"
        else:
            preset = {
                4: (AbFloat(2, 1, 2), "olive4"), 8: (AbFloat(4, 3, 4, 1 << 15), "olive8")
            }.get(self.normal.bits, (None, ""))
        if self.outlier == preset[0]:
            return preset[1]
        return f"pair_{self.normal.name}_{self.outlier.name}"

    @property
    def bits(self):
        """Width of one element; a word has twice as many."""
        return self.normal.bits

    lsb = 0

    @property
    def integer_bits(self):
        """Width of the greatest magnitude that `decode` gives."""
        return max(self.normal.integer_bits, self.outlier.integer_bits)

    @property
    def identifier(self):
        """Code that marks a victim: the most negative normal one."""
        return 1 << (self.bits - 1)

    @property
    def max(self):
        """Greatest value."""
        return max(float(self.normal.max), self.outlier.max)

    def words(self):
        """Every word, in order."""
        return np.arange(1 << 2 * self.bits, dtype=code_dtype(2 * self.bits))

    def encode(self, values, *, rule="larger"):
        """Words for real values, in the unit of the normal format.

        Each value goes to the nearest of either set, a tie to the larger magnitude. Where both
        neighbours need an outlier code, one becomes 0.

        Parameters
        ----------
        values : float array, shape (…, K)
            A zero is appended where K is odd.
        rule : {"larger", "left"}
            Which of two outliers is kept: the one of the larger magnitude (of equal ones the left),
            or, as the published code does, the left one.

        Returns
        -------
        PairCodes
        """
        choice("Rule", rule, RULES)
        values = as_float64(real(values))
        if values.ndim == 0:
            raise ValueError("Values must have an axis K, not shape ()")
        if np.isnan(values).any():
            raise ValueError(f"Values must be numbers: {self.name} has no code for NaN")
        k = values.shape[-1]
        pad = [(0, 0)] * (values.ndim - 1) + [(0, k % 2)]
        pairs = np.pad(values, pad).reshape(*values.shape[:-1], -1, 2)
        _, codes, _ = _union(self)
        index, outlier, victim = self._nearest(pairs, rule)
        code = np.where(victim, self.identifier, codes[index]).astype(code_dtype(2 * self.bits))
        words = code[..., 0] | code[..., 1] << self.bits
        return PairCodes(words, k, int(outlier.sum()), int(outlier.all(-1).sum()))

    def _nearest(self, pairs, rule):
        """Of real pairs, (…, 2): index into `_union`, whether an outlier, whether a victim."""
        nearest, _, is_outlier = _union(self)
        index = nearest.index(pairs, "half_away")
        outlier = is_outlier[index]
        left, right = outlier[..., 0], outlier[..., 1]
        keep_left = (rule == "left") | (np.abs(pairs[..., 0]) >= np.abs(pairs[..., 1]))
        victim = np.stack([right & ~(left & keep_left), left & ~(right & ~keep_left)], -1)
        return index, outlier, victim

    def split(self, words):
        """Codes of both halves and which of them are outliers.

        Returns
        -------
        codes : int64 array, shape (…, 2)
            Left, right; 0 for victims.
        outlier : bool array, shape (…, 2)
            Whether a code is one of the outlier format.
        """
        words = np.asarray(words)
        if words.dtype.kind not in "iu":
            raise TypeError(f"Words must be integers, not {words.dtype}")
        words = words.astype(np.int64)
        if words.size and (words.min() < 0 or words.max() >> 2 * self.bits):
            raise ValueError(f"Words of {self.name} must be 0 to {(1 << 2 * self.bits) - 1}, "
                             f"not {words.min()} to {words.max()}")
        codes = np.stack([words & ((1 << self.bits) - 1), words >> self.bits], -1)
        victim = codes == self.identifier
        outlier = victim[..., ::-1] & ~victim
        return np.where(victim, 0, codes), outlier

    def decode(self, encoded):
        """Integers of encoded values, int64, shape (…, K); of plain words all (…, 2 * words)."""
        words, k = encoded[:2] if isinstance(encoded, tuple) else (encoded, None)
        codes, outlier = self.split(words)
        integers = np.where(outlier, self.outlier.decode(codes), self.normal.decode(codes))
        return integers.reshape(*integers.shape[:-2], -1)[..., :k]

    def values(self, encoded):
        """Values as float64, exact; see `decode`."""
        return self.decode(encoded).astype(np.float64)

    def scale(self, values, *, axis=None, alphas=None):
        """Unit of the normal format that gives the least squared error, by search [1]_.

        The greatest normal value stands for ``alpha * max |mean ± 3 deviations|``.

        Parameters
        ----------
        values : float array, shape (…, K)
        axis : None or "channel"
            One scale for the tensor (activations), or one for each row along K (weights).
        alphas : sequence of float, optional
            Default 0.75, 0.76 … 2.5.

        Returns
        -------
        float64 array, shape () or (…, 1)
        """
        if axis not in (None, "channel"):
            raise ValueError(f"Axis must be None or 'channel', not {axis!r}")
        values = as_float64(real(values))
        if not values.size or not np.isfinite(values).all():
            raise ValueError("Values must be finite numbers, at least one")
        over = None if axis is None else -1
        mean, spread = (f(values, axis=over, keepdims=True) for f in (np.mean, np.std))
        reach = np.maximum(np.abs(mean + 3 * spread), np.abs(mean - 3 * spread))
        reach = np.where(reach > 0, reach, 1) / float(self.normal.max)
        alphas = np.arange(75, 251) / 100 if alphas is None else alphas
        padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, values.shape[-1] % 2)])
        if axis is None:
            return self._search(padded.reshape(1, -1), reach.reshape(1, 1), alphas).reshape(())
        rows, reach = padded.reshape(-1, padded.shape[-1]), reach.reshape(-1, 1)
        step = max(1, CACHED // rows.shape[-1])
        best = [self._search(rows[i : i + step], reach[i : i + step], alphas)
                for i in range(0, len(rows), step)]
        return np.concatenate(best).reshape(*values.shape[:-1], 1)

    def _search(self, rows, reach, alphas):
        """The best scale of each row: (rows, 1), from (rows, even K) and (rows, 1)."""
        table = _union(self)[0].values
        best, least = reach, np.full(reach.shape, np.inf)
        for alpha in alphas:
            unit = alpha * reach
            index, _, victim = self._nearest((rows / unit).reshape(len(rows), -1, 2), "larger")
            error = np.where(victim, 0, table[index]).reshape(rows.shape) * unit - rows
            error = (error**2).sum(axis=-1, keepdims=True)
            best, least = np.where(error < least, unit, best), np.minimum(error, least)
        return best


@lru_cache(maxsize=16)
def _union(pair):
    """`Nearest` of both sets, the code of each value, and whether it is an outlier's."""
    normal = np.setdiff1d(pair.normal.codes(), [pair.identifier])
    outlier_values, outlier = pair.outlier.used()
    keep = ~np.isin(outlier_values, pair.normal.values(normal)) & (outlier != pair.identifier)
    values = np.concatenate([pair.normal.values(normal), outlier_values[keep]])
    codes = np.concatenate([normal, outlier[keep]])
    values, first = np.unique(values, return_index=True)
    codes = codes[first]
    return Nearest(values, np.zeros(len(values), bool)), codes, first >= len(normal)
