# SPDX-License-Identifier: Apache-2.0
"""Brevitas quantisers for the formats of this kit."""

import torch
from brevitas.function.ops_ste import round_ste
from brevitas.inject import ExtendedInjector, value
from brevitas.proxy import WeightQuantProxyFromInjector
from brevitas.quant import Int8ActPerTensorFloat
from torch import nn

from ..formats import Group, Int

__all__ = ["GroupScaled", "Int4GroupWeight", "Int8Act"]


class GroupScaled(nn.Module):
    """Fake quantisation of a weight to `Group`, as a Brevitas ``tensor_quant``.

    Gradients pass the rounding unchanged; the scales follow the largest magnitudes of the groups
    and are constants to the gradient.
    """

    def __init__(self, group):
        super().__init__()
        self.group = group
        self.register_buffer("bit_width", torch.tensor(float(group.bits)), persistent=False)
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)

    # The weight proxy of Brevitas asks its quantiser for the view that groups the weight.
    @property
    def int_quant(self):
        return self

    @property
    def input_view_impl(self):
        return nn.Identity()

    def scales(self, weight):
        """Integer scales (outputs, groups), as floats, and the exponent of the tensor."""
        group, (outputs, k) = self.group, weight.shape
        padding = group.groups(k) * group.size - k
        magnitudes = nn.functional.pad(weight.detach().abs(), (0, padding))
        ideal = magnitudes.reshape(outputs, -1, group.size).amax(dim=-1) / group.element.max
        exponent = group.exponent(ideal.max().item())
        return torch.round(ideal * 2.0**exponent).clamp(1, group.scale_max), exponent

    def forward(self, weight):
        scales, exponent = self.scales(weight)
        step = scales.repeat_interleave(self.group.size, dim=1)[:, : weight.shape[1]]
        step = step * 2.0**-exponent
        element = self.group.element
        quantised = round_ste(weight / step).clamp(element.min, element.max) * step
        return quantised, step, self.zero_point, self.bit_width


class Int4GroupWeight(ExtendedInjector):
    """4-bit weights in groups along K with 8-bit integer scales (SPECS 2, ``Group``).

    ``QuantLinear(…, weight_quant=Int4GroupWeight, weight_group_size=16)``
    """

    proxy_class = WeightQuantProxyFromInjector
    group_size = 16
    scale_bits = 8
    signed = True
    narrow_range = False

    @value
    def tensor_quant(group_size, scale_bits):
        return GroupScaled(Group(Int(4), group_size, scale_bits))


class Int8Act(Int8ActPerTensorFloat):
    """8-bit signed activations with one learned scale, initialised over the first batches."""

    collect_stats_steps = 30
