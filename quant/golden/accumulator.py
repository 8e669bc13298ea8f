# SPDX-License-Identifier: Apache-2.0
"""Exact accumulation over the groups of a dot product."""

import torch

__all__ = ["accumulate"]


def accumulate(terms, bias):
    """``bias + sum(terms)`` over the last axis.

    Parameters
    ----------
    terms : integer tensor, shape (..., groups)
    bias : integer tensor, broadcast to (...)

    Returns
    -------
    int64 tensor, shape (...)
    """
    return torch.as_tensor(bias).long() + torch.as_tensor(terms).long().sum(dim=-1)
