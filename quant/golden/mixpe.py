# SPDX-License-Identifier: Apache-2.0
"""MixPE: multiply-accumulate of low-bit weights and integer activations, group after group."""

import torch
from torch.nn.functional import pad

__all__ = ["mixpe", "mixpe_groups"]


def mixpe(activations, weights):
    """Group sums ``P = sum(a[k] * q[k])``.

    Parameters
    ----------
    activations, weights : integer tensors, shape (..., k)
        One group along the last axis.

    Returns
    -------
    int64 tensor, shape (...)
    """
    return (torch.as_tensor(activations).long() * torch.as_tensor(weights).long()).sum(dim=-1)


def mixpe_groups(activations, weights, *, size, scales, zeros=None):
    """``C = sum over groups of S * (P - z * A)``: dequantisation after the group [1]_.

    ``P = sum(a * q)`` and ``A = sum(a)`` over a group; A is needed with zero points only.

    Parameters
    ----------
    activations, weights : integer tensors, shape (..., K)
    size : int
        Elements of a group; the last one is shorter where it does not divide K.
    scales : integer tensor, shape (..., groups)
    zeros : integer tensor, shape (..., groups), optional
        Zero points.

    Returns
    -------
    int64 tensor, shape (...)

    .. [1] Zhang et al., MixPE: Quantization and hardware co-design for efficient LLM inference
       (2024), section III.
    """
    activations, weights, scales = (
        torch.as_tensor(x).long() for x in (activations, weights, scales)
    )
    k = activations.shape[-1]
    groups = -(-k // size)
    if scales.shape[-1] != groups:
        raise ValueError(f"Scales must be {groups} for K = {k}, not {scales.shape[-1]}")
    a, q = (
        pad(x, (0, groups * size - k)).unflatten(-1, (groups, size)) for x in (activations, weights)
    )
    sums = mixpe(a, q)
    if zeros is not None:
        sums = sums - torch.as_tensor(zeros).long() * a.sum(dim=-1)
    return (scales * sums).sum(dim=-1)
