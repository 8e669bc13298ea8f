# SPDX-License-Identifier: Apache-2.0
"""The integer network on disk: ``network.json`` and ``network.safetensors``."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..formats import Group, Int
from ..golden.requantise import Requantiser, count_differing
from .network import ACTIVATION, InputScaling, IntegerNetwork, Linear

__all__ = ["NetworkError", "load", "save"]

VERSION = 1
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class NetworkError(ValueError):
    """A network file that cannot be used; the message says what and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Group(_Strict):
    element: Literal["int4"]
    size: Annotated[int, Field(ge=1, le=65536)]
    scale_bits: Annotated[int, Field(ge=1, le=16)]


class _Requantiser(_Strict):
    multiplier: Annotated[int, Field(ge=1, lt=1 << 32)]
    shift: Annotated[int, Field(ge=0, le=62)]


class _Layer(_Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    kind: Literal["linear"]
    inputs: Annotated[int, Field(ge=1, le=65536)]
    outputs: Annotated[int, Field(ge=1, le=65536)]
    group: _Group
    exponent: Annotated[int, Field(ge=-1000, le=1000)]
    relu: bool
    input_scale: Positive
    output_scale: Positive | None
    requantiser: _Requantiser | None


class _File(_Strict):
    format: Literal["carrysave-network"]
    version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    input_scale: Positive
    labels: list[str]
    layers: Annotated[list[_Layer], Field(min_length=1, max_length=1000)]
    tensors_sha256: str


def save(network, folder):
    """Write a network into a folder, which is made where it is missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"input.{part}": torch.from_numpy(
            np.array(getattr(network.input, part), np.float64, ndmin=1)
        )
        for part in ("offset", "gain")
    }
    layers = []
    for layer in network.layers:
        for part in "weights", "scales", "bias":
            tensors[f"{layer.name}.{part}"] = getattr(layer, part).contiguous()
        r = layer.requantiser
        layers.append({
            "name": layer.name,
            "kind": "linear",
            "inputs": layer.inputs,
            "outputs": layer.outputs,
            "group": {
                "element": layer.group.element.name,
                "size": layer.group.size,
                "scale_bits": layer.group.scale_bits,
            },
            "exponent": layer.exponent,
            "relu": layer.relu,
            "input_scale": layer.input_scale,
            "output_scale": layer.output_scale,
            "requantiser": r and {"multiplier": r.multiplier, "shift": r.shift},
        })
    data = save_tensors(tensors)
    text = json.dumps(
        {
            "format": "carrysave-network",
            "version": VERSION,
            "name": network.name,
            "input_scale": network.input.scale,
            "labels": network.labels,
            "layers": layers,
            "tensors_sha256": hashlib.sha256(data).hexdigest(),
        },
        indent=2,
    )
    (folder / "network.safetensors").write_bytes(data)
    (folder / "network.json").write_text(text + "\n", encoding="utf-8")


def _requantised(layer, entry, where):
    """The layer with its requantiser, compared anew with the real scale that it stands for."""
    if entry.requantiser is None:
        return layer
    b, c = entry.requantiser.multiplier, entry.requantiser.shift
    z_min, z_max = layer.accumulator_range
    if max(-z_min, z_max) * b >= 1 << 62:
        raise NetworkError(f"{where}: multiplier {b} times {max(-z_min, z_max)} exceeds 62 bits")
    differing = count_differing(
        layer.accumulator_scale / Fraction(entry.output_scale),
        Fraction(b, 1 << c),
        z_min=z_min,
        z_max=z_max,
        low=0 if entry.relu else ACTIVATION.min,
        high=ACTIVATION.max,
    )
    found = Requantiser(b, c, differing, z_max - z_min + 1)
    return replace(layer, output_scale=entry.output_scale, requantiser=found)


def load(folder):
    """Read and check a network.

    Raises
    ------
    NetworkError
        The folder does not hold a network of this version, or holds one that is damaged or
        impossible; the message names the file, the field and what was found.
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
        file = _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise NetworkError(f"{description}: {repr(where)[1:-1]}: {first['msg']}") from None
    if hashlib.sha256(content).hexdigest() != file.tensors_sha256:
        raise NetworkError(f"{data} is not the file that network.json describes: SHA-256 differs")
    try:
        tensors = load_tensors(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise NetworkError(f"{data}: not a file of plain tensors: {error!r}") from None

    def take(name, shape, dtype, low, high):
        if name not in tensors:
            raise NetworkError(f"{data}: tensor {name} is missing")
        tensor = tensors.pop(name)
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise NetworkError(
                f"{data}: {name} must be {dtype} {shape}, not {tensor.dtype} {tuple(tensor.shape)}"
            )
        if not bool(((tensor >= low) & (tensor <= high)).all()):
            raise NetworkError(f"{data}: {name} must be within {low} to {high}")
        return tensor

    layers, scale, width = [], file.input_scale, file.layers[0].inputs
    for index, entry in enumerate(file.layers):
        last = index == len(file.layers) - 1
        where = f"{description}: layer {entry.name}"
        if entry.inputs != width:
            raise NetworkError(f"{where}: inputs must be {width}, not {entry.inputs}")
        if entry.input_scale != scale:
            raise NetworkError(f"{where}: input_scale must be {scale!r}, not {entry.input_scale!r}")
        if last != (entry.requantiser is None) or last != (entry.output_scale is None):
            rule = "must not" if last else "must"
            raise NetworkError(f"{where}: requantiser and output_scale {rule} be given here")
        if last and entry.relu:
            raise NetworkError(f"{where}: relu must be false on the last layer")
        if entry.name in [layer.name for layer in layers]:
            raise NetworkError(f"{where}: the name occurs twice")
        group = Group(Int(4), entry.group.size, entry.group.scale_bits)
        shape = (entry.outputs, entry.inputs)
        groups = (entry.outputs, group.groups(entry.inputs))
        layer = Linear(
            name=entry.name,
            group=group,
            weights=take(f"{entry.name}.weights", shape, torch.int8, -8, 7),
            scales=take(f"{entry.name}.scales", groups, torch.int32, 0, group.scale_max),
            exponent=entry.exponent,
            bias=take(
                f"{entry.name}.bias", (entry.outputs,), torch.int64, -(1 << 31), (1 << 31) - 1
            ),
            relu=entry.relu,
            input_scale=entry.input_scale,
            output_scale=None,
            requantiser=None,
        )
        layers.append(_requantised(layer, entry, where))
        scale, width = entry.output_scale, entry.outputs
    if len(file.labels) != width:
        raise NetworkError(
            f"{description}: labels must name {width} classes, not {len(file.labels)}"
        )
    affine = []
    for name in "input.offset", "input.gain":
        count = len(tensors[name]) if name in tensors and tensors[name].ndim == 1 else 0
        shape = (count,) if count in (1, file.layers[0].inputs) else (file.layers[0].inputs,)
        affine.append(take(name, shape, torch.float64, -1e300, 1e300).numpy())
    if tensors:
        raise NetworkError(f"{data}: unknown tensor {repr(sorted(tensors)[0])[1:-1]}")
    return IntegerNetwork(
        file.name, InputScaling(file.input_scale, *affine), layers, file.labels
    )
