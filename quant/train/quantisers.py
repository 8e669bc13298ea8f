# SPDX-License-Identifier: Apache-2.0
"""Brevitas quantisers for the formats of this kit.

Brevitas' own classes for floats and MX agree with these code for code, except where those of
0.13.4 leave their specification: ``Fp8e4m3`` and ``Fp8e5m2`` without ``OCP`` saturate at 480 and
114688, ``MXInt8`` takes a scale an octave too small, and powers of two come from a logarithm in
floating point. tests/quant/train/test_against_brevitas.py pins each difference.
"""

import torch
from brevitas.function.ops_ste import round_ste
from brevitas.inject import ExtendedInjector, value
from brevitas.proxy import WeightQuantProxyFromInjector
from brevitas.quant import Int8ActPerTensorFloat
from torch import nn

from ..formats import Group, Int
from .format_quant import FormatQuant
from .options import activation_options, rule_of, weight_options
from .proxies import ActivationProxy, WeightProxy, quantiser_of
from .scaling import Calibrated, Given, Initialised, Running

__all__ = [
    "GroupScaled", "Int4GroupWeight", "Int8Act", "activation_quantiser", "codes", "rows",
    "weight_quantiser",
]


def rows(weight, channels=None):
    """A weight as the hardware reads it: (outputs, K), the channels innermost.

    Parameters
    ----------
    weight : tensor, shape (outputs, channels, …) or (outputs, K)
        Of a convolution, or a linear layer.
    channels : int, optional
        Of a linear layer that reads flattened positions, channels outermost as torch has them: how
        many channels; default: K stays in its order.
    """
    if weight.ndim > 2:
        channels = weight.shape[1]
    if channels is None:
        return weight
    return weight.reshape(len(weight), channels, -1).transpose(1, 2).flatten(1)


def _unrowed(x, shape, channels):
    """The inverse of `rows`, for a weight of that shape."""
    if len(shape) > 2:
        channels = shape[1]
    if channels is None:
        return x
    return x.reshape(len(x), -1, channels).transpose(1, 2).reshape(shape)


class GroupScaled(nn.Module):
    """Fake quantisation of a weight to `Group`, as a Brevitas ``tensor_quant``.

    Gradients pass the rounding unchanged; the scales follow the largest magnitudes of the groups
    and are constants to the gradient.
    """

    def __init__(self, group, channels=None):
        super().__init__()
        self.group, self.channels = group, channels
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
        group, weight = self.group, rows(weight.detach(), self.channels)
        outputs, k = weight.shape
        padding = group.groups(k) * group.size - k
        magnitudes = nn.functional.pad(weight.abs(), (0, padding))
        ideal = magnitudes.reshape(outputs, -1, group.size).amax(dim=-1) / group.element.max
        exponent = group.exponent(ideal.max().item())
        return torch.round(ideal * 2.0**exponent).clamp(1, group.scale_max), exponent

    def forward(self, weight):
        scales, exponent = self.scales(weight)
        step = scales.repeat_interleave(self.group.size, dim=1)[:, : weight[0].numel()]
        step = _unrowed(step * 2.0**-exponent, weight.shape, self.channels)
        element = self.group.element
        quantised = round_ste(weight / step).clamp(element.min, element.max) * step
        return quantised, step, self.zero_point, self.bit_width


class Int4GroupWeight(ExtendedInjector):
    """4-bit weights in groups along K with 8-bit integer scales (SPECS 2, ``Group``).

    ``QuantLinear(…, weight_quant=Int4GroupWeight, weight_group_size=16)``; 2 to 8 bits with
    ``weight_bit_width``.

    K of a convolution is (ky, kx, channel). A linear layer behind ``nn.Flatten`` is given
    ``weight_group_channels``, the channels before it, so that its groups run likewise.
    """

    proxy_class = WeightQuantProxyFromInjector
    bit_width = 4
    group_size = 16
    group_channels = None
    scale_bits = 8
    signed = True
    narrow_range = False

    @value
    def tensor_quant(bit_width, group_size, scale_bits, group_channels):
        return GroupScaled(Group(Int(bit_width), group_size, scale_bits), group_channels)


class Int8Act(Int8ActPerTensorFloat):
    """8-bit signed activations with one learned scale, initialised over the first batches."""

    collect_stats_steps = 30


def weight_quantiser(fmt, *, scale=None, per=None):
    """Injector for weights in any format that has negative values.

    ``QuantLinear(…, weight_quant=weight_quantiser("mxfp4"))``. The scale is that of the current
    weight, but "learned" and "search" are those of the first weight that is quantised: a parameter,
    or kept. ``layer.weight_quant.init_tensor_quant()`` begins anew.

    Parameters
    ----------
    fmt : format or str
        Blocks, groups and pairs run along K, see `FormatQuant`.
    scale : {"max", "power_of_two", "learned", "search"} or float, optional
        See `statistic`. "search" is for pairs. Default: "search" for pairs, 1.0 for `Fixed`,
        `Exponent` and floats of 16 bits or more, and "max" for others. Of two-level blocks the
        tensor's scale: "max" or an fp32 number. None for other blocks and for groups.
    per : {"channel", "tensor"}, optional
        One scale for each output channel, the default, or one for all. None for blocks and groups.
    """
    options = {"fmt": fmt, "scale": scale, "per": per}
    weight_options(**options)
    return FormatWeight.let(**options)


def activation_quantiser(fmt, *, scale=None, axis=-1, collect_stats_steps=30):
    """Injector for activations in any format but groups.

    ``QuantReLU(act_quant=activation_quantiser("e4m3"))``. One scale for the tensor, the greatest
    over the first batches of training or over those of a calibration, and fixed from then on,
    unless it is "learned". Blocks have scales of their own, of each input.

    Parameters
    ----------
    fmt : format or str
    scale : {"max", "power_of_two", "learned", "search"} or float, optional
        As in `weight_quantiser`.
    axis : int
        Axis along which blocks and pairs run: -1, or 1 between convolutions.
    collect_stats_steps : int
        Batches of training over which the scale is collected.
    """
    options = {
        "fmt": fmt, "scale": scale, "axis": axis, "collect_stats_steps": collect_stats_steps,
    }
    activation_options(**options)
    return FormatActivation.let(**options)


def codes(module, x=None):
    """Codes and scale of a layer's weight, or of what an activation makes of ``x``: `Encoded`.

    Parameters
    ----------
    module : layer with a `weight_quantiser`, or activation with an `activation_quantiser`
    x : tensor, for activations only
    """
    if quantiser := quantiser_of(getattr(module, "weight_quant", None)):
        if x is not None:
            raise TypeError("x must be None for a layer: its weight is encoded")
        return quantiser.encoded(module.weight)
    if quantiser := quantiser_of(getattr(module, "act_quant", None)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x must be a tensor for an activation, not {x!r}")
        return quantiser.encoded(module.act_quant.fused_activation_quant_proxy.activation_impl(x))
    raise TypeError(
        "Module must have a weight_quantiser or an activation_quantiser, "
        f"not {type(module).__name__}"
    )


class FormatWeight(ExtendedInjector):
    """What `weight_quantiser` fills in."""

    proxy_class = WeightProxy

    @value
    def tensor_quant(fmt, scale, per, module, tracked_parameter_list):
        fmt, scale, per = weight_options(fmt=fmt, scale=scale, per=per)
        module = module[0] if isinstance(module, tuple) else module
        channel = module.output_channel_dim
        if scale is None:
            scaling = None
        elif isinstance(scale, float):
            scaling = Given(scale)
        elif scale in ("max", "power_of_two"):
            scaling = Running(fmt, rule=scale, channel=per == "channel")
        else:
            outputs = tracked_parameter_list[0].shape[channel]
            scaling = Initialised(
                fmt,
                rule=rule_of(fmt, scale),
                shape=(outputs, 1) if per == "channel" else (),
                learned=scale == "learned",
            )
        return FormatQuant(fmt, scaling=scaling, axis=1 - channel, channel=channel)


class FormatActivation(ExtendedInjector):
    """What `activation_quantiser` fills in."""

    proxy_class = ActivationProxy

    @value
    def tensor_quant(fmt, scale, axis, collect_stats_steps):
        fmt, scale = activation_options(
            fmt=fmt, scale=scale, axis=axis, collect_stats_steps=collect_stats_steps
        )
        if scale is None:
            scaling = None
        elif isinstance(scale, float):
            scaling = Given(scale)
        else:
            scaling = Calibrated(
                fmt,
                rule=rule_of(fmt, scale),
                learned=scale == "learned",
                collect_stats_steps=collect_stats_steps,
            )
        return FormatQuant(fmt, scaling=scaling, axis=axis)
