# SPDX-License-Identifier: Apache-2.0
"""Units against their golden functions, in the batch simulator."""

import numpy as np

from .batch import BatchSimulator
from .ledger import Arrow
from .payload import pack, plain, to_ints
from .reference import reference
from .stimulus import stimuli

__all__ = ["compare", "run_vectors"]


def compare(shape, expected, found, cycles=None):
    """Rows of two sets of payloads that differ, and the first of them as the ledger has it."""
    expected, found = pack(shape, expected, name="expected"), pack(shape, found, name="found")
    if len(expected) != len(found):
        raise ValueError(f"{len(expected)} outputs expected, {len(found)} found")
    different = np.flatnonzero((expected != found).any(axis=1))
    first = None
    if len(different):
        k = int(different[0])
        wanted, got = (plain(shape, to_ints(words[k:k + 1])[0]) for words in (expected, found))
        first = {"layer": None, "element": k, "cycle": None if cycles is None else int(cycles[k]),
                 "expected": wanted, "found": got}
    return len(different), first


def run_vectors(unit, stimuli=stimuli, *, simulator=None, **kwargs):
    """Run a unit on all its stimuli in the batch simulator: one `Arrow` for each.

    Parameters
    ----------
    unit : wiring.Component
    stimuli : callable or list of Stimulus
    simulator : BatchSimulator, optional
        Of another design with the unit's ports.
    **kwargs
        Of :meth:`.batch.BatchSimulator.run`.
    """
    import time

    simulator = simulator or BatchSimulator(unit)
    arrows = []
    for stimulus in stimuli(unit) if callable(stimuli) else stimuli:
        start = time.monotonic()
        expected = reference(unit).expected(unit, stimulus.inputs)
        words = pack(unit.o.p.shape(), expected, name="expected")
        run = simulator.run(stimulus.inputs, outputs=len(words), extra=20, **kwargs)
        mismatches, first = compare(unit.o.p.shape(), words if False else expected, run.outputs,
                                    run.cycles)
        arrows.append(Arrow(
            "golden", "rtl", stimulus.method, what=stimulus.what, compared=len(words),
            mismatches=mismatches, first=first, seconds=time.monotonic() - start,
            detail={"transfers": len(stimulus), "terms": len(stimulus) * unit.lanes}))
    return arrows
