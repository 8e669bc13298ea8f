# SPDX-License-Identifier: Apache-2.0
"""Number formats: one declaration each, with its codec in NumPy."""

from difflib import get_close_matches

from .group import Group, GroupCodes
from .integer import Int

__all__ = ["Group", "GroupCodes", "Int", "get", "names"]

_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)
_SCALAR = [Int(bits, signed=signed) for signed in (True, False) for bits in _WIDTHS]
_REGISTRY = {scalar.name: scalar for scalar in _SCALAR}


def names():
    """Names of all registered formats."""
    return list(_REGISTRY)


def get(name):
    """Format of a registered name; ValueError with the nearest names where there is none."""
    if name not in _REGISTRY:
        near = get_close_matches(str(name), _REGISTRY, cutoff=0.4) or names()
        raise ValueError(f"Format must be one of {', '.join(near)}, not {name!r}")
    return _REGISTRY[name]
