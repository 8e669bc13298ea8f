# SPDX-License-Identifier: Apache-2.0
"""What the rows of the tables are about: units and arrays, with the formats of their operands."""

import warnings
from typing import Any, NamedTuple

from ..characterise import ARRAYS, SIZE
from ..hw import catalogue
from ..sim.trace import products_of

__all__ = ["KINDS", "Subject", "subjects"]

#: Rooms of the catalogue, and arrays, in words.
KINDS = {"pe": "Processing elements", "array": "Arrays", "decode": "Decoders and casts",
         "fixed": "Fixed and floating point", "post": "After the array"}


class Subject(NamedTuple):
    """A unit of the catalogue, or an array.

    ``activations`` and ``weights`` are names of formats, None where it takes no such operands;
    ``columns`` are products of each lane in a cycle.
    """

    name: str
    kind: str
    summary: str
    activations: str | None
    weights: str | None
    preset: Any
    unit: Any
    columns: int


def subjects():
    """The :class:`Subject` s by name, units first, in the catalogue's order."""
    found = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* created but never used")
        for preset in catalogue.PRESETS:
            unit = preset.build()
            found[preset.name] = Subject(preset.name, preset.room, preset.summary,
                                         *_operands(preset, unit), preset, unit,
                                         products_of(unit) // unit.lanes)
    for name, make in ARRAYS.items():
        kind = make()
        lanes = "" if kind.lanes == 1 else f", each of {kind.lanes} lanes"
        found[name] = Subject(
            name, "array", f"{SIZE} × {SIZE} {kind.unit.__name__} elements{lanes}.",
            kind.activations.name, kind.weights.name, None, None, 1)
    return found


def _operands(preset, unit):
    """Formats of what a unit multiplies; what a decoder decodes counts as both."""
    if preset.room == "pe":
        a, w = (("activations", "weights") if "weights" in unit.formats else ("a", "b"))
        weights = unit.formats[w]
        if getattr(unit, "zero_points", False):  # of groups
            weights = f"{weights}g{unit.group}z"
        return unit.formats[a], weights
    fmt = preset.parameters.get("fmt")
    if preset.room == "decode" and fmt is not None:
        return fmt.name, fmt.name
    return None, None
