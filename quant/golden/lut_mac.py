# SPDX-License-Identifier: Apache-2.0
"""T-MAC: products of bit planes by table look-up."""

import torch
from torch.nn.functional import pad

from .exact import integers
from .planes import planes

__all__ = ["lut_mac", "lut_table"]

GROUP = 4


def lut_table(activations):
    """Sums ``±a0 ± a1 ± a2 + a3`` of groups of four activations: shape (..., groups, 8).

    Bit j of the index gives the sign of ``aj``, 1 for plus. The sums with ``-a3`` are those of the
    complementary index, negated, and are not stored. Zeros fill the last group.
    """
    a = integers(activations, "Activations").long()
    groups = -(-a.shape[-1] // GROUP)
    a = pad(a, (0, groups * GROUP - a.shape[-1])).unflatten(-1, (groups, GROUP))
    signs = torch.tensor([[(index >> j & 1) * 2 - 1 for j in range(3)] for index in range(8)])
    return (a[..., None, :3] * signs).sum(dim=-1) + a[..., 3:]


def lut_mac(activations, weights, *, bits, signed=True):
    """``sum(a[k] * w[k])`` by one look-up per bit plane and group of four activations [1]_.

    With a bit b read as the sign ``2 * b - 1``, the sum over a plane is ``(T + A) / 2``: T what
    the tables give, A the sum of the activations.

    Parameters
    ----------
    activations, weights : integer tensors, shapes that broadcast to (..., K)
    bits : int
        Width of the weights.
    signed : bool
        Two's complement.

    Returns
    -------
    int64 tensor, shape (...)

    .. [1] Wei et al., T-MAC: CPU renaissance via table lookup for low-bit LLM deployment on edge
       (EuroSys 2025), section 3.
    """
    activations, weights = torch.broadcast_tensors(
        integers(activations, "Activations").long(), integers(weights, "Weights").long()
    )
    table = lut_table(activations)
    bit_planes, worth = planes(weights, bits=bits, signed=signed)
    groups = table.shape[-2]
    bit_planes = pad(bit_planes, (0, groups * GROUP - weights.shape[-1]))
    indices = (bit_planes.unflatten(-1, (groups, GROUP)) << torch.arange(GROUP)).sum(dim=-1)
    total = torch.zeros(activations.shape[:-1], dtype=torch.int64)
    sums = activations.sum(dim=-1)
    for index, value in zip(indices, worth, strict=True):
        mirrored = index < 8
        entry = torch.where(mirrored, ~index & 7, index & 7)
        found = table.gather(-1, entry.unsqueeze(-1)).squeeze(-1)
        plane = torch.where(mirrored, -found, found).sum(dim=-1)
        total += value * ((plane + sums) >> 1)  # even: both have the parity of the activations
    return total
