# SPDX-License-Identifier: Apache-2.0
"""What can be characterised: units of the catalogue, and arrays of elements."""

import difflib
import inspect

from .errors import BadInput
from .hw import catalogue
from .hw.array.kind import kind_of
from .hw.array.pe_array import PEArray
from .quant.formats import Group, Int
from .quant.formats import get as fmt

__all__ = ["ARRAYS", "build", "check", "has_lanes", "names"]

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


def check(units, *, every, **positive):
    """Names of the units that are asked for; BadInput names the option that is wrong.

    Parameters
    ----------
    units : sequence of str
    every : bool
        All of them, in place of ``units``.
    **positive : sequence of int or None
        Values of other options, which must be above 0.
    """
    known = names()
    for name in units:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"Unit must be one of {', '.join(known)}, not {name!r}{hint}")
    if bool(units) == every:
        raise BadInput("UNIT must be given, or --all for every unit and array, not both"
                       if units else "UNIT must be given, or --all for every unit and array")
    for option, values in positive.items():
        for value in values:
            if value is not None and value < 1:
                raise BadInput(f"--{option} must be a positive integer, not {value!r}")
    return known if every else list(dict.fromkeys(units))
