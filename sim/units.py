# SPDX-License-Identifier: Apache-2.0
"""Everything that is done to show that a unit is right: one ledger for each."""

import time
from itertools import product

import numpy as np

from . import bench, cocotb_run
from .batch import BatchSimulator, SimulationError
from .contract import PROPERTIES, prove_contract
from .ledger import Arrow
from .mutate import mutate
from .payload import pack, plain, to_ints
from .prove import prove
from .reference import reference
from .stimulus import (
    EXHAUSTIVE_BITS,
    exhaustive_bits,
    is_grouped,
    random,
    restricted,
    stimuli,
    worst,
)
from .verilog import from_component

__all__ = ["METHODS", "compare", "methods", "mutation", "run_contract", "run_proofs",
           "run_simulators", "run_vectors", "verify"]

STALLS = (0.0, 0.5, 0.9)
EXTRA = 20  # cycles after the last output, in which another one is an error
SHORT = 24  # transfers of the runs in every simulator, cocotb being slow
MUTANTS = 200
SCORE = 0.98  # least share of the mutants that the vectors must catch


def compare(shape, expected, found, cycles=None):
    """How many payloads differ from the expected ones, and the first as the ledger has it.

    ``expected`` are words, as :func:`.payload.pack` gives them; ``found`` is what it takes.
    """
    found = pack(shape, found, name="found")
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
    simulator = simulator or BatchSimulator(unit)
    arrows = []
    for stimulus in stimuli(unit) if callable(stimuli) else stimuli:
        start = time.monotonic()
        expected = pack_outputs(unit, stimulus.inputs)
        arrow = Arrow(
            "golden", "rtl", stimulus.method, compared=len(expected),
            what=", ".join([stimulus.what, *(f"{key} {value}" for key, value in kwargs.items())]),
            detail={"transfers": len(stimulus), "terms": len(stimulus) * unit.lanes})
        try:
            run = simulator.run(stimulus.inputs, outputs=len(expected), extra=EXTRA, **kwargs)
        except SimulationError as error:
            arrow.mismatches, arrow.first = len(expected), nowhere(str(error))
        else:
            arrow.mismatches, arrow.first = compare(
                unit.o.p.shape(), expected, run.outputs, run.cycles)
        arrow.seconds = time.monotonic() - start
        arrows.append(arrow)
    return arrows


def nowhere(found, expected=None):
    """A difference that has no place among the outputs."""
    return {"layer": None, "element": None, "cycle": None, "expected": expected, "found": found}


def pack_outputs(unit, inputs):
    """What the golden function expects, as words."""
    return pack(unit.o.p.shape(), reference(unit).expected(unit, inputs), name="expected")


def cores(unit):
    """The unit's combinational cores."""
    module = reference(unit)
    return list(module.cores(unit)) if hasattr(module, "cores") else []


def run_proofs(unit, *, timeout=120):
    """Prove the unit's cores: one `Arrow` for each."""
    arrows = []
    for core in cores(unit):
        proof = prove(core, timeout=timeout)
        arrow = Arrow("specification", "rtl", "sat", seconds=proof.seconds,
                      what=f"{core.name}{': ' + core.says if core.says else ''}, "
                           f"all {core.bits} bits",
                      detail={"input_bits": core.bits})
        _settle(arrow, proof.status, f"within {timeout:g} s", proof.counterexample)
        arrows.append(arrow)
    return arrows


def run_contract(unit, design=None, *, latency=None, timeout=120):
    """Prove that the unit's streams keep to the contract: one `Arrow` for each property."""
    arrows = []
    latency = unit.latency if latency is None else latency
    for result in prove_contract(design or from_component(unit), latency=latency,
                                 timeout=timeout):
        arrow = Arrow("contract", "rtl", "induction", what=result.name, seconds=result.seconds,
                      detail={"property": PROPERTIES[result.name]})
        _settle(arrow, result.status, result.why, {"why": result.why})
        arrows.append(arrow)
    return arrows


def _settle(arrow, status, why, first):
    """Enter the result of a proof."""
    if status == "not proved":
        arrow.ran, arrow.why = False, f"not proved {why}"
        return
    arrow.compared = 1
    if status == "refuted":
        arrow.mismatches = 1
        arrow.first = nowhere(first)


def run_simulators(unit, design=None, *, seed=3):
    """The same vectors in cocotb on Verilator, Amaranth's simulator and the batch simulator.

    Each side stalls with probability 0, 0.5 and 0.9; the unit is not reset, and reset in each cycle
    of its latency. Payloads must be the golden function's, and cycles the same in all of them.

    Returns
    -------
    list of Arrow
    """
    design = design or from_component(unit)
    shape = unit.o.p.shape()
    stimulus = random(unit, SHORT * unit.lanes, seed, longest=4)
    words = pack(unit.i.p.shape(), stimulus.inputs)
    expected = to_ints(pack_outputs(unit, stimulus.inputs))
    payloads = [plain(shape, number) for number in expected]
    count, resets = len(expected), [None, *range(unit.latency + 1)]
    if design.reset is None:
        resets = [None]
    runs = [{"stall_i": stall_i, "stall_o": stall_o, "seed": seed, "reset_at": reset_at}
            for stall_i, stall_o, reset_at in product(STALLS, STALLS, resets)]

    batch = BatchSimulator(design)
    try:
        done = [batch.run(stimulus.inputs, outputs=count, extra=EXTRA, **run) for run in runs]
    except SimulationError as error:
        return [Arrow("golden", "rtl", "batch", compared=count, mismatches=count,
                      first=nowhere(str(error)))]
    wanted = [list(zip(run.cycles.tolist(), payloads, strict=True)) for run in done]
    arrows = []

    def enter(method, simulate, chosen=runs):
        start = time.monotonic()
        arrow = Arrow("golden", "rtl", method, what=f"{len(chosen)} runs, stalls and resets",
                      detail={"runs": len(chosen), "transfers": len(words)})
        try:
            found = simulate()
        except (AssertionError, TimeoutError, cocotb_run.CocotbError) as error:
            arrow.compared = arrow.mismatches = count * len(chosen)
            arrow.first = nowhere(str(error))
        else:
            good_ones = [wanted[runs.index(run)] for run in chosen]
            for run, good, other in zip(chosen, good_ones, found, strict=True):
                for element, ((cycle, value), (there, payload)) in enumerate(
                        zip(good, other, strict=True)):
                    arrow.compared += 1
                    if (cycle, value) != (there, payload):
                        arrow.mismatches += 1
                        arrow.first = arrow.first or {
                            "layer": None, "element": element, "cycle": there, "expected": value,
                            "found": payload, "run": run}
        arrow.seconds = time.monotonic() - start
        arrows.append(arrow)

    def of_batch():
        return [list(zip(run.cycles.tolist(),
                         [plain(shape, number) for number in to_ints(pack(shape, run.outputs))],
                         strict=True)) for run in done]

    inputs = [plain(unit.i.p.shape(), number) for number in to_ints(words)]
    enter("batch", of_batch)
    enter("cocotb", lambda: cocotb_run.run_streams(design, inputs, runs, outputs=count))
    # Python is slow: every stall without a reset, every reset with one stall.
    some = [run for run in runs
            if run["reset_at"] is None or run["stall_i"] == run["stall_o"] == 0.5]
    enter("amaranth", lambda: bench.run_streams(unit, inputs, some, outputs=count), some)
    return arrows


def mutation(unit, design=None, *, count=MUTANTS, seed=1, progress=None):
    """Whether the unit's vectors notice faults in its netlist; see :func:`.mutate.mutate`."""
    design = design or from_component(unit)
    shape = unit.o.p.shape()
    short = random(unit, SHORT * unit.lanes, 3, longest=4)
    # All of the unit's vectors; the few that are quickly run go first.
    sets = [short, worst(unit), *stimuli(unit, 40_000), *stimuli(unit)]
    wanted = [pack_outputs(unit, stimulus.inputs) for stimulus in sets]
    original = BatchSimulator(design)

    def check(stimulus, expected, **kwargs):
        cycles = original.run(stimulus.inputs, outputs=len(expected), **kwargs).cycles

        def differs(simulator, constants):
            run = simulator.run(stimulus.inputs, outputs=len(expected), constants=constants,
                                extra=EXTRA, max_cycles=int(cycles[-1]) + 2, **kwargs)
            return bool(compare(shape, expected, run.outputs)[0]) or bool(
                (run.cycles != cycles).any())

        return differs

    checks = [check(short, wanted[0])]
    for stall_i, stall_o in (0.5, 0.5), (0.9, 0.0), (0.0, 0.9):
        checks.append(check(short, wanted[0], stall_i=stall_i, stall_o=stall_o, seed=3))
    if design.reset is not None:
        checks += [check(short, wanted[0], stall_i=0.5, stall_o=0.5, seed=3, reset_at=reset_at)
                   for reset_at in range(unit.latency + 3)]
    checks += [check(*pair) for pair in zip(sets[1:], wanted[1:], strict=True)]
    return mutate(design, checks, count=count, seed=seed, progress=progress,
                  latency=unit.latency, grouped=is_grouped(unit), domain=restricted(unit))


def run_mutation(unit, design=None, **kwargs):
    """:func:`mutation` as an `Arrow`, exact where enough of the mutants are caught."""
    start = time.monotonic()
    report = mutation(unit, design, **kwargs)
    arrow = Arrow(
        "vectors", "mutants", "mutation", compared=report.mutants,
        what=f"{report.caught} of {report.mutants} mutants caught, "
             f"{report.equivalent} proved equivalent",
        seconds=time.monotonic() - start,
        detail={"mutants": report.mutants, "caught": report.caught,
                "equivalent": report.equivalent, "survivors": list(report.survivors)})
    if report.score < SCORE:
        arrow.mismatches = len(report.survivors)
        arrow.first = nowhere(report.survivors[0], expected="noticed")
    return arrow


def methods(unit):
    """How the unit is verified, in words that ``carrysave units`` shows."""
    swept = exhaustive_bits(unit) <= EXHAUSTIVE_BITS
    return [*(["exhaustive"] if swept else []), "random", *(["sat"] if cores(unit) else []),
            "induction", "cocotb", "amaranth", "mutation"]


def _initial(unit, design):
    """:func:`.initial.run_initial`, which imports this module."""
    from .initial import run_initial

    return run_initial(unit, design)


#: What `verify` can do; the first four it does unless told.
METHODS = ("vectors", "proofs", "contract", "simulators", "mutation", "initial")


def verify(unit, *, kinds=METHODS[:4], timeout=120, progress=None):
    """Arrows of a unit.

    Parameters
    ----------
    unit : wiring.Component
    kinds : sequence of str
        Of `METHODS`.
    timeout : float
        Seconds for each proof.
    progress : callable, optional
        Called with a word before each step.
    """
    design = from_component(unit)
    steps = {
        "vectors": lambda: run_vectors(unit, simulator=BatchSimulator(design)),
        "proofs": lambda: run_proofs(unit, timeout=timeout),
        "contract": lambda: run_contract(unit, design, timeout=timeout),
        "simulators": lambda: run_simulators(unit, design),
        "mutation": lambda: [run_mutation(unit, design)],
        "initial": lambda: _initial(unit, design),
    }
    arrows = []
    for kind in kinds:
        if progress:
            progress(kind)
        arrows += steps[kind]()
    return arrows
