# SPDX-License-Identifier: Apache-2.0
"""From a trained Brevitas model to an integer network."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import brevitas.nn as qnn
import torch
from torch import nn

from ..golden.requantise import search
from ..network.network import ACTIVATION, InputScaling, IntegerNetwork, Linear
from .proxies import ActivationProxy
from .quantisers import GroupScaled

__all__ = ["UnsupportedModel", "freeze", "settle", "trained_trace"]

MULTIPLIER_BITS = 24
IGNORED = (nn.Flatten, nn.Dropout, nn.Identity)


class UnsupportedModel(ValueError):
    """A module that has no integer counterpart here; the message names it."""


def _stages(model):
    """Split a sequential model into its input quantiser and (name, linear, activation) triples."""
    modules = [(n, m) for n, m in model.named_children() if not isinstance(m, IGNORED)]
    if not modules or not isinstance(modules[0][1], qnn.QuantIdentity):
        raise UnsupportedModel("Model must begin with a QuantIdentity, which quantises the input")
    input_quantiser, rest = modules[0][1], modules[1:]
    stages = []
    for name, module in rest:
        if isinstance(module, qnn.QuantLinear):
            if not isinstance(getattr(module.weight_quant, "tensor_quant", None), GroupScaled):
                raise UnsupportedModel(f"Module {name}: weight_quant must be Int4GroupWeight")
            for part in "input_quant", "output_quant", "bias_quant":
                if getattr(module, part).is_quant_enabled:
                    raise UnsupportedModel(f"Module {name}: {part} must be None")
            if not all(bool(p.isfinite().all()) for p in module.parameters()):
                raise UnsupportedModel(f"Module {name}: weights and biases must be finite numbers")
            if stages and stages[-1][2] is None:
                raise UnsupportedModel(
                    f"Module {name}: a QuantReLU or QuantIdentity must stand between linear layers"
                )
            stages.append([f"fc{len(stages) + 1}", module, None])
        elif isinstance(module, (qnn.QuantReLU, qnn.QuantIdentity)):
            if not stages or stages[-1][2] is not None:
                raise UnsupportedModel(f"Module {name}: an activation must follow a linear layer")
            stages[-1][2] = module
        else:
            raise UnsupportedModel(
                f"Module {name}: {type(module).__name__} is not supported; QuantLinear, QuantReLU "
                "and QuantIdentity are"
            )
    if not stages or stages[-1][2] is not None:
        raise UnsupportedModel("Model must end with a QuantLinear, whose outputs are the logits")
    for quantiser in [input_quantiser] + [stage[2] for stage in stages[:-1]]:
        proxy = quantiser.act_quant
        if not proxy.is_quant_enabled:
            raise UnsupportedModel("Activations must be quantised: act_quant must not be None")
        if isinstance(proxy, ActivationProxy):
            raise UnsupportedModel("Activations must be quantised by Int8Act or by Brevitas")
        bits, scales = (
            float(proxy.bit_width()),  # pyright: ignore[reportCallIssue]
            proxy.scale().numel(),  # pyright: ignore[reportCallIssue]
        )
        if bits != ACTIVATION.bits or not proxy.is_signed or scales != 1:
            raise UnsupportedModel("Activations must be signed 8-bit integers, per tensor")
        if not math.isfinite(_scale(quantiser)) or _scale(quantiser) <= 0:
            raise UnsupportedModel("Activation scales must be positive numbers: did it diverge?")
    return input_quantiser, stages


def _scale(quantiser):
    return float(quantiser.act_quant.scale().detach())


def _set_scale(quantiser, scale):
    scaling = quantiser.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl
    if hasattr(scaling, "init_scale"):  # A short training may have ended while collecting.
        scaling.init_scale()
    if not hasattr(scaling, "value"):
        raise UnsupportedModel("Activation scales must be learned parameters, as in Int8Act")
    with torch.no_grad():
        scaling.value.fill_(scale * 2 ** (ACTIVATION.bits - 1))
    if _scale(quantiser) != scale:
        raise UnsupportedModel("Activation scales must be learned parameters, as in Int8Act")


def _linear(name, linear, *, scale, relu):
    """Integer layer of a trained one that reads activations of the given scale."""
    quantiser = linear.weight_quant.tensor_quant
    scales, exponent = quantiser.scales(linear.weight)
    unit = float(Fraction(scale) * Fraction(2) ** -exponent)
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
    bias = torch.round(bias.double() / unit)
    if bool((bias.abs() >= 1 << 31).any()):
        most = float(bias.abs().max())
        raise UnsupportedModel(
            f"Layer {name}: bias must be below 2 ** 31 accumulator units, not {most:g}"
        )
    return Linear(
        name=name,
        group=quantiser.group,
        weights=linear.quant_weight().int().to(torch.int8),
        scales=scales.to(torch.int32),
        exponent=exponent,
        bias=bias.long(),
        relu=relu,
        input_scale=scale,
        output_scale=None,
        requantiser=None,
    )


def _search(layer, scale, *, bits):
    """The smallest multiplier for an output scale, see `search`."""
    z_min, z_max = layer.accumulator_range
    return search(
        layer.accumulator_scale / Fraction(scale),
        z_min=z_min,
        z_max=z_max,
        bits=bits,
        low=0 if layer.relu else ACTIVATION.min,
        high=ACTIVATION.max,
    )


def _rounded(number, bits):
    """A positive Fraction rounded to a float with that many significant bits."""
    _, exponent = math.frexp(float(number))
    return math.ldexp(round(number * Fraction(2) ** (bits - exponent)), exponent - bits)


def _dyadic_neighbours(ratio, bits):
    """Numbers ``b / 2 ** c`` with b of at most ``bits``, the nearest to ``ratio`` first."""
    shift = max(bits - math.frexp(float(ratio))[1], 0)
    nearest = round(ratio * (1 << shift))
    for distance in range(1 << (bits - 2)):
        for b in {nearest + distance, nearest - distance}:
            if 0 < b < 1 << bits:
                yield Fraction(b, 1 << shift)


def settle(model, *, multiplier_bits=8):
    """Put a trained model on numbers that hardware can equal, in place; returns it in float64.

    Each hidden activation scale moves to the nearest one whose requantisation multiplier is a
    dyadic number of ``multiplier_bits`` (more where that cannot be), proved equal for every
    reachable accumulator, and each bias to the nearest multiple of its accumulator's unit. Scales
    keep few enough significant bits that no float64 sum of the model can round. What is trained
    after this call undoes it.
    """
    model = model.double().eval()
    input_quantiser, stages = _stages(model)
    scale = _rounded(Fraction(_scale(input_quantiser)), min(24, 52 - _sum_bits(stages)))
    _set_scale(input_quantiser, scale)
    for name, linear, activation in stages:
        layer = _linear(name, linear, scale=scale, relu=isinstance(activation, qnn.QuantReLU))
        if linear.bias is not None:
            with torch.no_grad():
                linear.bias.copy_(layer.bias.double() * float(layer.accumulator_scale))
        if activation is None:
            break
        bits = min(30, 52 - _sum_bits(stages))
        scale = _rounded(Fraction(_scale(activation)), bits)
        scale = _provable(layer, scale, multiplier_bits=multiplier_bits, scale_bits=bits)
        _set_scale(activation, scale)
    return model


def _provable(layer, scale, *, multiplier_bits, scale_bits):
    """The nearest scale with a multiplier proved equal, of as few bits as will do."""
    ratio = layer.accumulator_scale / Fraction(scale)
    for width in range(multiplier_bits, MULTIPLIER_BITS + 1):
        for dyadic in islice(_dyadic_neighbours(ratio, width), 64):
            candidate = _rounded(layer.accumulator_scale / dyadic, scale_bits)
            if not _search(layer, candidate, bits=width).differing:
                return candidate
    return scale


def _sum_bits(stages):
    """Width of the greatest sum of any layer, in accumulator units."""
    most = max(
        linear.in_features * group.element.min * ACTIVATION.min * group.scale_max
        for _, linear, _ in stages
        for group in [linear.weight_quant.tensor_quant.group]
    )
    return most.bit_length() + 1


def freeze(model, *, name, offset, gain, labels, multiplier_bits=MULTIPLIER_BITS):
    """Integer network of a settled model.

    Parameters
    ----------
    model : nn.Sequential
        ``QuantIdentity, (QuantLinear, QuantReLU or QuantIdentity)…, QuantLinear`` with `Int8Act`
        and `Int4GroupWeight`.
    offset, gain : float64 arrays
        Normalisation of the inputs, see `InputScaling`.
    multiplier_bits : int
        Greatest width of a requantisation multiplier.

    Returns
    -------
    IntegerNetwork
        Each requantiser says for how many reachable accumulators it differs from the real scale.
    """
    input_quantiser, stages = _stages(model)
    input_scale = scale = _scale(input_quantiser)
    layers = []
    for label, linear, activation in stages:
        layer = _linear(label, linear, scale=scale, relu=isinstance(activation, qnn.QuantReLU))
        if activation is not None:
            scale = _scale(activation)
            found = _search(layer, scale, bits=multiplier_bits)
            layer = replace(layer, output_scale=scale, requantiser=found)
        layers.append(layer)
    return IntegerNetwork(name, InputScaling(input_scale, offset, gain), layers, list(labels))


@torch.no_grad()
def trained_trace(model, x):
    """What a settled model computes, quantiser by quantiser.

    Parameters
    ----------
    model : nn.Sequential
        In float64.
    x : float64 tensor, shape (samples, features)
        Normalised inputs.

    Returns
    -------
    list of float64 tensors
        The quantised input, each quantised hidden activation, and the logits.
    int
        Values that a quantiser found exactly half way between two codes: where the models' rounding
        could part.
    """
    results, ties = [], 0
    for module in model:
        before, x = x, module(x)
        if isinstance(module, (qnn.QuantIdentity, qnn.QuantReLU)):
            results.append(x)
            exact = before / _scale(module)
            if isinstance(module, qnn.QuantReLU):
                exact = exact.relu()
            inside = (exact > ACTIVATION.min) & (exact < ACTIVATION.max)
            ties += int((inside & (exact.remainder(1) == 0.5)).sum())
    return [*results, x], ties
