# SPDX-License-Identifier: Apache-2.0
"""Dyadic requantisation and the search for its multiplier."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import torch

from .rounding import int64, round_shift

__all__ = ["ChannelRequantiser", "Requantiser", "count_differing", "requantise", "search"]

ROUNDINGS = ("half_even", "half_up")


def requantise(z, *, multiplier, shift, low=-128, high=127, rounding="half_even"):
    """``clamp(round(z * multiplier / 2 ** shift), low, high)`` [1]_.

    Parameters
    ----------
    z : integer tensor
        Accumulators.
    multiplier, shift : int or integer tensors, broadcast to ``z``
        b and c of the paper, one for all or one per channel; products must stay below ``2 ** 62``.
    low, high : int
        Limits of the result.
    rounding : {"half_even", "half_up"}

    Returns
    -------
    int64 tensor

    .. [1] HAWQ-V3 (Yao et al., 2021), section 3.2. Its published code multiplies in float64, which
       is not exact.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"Rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
    z, multiplier, shift = (
        int64(x, name) for x, name in ((z, "Z"), (multiplier, "Multiplier"), (shift, "Shift"))
    )
    for x, name, most in (shift, "Shift", 62), (multiplier, "Multiplier", (1 << 62) - 1):
        wrong = (x < 0) | (x > most)
        if wrong.any():
            raise ValueError(f"{name} must be 0 to {most}, not {int(x[wrong][0])}")
    limit = ((1 << 62) - 1) // multiplier.clamp(min=1)
    wide = (z > limit) | (z < -limit)
    if wide.any():
        z, multiplier = (int(x.expand(wide.shape)[wide][0]) for x in (z, multiplier))
        raise ValueError(f"Product of {abs(z)} and {multiplier} exceeds 62 bits")
    return round_shift(z * multiplier, shift, rounding=rounding).clamp(low, high)


@dataclass(frozen=True)
class Requantiser:
    """Result of `search`: ``multiplier / 2 ** shift`` in place of a real multiplier.

    ``differing`` counts the reachable accumulators whose result is not the real multiplier's
    out of ``reachable``: zero means that equality is proved for all of them.
    """

    multiplier: int
    shift: int
    differing: int
    reachable: int


@dataclass(frozen=True)
class ChannelRequantiser:
    """One `Requantiser` for each output channel, with the members of one."""

    channels: tuple[Requantiser, ...]

    @property
    def multiplier(self):
        """b of each channel, int64 tensor."""
        return torch.tensor([r.multiplier for r in self.channels])

    @property
    def shift(self):
        """c of each channel, int64 tensor."""
        return torch.tensor([r.shift for r in self.channels])

    @property
    def differing(self):
        return sum(r.differing for r in self.channels)

    @property
    def reachable(self):
        return sum(r.reachable for r in self.channels)


def _steps(m, low, high, rounding):
    """For each k in low + 1 … high the least integer z with round(z * m) >= k."""
    for k in range(low + 1, high + 1):
        edge = (k - Fraction(1, 2)) / m
        first = ceil(edge)
        if first == edge and rounding == "half_even" and k % 2:
            first += 1  # The tie goes to k - 1, which is even.
        yield k, first


def count_differing(exact, other, *, z_min, z_max, low, high, rounding="half_even"):
    """Number of z in a range for which two multipliers (Fractions) give different results."""
    spans = []
    for (_, a), (_, b) in zip(
        _steps(exact, low, high, rounding), _steps(other, low, high, rounding), strict=True
    ):
        start, end = max(min(a, b), z_min), min(max(a, b) - 1, z_max)
        if start <= end:
            spans.append((start, end))
    count, covered = 0, z_min - 1
    for start, end in sorted(spans):
        start = max(start, covered + 1)
        if start <= end:
            count, covered = count + end - start + 1, end
    return count


def search(m, *, z_min, z_max, bits=16, low=-128, high=127, rounding="half_even", max_shift=62):
    """Smallest dyadic multiplier that equals a real one on every reachable accumulator.

    ``clamp(round(z * m))`` is a staircase of at most ``high - low`` steps. Each step bounds
    ``b / 2 ** c`` from both sides, so the admissible multipliers form one interval, and the search
    is for the dyadic number with the fewest bits in it. Exact rational arithmetic throughout.

    Parameters
    ----------
    m : Fraction or float
        The real multiplier, > 0 (a float is taken at its exact value).
    z_min, z_max : int
        Reachable accumulators, inclusive.
    bits : int
        Width of the multiplier.
    low, high : int
        Limits of the result.

    Returns
    -------
    Requantiser
        With ``differing == 0`` where an exact multiplier exists, else the nearest of this width.
    """
    m = Fraction(m)
    if m <= 0:
        raise ValueError(f"Multiplier must be positive, not {float(m)!r}")
    if z_min > z_max:
        raise ValueError(f"Range of accumulators must not be empty: {z_min} to {z_max}")
    if rounding not in ROUNDINGS:
        raise ValueError(f"Rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
    reachable = z_max - z_min + 1

    # Bounds as (value, strict). A step k at z asks round(z * m') >= k, or < k.
    lower, upper = [(Fraction(0), True)], []

    def bound(z, k, reached):
        if z == 0:
            return
        edge = Fraction(2 * k - 1, 2 * z)
        # A tie reaches k where the rule sends it up.
        tie_reaches = rounding == "half_up" or k % 2 == 0
        if (z > 0) == reached:
            lower.append((edge, tie_reaches != reached))
        else:
            upper.append((edge, tie_reaches != reached))

    for k, first in _steps(m, low, high, rounding):
        if first <= z_max:
            bound(max(first, z_min), k, True)
        if first - 1 >= z_min:
            bound(min(first - 1, z_max), k, False)
    least = max(lower)
    greatest = min(upper, key=lambda pair: (pair[0], not pair[1])) if upper else None

    for shift in range(max_shift + 1):
        scaled = least[0] * (1 << shift)
        b = floor(scaled) + 1 if least[1] else ceil(scaled)
        b = max(b, 1)
        if b >> bits:
            break
        value = Fraction(b, 1 << shift)
        if greatest is None or value < greatest[0] or (value == greatest[0] and not greatest[1]):
            return Requantiser(b, shift, 0, reachable)

    shift = 0
    while shift < max_shift and round(m * (1 << (shift + 1))) < 1 << bits:
        shift += 1
    b = min(max(round(m * (1 << shift)), 1), (1 << bits) - 1)
    differing = count_differing(
        m, Fraction(b, 1 << shift), z_min=z_min, z_max=z_max, low=low, high=high, rounding=rounding
    )
    return Requantiser(b, shift, differing, reachable)
