# SPDX-License-Identifier: Apache-2.0
"""Configuration of a sweep: a configuration, and lists of values for some of its keys."""

import copy
import dataclasses
import math
import random
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .config import Config, Section, check, load_config, read_config
from .errors import BadInput
from .fpga.characterise import check_family
from .matrix_config import MatrixConfig
from .unit_choice import choose

__all__ = ["KINDS", "MOST", "Point", "Sweep", "load_sweep"]

MOST = 10_000  # points of a sweep
PATHS = ("data.source", "model.network")  # keys whose values may be paths


class SynthSection(Section):
    """How units are synthesised."""

    family: str = Field("ecp5", description="of FPGAs, see `carrysave synth`")
    dsp: bool = Field(True, description="use DSP blocks where they fit")
    timing: bool = Field(False, description="place and route for Fmax as well")

    @field_validator("family")
    @classmethod
    def _known(cls, name):
        check_family(name)
        return name


class UnitPoint(Section):
    """A unit of the catalogue."""

    unit: str = Field(description="preset or unit, as `carrysave export` takes them")
    parameters: dict[str, bool | int | str] = Field({}, description="of it, instead of its own")
    synth: SynthSection = Field(default_factory=SynthSection)

    def choose(self):
        """The `Choice` that this is; BadInput."""
        return choose(self.unit, settings=[f"{key}={value}"
                                           for key, value in self.parameters.items()])

    @model_validator(mode="after")
    def _possible(self):
        try:
            self.choose()
        except BadInput as error:
            raise ValueError(str(error)) from None
        return self


class MatrixPoint(MatrixConfig):
    """A matrix engine and its work; of its elements, one is synthesised."""

    synth: SynthSection = Field(default_factory=SynthSection)


#: What a sweep may start from: the model of its points, and what can be measured of them.
KINDS = {
    "a matrix engine": (MatrixPoint, ("estimate", "synth")),
    "a unit": (UnitPoint, ("synth",)),
    "a network": (Config, ("train",)),
}


class RandomSection(Section):
    """Some points of the grid instead of all."""

    points: Annotated[int, Field(ge=1, le=MOST)] = Field(description="how many")
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(0, description="by which they are drawn")


class SweepConfig(Section):
    """A sweep."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] = Field(
        description="of the sweep and its files"
    )
    base: str = Field(description="a CONFIG.toml relative to this file, or a unit")
    measure: Annotated[list[Literal["estimate", "synth", "train"]], Field(min_length=1)] = Field(
        description="of each point"
    )
    grid: Annotated[dict[str, Any], Field(min_length=1)] = Field(
        description="keys of the base, each with a list of values; `\"a, b\" = [[1, 2], [3, 4]]` "
        "changes two together"
    )
    random: RandomSection | None = None
    synth: SynthSection | None = None

    @field_validator("measure")
    @classmethod
    def _once(cls, names):
        if len(set(names)) < len(names):
            raise ValueError(f"each measure once, not {names!r}")
        return names


class _Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclasses.dataclass(frozen=True)
class Point:
    """A place of the grid.

    Attributes
    ----------
    number : int
        From 1.
    values : dict of str to value
        The keys that the sweep changes.
    content : dict
        The configuration as TOML would have it.
    config : Section or None
        The same, checked; None where that is impossible.
    reason : str
        Why it is.
    """

    number: int
    values: dict
    content: dict
    config: Any
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep, checked. ``kind`` is one of `KINDS`."""

    name: str
    kind: str
    measure: list
    keys: list
    points: list


def load_sweep(path):
    """Read a SWEEP.toml and its base, and check every point.

    Returns
    -------
    Sweep

    Raises
    ------
    BadInput
        One line that names the file, the field, what was found and what is allowed.
    """
    path = Path(path)
    config = read_config(path, SweepConfig)
    try:
        kind, content = _base(config.base, path.parent)
        model, allowed = KINDS[kind]
        for measure in config.measure:
            if measure not in allowed:
                raise BadInput(f"measure: must be {' or '.join(allowed)} for {kind}, which "
                               f"{config.base} is, not {measure!r}")
        if config.synth is not None:
            _check_key("synth", model)
            content["synth"] = config.synth.model_dump(exclude_unset=True)
        axes = list(_axes(config.grid))
        keys = [key for keys, _ in axes for key in keys]
        for key in keys:
            _check_key(key, model, prefix="grid.")
            if keys.count(key) > 1:
                raise BadInput(f"grid.{key}: must be given once")
        points = [_point(number, _values(axes, place, path.parent), content, model)
                  for number, place in enumerate(_places(axes, config.random), 1)]
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return Sweep(config.name, kind, list(config.measure), keys, points)


def _base(name, folder):
    """Kind and content of a base."""
    if not name.endswith(".toml"):
        return "a unit", _given(_checked({"unit": name}, UnitPoint, prefix="base: "))
    path = folder / name
    try:
        content = read_config(path, _Anything).model_dump()
        if "unit" in content:
            return "a unit", _given(_checked(content, UnitPoint, prefix=f"{path}: "))
        if "workload" in content:
            return "a matrix engine", _given(read_config(path, MatrixConfig))
        return "a network", _given(load_config(path))
    except BadInput as error:
        raise BadInput(f"base: {error}") from None


def _checked(content, model, *, prefix=""):
    """As `check`; an error of the whole comes without the colon behind the name of a field."""
    try:
        return check(content, model, prefix="")
    except BadInput as error:
        raise BadInput(prefix + str(error).removeprefix(": ")) from None


def _given(config):
    return config.model_dump(exclude_unset=True)


def _axes(grid, prefix=""):
    """``(keys, list of tuples of values)`` of a table, whose keys may be dotted."""
    for name, values in grid.items():
        where = f"grid.{prefix}{name}"
        if isinstance(values, dict):
            if not values:
                raise BadInput(f"{where}: must have at least one key")
            yield from _axes(values, f"{prefix}{name}.")
            continue
        if not isinstance(values, list):
            raise BadInput(f"{where}: must be a list of values, not {values!r}")
        if not values:
            raise BadInput(f"{where}: must have at least one value")
        keys = [key.strip() for key in f"{prefix}{name}".split(",")]
        if len(keys) == 1:
            yield keys, [(value,) for value in values]
            continue
        for value in values:
            if not isinstance(value, list) or len(value) != len(keys):
                raise BadInput(f"{where}: must have lists of {len(keys)} values, not {value!r}")
        yield keys, [tuple(value) for value in values]


def _check_key(key, model, *, prefix=""):
    """Refuse a dotted key that a configuration does not have."""
    for part in key.split("."):
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) \
            else {}
        if model is dict:
            return
        if part not in fields:
            near = get_close_matches(part, fields, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BadInput(f"{prefix}{key}: unknown key {part!r}; {hint}allowed here: "
                           f"{', '.join(fields) or 'none, it is a value'}")
        annotation = fields[part].annotation
        model = getattr(annotation, "__origin__", annotation)


def _places(axes, chosen):
    """Numbers of the points of the grid that are wanted."""
    total = math.prod(len(values) for _, values in axes)
    if chosen is None:
        if total > MOST:
            raise BadInput(f"grid: must have at most {MOST:,} points, not {total:,}; [random] with "
                           "points takes some of them")
        return range(total)
    if not chosen.points <= total < 1 << 62:
        raise BadInput(f"random.points: must be at most {min(total, MOST):,}, the points of the "
                       f"grid, not {chosen.points:,}")
    return sorted(random.Random(chosen.seed).sample(range(total), chosen.points))


def _values(axes, place, folder):
    """Values of the point at a place of the grid; the last axis is the fastest."""
    found = {}
    for keys, values in reversed(axes):
        place, index = divmod(place, len(values))
        found = dict(zip(keys, values[index], strict=True)) | found
    for key in PATHS:
        if isinstance(value := found.get(key), str) and (
                key != "data.source" or value.endswith(".npz")):
            found[key] = str(folder.resolve() / value)
    return found


def _point(number, values, base, model):
    content = copy.deepcopy(base)
    for key, value in values.items():
        *tables, last = key.split(".")
        table = content
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    try:
        return Point(number, values, content, _checked(content, model))
    except BadInput as error:
        return Point(number, values, content, None, str(error))
