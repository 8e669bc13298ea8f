# SPDX-License-Identifier: Apache-2.0
"""OliVe: dot products of outlier-victim pairs."""

import numpy as np
import torch

from .exact import dot

__all__ = ["olive", "olive_by_halves"]


def olive(a_format, a, b_format, b):
    """``sum((ia * ib) << (ea + eb))``: exact.

    Parameters
    ----------
    a_format, b_format : Pair
    a, b : unsigned arrays, shape (..., words)
        Words; both elements of each are used.

    Returns
    -------
    int64 tensor, shape (...)
    """
    return dot(a_format.decode(np.asarray(a)), b_format.decode(np.asarray(b)))


def halves(fmt, words):
    """Each 8-bit element as two operands of a 4-bit element: exponents and integers (..., 2).

    A normal x is ``<4, h> + <0, l>``, h its signed high and l its unsigned low half. An outlier
    needs one operand only, its significand being so short; the other is 0.
    """
    codes, outlier = fmt.split(np.asarray(words))
    normal = fmt.normal.decode(codes)
    sign, exponent, integer = fmt.outlier.operands(codes)
    integer = np.where(sign, -integer, integer)
    zero = np.zeros_like(normal)
    exponents = np.where(outlier, [exponent, zero], [zero + 4, zero])
    integers = np.where(outlier, [integer, zero], [normal >> 4, normal & 15])
    shape = (*np.shape(words)[:-1], -1, 2)
    return tuple(
        torch.from_numpy(np.moveaxis(x, 0, -1).reshape(shape)) for x in (exponents, integers)
    )


def olive_by_halves(a_format, a, b_format, b):
    """The same sum of 8-bit pairs on four 4-bit elements: the four cross products of the halves.

    Parameters and result as of `olive`; formats of 8 bits.
    """
    for fmt in a_format, b_format:
        if fmt.bits != 8:
            raise ValueError(f"Formats must have 8 bits, not {fmt.bits}")
    (ea, ia), (eb, ib) = halves(a_format, a), halves(b_format, b)
    products = ia.unsqueeze(-1) * ib.unsqueeze(-2) << ea.unsqueeze(-1) + eb.unsqueeze(-2)
    return products.sum(dim=(-3, -2, -1))
