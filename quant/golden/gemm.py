# SPDX-License-Identifier: Apache-2.0
"""Exact matrix products of every pair of formats."""

import numpy as np
import torch

from ..formats import Block, BlockCodes, Group, GroupCodes, Int, Log2, Pair, get
from .exact import integers, magnitude, matmul
from .mx_gemm import mx_gemm

__all__ = ["gemm"]


def gemm(a, b, *, a_format=None, b_format=None):
    """``a @ b.T`` of encoded or integer matrices, both with K as their last axis.

    Scalar formats, `Pair` and `Group`: the exact sum, in units of both formats' last bits (``lsb``;
    of a `Group` ``2 ** -exponent``); where weights are grouped, ``sum over groups of
    S * (P - z * A)``. Two `Block` formats: blocks exact, combined in FP32, as `mx_dot` says.

    Parameters
    ----------
    a : shape (…, K)
        Activations: codes or an encoded tensor of ``a_format``; integers where that is None.
    b : shape (N, K)
        Weights, likewise.
    a_format, b_format : format or its name, optional

    Returns
    -------
    tensor, shape (…, N)
        int64, or of Python integers (a NumPy object array) where sums may reach ``2 ** 63``;
        float32 for blocks.
    """
    a_format, b_format = (get(f) if isinstance(f, str) else f for f in (a_format, b_format))
    if isinstance(a_format, Block) and isinstance(b_format, Block):
        for name, x in ("A", a), ("B", b):
            if not isinstance(x, BlockCodes):
                raise TypeError(f"{name} must be BlockCodes, not {type(x).__name__}")
        return mx_gemm(a_format, a, b_format, b)
    if isinstance(a_format, Block) or isinstance(b_format, Block):
        names = ["integers" if f is None else f.name for f in (a_format, b_format)]
        raise TypeError(f"Formats must both be blocks, or neither: not {' and '.join(names)}")
    (x, x_most), (y, y_most) = _operand(a, a_format, "A"), _operand(b, b_format, "B")
    if y.ndim != 2 or x.ndim < 1:
        raise ValueError(f"A and B must have shapes (…, K) and (N, K), "
                         f"not {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"A and B must have the same K, not {x.shape[-1]} and {y.shape[-1]}")
    result = matmul(x.reshape(-1, x.shape[-1]), y, bounds=(x_most, y_most))
    return result.reshape(*x.shape[:-1], y.shape[0])


def _operand(x, fmt, name):
    """Integers of an operand, and their greatest magnitude."""
    if fmt is None:
        x = integers(x, name)
    elif isinstance(fmt, Group):
        if not isinstance(x, GroupCodes):
            raise TypeError(f"{name} must be GroupCodes, not {type(x).__name__}")
        x = integers(fmt.decode(x), name)
    elif isinstance(fmt, Pair):
        x = integers(fmt.decode(x), name)
    elif isinstance(fmt, Log2) and fmt.sqrt2:
        raise TypeError(f"{name} must be of a format of integers, not {fmt.name}")
    else:
        codes = np.asarray(x)
        if isinstance(fmt, Int) and fmt.bits <= 8 and codes.dtype == np.uint8:
            return _bytes(fmt, fmt.check_codes(codes))
        if (fmt.is_nan(codes) | fmt.is_inf(codes)).any():
            raise ValueError(f"{name} must be finite: a code of {fmt.name} is NaN or Inf")
        x = integers(fmt.decode(codes), name)
    return x, magnitude(x)


def _bytes(fmt, codes):
    """Integers of `Int` codes of at most 8 bits, as bytes, and the greatest magnitude."""
    codes = torch.from_numpy(codes)
    if not fmt.signed:
        return codes, fmt.max
    if fmt.bits < 8:
        sign = 1 << (fmt.bits - 1)
        codes = (codes ^ sign) - sign  # wraps to two's complement
    return codes.view(torch.int8), 1 << (fmt.bits - 1)
