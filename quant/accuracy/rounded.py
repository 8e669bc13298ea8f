# SPDX-License-Identifier: Apache-2.0
"""A matrix as a number format keeps it: encoded and decoded again."""

import hashlib

import numpy as np

from ..formats import AbFloat, Block, Group, Minifloat, Pair
from ..formats.rounding import choice

__all__ = ["SCALES", "fingerprint", "rounded", "scales", "unsuited"]

SCALES = ("none", "tensor", "row", "own")
SEARCHED = 64  # rows among which the scale of a whole matrix of pairs is searched for


def unsuited(fmt):
    """Why a format cannot keep weights or activations by itself; empty where it can."""
    if isinstance(fmt, AbFloat):
        return f"{fmt.name} holds the outliers of pairs alone"
    if not isinstance(fmt, (Block, Group, Pair)) and fmt.min >= 0:
        return f"{fmt.name} has no negative values"
    return ""


def scales(fmt):
    """Which of `SCALES` a format may have.

    ``own``: those in its blocks or groups. ``none``: floats of 16 bits and more are used as they
    are. All others have one scale for the ``tensor``, or one for each ``row`` along K.
    """
    if isinstance(fmt, (Block, Group)):
        return ("own",)
    if isinstance(fmt, Minifloat) and fmt.bits >= 16:
        return ("none",)
    return "tensor", "row"


def rounded(x, fmt, scale):
    """What is left of a matrix.

    The greatest magnitude of a tensor or row becomes the greatest value of a scalar format; the
    scale of `Pair` is that of least squared error, for a tensor on at most 64 rows, evenly spaced.

    Parameters
    ----------
    x : float array, shape (rows, K)
        Finite.
    fmt : format
    scale : str
        One of ``scales(fmt)``.

    Returns
    -------
    float64 array, shape (rows, K)
    """
    choice("Scale", scale, scales(fmt))
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise TypeError(f"X must be floats, not {x.dtype}")
    if x.ndim != 2 or not x.size:
        raise ValueError(f"X must have two axes, neither empty, not shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"X must be finite: {(~np.isfinite(x)).sum()} are not")
    if scale in ("none", "own"):
        return fmt.values(fmt.encode(x))
    x = x.astype(np.float64)
    if isinstance(fmt, Pair):
        rows = x if scale == "row" else x[:: -(-len(x) // SEARCHED)]
        unit = fmt.scale(rows, axis="channel" if scale == "row" else None)
    else:
        unit = np.abs(x).max(axis=1 if scale == "row" else None, keepdims=True) / float(fmt.max)
        unit = np.where(unit > 0, unit, 1)
    return fmt.values(fmt.encode(x / unit)) * unit


def fingerprint(fmt, scale):
    """SHA-256 of what is left of a probe: another one wherever a format rounds otherwise."""
    return hashlib.sha256(rounded(_probe(), fmt, scale).tobytes()).hexdigest()


def _probe():
    """8 rows of 256 floats between -1 and 1, most of them small, each row half the one before."""
    u = (np.arange(2048, dtype=np.uint64) * 2654435761 % (1 << 32)).astype(np.float64)
    u = u / (1 << 31) - 1
    return (u * u * u).astype(np.float32).reshape(8, 256) * np.float32(0.5) ** np.arange(
        8, dtype=np.float32)[:, None]
