# SPDX-License-Identifier: Apache-2.0
"""Dequantisation before the product: what hardware without mixed-precision support does."""

import torch

from .exact import dot, magnitude

__all__ = ["dequantise_first"]


def dequantise_first(activations, weights, scales):
    """``sum(a[k] * (q[k] * S[k]))``: weights are widened to int16 before they are multiplied.

    Parameters
    ----------
    activations, weights : integer tensors, shape (..., K)
    scales : integer tensor, broadcast to (..., K)
        Scale of each weight's group.

    Returns
    -------
    int64 tensor, shape (...)

    Raises
    ------
    ValueError
        Where a widened weight does not fit int16.
    """
    widened = torch.as_tensor(weights).long() * torch.as_tensor(scales).long()
    if magnitude(widened) >= 1 << 15:
        raise ValueError(f"Weights times scales must fit int16, not reach {magnitude(widened)}")
    return dot(activations, widened)
