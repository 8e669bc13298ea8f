# SPDX-License-Identifier: Apache-2.0
"""MixPE: multiply-accumulate of low-bit weights and integer activations, group after group."""

import torch

__all__ = ["mixpe"]


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
