# SPDX-License-Identifier: Apache-2.0
"""Netlist mutants: would the vectors of a unit notice a fault?"""

import dataclasses
import tempfile
from pathlib import Path

from ..hw.yosys import run_yosys
from .batch import BatchSimulator, SimulationError
from .equivalent import equivalent
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
                *FLATTEN, "zinit -all"]
        run_yosys([*read, f"mutate -list {count} -seed {seed} -ctrl {SELECT} {width} 1 "
                          "-o mutants.ys", "write_rtlil flat.il"], cwd=folder)
        commands = [line for line in (folder / "mutants.ys").read_text().splitlines() if line]
        run_yosys(["read_rtlil flat.il", *commands, "opt_clean",
                   # A fault at a register's output has left the initial value with its wire.
                   "setattr -unset init w:*", "zinit -all",
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


def mutate(design, checks, *, count=200, seed=1, progress=None, **pipeline):
    """Try every mutant on the checks of a unit.

    Parameters
    ----------
    design : Design
    checks : list of callable
        Each is given a simulator and the constants that select a mutant, and returns whether it
        notices that something is wrong; the quickest first.
    count, seed : int
        Of the mutants.
    progress : callable, optional
        Called with the number of mutants tried.
    **pipeline
        ``latency``, ``grouped`` and ``domain`` of :func:`.equivalent.equivalent`.

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
    same = [number for number in left
            if equivalent(mutants.design, SELECT, number, **pipeline)]
    return Report(
        mutants=len(mutants.faults), caught=len(mutants.faults) - len(left), equivalent=len(same),
        survivors=tuple(mutants.faults[number - 1] for number in left if number not in same))
