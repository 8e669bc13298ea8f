# SPDX-License-Identifier: Apache-2.0
"""Rectified linear unit."""

import torch

__all__ = ["relu"]


def relu(values):
    """``max(values, 0)``, any integer tensor."""
    return torch.as_tensor(values).clamp(min=0)
