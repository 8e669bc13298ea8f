# SPDX-License-Identifier: Apache-2.0
# amaranth: UnusedElaboratable=no
"""What an array computes with: formats, processing element, and what its sums are scaled by."""

import dataclasses
import functools
import inspect

from amaranth.lib import data

from ...quant.formats import Block, Group, Int, Pair
from ..arithmetic import check_choice, check_positive
from ..pe import MinifloatMAC, MixPE, Multiplier, OliVe

__all__ = ["ELEMENTS", "Kind", "kind_of"]

#: Elements of integer arrays, by name.
ELEMENTS = {
    "multiplier": (Multiplier, {}),
    "mixpe": (MixPE, {}),
    "booth": (MixPE, {"recoding": "booth"}),
}
ROWS = ("activations", "a", "a_scale")  # ports of elements whose operands come by row
CONTROL = ("clear", "last")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of array: a processing element and the formats of what enters.

    Attributes
    ----------
    unit : type
        Any element of the catalogue: a component with ports from :func:`.pe.mac.mac_ports`.
    parameters : dict
        Keyword arguments of it, without ``group``.
    activations, weights : format
        Of the tensors; None where an element is tried alone.
    """

    unit: type
    parameters: dict = dataclasses.field(default_factory=dict, hash=False)
    activations: object = None
    weights: object = None

    @property
    def scaling(self):
        """What follows a group: ``none``, an integer scale per ``group``, two of a ``block``."""
        if isinstance(self.weights, Block):
            return "block"
        return "group" if isinstance(self.weights, Group) else "none"

    @functools.cached_property
    def element(self):
        """An element for groups of one step, whose numbers are those of the others."""
        return self.build(1)

    @property
    def lanes(self):
        """Products per step."""
        return self.element.lanes

    @property
    def group(self):
        """Elements along K of a group or block; None where K is one group."""
        return None if self.scaling == "none" else self.weights.size

    def build(self, steps, *, border=False):
        """An element for groups of up to so many steps.

        With ``border`` it takes what its method ``border`` makes of codes, if it has one.
        """
        accepted = inspect.signature(self.unit).parameters
        outside = {"decoders": False} if border and "decoders" in accepted else {}
        groups = {"group": steps} if "group" in accepted else {}
        return self.unit(**self.parameters, **groups, **outside)

    def layouts(self):
        """Layouts of what enters by row and by column in a step, as codes."""
        members = [(name, field.shape) for name, field in self.element.i.p.shape()
                   if name not in CONTROL]
        return [data.StructLayout({name: shape for name, shape in members
                                   if (name in ROWS) == by_row}) for by_row in (True, False)]


def kind_of(activations, weights, *, element=None, lanes=1, registers=1):
    """The kind of array for a pair of formats.

    Parameters
    ----------
    activations, weights : format
        Two `Block` formats, two `Pair` s, or any two scalar formats, of which integer weights may
        also be in a `Group`.
    element : str, optional
        Of `ELEMENTS`, where both are integers: ``multiplier`` unless the weights are in groups,
        then ``mixpe``.
    lanes : int
        Products per step: more than one makes each element an adder tree.
    registers : int
        Of the element.
    """
    check_positive("Lanes", lanes)
    common = {"lanes": lanes, "registers": registers}
    if isinstance(activations, Group):
        raise TypeError("Activations must not be in groups with scales of their own, "
                        f"not {activations.name}")
    blocks = [isinstance(fmt, Block) for fmt in (activations, weights)]
    if any(blocks):
        if not all(blocks) or activations.size != weights.size:
            raise ValueError("Activations and weights must both be in blocks of one size, "
                             f"not {activations.name} and {weights.name}")
        if activations.size % lanes:
            raise ValueError(f"Lanes must divide the block size {activations.size}, not {lanes!r}")
        pair = {"a_format": activations.element, "b_format": weights.element}
        return Kind(MinifloatMAC, {**pair, **common}, activations, weights)
    pairs = [isinstance(fmt, Pair) for fmt in (activations, weights)]
    if any(pairs):
        if not all(pairs):
            raise ValueError("Activations and weights must both be outlier-victim pairs, or "
                             f"neither: not {activations.name} and {weights.name}")
        pair = {"a_format": activations, "b_format": weights}
        return Kind(OliVe, {**pair, **common}, activations, weights)
    grouped = isinstance(weights, Group)
    if grouped and weights.size % lanes:
        raise ValueError(f"Lanes must divide the group size {weights.size}, not {lanes!r}")
    if grouped and weights.zero_point:
        raise ValueError(f"Weights must be without zero points, not {weights.name}")
    scalar = weights.element if grouped else weights
    if isinstance(activations, Int) and isinstance(scalar, Int):
        name = element or ("mixpe" if grouped else "multiplier")
        check_choice("Element", name, ELEMENTS)
        unit, parameters = ELEMENTS[name]
        return Kind(unit, {**parameters, **common, "activation": activations, "weight": scalar},
                    activations, weights)
    if element is not None:
        raise ValueError(f"Element is chosen among integer formats only, not for "
                         f"{activations.name} and {weights.name}")
    return Kind(MinifloatMAC, {"a_format": activations, "b_format": scalar, **common},
                activations, weights)
