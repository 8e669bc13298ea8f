# SPDX-License-Identifier: Apache-2.0
"""Every unit once, with its presets: what tests, proofs, tables and pages walk."""

import dataclasses

from ..quant.formats import Int
from .pe.mixpe import MixPE

__all__ = ["PRESETS", "Preset", "get", "names"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A unit with parameters that have a name.

    Attributes
    ----------
    name : str
    unit : type
        A `wiring.Component` with streams ``i`` and ``o``, ``lanes``, ``latency`` and ``formats``.
    parameters : dict
        Keyword arguments of ``unit``.
    """

    name: str
    unit: type
    parameters: dict = dataclasses.field(default_factory=dict, hash=False)

    @property
    def room(self):
        """``decode``, ``pe``, ``fixed``, ``post``."""
        return self.unit.__module__.split(".")[-2]

    @property
    def summary(self):
        """What the unit is, in one line."""
        return self.unit.__doc__.splitlines()[0]

    def build(self, **parameters):
        """A new component; parameters given here go before the preset's."""
        return self.unit(**{**self.parameters, **parameters})


INT4, UINT4 = Int(4), Int(4, signed=False)

PRESETS = (
    Preset("mixpe-w4a8", MixPE, {"group": 128, "lanes": 16}),
    Preset("mixpe-w4a8-zero", MixPE,
           {"group": 128, "lanes": 16, "weight": UINT4, "zero_points": True}),
    Preset("mixpe-w4a8-booth", MixPE, {"group": 128, "lanes": 16, "recoding": "booth"}),
)


def names():
    """Names of all presets, in order."""
    return [preset.name for preset in PRESETS]


def get(name):
    """The preset of a name; ValueError lists the others."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    raise ValueError(f"Unit must be one of {', '.join(names())}, not {name!r}")
