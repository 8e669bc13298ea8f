# SPDX-License-Identifier: Apache-2.0
"""Dot product of block formats: exact inside a block, blocks combined in FP32."""

import numpy as np
import torch

from .exact import matmul
from .fp32 import fp32_add, fp32_from_integers, fp32_multiply

__all__ = ["mx_dot", "same_blocks"]


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
    result = torch.zeros(())
    lsb = a_format.element.lsb + b_format.element.lsb
    blocks = [
        (f.element.decode(codes), f.element.values(codes), f.scale.values(np.asarray(e.scales)))
        for f, e in ((a_format, a), (b_format, b))
        for codes in [np.asarray(e.codes).reshape(-1, f.size)]
    ]
    for (x, x_values, x_scale), (y, y_values, y_scale) in zip(
        *(zip(*parts, strict=True) for parts in blocks), strict=True
    ):
        with np.errstate(invalid="ignore", over="ignore"):
            scale, special = x_scale * y_scale, np.sum(x_values * y_values)
        if np.isfinite(scale) and np.isfinite(special):
            (exact,) = np.asarray(matmul(x[None], y[None])).flat
            significand, exponent = np.frexp(scale)
            wide = np.array(int(exact) * int(significand * 2**24), object)
            term = fp32_from_integers(wide, int(exponent) - 24 + lsb)
        else:  # a NaN or an infinity among them: as IEEE 754 has it
            term = torch.tensor(special * scale, dtype=torch.float32)
        result = fp32_add(result, term)
    if a_format.two_level or b_format.two_level:
        tensor = fp32_multiply(*(torch.tensor(e.tensor_scale) for e in (a, b)))
        result = fp32_multiply(result, tensor)
    return result
