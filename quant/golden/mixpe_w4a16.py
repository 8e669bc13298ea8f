# SPDX-License-Identifier: Apache-2.0
"""MixPE with half-precision activations: exact, or aligned to the group's largest exponent."""

import numpy as np
import torch

from ..formats import get
from .exact import dot, magnitude

__all__ = ["mixpe_w4a16", "mixpe_w4a16_aligned"]

FP16 = get("fp16")


def _finite(codes):
    codes = np.asarray(codes)
    if (FP16.is_nan(codes) | FP16.is_inf(codes)).any():
        raise ValueError("Activations must be finite: a code is NaN or Inf")
    return codes


def mixpe_w4a16(activations, weights):
    """``sum(a[k] * q[k])``, exact, in units of ``2 ** -24`` (Kulisch).

    Parameters
    ----------
    activations : uint16 array, shape (..., k)
        Codes of fp16, finite.
    weights : integer tensor, shape (..., k)

    Returns
    -------
    int64 tensor, shape (...)
    """
    return dot(FP16.decode(_finite(activations)), weights)


def mixpe_w4a16_aligned(activations, weights, *, guard):
    """The same sum with each product cut off ``guard`` bits below the group's largest exponent.

    ``sum((p[k] << guard) >> (e - e[k]))``: p the product of weight and signed significand, e[k] the
    shift of an activation, e the largest of its group; ``>>`` rounds down.

    Parameters
    ----------
    activations, weights
        As of `mixpe_w4a16`; one group along the last axis.
    guard : int
        Bits kept below the last bit of the largest significand, 0 to 32.

    Returns
    -------
    sums : int64 tensor, shape (...)
    exponent : int64 tensor, shape (...)
        ``sums * 2 ** (exponent - 24)`` is the result: e - guard.
    """
    if not 0 <= guard <= 32:
        raise ValueError(f"Guard must be 0 to 32, not {guard!r}")
    sign, shift, significand = (torch.from_numpy(x) for x in FP16.operands(_finite(activations)))
    weights = torch.as_tensor(weights).long()
    if magnitude(weights) >> 15:
        raise ValueError(f"Weights must be below 2 ** 15, not {magnitude(weights)}")
    largest = shift.amax(dim=-1)
    products = torch.where(sign == 1, -significand, significand) * weights
    aligned = (products << guard) >> (largest[..., None] - shift)
    return aligned.sum(dim=-1), largest - guard
