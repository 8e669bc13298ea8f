# SPDX-License-Identifier: Apache-2.0
"""What importers share: from layers without requantisers to a network."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

from ..golden.requantise import ChannelRequantiser, Requantiser, search
from .layers import ACTIVATION, Rescale
from .network import INPUT

__all__ = ["SAME", "find_requantiser", "joined"]

SAME = Requantiser(1, 0, 0, 1 << ACTIVATION.bits)  # of activations that keep their scale


def find_requantiser(layer, output_scale, *, bits):
    """The smallest multiplier for an output scale, see `search`.

    Parameters
    ----------
    layer : layer whose requantiser is not known yet
    output_scale : float
    bits : int
        Width of multipliers.

    Returns
    -------
    Requantiser or ChannelRequantiser
        One for each channel where the accumulators have scales of their own.
    """
    low, high = layer.bounds
    found = tuple(
        search(unit / Fraction(output_scale), z_min=z_min, z_max=z_max, bits=bits, low=low,
               high=high)
        for unit, z_min, z_max in layer.channels()
    )
    return found[0] if len(found) == 1 else ChannelRequantiser(found)


def joined(layers, *, bits):
    """Layers as a network has them.

    An addition requantises its branches itself, where they come from a `Rescale` that nobody else
    reads and that cannot saturate. Sources that go without saying are left out.

    Parameters
    ----------
    layers : list
        In topological order, each with its ``sources``.
    bits : int
        Width of multipliers.
    """
    named = {layer.name: layer for layer in layers}
    readers = Counter(source for layer in layers for source in layer.sources)
    for layer in layers:
        if layer.kind != "add":
            continue
        for branch, source in enumerate(layer.sources):
            before = named.get(source)
            if isinstance(before, Rescale) and readers[source] == 1 and not _saturates(before):
                del named[source]
                layer = _with_branch(layer, branch, before)
        found = find_requantiser(layer, layer.output_scale, bits=bits)
        named[layer.name] = replace(layer, requantiser=found)
    before, result = INPUT, []
    for layer in named.values():
        result.append(replace(layer, sources=()) if layer.sources == (before,) else layer)
        before = layer.name
    return result


def _saturates(layer):
    """Whether a `Rescale` clamps any activation."""
    r = layer.requantiser
    ends = [round(Fraction(z * r.multiplier, 1 << r.shift))
            for z in (ACTIVATION.min, ACTIVATION.max)]
    return ends[0] < layer.low or ends[1] > layer.high


def _with_branch(add, branch, rescale):
    """The addition with a `Rescale` in front of one branch put into it."""

    def put(values, value):
        return tuple(value if k == branch else old for k, old in enumerate(values))

    return replace(
        add,
        sources=put(add.sources, rescale.sources[0]),
        branches=put(add.branches, rescale.requantiser),
        input_scales=put(add.input_scales, rescale.input_scale),
    )
