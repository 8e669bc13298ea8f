# SPDX-License-Identifier: Apache-2.0
"""What the tests of all units share: one stimulus, every simulator, equal payloads and cycles."""

import re
from collections import Counter

from amaranth.back import rtlil

from carrysave.hw import catalogue
from carrysave.sim import bench, cocotb_run
from carrysave.sim import units as sim_units
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.verilog import from_component

__all__ = ["cells", "check", "check_everywhere", "exact", "payloads", "presets"]

STALLS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
EXTRA = 30  # cycles after the last output, in which another one is an error


def payloads(outputs):
    """Arrays of a batch run as a list of payloads in plain ints, dicts and lists."""
    if not isinstance(outputs, dict):
        return outputs.tolist()
    fields = [payloads(values) for values in outputs.values()]
    return [dict(zip(outputs, values, strict=True)) for values in zip(*fields, strict=True)]


def check(unit, inputs, expected, **kwargs):
    """Payloads of a unit in Amaranth's simulator must equal the expected ones.

    Parameters
    ----------
    unit : wiring.Component
    inputs, expected : list
        Payloads for ``i``, and those that must come out of ``o``.
    **kwargs
        Of :func:`.bench.run_stream`.

    Returns
    -------
    list of int
        Cycle of each output.
    """
    found = bench.run_stream(unit, inputs, outputs=len(expected), **kwargs)
    differences = [
        f"output {k}: {payload} instead of {wanted}"
        for k, ((_, payload), wanted) in enumerate(zip(found, expected, strict=True))
        if payload != wanted
    ]
    assert not differences, f"{len(differences)} of {len(expected)} differ; {differences[0]}"
    return [cycle for cycle, _ in found]


def check_everywhere(unit, inputs, expected, *, resets=(0, 1, 2, 3, 7, 25)):
    """The same in Amaranth's simulator, the batch simulator and cocotb on Verilator.

    Each side stalls or not; the design is reset in each of some cycles, after which everything must
    come as in a fresh run. cocotb has both stalls and the last of the resets in its one run.

    Returns
    -------
    list of int
        Cycle of each output where nothing stalls.
    """
    design, count = from_component(unit), len(expected)
    simulator = BatchSimulator(design)
    if design.reset is None:  # combinational
        resets = ()

    def run_batch(**kwargs):
        run = simulator.run(inputs, outputs=count, extra=EXTRA, seed=3, **kwargs)
        return list(zip(run.cycles.tolist(), payloads(run.outputs), strict=True))

    free = []
    for stall_i, stall_o in STALLS:
        stalls = {"stall_i": stall_i, "stall_o": stall_o}
        cycles = check(unit, inputs, expected, seed=3, **stalls)
        fresh = list(zip(cycles, expected, strict=True))
        assert run_batch(**stalls) == fresh, "the batch simulator differs"
        for reset_at in resets:
            assert run_batch(reset_at=reset_at, **stalls) == fresh, f"reset in cycle {reset_at}"
        free = free or cycles
    last = resets[-1] if resets else None
    assert check(unit, inputs, expected, seed=3, reset_at=last, **stalls) == cycles
    found = cocotb_run.run_stream(design, inputs, outputs=count, seed=3, reset_at=last, **stalls)
    assert found == fresh, "cocotb differs"
    return free


def cells(component):
    """How many cells of each type the component has in RTLIL, submodules included."""
    return Counter(re.findall(r"^ +cell (\S+) ", rtlil.convert(component), re.M))


def presets(room):
    """The units of the catalogue that are in a room."""
    return [preset for preset in catalogue.PRESETS if preset.room == room]


def exact(preset, compared):
    """Exhaustively or at random, by proof, and in every simulator; mutants are too slow here."""
    arrows = sim_units.verify(preset.build())
    assert {arrow.status for arrow in arrows} == {"exact"}, [
        (arrow.method, arrow.what, arrow.why, arrow.first)
        for arrow in arrows if arrow.status != "exact"]
    methods = {arrow.method for arrow in arrows}
    assert methods >= {"random", "induction", "batch", "cocotb", "amaranth"}
    assert methods <= {*sim_units.methods(preset.build()), "batch"}
    terms = sum(a.detail["terms"] for a in arrows if a.method == "random")
    assert terms >= 1_000_000
    compared(sum(arrow.compared for arrow in arrows))
