# SPDX-License-Identifier: Apache-2.0
"""Index of the greatest value."""

import torch

__all__ = ["argmax"]


def argmax(values):
    """Index of the first greatest value along the last axis: int64.

    ``torch.argmax`` leaves open which of equal values it returns; here it is the first.
    """
    values = torch.as_tensor(values)
    greatest = values.amax(dim=-1, keepdim=True)
    index = torch.arange(values.shape[-1]).expand(values.shape)
    return torch.where(values == greatest, index, values.shape[-1]).amin(dim=-1)
