# SPDX-License-Identifier: Apache-2.0
"""Exact integer dot products per group, by BLAS."""

import torch

__all__ = ["group_dot"]


def _magnitude(tensor):
    """Greatest magnitude, as an unbounded integer."""
    return max(-int(tensor.min()), int(tensor.max()))


def group_dot(activations, weights, *, size):
    """Dot products over each group of ``size`` neighbours along K.

    The products run as float64 matrix products, which are exact as long as no sum can reach
    ``2 ** 53``; the bound is computed from the operands.

    Parameters
    ----------
    activations : integer tensor, shape (M, K)
    weights : integer tensor, shape (N, K)
    size : int
        Elements per group; the last group is shorter where it does not divide K.

    Returns
    -------
    int64 tensor, shape (M, N, groups)
    """
    (m, k), (n, k_weights) = activations.shape, weights.shape
    if k != k_weights:
        raise ValueError(f"Activations and weights must have the same K, not {k} and {k_weights}")
    if activations.is_floating_point() or weights.is_floating_point():
        raise TypeError("Activations and weights must be integer tensors")
    bound = min(size, k) * _magnitude(activations) * _magnitude(weights) if m * n * k else 0
    if bound >= 2**53:
        raise ValueError(f"Sums up to {bound} are not exact in float64")
    groups = -(-k // size)
    padding = (0, groups * size - k)
    a = torch.nn.functional.pad(activations.double(), padding).reshape(m, groups, size)
    w = torch.nn.functional.pad(weights.double(), padding).reshape(n, groups, size)
    return torch.einsum("mgk,ngk->mng", a, w).long()
