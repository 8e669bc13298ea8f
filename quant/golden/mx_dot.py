# SPDX-License-Identifier: Apache-2.0
"""Dot product of block formats: exact inside a block, blocks combined in FP32."""

import numpy as np
import torch

from .exact import dot
from .fp32 import fp32_add, fp32_from_integers, fp32_multiply

__all__ = ["mx_dot", "mx_terms", "same_blocks"]


def same_blocks(a_format, a, b_format, b):
    """Check that two encoded tensors are cut into the same blocks."""
    if a_format.size != b_format.size:
        raise ValueError("Both operands must have the same block size, "
                         f"not {a_format.size} and {b_format.size}")
    if a.k != b.k:
        raise ValueError(f"Both operands must have the same K, not {a.k} and {b.k}")


def mx_dot(a_format, a, b_format, b):
    """Dot product of two encoded vectors [1]_.

    Inside a block the sum of products is an exact integer. With both scales of the block it is
    rounded once to FP32, and the blocks are added up in FP32 in ascending order of k, each sum
    rounded half to even, subnormals kept, from +0. In two-level formats (NVFP4) the product of the
    tensors' scales, rounded to FP32, multiplies the result at the end.

    Parameters
    ----------
    a_format, b_format : Block
        Of the same block size.
    a, b : BlockCodes
        Of one vector each: codes of shape (blocks * size,).

    Returns
    -------
    float32 tensor, shape ()

    .. [1] OCP Microscaling Formats (MX) v1.0, section 6.2 leaves the precision of the sum open;
       the order and FP32 are this project's.
    """
    same_blocks(a_format, a, b_format, b)
    (a_codes, a_scales), (b_codes, b_scales) = (
        (np.asarray(e.codes).reshape(-1, f.size), np.asarray(e.scales))
        for f, e in ((a_format, a), (b_format, b))
    )
    result = torch.zeros(())
    for term in mx_terms(a_format, a_codes, a_scales, b_format, b_codes, b_scales):
        result = fp32_add(result, term)
    if a_format.two_level or b_format.two_level:
        tensor = fp32_multiply(*(torch.tensor(e.tensor_scale) for e in (a, b)))
        result = fp32_multiply(result, tensor)
    return result


def mx_terms(a_format, a_codes, a_scales, b_format, b_codes, b_scales):
    """What each pair of blocks adds to `mx_dot`: their dot product, rounded once to FP32.

    Parameters
    ----------
    a_format, b_format : Block
    a_codes, b_codes : unsigned arrays, shape (…, size)
    a_scales, b_scales : unsigned arrays, shape (…)

    Returns
    -------
    float32 tensor, shape (…)
    """
    elements = (a_format.element, a_codes), (b_format.element, b_codes)
    x, y = (element.decode(codes) for element, codes in elements)
    lsb = a_format.element.lsb + b_format.element.lsb
    with np.errstate(invalid="ignore", over="ignore"):
        scale = a_format.scale.values(a_scales) * b_format.scale.values(b_scales)
        special = np.sum(np.multiply(*(element.values(codes) for element, codes in elements)),
                         axis=-1)
        terms = torch.from_numpy(np.asarray(special * scale, np.float32))
    finite = np.isfinite(scale) & np.isfinite(special)
    significand, exponent = np.frexp(np.where(finite, scale, 0))
    # A scale has 9 bits at most, so that the product of two has 18.
    significand = np.asarray(significand * 2**24).astype(np.int64).astype(object)
    exact = np.asarray(dot(x, y)).astype(object) * significand
    exact = fp32_from_integers(exact, exponent.astype(np.int64) - 24 + lsb)
    # The others have a NaN or an infinity: as IEEE 754 has it.
    return torch.where(torch.from_numpy(np.asarray(finite)), exact, terms)
