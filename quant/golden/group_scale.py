# SPDX-License-Identifier: Apache-2.0
"""Dequantisation after the group."""

import torch

__all__ = ["group_scale"]


def group_scale(sums, scales):
    """Scaled group sums ``S * P``: int64, in units of ``2 ** -x`` times the activation scale."""
    return torch.as_tensor(sums).long() * torch.as_tensor(scales).long()
