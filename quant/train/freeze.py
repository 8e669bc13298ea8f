# SPDX-License-Identifier: Apache-2.0
"""From a trained Brevitas model to an integer network."""

import copy
import math
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.quant_tensor import IntQuantTensor, QuantTensor
from torch import fx, nn

from ..formats import Group, Int
from ..network import InputScaling, IntegerNetwork
from ..network.build import SAME, find_requantiser, joined
from ..network.layers import (
    ACTIVATION,
    Add,
    AveragePool,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    Rescale,
)
from .graph import QUANTISERS, UnsupportedModel, trace
from .proxies import ActivationProxy
from .quantisers import GroupScaled, rows

__all__ = [
    "UnsupportedModel", "freeze", "freeze_module", "merge_norm", "settle", "trained_trace",
]

MULTIPLIER_BITS = 24


def freeze_module(module, input_shape, *, name="module", labels=None, multiplier_bits=8):
    """Integer network of any trained module made of the layers that `trace` knows.

    Parameters
    ----------
    module : nn.Module
        Left as it is.
    input_shape : tuple of int
        Of a sample as the module reads it, channels first.

    Returns
    -------
    IntegerNetwork
        Its inputs are flat and channel-last.
    nn.Module
        The settled copy in float64 that it equals, see `settle`.
    """
    settled = settle(
        copy.deepcopy(module), input_shape=input_shape, multiplier_bits=multiplier_bits
    )
    network = freeze(
        settled, name=name, offset=np.zeros(1), gain=np.ones(1), labels=labels,
        input_shape=input_shape,
    )
    return network, settled


def merge_norm(layer, norm):
    """Put a batch normalisation into the weights and the bias of the layer before it, in place."""
    factor = 1 / torch.sqrt(norm.running_var + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight.detach()
    shift = 0 if norm.bias is None else norm.bias.detach()
    bias = 0 if layer.bias is None else layer.bias.detach()
    with torch.no_grad():
        layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias = nn.Parameter((bias - norm.running_mean) * factor + shift)


# What a step is made of.


def _steps(model, input_shape):
    """Steps of a model, each checked, and the traced module."""
    steps, traced = trace(model, input_shape)
    if steps[0].quantiser is None:
        raise UnsupportedModel("Model must begin with a QuantIdentity, which quantises the input")
    for step in steps:
        if step.module is not None:
            _check_weights(step)
    names = {module: name for name, module in model.named_modules()}
    for step in steps:
        if step.quantiser is not None:
            _check_quantiser(step.quantiser, f"Node {names[step.quantiser]}")
    return steps, traced


def _check_weights(step):
    module, where = step.module, f"Node {step.where}"
    for part in "input_quant", "output_quant", "bias_quant":
        if getattr(module, part).is_quant_enabled:
            raise UnsupportedModel(f"{where}: {part} must be None")
    if not all(bool(p.isfinite().all()) for p in module.parameters()):
        raise UnsupportedModel(f"{where}: weights and biases must be finite numbers")
    quantiser = getattr(module.weight_quant, "tensor_quant", None)
    if isinstance(quantiser, GroupScaled):
        _check_order(step, quantiser)
        return
    found = module.quant_weight() if module.weight_quant.is_quant_enabled else None
    if not isinstance(found, IntQuantTensor) or not 2 <= int(found.bit_width) <= 8:
        raise UnsupportedModel(
            f"{where}: weight_quant must be Int4GroupWeight, or integers of 2 to 8 bits of Brevitas"
        )
    if not found.signed or bool((found.zero_point != 0).any()):
        raise UnsupportedModel(f"{where}: weights must be signed, without zero points")
    if found.scale.numel() not in (1, len(found.scale) if found.scale.ndim else 1):
        raise UnsupportedModel(f"{where}: weight scales must be one, or one for each output")


def _check_order(step, quantiser):
    """Groups of a linear layer behind a flatten run as the network's activations lie."""
    k = step.module.weight[0].numel()

    def needed(channels):
        return None if channels in (None, 1, k) else channels

    wanted, found = needed(_channels(step)), needed(quantiser.channels)
    if step.kind == "linear" and wanted != found:
        raise UnsupportedModel(
            f"Node {step.where}: weight_group_channels must be {wanted}, the channels that were "
            f"flattened, not {found}"
        )


def _channels(step):
    """Channels that the inputs of a linear layer had before they were flattened, or None."""
    return step.sources[0].channels if step.kind == "linear" else None


def _check_quantiser(quantiser, where):
    proxy = quantiser.act_quant
    if not proxy.is_quant_enabled:
        raise UnsupportedModel(f"{where}: act_quant must not be None")
    if isinstance(proxy, ActivationProxy):
        raise UnsupportedModel(f"{where}: act_quant must be Int8Act or of Brevitas")
    bits = proxy.bit_width()
    whole = bits is not None and proxy.is_signed is not None and float(bits) == int(bits)
    if not whole or proxy.scale().numel() != 1 or not 1 <= int(bits) <= 7 + proxy.is_signed:
        raise UnsupportedModel(
            f"{where}: act_quant must give integers of at most 8 bits signed or 7 unsigned, with "
            "one scale"
        )
    if float(proxy.zero_point()):
        raise UnsupportedModel(f"{where}: act_quant must have a zero point of 0")
    if not math.isfinite(_scale(quantiser)) or _scale(quantiser) <= 0:
        raise UnsupportedModel(f"{where}: its scale must be a positive number: did it diverge?")


def _scale(quantiser):
    return float(quantiser.act_quant.scale().detach())


def _limits(quantiser):
    """Least and greatest code."""
    proxy = quantiser.act_quant
    bits = int(proxy.bit_width())
    if proxy.is_signed:
        return -(1 << (bits - 1)) + bool(proxy.is_narrow_range), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _set_scale(quantiser, scale):
    """Move a scale, if it is a parameter that can hold the new one."""
    quant = quantiser.act_quant.fused_activation_quant_proxy.tensor_quant
    if hasattr(quant.scaling_impl, "init_scale"):  # A short training may end while collecting.
        quant.scaling_impl.init_scale()
    value = getattr(quant.scaling_impl, "value", None)
    if not isinstance(value, torch.Tensor):
        return
    before = value.detach().clone()
    with torch.no_grad():
        value.fill_(scale * float(quant.int_scaling_impl(quantiser.act_quant.bit_width())))
        if _scale(quantiser) != scale:
            value.copy_(before)


def _weights(step):
    """The members of a `Linear` that hold the weights."""
    module = step.module
    quantiser = getattr(module.weight_quant, "tensor_quant", None)
    quantised = module.quant_weight()
    codes = rows(quantised.int().to(torch.int8), _channels(step)).contiguous()
    if isinstance(quantiser, GroupScaled):
        scales, exponent = quantiser.scales(module.weight)
        return {
            "group": quantiser.group, "weights": codes, "scales": scales.to(torch.int32),
            "exponent": exponent,
        }
    outputs, k = codes.shape
    scale, exponent = quantised.scale.detach().double().flatten(), 0
    if len(scale) == 1 and math.frexp(float(scale))[0] == 0.5:
        scale, exponent = None, 1 - math.frexp(float(scale))[1]
    return {
        "group": Group(Int(int(quantised.bit_width)), k, 1),
        "weights": codes,
        "scales": torch.ones(outputs, 1, dtype=torch.int32),
        "exponent": exponent,
        "weight_scales": scale,
    }


# Layers of steps.


def _layer(step, scales):
    """The layer of a step without its requantiser; ``scales`` are those of the steps before."""
    common = {"name": step.name, "sources": tuple(source.name for source in step.sources)}
    low, high = _limits(step.quantiser) if step.quantiser else (ACTIVATION.min, ACTIVATION.max)
    limits = {"low": low, "high": high, "output_scale": None, "requantiser": None}
    if step.kind in ("linear", "conv"):
        return _weighted(step, {**common, **limits, "input_scale": scales[step.sources[0]]})
    if step.clamped:
        limits["low"] = max(low, 0)
    match step.kind:
        case "max_pool":
            return MaxPool(**common, **step.window)
        case "flatten":
            return Flatten(**common)
        case "average_pool":
            scale = scales[step.sources[0]]
            return AveragePool(**common, **step.window, **limits, input_scale=scale)
        case "rescale":
            return Rescale(**common, **limits, input_scale=scales[step.sources[0]])
    a, b = (scales[source] for source in step.sources)
    if a != b:
        raise UnsupportedModel(
            f"Node {step.where}: both of + must have one scale: put one and the same QuantIdentity "
            "behind both"
        )
    return Add(
        **common, **limits, input_scales=(a, b), branches=(SAME, SAME), branch_scale=a,
    )


def _weighted(step, members):
    """`Linear` or `Conv` of a trained layer; its bias is rounded to accumulator units."""
    module, outputs = step.module, step.shape[-1]
    layer = (Conv if step.kind == "conv" else Linear)(
        **members, **_weights(step), **(step.window or {}), relu=step.clamped,
        bias=torch.zeros(outputs, dtype=torch.int64),
    )
    if module.bias is None:
        return layer
    units = torch.tensor([float(s) for s in layer.accumulator_scales], dtype=torch.float64)
    bias = torch.round(module.bias.detach().double() / units)
    if bool((bias.abs() >= 1 << 31).any()):
        most = float(bias.abs().max())
        raise UnsupportedModel(
            f"Layer {step.name}: bias must be below 2 ** 31 accumulator units, not {most:g}"
        )
    return replace(layer, bias=bias.long())


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


def settle(model, *, input_shape=None, multiplier_bits=8):
    """Put a trained model on numbers that hardware can equal, in place; returns it in float64.

    Batch normalisations are merged into the layers before them. Each activation scale that is a
    parameter moves to the nearest one whose requantisation multiplier is a dyadic number of
    ``multiplier_bits`` (more where that cannot be), proved equal for every reachable accumulator,
    and each bias to the nearest multiple of its accumulator's unit. Scales keep few enough
    significant bits that no float64 sum of the model can round. What is trained after this call
    undoes it.

    Parameters
    ----------
    model : nn.Module
    input_shape : tuple of int, optional
        See `trace`.
    """
    model = model.double().eval()
    _merge_norms(model, input_shape)
    steps, _ = _steps(model, input_shape)
    bits, scales, moved = 52 - _sum_bits(steps), {}, set()
    for step in steps:
        if step.kind == "input":
            _set_scale(step.quantiser, _rounded(Fraction(_scale(step.quantiser)), min(24, bits)))
            moved.add(step.quantiser)
        elif step.kind in ("linear", "conv"):
            _settle_bias(step.module, _layer(step, scales))
        if step.quantiser is None:
            scales[step] = scales[step.sources[0]] if _carries(step) else None
            continue
        if step.quantiser not in moved:
            # One quantiser may stand in several places, as before an addition.
            places = [
                _layer(other, scales)
                for other in steps
                if other.quantiser is step.quantiser
                and all(source in scales for source in other.sources)
            ]
            wide = min(30, bits)
            scale = _rounded(Fraction(_scale(step.quantiser)), wide)
            scale = _provable(places, scale, multiplier_bits=multiplier_bits, scale_bits=wide)
            _set_scale(step.quantiser, scale)
            moved.add(step.quantiser)
        scales[step] = _scale(step.quantiser)
    return model


def _carries(step):
    """Whether a step leaves the scale of its source."""
    return step.kind in ("max_pool", "flatten", "rescale")


def _merge_norms(model, input_shape):
    steps, _ = trace(model, input_shape)
    for step in steps:
        if step.norm:
            name, norm = step.norm
            merge_norm(step.module, norm)
            model.set_submodule(name, nn.Identity())


def _settle_bias(module, layer):
    if module.bias is not None:
        units = torch.tensor([float(s) for s in layer.accumulator_scales], dtype=torch.float64)
        with torch.no_grad():
            module.bias.copy_(layer.bias.double() * units)


def _provable(layers, scale, *, multiplier_bits, scale_bits):
    """The nearest scale whose multipliers are proved equal, the first of as few bits as will do."""
    first, *more = layers
    (unit, _, _), *channels = first.channels()
    ratio = unit / Fraction(scale)
    for width in range(multiplier_bits, MULTIPLIER_BITS + 1):
        # One scale is made for one multiplier; others are as wide as they have to be.
        own, tries = (MULTIPLIER_BITS, 4) if channels else (width, 4 if more else 64)
        for dyadic in islice(_dyadic_neighbours(ratio, width), tries):
            candidate = _rounded(unit / dyadic, scale_bits)
            widths = [own, *[MULTIPLIER_BITS] * len(more)]
            if not any(
                find_requantiser(layer, candidate, bits=bits).differing
                for layer, bits in zip(layers, widths, strict=True)
            ):
                return candidate
    return scale


def _sum_bits(steps):
    """Width of the greatest sum of any layer, in accumulator units."""
    most = 1
    for step in steps:
        if step.module is not None:
            group, k = _weights(step)["group"], step.module.weight[0].numel()
            most = max(most, k * group.element.min * ACTIVATION.min * group.scale_max)
    return most.bit_length() + 1


def freeze(
    model, *, name, offset, gain, labels=None, input_shape=None, multiplier_bits=MULTIPLIER_BITS
):
    """Integer network of a settled model.

    Parameters
    ----------
    model : nn.Module
        Of the layers that `trace` knows, with `Int8Act` and `Int4GroupWeight` or Brevitas' integer
        quantisers of at most 8 bits.
    offset, gain : float64 arrays
        Normalisation of the inputs, see `InputScaling`.
    labels : sequence of str, optional
        Default: the numbers of the logits.
    input_shape : tuple of int, optional
        See `trace`.
    multiplier_bits : int
        Greatest width of a requantisation multiplier.

    Returns
    -------
    IntegerNetwork
        Each requantiser says for how many reachable accumulators it differs from the real scale.
    """
    steps, _ = _steps(model, input_shape)
    first, scales, layers = steps[0], {}, []
    for step in steps:
        if step.norm:
            raise UnsupportedModel(
                f"Node {step.norm[0]}: batch normalisation must be merged; settle does it"
            )
        if step.kind != "input":
            layer = _layer(step, scales)
            if step.quantiser is not None:
                scale = _scale(step.quantiser)
                found = find_requantiser(layer, scale, bits=multiplier_bits)
                layer = replace(layer, output_scale=scale, requantiser=found)
            elif step.kind == "rescale":
                layer = replace(layer, output_scale=scales[step.sources[0]], requantiser=SAME)
            layers.append(layer)
        if step.quantiser is not None:
            scales[step] = _scale(step.quantiser)
        else:
            scales[step] = scales[step.sources[0]] if _carries(step) else None
    layers = joined(layers, bits=multiplier_bits)
    plain = type(layers[0]) is Linear and len(first.shape) == 1
    scaling = InputScaling(scales[first], offset, gain, *_limits(first.quantiser))
    labels = [str(k) for k in range(steps[-1].shape[0])] if labels is None else list(labels)
    return IntegerNetwork(name, scaling, layers, labels, None if plain else first.shape)


def _values(x):
    return x.value if isinstance(x, QuantTensor) else x


class _Recorder(fx.Interpreter):
    """Runs a traced module; keeps the results of steps and counts ties of quantisers."""

    def __init__(self, traced, steps):
        super().__init__(traced)
        self.wanted = {step.node: step for step in steps if step.node is not None}
        self.results, self.ties = {}, 0

    def run_node(self, n):
        result = super().run_node(n)
        module = self.submodules.get(n.target) if n.op == "call_module" else None
        if isinstance(module, QUANTISERS):
            self.ties += self._ties(module, _values(self.env[n.args[0]]))
        if n in self.wanted:
            step = self.wanted[n]
            self.results[step.name] = step.arranged(_values(result))
        return result

    @staticmethod
    def _ties(module, before):
        exact, (low, high) = before / _scale(module), _limits(module)
        if isinstance(module, qnn.QuantReLU):
            exact = exact.relu()
        inside = (exact > low) & (exact < high)
        return int((inside & (exact.remainder(1) == 0.5)).sum())


@torch.no_grad()
def trained_trace(model, x, input_shape=None):
    """What a settled model computes, layer by layer.

    Parameters
    ----------
    model : nn.Module
        In float64.
    x : float64 tensor
        Normalised inputs, as the model reads them.

    Returns
    -------
    dict of float64 tensors
        The quantised "input" and the result of each layer of the integer network by its name, in
        the network's order of elements; layers that the model computes in another order are
        missing.
    int
        Values that a quantiser found exactly half way between two codes: where the models' rounding
        could part.
    """
    steps, traced = _steps(model, input_shape)
    recorder = _Recorder(traced, steps)
    recorder.run(x)
    return recorder.results, recorder.ties
