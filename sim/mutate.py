# SPDX-License-Identifier: Apache-2.0
"""Netlist mutants: would the vectors of a unit notice a fault?"""

import dataclasses
import json
import tempfile
from pathlib import Path

from ..hw.yosys import YosysError, run_yosys
from .batch import BatchSimulator, SimulationError
from .netlist import aiger, evert, flat, freezes, reach
from .verilog import Port

__all__ = ["Mutants", "Report", "mutate"]

SELECT = "mutant"
# Registers that are constant are no place for a fault. Each pass is followed by opt_clean, which
# drops the initial values of what the pass has made constant: others take them for contradictions.
FLATTEN = tuple(
    step for each in ("proc -norom", "flatten", "opt_expr", "opt_dff -sat", "opt_expr", "opt_merge",
                      "opt_muxtree", "wreduce")
    for step in (each, "opt_clean"))


@dataclasses.dataclass(frozen=True)
class Mutants:
    """A design with many faults, one of which a port switches on.

    Attributes
    ----------
    design : Design
        With a port ``mutant``: 0 is the design as it was.
    faults : tuple of str
        What each one is, in the words of Yosys' ``mutate``; number k is ``faults[k - 1]``.
    """

    design: object
    faults: tuple


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the mutants.

    Attributes
    ----------
    mutants, caught, equivalent : int
    survivors : tuple of str
        Neither caught nor proved equivalent.
    """

    mutants: int
    caught: int
    equivalent: int
    survivors: tuple

    @property
    def score(self):
        """Share of the mutants caught of those that are not proved equivalent."""
        rest = self.mutants - self.equivalent
        return self.caught / rest if rest else 1.0


def make(design, *, count=200, seed=1):
    """Mutants of the design's flat netlist.

    Parameters
    ----------
    design : Design
    count : int
        Fewer come out where a design is too small for so many.
    seed : int

    Returns
    -------
    Mutants
    """
    width = count.bit_length()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, text in design.sources.items():
            (folder / name).write_text(text)
        read = [f"read_verilog -sv {' '.join(design.sources)}", f"hierarchy -top {design.top}",
                *FLATTEN]
        run_yosys([*read, f"mutate -list {count} -seed {seed} -ctrl {SELECT} {width} 1 "
                          "-o mutants.ys", "write_rtlil flat.il"], cwd=folder)
        commands = [line for line in (folder / "mutants.ys").read_text().splitlines() if line]
        run_yosys(["read_rtlil flat.il", *commands, "opt_clean",
                   # A mutant may match several cases: no assertion that says it cannot.
                   "write_verilog -norename -noparallelcase mutants.v"],
                  cwd=folder, timeout=600)
        verilog = (folder / "mutants.v").read_text()
    ports = (*design.ports, Port(SELECT, width, "input"))
    faults = tuple(" ".join(word for word in _describe(line)) for line in commands)
    return Mutants(
        dataclasses.replace(design, sources={"mutants.v": verilog}, ports=ports), faults)


def _describe(command):
    """Mode and place from a line of the list."""
    words = command.split()
    options = dict(zip(words[1::2], words[2::2], strict=False))
    for name in ("-mode", "-cell", "-port", "-portbit", "-ctrlbit", "-wire", "-wirebit"):
        if name in options:
            yield f"{name[1:]} {options[name].lstrip(chr(92))}"


def equivalent(mutants, number, *, latency=None, timeout=30):
    """Whether a mutant is proved to do the same as the design.

    From any state, both must give the same outputs and the same next state; or from power-on, both
    must always give the same outputs.

    With ``latency`` the design is a pipeline of so many stages without an accumulator. Then it is
    enough to look as long as something entered may stay: two cycles more than the latency where the
    mutant is proved to keep its state while its output waits, else twice as long.
    """
    if number and " port CLK " in mutants.faults[number - 1]:
        return False  # proofs know one clock only
    design, top = mutants.design, mutants.design.top
    width = design.port(SELECT).width
    pair = []
    for name, value in ("gold", 0), ("gate", number):
        pair += [f"copy {top} {name}", f"cd {name}", f"connect -set {SELECT} {width}'d{value}",
                 f"delete -input {SELECT}", "cd .."]
    pair.append("miter -equiv gold gate miter")
    # Merging leaves of the two but what the fault reaches.
    merge = ("opt_expr", "opt_clean", "opt_merge") * 2
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "mutants.v").write_text(design.sources["mutants.v"])
        read = ["read_verilog mutants.v", f"hierarchy -top {top}"]
        module = flat(read, top, folder)
        registers = evert(module)
        Path(folder, "step.json").write_text(json.dumps({"modules": {top: module}}))
        try:
            log = run_yosys(["read_json step.json", *pair, "hierarchy -top miter", "flatten",
                             *merge,
                             f"sat -prove trigger 0 -timeout {timeout} miter"],
                            cwd=folder, timeout=timeout + 60)
            if "no model found: SUCCESS" in log:
                return True
            path = aiger([*read, "proc -norom -noopt", *pair], "miter", folder)
            bound = None
            if latency is not None:
                given = ["o__valid 1", "o__ready 0", f"{SELECT} {number}",
                         *([] if design.reset is None else [f"{design.reset} 0"])]
                held = freezes(module, top, folder, given=given, timeout=timeout,
                               prove=[f"D_{k} Q_{k}" for k in registers.values()])
                bound = (latency if held else 2 * latency) + 2
            return reach(path, timeout=timeout, bound=bound) == -1
        except YosysError as error:
            if "TIMEOUT" in error.log or "did not finish" in str(error):
                return False
            raise


def mutate(design, checks, *, count=200, seed=1, latency=None, progress=None):
    """Try every mutant on the checks of a unit.

    Parameters
    ----------
    design : Design
    checks : list of callable
        Each is given a simulator and the constants that select a mutant, and returns whether it
        notices that something is wrong; the quickest first.
    count, seed : int
        Of the mutants.
    latency : int, optional
        Of :func:`equivalent`.
    progress : callable, optional
        Called with the number of mutants tried.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If a check finds the design itself wrong.
    """
    mutants = make(design, count=count, seed=seed)
    simulator = BatchSimulator(mutants.design)

    def noticed(check, number):
        try:
            return check(simulator, {SELECT: number})
        except SimulationError:
            return True

    if any(noticed(check, 0) for check in checks):
        raise ValueError(f"{design.top} is wrong without any mutant")
    left = []
    for number in range(1, len(mutants.faults) + 1):
        if not any(noticed(check, number) for check in checks):
            left.append(number)
        if progress:
            progress(number)
    same = [number for number in left if equivalent(mutants, number, latency=latency)]
    return Report(
        mutants=len(mutants.faults), caught=len(mutants.faults) - len(left), equivalent=len(same),
        survivors=tuple(mutants.faults[number - 1] for number in left if number not in same))
