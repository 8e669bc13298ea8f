# SPDX-License-Identifier: Apache-2.0
"""What tests of processing elements share: runs on what the units are verified with."""

import numpy as np

from carrysave.sim.payload import pack, plain, to_ints
from carrysave.sim.prove import prove
from carrysave.sim.reference import reference
from carrysave.sim.stimulus import join, random, stimuli, worst
from carrysave.sim.units import run_vectors

from ..units import check

__all__ = ["proved", "simulate", "vectors"]


def vectors(unit, terms=20_000):
    """Results compared in the batch simulator: all codes where they are few, worst case, random."""
    arrows = run_vectors(unit, lambda unit: stimuli(unit, terms))
    wrong = [(arrow.what, arrow.mismatches, arrow.first) for arrow in arrows if arrow.mismatches]
    assert not wrong
    return sum(arrow.compared for arrow in arrows)


def payloads(shape, values):
    return [plain(shape, number) for number in to_ints(pack(shape, values))]


def simulate(unit, transfers=60, *, stall=0.0, seed=0):
    """Results compared in Amaranth's simulator; without stalls the latency is, too."""
    extremes, drawn = worst(unit).inputs, random(unit, transfers * unit.lanes, seed).inputs
    if "last" not in drawn:  # corners, which are many
        some = np.random.default_rng(seed).choice(len(extremes["weights"]), 20)
        extremes = {key: np.asarray(values)[some] for key, values in extremes.items()}
    inputs = join(drawn, extremes)
    last = np.asarray(inputs.get("last", np.ones(len(inputs["weights"]))))
    expected = payloads(unit.o.p.shape(), reference(unit).expected(unit, inputs))
    cycles = check(unit, payloads(unit.i.p.shape(), inputs), expected, stall=stall)
    if not stall:
        assert cycles == (np.flatnonzero(last) + unit.latency).tolist()
    return len(expected)


def proved(unit):
    """Cores of a unit that were proved; all must be."""
    statuses = {core.name: prove(core).status for core in reference(unit).cores(unit)}
    assert set(statuses.values()) == {"proved"}, statuses
    return len(statuses)
