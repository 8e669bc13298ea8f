# SPDX-License-Identifier: Apache-2.0
"""The integer network on disk: ``network.json`` and ``network.safetensors``."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..formats import Group, Int
from ..golden.requantise import ChannelRequantiser, Requantiser, count_differing
from .layers import ACTIVATION, Add, AveragePool, Conv, Flatten, Linear, MaxPool, Rescale
from .network import INPUT, InputScaling, IntegerNetwork
from .schema import NEW, File, describe, is_old, reason

__all__ = ["NetworkError", "load", "save"]

UNROUNDED = "linear", "conv", "average_pool"  # kinds whose accumulators may be the logits


class NetworkError(ValueError):
    """A network file that cannot be used; the message says what and why."""


def _tensors(layer):
    """Tensors of a layer by their names."""
    if not isinstance(layer, Linear):
        return {}
    parts = {part: getattr(layer, part) for part in ("weights", "scales", "bias")}
    if layer.weight_scales is not None:
        parts["weight_scales"] = layer.weight_scales
    if isinstance(layer.requantiser, ChannelRequantiser):
        parts["multipliers"] = layer.requantiser.multiplier
        parts["shifts"] = layer.requantiser.shift
    return {f"{layer.name}.{part}": tensor.contiguous() for part, tensor in parts.items()}


def save(network, folder):
    """Write a network into a folder, which is made where it is missing.

    4-bit linear layers one after the other are written as version 1, all else as version 2.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"input.{part}": torch.from_numpy(
            np.array(getattr(network.input, part), np.float64, ndmin=1)
        )
        for part in ("offset", "gain")
    }
    for layer in network.layers:
        tensors |= _tensors(layer)
    data = save_tensors(tensors)
    file = {
        "format": "carrysave-network",
        "version": 1,
        "name": network.name,
        "input_scale": network.input.scale,
        "input_low": network.input.low,
        "input_high": network.input.high,
        "input_shape": network.input_shape and list(network.input_shape),
        "labels": network.labels,
        "layers": [describe(layer) for layer in network.layers],
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
    }
    for name in NEW:
        if file[name] == File.model_fields[name].default:
            del file[name]
    if not is_old(file):
        file["version"] = 2
    (folder / "network.safetensors").write_bytes(data)
    text = json.dumps(file, indent=2)
    (folder / "network.json").write_text(text + "\n", encoding="utf-8")


def _requantised(layer, factors, where):
    """The layer with its requantiser, compared anew with the real scale that it stands for."""
    found, (low, high) = [], layer.bounds
    channels = layer.channels(len(factors) > 1)
    for (scale, z_min, z_max), (b, c) in zip(channels, factors, strict=True):
        if max(-z_min, z_max) * b >= 1 << 62:
            raise NetworkError(
                f"{where}: multiplier {b} times {max(-z_min, z_max)} exceeds 62 bits"
            )
        differing = count_differing(
            scale / Fraction(layer.output_scale),
            Fraction(b, 1 << c),
            z_min=z_min,
            z_max=z_max,
            low=low,
            high=high,
        )
        found.append(Requantiser(b, c, differing, z_max - z_min + 1))
    return found


def _branch(ratio, entry):
    """Requantiser of one branch of an addition, compared code by code."""
    dyadic = Fraction(entry.multiplier, 1 << entry.shift)
    codes = range(ACTIVATION.min, ACTIVATION.max + 1)
    differing = sum(round(z * ratio) != round(z * dyadic) for z in codes)
    return Requantiser(entry.multiplier, entry.shift, differing, len(codes))


class _Tensors:
    """The tensors of a file, each taken once."""

    def __init__(self, path, content):
        self.path = path
        try:
            self.tensors = load_tensors(content)
        except (SafetensorError, KeyError, ValueError) as error:
            raise NetworkError(f"{path}: not a file of plain tensors: {error!r}") from None

    def length(self, name):
        """Elements of a tensor of one axis, otherwise 0."""
        tensor = self.tensors.get(name)
        return len(tensor) if tensor is not None and tensor.ndim == 1 else 0

    def take(self, name, shape, dtype, low, high):
        if name not in self.tensors:
            raise NetworkError(f"{self.path}: tensor {name} is missing")
        tensor = self.tensors.pop(name)
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise NetworkError(
                f"{self.path}: {name} must be {dtype} {shape}, "
                f"not {tensor.dtype} {tuple(tensor.shape)}"
            )
        if not bool(((tensor >= low) & (tensor <= high)).all()):
            raise NetworkError(f"{self.path}: {name} must be within {low} to {high}")
        return tensor

    def end(self):
        if self.tensors:
            unknown = repr(sorted(self.tensors)[0])[1:-1]
            raise NetworkError(f"{self.path}: unknown tensor {unknown}")


def _weighted(entry, tensors, where):
    """A `Linear` or `Conv` of its entry and tensors."""
    name, element = entry.name, Int(int(entry.group.element.removeprefix("int")))
    group = Group(element, entry.group.size, entry.group.scale_bits)
    shape, outputs = (entry.outputs, entry.inputs), (entry.outputs,)
    groups = (entry.outputs, group.groups(entry.inputs))
    if entry.weight_scales not in (0, 1, entry.outputs):
        raise NetworkError(
            f"{where}: weight_scales must be 0, 1 or {entry.outputs}, not {entry.weight_scales}"
        )
    real = entry.weight_scales or None
    window = {}
    if entry.kind == "conv":
        _axes(entry, where)
        window = {part: getattr(entry, part) for part in ("kernel", "stride", "padding", "groups")}
    layer = (Conv if window else Linear)(
        name=name,
        group=group,
        weights=tensors.take(f"{name}.weights", shape, torch.int8, element.min, element.max),
        scales=tensors.take(f"{name}.scales", groups, torch.int32, 0, group.scale_max),
        exponent=entry.exponent,
        bias=tensors.take(f"{name}.bias", outputs, torch.int64, -(1 << 31), (1 << 31) - 1),
        relu=entry.relu,
        input_scale=entry.input_scale,
        output_scale=entry.output_scale,
        requantiser=None,
        low=entry.low,
        high=entry.high,
        weight_scales=real and tensors.take(
            f"{name}.weight_scales", (real,), torch.float64, 5e-324, 1e300
        ),
        sources=tuple(entry.sources),
        **window,
    )
    if entry.output_scale is None:
        return layer
    if entry.channel_requantisers:
        b = tensors.take(f"{name}.multipliers", outputs, torch.int64, 1, (1 << 32) - 1)
        c = tensors.take(f"{name}.shifts", outputs, torch.int64, 0, 62)
        found = _requantised(layer, list(zip(b.tolist(), c.tolist(), strict=True)), where)
        return replace(layer, requantiser=ChannelRequantiser(tuple(found)))
    if real not in (None, 1):
        raise NetworkError(
            f"{where}: channel_requantisers must be true where there are weight_scales for channels"
        )
    (found,) = _requantised(layer, [_factors(entry.requantiser)], where)
    return replace(layer, requantiser=found)


def _factors(entry):
    return entry.multiplier, entry.shift


def _axes(entry, where):
    if not len(entry.kernel) == len(entry.stride) == len(entry.padding):
        raise NetworkError(
            f"{where}: kernel, stride and padding must have as many axes, "
            f"not {len(entry.kernel)}, {len(entry.stride)} and {len(entry.padding)}"
        )


def _layer(entry, tensors, where):
    """The layer of an entry."""
    if getattr(entry, "low", 0) > getattr(entry, "high", 0):
        raise NetworkError(f"{where}: low must be at most high, {entry.high}, not {entry.low}")
    if entry.kind in ("linear", "conv"):
        return _weighted(entry, tensors, where)
    values = {part: getattr(entry, part) for part in type(entry).model_fields if part != "kind"}
    values["sources"] = tuple(entry.sources)
    if hasattr(entry, "kernel"):
        _axes(entry, where)
    if entry.kind == "flatten":
        return Flatten(**values)
    if entry.kind == "max_pool":
        return MaxPool(**values)
    values["requantiser"] = None
    if entry.kind == "add":
        values["branches"] = tuple(
            _branch(Fraction(scale) / Fraction(entry.branch_scale), branch)
            for scale, branch in zip(entry.input_scales, entry.branches, strict=True)
        )
    layer = {"add": Add, "average_pool": AveragePool, "rescale": Rescale}[entry.kind](**values)
    if entry.output_scale is None:
        return layer
    (found,) = _requantised(layer, [_factors(entry.requantiser)], where)
    return replace(layer, requantiser=found)


def _check_end(entry, last, where):
    """Every layer has its requantiser but the last, whose accumulators are the logits."""
    if entry.kind not in UNROUNDED:
        return
    channels = getattr(entry, "channel_requantisers", False)
    given = entry.requantiser is not None or channels
    if last == given or last != (entry.output_scale is None):
        rule = "must not" if last else "must"
        raise NetworkError(f"{where}: requantiser and output_scale {rule} be given here")
    if entry.requantiser is not None and channels:
        raise NetworkError(f"{where}: requantiser must be null where channel_requantisers is true")
    if last and getattr(entry, "relu", False):
        raise NetworkError(f"{where}: relu must be false on the last layer")
    if last and (entry.low, entry.high) != (ACTIVATION.min, ACTIVATION.max):
        raise NetworkError(f"{where}: low and high must not be given on the last layer")
    if last and getattr(entry, "weight_scales", 0) > 1:
        raise NetworkError(f"{where}: weight_scales must be one on the last layer: logits compare")


def load(folder):
    """Read and check a network of version 1 or 2.

    Raises
    ------
    NetworkError
        The folder does not hold a network of these versions, or holds one that is damaged or
        impossible; the message names the file, the layer, the field and what was found.
    """
    folder = Path(folder)
    description, data = folder / "network.json", folder / "network.safetensors"
    try:
        text, content = description.read_text(encoding="utf-8"), data.read_bytes()
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"{folder} is not a network folder (network.json and network.safetensors): {error}"
        ) from None
    try:
        file = File.model_validate_json(text)
    except ValidationError as error:
        raise NetworkError(f"{description}: {reason(error)}") from None
    if file.version == 1 and not is_old(file.model_dump(exclude_unset=True)):
        raise NetworkError(
            f"{description}: version must be 2 for anything but 4-bit linear layers, not 1"
        )
    if hashlib.sha256(content).hexdigest() != file.tensors_sha256:
        raise NetworkError(f"{data} is not the file that network.json describes: SHA-256 differs")
    tensors = _Tensors(data, content)
    network = _graph(file, tensors, description)
    affine = []
    for name in "input.offset", "input.gain":
        count = tensors.length(name)
        shape = (count,) if count in (1, network.inputs) else (network.inputs,)
        affine.append(tensors.take(name, shape, torch.float64, -1e300, 1e300).numpy())
    tensors.end()
    return replace(network, input=replace(network.input, offset=affine[0], gain=affine[1]))


def _graph(file, tensors, description):
    """The network of a description, without the scaling of its inputs; each edge checked."""
    if file.input_low > file.input_high:
        raise NetworkError(
            f"{description}: input_low must be at most input_high, {file.input_high}, "
            f"not {file.input_low}"
        )
    shape = file.input_shape
    if shape is None:
        if file.layers[0].kind != "linear":
            raise NetworkError(f"{description}: input_shape must be given")
        shape = [file.layers[0].inputs]
    last = max((k for k, e in enumerate(file.layers) if e.kind != "flatten"), default=0)
    # Of each output its shape and its scale, which is None for accumulators.
    known, layers, read, before = {INPUT: (tuple(shape), file.input_scale)}, [], set(), INPUT
    for index, entry in enumerate(file.layers):
        where = f"{description}: layer {entry.name}"
        sources = entry.sources or [before]
        for source in sources:
            if source not in known:
                raise NetworkError(
                    f"{where}: sources must be layers before it, of {', '.join(known)}, "
                    f"not {source}"
                )
        if entry.name in known:
            raise NetworkError(f"{where}: the name occurs twice")
        if len(sources) > 1 and entry.kind != "add":
            raise NetworkError(f"{where}: sources must be one, not {len(sources)}")
        if entry.kind == "linear" and known[sources[0]][0] != (entry.inputs,):
            (*more, width) = known[sources[0]][0]
            width = [*more, width] if more else width
            raise NetworkError(f"{where}: inputs must be {width}, not {entry.inputs}")
        _check_scales(entry, [known[source][1] for source in sources], where)
        _check_end(entry, index == last, where)
        layer = _layer(entry, tensors, where)
        try:
            shape = layer.shape(*(known[source][0] for source in sources))
        except ValueError as error:
            raise NetworkError(f"{where}: {error}") from None
        carried = known[sources[0]][1] if entry.kind in ("flatten", "max_pool") else None
        known[entry.name] = shape, layer.output_scale or carried
        layers.append(layer)
        read |= set(sources)
        before = entry.name
    unread = [name for name in known if name not in read and name != before]
    if unread:
        raise NetworkError(f"{description}: layer {unread[0]}: no layer reads it")
    shape, scale = known[before]
    if scale is not None:
        raise NetworkError(
            f"{description}: layer {before}: the last layer must be linear, conv or average_pool, "
            "or flatten one, and its accumulators the logits"
        )
    if shape != (len(file.labels),):
        if len(shape) > 1:
            raise NetworkError(
                f"{description}: layer {before}: the logits must have one axis, "
                f"not {list(shape)}"
            )
        raise NetworkError(
            f"{description}: labels must name {shape[0]} classes, not {len(file.labels)}"
        )
    scaling = InputScaling(
        file.input_scale, np.zeros(1), np.ones(1), file.input_low, file.input_high
    )
    given = file.input_shape and tuple(file.input_shape)
    return IntegerNetwork(file.name, scaling, layers, file.labels, given)


def _check_scales(entry, scales, where):
    """Each source has the scale that the layer expects of it."""
    if entry.kind == "flatten":
        return
    if None in scales:
        raise NetworkError(f"{where}: its source has no requantiser")
    if entry.kind == "add":
        for number, (expected, scale) in enumerate(zip(scales, entry.input_scales, strict=True)):
            if scale != expected:
                raise NetworkError(
                    f"{where}: input_scales.{number} must be {expected!r}, not {scale!r}"
                )
    elif entry.kind != "max_pool" and entry.input_scale != scales[0]:
        raise NetworkError(
            f"{where}: input_scale must be {scales[0]!r}, not {entry.input_scale!r}"
        )
