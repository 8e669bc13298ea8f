# SPDX-License-Identifier: Apache-2.0
"""What the tests of all units share: one stimulus, every simulator, equal payloads and cycles."""

import re
from collections import Counter

from amaranth.back import rtlil

from carrysave.sim import bench, cocotb_run
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.verilog import from_component

__all__ = ["cells", "check", "check_everywhere", "payloads"]

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
