# SPDX-License-Identifier: Apache-2.0
"""Nothing that a unit held before its reset ever reaches an output: no X and no stale value."""

import time
from itertools import product

import numpy as np

from ..hw.process import MissingTool
from . import units
from .batch import BatchSimulator, SimulationError
from .icarus import IcarusError, run_streams, version
from .ledger import Arrow
from .payload import pack, plain, to_ints
from .scramble import ALL, randomised, unknown
from .stimulus import random, stimuli
from .verilog import from_component

__all__ = ["SEEDS", "run_initial"]

SEEDS = 8
TERMS = 40_000


def run_initial(unit, design=None, *, seeds=SEEDS):
    """Run a unit from states that it should forget: three `Arrow` s.

    ``initial state``
        Every register begins at a random value, those without reset and those with an initial
        value alike; then the design is reset for a cycle.
    ``x propagation``
        The same from X in Icarus Verilog: none on ``i.ready``, ``o.valid``, or a valid payload.
    ``reset``
        In every cycle from the first to the last of a short frame, with stalls.

    Payloads must be the golden function's, and cycles those of a run from power-on.

    Parameters
    ----------
    unit : wiring.Component
    design : Design, optional
        Another design with the unit's ports.
    seeds : int
        Random states for each pattern of stalls.

    Returns
    -------
    list of Arrow
    """
    design = design or from_component(unit)
    if design.reset is None:
        return [Arrow("golden", "rtl", method, ran=False, why="the unit has no reset to begin with")
                for method in ("initial state", "x propagation", "reset")]
    short = random(unit, units.SHORT * unit.lanes, 3, longest=4)
    stalls = [{"stall_i": stall_i, "stall_o": stall_o, "seed": 3}
              for stall_i, stall_o in product(units.STALLS, units.STALLS)]
    arrows = []
    for method, step in (("initial state", _random_states), ("x propagation", _unknown_states),
                         ("reset", _resets)):
        start, arrow = time.monotonic(), Arrow("golden", "rtl", method)
        try:
            step(arrow, unit, design, short, stalls, seeds)
        except (SimulationError, IcarusError) as error:  # from power-on already
            arrow.compared = arrow.mismatches = len(short)
            arrow.first = units.nowhere(str(error))
        arrow.seconds = time.monotonic() - start
        arrows.append(arrow)
    return arrows


class _Check:
    """Runs of one stimulus against its golden payloads and the cycles of a run from power-on."""

    def __init__(self, unit, simulator, stimulus, arrow, **constants):
        self.unit, self.simulator, self.arrow = unit, simulator, arrow
        self.stimulus, self.constants = stimulus, constants
        self.expected = units.pack_outputs(unit, stimulus.inputs)
        self.cycles = {}

    def simulate(self, stalls, **kwargs):
        return self.simulator.run(
            self.stimulus.inputs, outputs=len(self.expected), extra=units.EXTRA, **stalls,
            **{"constants": self.constants, **kwargs})

    def power_on(self, stalls):
        """Cycles of the outputs of a run from power-on."""
        key = tuple(stalls.items())
        if key not in self.cycles:
            self.cycles[key] = self.simulate(stalls).cycles
        return self.cycles[key]

    def differences(self, stalls, **kwargs):
        """Differing outputs, and the first."""
        cycles = self.power_on(stalls)
        try:
            run = self.simulate(stalls, max_cycles=int(cycles[-1]) + 2, **kwargs)
        except SimulationError as error:
            return len(self.expected), units.nowhere(str(error))
        count, first = units.compare(self.unit.o.p.shape(), self.expected, run.outputs, run.cycles)
        late = np.flatnonzero(run.cycles != cycles)
        if not count and len(late):
            k = int(late[0])
            return len(late), {"layer": None, "element": k, "cycle": int(run.cycles[k]),
                               "expected": f"in cycle {cycles[k]}",
                               "found": f"in cycle {run.cycles[k]}"}
        return count, first

    def enter(self, stalls, *, where, locate=None, **kwargs):
        """Count what differs in a run, and remember the first."""
        count, first = self.differences(stalls, **kwargs)
        self.arrow.compared += len(self.expected)
        self.arrow.mismatches += count
        if first and not self.arrow.first:
            self.arrow.first = {**first, **where, "run": stalls, **(locate() if locate else {})}


def _random_states(arrow, unit, design, short, stalls, seeds):
    scrambled = randomised(design)
    states = seeds * len(stalls)
    arrow.what = f"{states} random states of {len(scrambled.registers)} registers, reset"
    arrow.detail = {"states": states, "registers": len(scrambled.registers)}
    simulator = BatchSimulator(scrambled.design, short=True)
    # Many vectors with one pattern of stalls for each seed, a few with every pattern and as many
    # states.
    sets = [(short, False), *((stimulus, True) for stimulus in stimuli(unit, TERMS))]
    for stimulus, once in sets:
        check = _Check(unit, simulator, stimulus, arrow, seed=0, only=ALL)
        for number in range(seeds * len(stalls)):
            if once and number // seeds != number % seeds % len(stalls):
                continue
            run, state = stalls[number // seeds], number + 1

            def locate(check=check, run=run, state=state):
                return {"registers": scrambled.guilty(lambda only: check.differences(
                    run, constants={"seed": state, "only": only})[0])}

            check.enter(run, where={"seed": state}, locate=locate,
                        constants={"seed": state, "only": ALL})


def _resets(arrow, unit, design, short, stalls, _):
    check = _Check(unit, BatchSimulator(design), short, arrow)
    count = 0
    # Long pauses would take long, and add nothing to what a reset may meet.
    stalls = [run for run in stalls if max(run["stall_i"], run["stall_o"]) <= 0.5]
    for run in stalls:
        for cycle in range(int(check.power_on(run)[-1]) + 2):
            check.enter(run, where={"reset_at": cycle}, reset_at=cycle)
            count += 1
    arrow.what = f"in every cycle of {len(short)} transfers, {len(stalls)} patterns of stalls"
    arrow.detail = {"resets": count}


def _unknown_states(arrow, unit, design, short, stalls, _):
    arrow.what = "Icarus Verilog, all registers X, reset; payloads X until valid"
    check = _Check(unit, BatchSimulator(design), short, arrow)
    wanted = to_ints(check.expected)
    due = [[int(cycle) for cycle in check.power_on(run)] for run in stalls]
    runs = [{**run, "cycles": cycles[-1] + 1 + units.EXTRA}
            for run, cycles in zip(stalls, due, strict=True)]
    arrow.detail = {"runs": len(runs), "cycles": sum(run["cycles"] for run in runs)}
    words = to_ints(pack(unit.i.p.shape(), short.inputs))
    try:
        arrow.detail["iverilog"] = version()
        found = run_streams(unknown(design).design, words, runs)
    except MissingTool as error:
        arrow.ran, arrow.why = False, str(error)
        arrow.detail["missing"] = True
        return
    shape = unit.o.p.shape()
    for run, cycles, result in zip(stalls, due, found, strict=True):
        arrow.compared += len(wanted)
        good = list(zip(cycles, wanted, strict=True))
        differing = [k for k, pair in enumerate(good)
                     if k >= len(result.outputs) or result.outputs[k] != pair]
        arrow.mismatches += max(len(differing), abs(len(good) - len(result.outputs)),
                                int(result.unknown is not None))
        if arrow.first:
            continue
        if result.unknown is not None:
            cycle, port, value = result.unknown
            element = sum(when < cycle for when in cycles)
            arrow.first = {"layer": None, "element": element, "cycle": cycle, "signal": port,
                           "expected": "no X", "found": value, "run": run}
        elif differing:
            k = differing[0]
            there = result.outputs[k] if k < len(result.outputs) else None
            arrow.first = {"layer": None, "element": k, "cycle": there and there[0],
                           "expected": plain(shape, good[k][1]),
                           "found": there and plain(shape, there[1]), "run": run}
        elif len(good) != len(result.outputs):
            arrow.first = {**units.nowhere("an output too many"), "run": run}
