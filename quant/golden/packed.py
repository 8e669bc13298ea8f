# SPDX-License-Identifier: Apache-2.0
"""Two narrow products in one wide multiplier."""

import torch

from .exact import dot

__all__ = ["packed"]


def packed(activations, weights):
    """``sum(a[k] * w[j, k])`` for several weights j that share each activation.

    Hardware holds ``(w1 << 12) + w0`` in one multiplier and corrects the borrow between both
    fields; what it computes is two products.

    Parameters
    ----------
    activations : integer tensor, shape (..., K)
    weights : integer tensor, shape (..., J, K)

    Returns
    -------
    int64 tensor, shape (..., J)
    """
    return dot(torch.as_tensor(activations).unsqueeze(-2), weights)
