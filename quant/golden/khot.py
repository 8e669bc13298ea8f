# SPDX-License-Identifier: Apache-2.0
"""Constants with at most K ones: multiplication by shift and add."""

from typing import NamedTuple

import torch

from ..formats.scalar import integer_parameter
from .exact import magnitude
from .rounding import int64

__all__ = ["Terms", "khot", "khot_multiply", "khot_terms"]

MOST = 1 << 61  # twice of it is still int64


class Terms(NamedTuple):
    """Integers as sums of powers of two: ``sign * sum(2 ** shifts)``.

    Attributes
    ----------
    sign : int64 tensor, shape (...)
        1, 0 or -1.
    shifts : int64 tensor, shape (..., K)
        From the greatest down, then -1 where an integer has fewer ones.
    """

    sign: torch.Tensor
    shifts: torch.Tensor


def khot(values, k, *, limit=None):
    """The nearest integers with at most ``k`` ones in their magnitude [1]_.

    Of two equally near ones that with fewer ones, then the smaller magnitude. Rounding up may reach
    the next power of two: 7 becomes 8. ``limit`` excludes what would not fit.

    Parameters
    ----------
    values : integer tensor
        Magnitudes up to ``2 ** 61``.
    k : int
        1 to 62.
    limit : int, optional
        Greatest magnitude of a result.

    Returns
    -------
    int64 tensor of the shape of ``values``

    .. [1] After QFX (Dai et al., Trainable fixed-point quantization for deep learning acceleration
       on FPGAs, 2024), which says "K-hot" but gives no rule: this one is ours.
    """
    values = _checked(values)
    integer_parameter("K", k, low=1, high=62)
    limit = MOST if limit is None else limit
    integer_parameter("Limit", limit, low=0, high=MOST)
    exact = values.abs().clamp(max=limit)
    # Below: the k highest ones. Above: one more of the lowest of these. All between have more ones.
    below, last = torch.zeros_like(exact), torch.zeros_like(exact)
    for _ in range(k):
        rest = exact - below
        last = torch.where(rest > 0, highest_one(rest), last)
        below = torch.where(rest > 0, below + last, below)
    above = below + last
    nearer, tie = above - exact < exact - below, above - exact == exact - below
    # `below` has k ones. Where its lowest two are neighbours, the carry leaves fewer.
    carries = below & (last << 1) != 0
    up = (exact != below) & (above <= limit) & (nearer | (tie & carries))
    return torch.where(up, above, below) * values.sign()


def khot_terms(values, k=None):
    """What hardware adds up for constants, see `Terms`.

    Parameters
    ----------
    values : integer tensor
    k : int, optional
        Ones that they may have, and length of ``shifts``; the most that any has if it is not given.
    """
    values = _checked(values)
    rest, shifts = values.abs(), []
    while len(shifts) < k if k else bool(rest.any()):
        one = highest_one(rest)
        shifts.append(torch.where(rest > 0, torch.frexp(one.double()).exponent.long() - 1, -1))
        rest = rest - one
    if rest.any():
        wrong = int(values[rest > 0][0])
        ones = abs(wrong).bit_count()
        raise ValueError(f"Values must have at most {k} ones, not {ones} as {wrong} has")
    if not shifts:
        return Terms(values.sign(), values.new_empty(*values.shape, 0))
    return Terms(values.sign(), torch.stack(shifts, dim=-1))


def khot_multiply(x, constant):
    """Products with constants, by shifting and adding.

    Parameters
    ----------
    x, constant : integer tensors that broadcast

    Returns
    -------
    int64 tensor
    """
    x, constant = int64(x, "X"), _checked(constant)
    if magnitude(x) * magnitude(constant) >= 1 << 63:
        raise ValueError("Products must be below 2 ** 63")
    sign, shifts = khot_terms(constant)
    total = torch.zeros_like(x + constant)
    for shift in shifts.unbind(-1):
        total += torch.where(shift < 0, 0, x << shift.clamp(min=0))
    return torch.where(sign < 0, -total, total)


def _checked(values):
    values = int64(values, "Values")
    if magnitude(values) > MOST:
        raise ValueError(f"Values must be at most 2 ** 61, not {magnitude(values)}")
    return values


def highest_one(x):
    """The highest one of each integer, 0 or more, alone."""
    for shift in (1, 2, 4, 8, 16, 32):
        x = x | x >> shift
    return x ^ x >> 1
