# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from carrysave.quant.golden.requantise import ChannelRequantiser, search
from carrysave.quant.network import Rescale
from carrysave.quant.network.build import SAME, find_requantiser, joined


def test_find_requantiser(make_graph, compared):
    """One for the tensor, or one for each channel, from its own scale and range."""
    stem, _, deep, short, *_ = make_graph().layers
    for layer, count in (stem, 1), (deep, 6), (short, 1):
        found = find_requantiser(layer, 0.37, bits=12)
        each = found.channels if isinstance(found, ChannelRequantiser) else (found,)
        assert len(each) == count
        low, high = layer.bounds
        for r, (unit, z_min, z_max) in zip(each, layer.channels(), strict=True):
            assert r == search(
                unit / Fraction(0.37), z_min=z_min, z_max=z_max, bits=12, low=low, high=high
            )
            assert r.multiplier < 1 << 12
            compared(r.reachable)


def branched(network, ratio, **limits):
    """The graph's layers with a `Rescale` of that ratio in front of its addition's first branch."""
    *before, add, flat, fc = network.layers
    add = replace(
        add, branch_scale=0.5, branches=(SAME, SAME), input_scales=(0.5, 0.5),
        sources=("again", "mean"),
    )
    add = replace(add, requantiser=find_requantiser(add, add.output_scale, bits=12))
    again = Rescale(name="again", input_scale=0.5 * ratio, output_scale=0.5, requantiser=None,
                    sources=("deep",), **limits)
    again = replace(again, requantiser=find_requantiser(again, 0.5, bits=12))
    layers = [*before, again, add, replace(flat, sources=("sum",)), replace(fc, sources=("flat",))]
    named = {"stem": ("input",), "pool": ("stem",), "deep": ("pool",), "mean": ("short",)}
    return [replace(la, sources=named.get(la.name, la.sources)) for la in layers]


@pytest.mark.parametrize("ratio", [0.3, 0.77, 1.0])
def test_branches_are_put_into_additions(make_graph, ratio, compared):
    network = make_graph()
    layers = branched(network, ratio)
    after = joined(layers, bits=12)
    assert [layer.name for layer in after] == [layer.name for layer in network.layers]
    add = after[5]
    assert add.sources == ("deep", "mean") and add.input_scales == (0.5 * ratio, 0.5)
    assert add.branches == (layers[5].requantiser, SAME)
    ((_, z_min, z_max),) = add.channels()
    assert add.requantiser.reachable == z_max - z_min + 1
    assert [layer.sources for layer in after] == [layer.sources for layer in network.layers]
    x = torch.randint(-128, 128, (30, 60))
    found = replace(network, layers=after).run(x)
    expected = replace(network, layers=layers).run(x)
    assert torch.equal(found.logits, expected.logits)
    compared(found.logits.numel())


@pytest.mark.parametrize("ratio, limits", [(1.02, {}), (0.5, {"low": 0}), (0.5, {"high": 50})])
def test_branches_that_saturate_stay(make_graph, ratio, limits):
    after = joined(branched(make_graph(), ratio, **limits), bits=12)
    assert after[5].name == "again" and after[6].sources == ("again", "mean")


def test_branches_that_others_read_stay(make_graph):
    layers = branched(make_graph(), 0.5)
    layers[7] = replace(layers[7], sources=("again",))
    assert joined(layers, bits=12)[5].name == "again"
