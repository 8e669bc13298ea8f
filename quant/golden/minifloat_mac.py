# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulate of any two scalar formats, exact (Kulisch)."""

import numpy as np
import torch

from .exact import dot

__all__ = ["minifloat_mac"]


def minifloat_mac(a_format, a, b_format, b, *, result=None):
    """``sum(a[k] * b[k])`` of two arrays of codes, exact, or rounded once at the end.

    Parameters
    ----------
    a_format, b_format : scalar formats
        Minifloats, integers, fixed point, mixed as one likes.
    a, b : unsigned arrays, shape (..., K)
        Codes of finite numbers.
    result : scalar format, optional
        Format to round the sum to, half to even.

    Returns
    -------
    int64 tensor, or object array of Python integers, shape (...)
        In units of ``2 ** (a_format.lsb + b_format.lsb)``; with ``result`` codes of that.

    Raises
    ------
    ValueError
        For codes of NaN and Inf.
    """
    operands = []
    for name, fmt, codes in ("A", a_format, a), ("B", b_format, b):
        codes = np.asarray(codes)
        if (fmt.is_nan(codes) | fmt.is_inf(codes)).any():
            raise ValueError(f"{name} must be finite: a code of {fmt.name} is NaN or Inf")
        operands.append(fmt.decode(codes))
    total = dot(*operands)
    if result is None:
        return total
    unit = 2.0 ** (a_format.lsb + b_format.lsb)
    return torch.from_numpy(np.asarray(result.encode_integers(np.asarray(total), unit)))
