# SPDX-License-Identifier: Apache-2.0
"""What can be characterised: units of the catalogue, and arrays of elements."""

import inspect

from .hw import catalogue
from .hw.array.kind import kind_of
from .hw.array.pe_array import PEArray
from .quant.formats import Group, Int
from .quant.formats import get as fmt

__all__ = ["ARRAYS", "build", "has_lanes", "names"]

# 4 by 4 elements of one lane each; of two where a code holds two numbers.
SIZE, GROUP = 4, 128
ARRAYS = {
    "array-int8": lambda: kind_of(Int(8), Int(8)),
    "array-w4a8": lambda: kind_of(Int(8), Group(Int(4), GROUP)),
    "array-w4a8-booth": lambda: kind_of(Int(8), Group(Int(4), GROUP), element="booth"),
    "array-olive4": lambda: kind_of(fmt("olive4"), fmt("olive4"), lanes=2),
    "array-e4m3": lambda: kind_of(fmt("e4m3"), fmt("e4m3"), registers=2),
    "array-mxfp4": lambda: kind_of(fmt("mxfp4"), fmt("mxfp4"), registers=2),
}


def names():
    """Everything that can be characterised: presets of the catalogue, then arrays."""
    return [*catalogue.names(), *ARRAYS]


def has_lanes(name):
    """Whether lanes are a parameter."""
    return name not in ARRAYS and \
        "lanes" in inspect.signature(catalogue.get(name).unit).parameters


def build(name, lanes=None):
    """A new component, and how many products it computes in a cycle.

    Raises
    ------
    ValueError, TypeError
        Where the unit cannot have so many lanes.
    """
    if name in ARRAYS:
        kind = ARRAYS[name]()
        return (PEArray(kind, SIZE, SIZE, steps=GROUP // kind.lanes),
                SIZE * SIZE * kind.lanes)
    unit = catalogue.get(name).build(**({} if lanes is None else {"lanes": lanes}))
    return unit, unit.lanes
