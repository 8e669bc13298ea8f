# SPDX-License-Identifier: Apache-2.0
"""What ``network.json`` may hold, field by field."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from ..formats import Group
from ..golden.requantise import ChannelRequantiser, Requantiser
from .layers import ACTIVATION

__all__ = ["NEW", "File", "describe", "is_old", "reason"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=65536)]
Code = Annotated[int, Field(ge=ACTIVATION.min, le=ACTIVATION.max)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Edge = Annotated[int, Field(ge=0, le=65536)]
Axes = Annotated[tuple[Size, ...], Field(max_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Group(_Strict):
    element: Literal["int2", "int3", "int4", "int5", "int6", "int7", "int8"]
    size: Size
    scale_bits: Annotated[int, Field(ge=1, le=16)]


class _Requantiser(_Strict):
    multiplier: Annotated[int, Field(ge=1, lt=1 << 32)]
    shift: Annotated[int, Field(ge=0, le=62)]


class _Layer(_Strict):
    name: Name


class _Bounded(_Layer):
    low: Code = ACTIVATION.min
    high: Code = ACTIVATION.max


class _Window(_Layer):
    kernel: Axes
    stride: Axes
    padding: Annotated[tuple[tuple[Edge, Edge], ...], Field(max_length=2)]


class _Linear(_Bounded):
    kind: Literal["linear"]
    inputs: Size
    outputs: Size
    group: _Group
    exponent: Annotated[int, Field(ge=-1000, le=1000)]
    relu: bool
    input_scale: Positive
    output_scale: Positive | None
    requantiser: _Requantiser | None
    channel_requantisers: bool = False  # tensors NAME.multipliers and NAME.shifts
    weight_scales: Annotated[int, Field(ge=0, le=65536)] = 0  # elements of NAME.weight_scales
    sources: list[Name] = []


class _Conv(_Linear, _Window):
    kind: Literal["conv"]
    groups: Size


class _MaxPool(_Window):
    kind: Literal["max_pool"]
    sources: list[Name] = []


class _AveragePool(_Bounded, _Window):
    kind: Literal["average_pool"]
    input_scale: Positive
    output_scale: Positive | None
    requantiser: _Requantiser | None
    sources: list[Name] = []


class _Rescale(_Bounded):
    kind: Literal["rescale"]
    input_scale: Positive
    output_scale: Positive
    requantiser: _Requantiser
    sources: list[Name] = []


class _Add(_Bounded):
    kind: Literal["add"]
    input_scales: tuple[Positive, Positive]
    branches: tuple[_Requantiser, _Requantiser]
    branch_scale: Positive
    output_scale: Positive
    requantiser: _Requantiser
    sources: Annotated[list[Name], Field(min_length=2, max_length=2)]


class _Flatten(_Layer):
    kind: Literal["flatten"]
    sources: list[Name] = []


_KINDS = {
    "linear": _Linear, "conv": _Conv, "max_pool": _MaxPool, "average_pool": _AveragePool,
    "rescale": _Rescale, "add": _Add, "flatten": _Flatten,
}
_Entry = Annotated[
    _Linear | _Conv | _MaxPool | _AveragePool | _Rescale | _Add | _Flatten,
    Field(discriminator="kind"),
]


class File(_Strict):
    format: Literal["carrysave-network"]
    version: Literal[1, 2]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    input_scale: Positive
    input_low: Code = ACTIVATION.min
    input_high: Code = ACTIVATION.max
    input_shape: Annotated[list[Size], Field(min_length=1, max_length=3)] | None = None
    labels: list[str]
    layers: Annotated[list[_Entry], Field(min_length=1, max_length=1000)]
    tensors_sha256: str


# What version 1 does not have.
NEW = "input_low", "input_high", "input_shape"
_NEW_OF_LAYER = "low", "high", "channel_requantisers", "weight_scales", "sources"


def is_old(file):
    """Whether version 1 can hold a description: 4-bit linear layers one after the other."""
    layers = file["layers"]
    return not any(field in file for field in NEW) and all(
        layer["kind"] == "linear"
        and layer["group"]["element"] == "int4"
        and not any(field in layer for field in _NEW_OF_LAYER)
        for layer in layers
    )


def _plain(value):
    """A layer's attribute as JSON has it."""
    match value:
        case Group():
            return {
                "element": value.element.name,
                "size": value.size,
                "scale_bits": value.scale_bits,
            }
        case Requantiser():
            return {"multiplier": value.multiplier, "shift": value.shift}
        case ChannelRequantiser():
            return None
        case torch.Tensor():
            return len(value)
        case tuple():
            return [_plain(item) for item in value]
    return value


def describe(layer):
    """JSON entry of a layer, without what is usual."""
    entry = {"name": layer.name, "kind": layer.kind}
    for name, field in _KINDS[layer.kind].model_fields.items():
        if name == "channel_requantisers":
            value = isinstance(layer.requantiser, ChannelRequantiser)
        elif name == "weight_scales" and layer.weight_scales is None:
            continue
        else:
            value = _plain(getattr(layer, name))
        if field.is_required() or value != field.default:
            entry[name] = value
    return entry


def reason(error):
    """One line for the first error of a validation."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    if location[:1] == ["layers"] and len(location) > 3:
        del location[2]  # the kind by which pydantic chose the layer's schema
    message = first["msg"]
    if first["type"] == "union_tag_not_found":
        location, message = [*location, "kind"], "Field required"
    elif first["type"] == "union_tag_invalid":
        location, found = [*location, "kind"], first["ctx"]["tag"]
        message = f"Input should be one of {', '.join(_KINDS)}, not {found!r}"
    where = ".".join(location) or "the file"
    return f"{repr(where)[1:-1]}: {message}"
