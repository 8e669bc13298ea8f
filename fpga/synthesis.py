# SPDX-License-Identifier: Apache-2.0
"""From an accelerator on a board to a netlist of the board's cells, and what it costs."""

import dataclasses
import importlib.metadata
import importlib.resources
import json
from pathlib import Path

from ..hw.cache import cached, digest
from ..hw.yosys import YosysError, run_yosys
from . import boards, ice40

__all__ = ["Netlist", "Options", "ResourceError", "Synthesis", "synthesise"]

CELLS = Path(__file__).parent / "cells"
# Passes that give cells the names of their models: LUTs as tables; black boxes of Yosys.
BOTH = ("chtype -set SB_LUT4_TABLE t:SB_LUT4", "chtype -set LUT4_TABLE t:LUT4")
LUT_TABLES = {
    "ice40": BOTH, "ecp5": BOTH,
    "gowin": tuple(f"chtype -set GOWIN_{cell} t:{cell}"
                   for cell in ("LUT1", "LUT2", "LUT3", "LUT4", "SP", "SPX9")),
}
RESOURCES = {"lut4": "LUTs", "ff": "flip-flops", "bram": "block RAMs", "dsp": "DSP blocks"}


class ResourceError(ValueError):
    """The design needs more than the board has."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to synthesise.

    Members
    -------
    adders : bool
        Give every adder a carry chain of its own, instead of merging sums of sums into LUT trees.
    arguments : tuple of str
        Further arguments of the Yosys command, such as ``synth_ice40``.
    timeout : float
        Seconds.
    """

    adders: bool = False
    arguments: tuple = ()
    timeout: float = 3600


@dataclasses.dataclass(frozen=True)
class Netlist:
    """The netlist of a board design, for simulation.

    The cells are those that are routed, but for the pads, which are plain wires here; LUTs have
    models of their own, for speed; a netlist's nets have the names that the router gets. The top
    module is a wrapper with the same ports for every board. Whoever talks to it first waits
    :attr:`startup` cycles.

    Members
    -------
    verilog : str
        The netlist and the wrapper.
    models : tuple of Path
        Verilog files with the models of the cells.
    defines : tuple of str
        Preprocessor macros that the models want.
    startup : int
        Clock cycles from power-on until the accelerator leaves its reset.
    top, clock, rx, tx : str
        Names of the wrapper and of its ports.
    """

    verilog: str
    models: tuple
    defines: tuple
    startup: int
    top: str = "board"
    clock: str = "clk"
    rx: str = "rx"
    tx: str = "tx"

    @property
    def unverified(self):
        """Files of the cells' models that were never compared with silicon."""
        return tuple(path.name for path in self.models
                     if "not silicon-verified" in path.read_text()[:1000])

    @property
    def sources(self):
        """Text by file name, for a simulator."""
        return {"netlist.v": self.verilog,
                **{path.with_suffix(".v").name: path.read_text() for path in self.models}}


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """A synthesised board design.

    Members
    -------
    board : Board
    plan : Plan
        Design and constraints as amaranth-boards gave them.
    netlist : Netlist
        For simulation.
    json, verilog : str
        The netlist, pads included, for the router and to read.
    resources : dict of str to int
        ``lut4`` (with carry cells: ECP5's counts as two), ``ff``, ``bram``, ``dsp``, ``carry``.
    cells : dict of str to int
        Every kind of cell.
    script : tuple of str
        The Yosys passes.
    reused : bool
        Whether it came from the cache.
    """

    board: boards.Board
    plan: boards.Plan
    netlist: Netlist
    json: str
    verilog: str
    resources: dict
    cells: dict
    script: tuple
    reused: bool

    def to_json(self):
        """Board, resources, cells and hashes, for machines."""
        return {
            "board": self.board.name, "family": self.board.family.name, **self.resources,
            "cells": self.cells,
            "sha256": {"rtlil": digest(self.plan.rtlil), "netlist": digest(self.json)},
            "tools": {"pyosys": importlib.metadata.version("pyosys")},
        }


def script(board, options):
    """The Yosys passes from ``top.il`` to ``top.json``, ``top.v``, ``sim.v`` and ``stat.json``."""
    return (
        "read_rtlil top.il",
        # abc9 takes a wire `x[0]` for a bit of a wire `x`, and ends in an assertion: plain names.
        "hierarchy -top top", "proc", "flatten", "rename -unescape",
        *(["opt", "wreduce", "alumacc t:$add"] if options.adders else []),
        " ".join([board.synth, *options.arguments, "-top top"]),
        "delete t:$scopeinfo",
        # Attributes hold paths of this machine; "=*" are all modules, models of cells included.
        "attrmap -remove src -remove hdlname =*",
        "attrmap -modattr -remove src -remove hdlname =*",
        "tee -q -o stat.json stat -json",
        "write_json top.json",
        "write_verilog -noattr top.v",
        # For simulation: no inout pins, LUTs as tables.
        "techmap -map pads.v",
        "deminout",
        # Nets of one bit: a bus that feeds itself bit by bit looks like a loop to a simulator.
        "splitnets",
        "opt_clean -purge",
        *LUT_TABLES[board.family.name],
        "rename -hide c:*",
        "write_verilog -noattr sim.v",
    )


def wrapper(board):
    """A module with the ports clk, rx, tx around a netlist."""
    pins = ", ".join(f".{pin}({port})" for port, pin in board.pins.items())
    return f"module board(input clk, input rx, output tx);\n  top top({pins});\nendmodule\n"


def cell_models(family):
    """Files with the models of a family's cells, and the macros that they want."""
    share = Path(str(importlib.resources.files("pyosys"))) / "share"
    if family is boards.ICE40:
        return (share / "ice40/cells_sim.v", CELLS / "luts.v"), ("NO_ICE40_DEFAULT_ASSIGNMENTS",)
    if family is boards.GOWIN:
        return (share / "gowin/cells_sim.v", CELLS / "gowin.v", CELLS / "gowin_bram.v"), ()
    lattice = share / "lattice"
    return ((lattice / "common_sim.vh", lattice / "ccu2c_sim.vh", CELLS / "ecp5.v",
             CELLS / "luts.v"), ("NO_INCLUDES",))


def count(cells, family):
    """Resources that the cells of a netlist need."""
    resources = dict.fromkeys(("lut4", "ff", "bram", "dsp", "carry"), 0)
    for cell, number in cells.items():
        if cell in family.cells:
            resource, each = family.cells[cell]
            resources[resource] += each * number
    resources["carry"] += cells.get("CCU2C", 0) + cells.get("ALU", 0)
    return resources


def check_resources(resources, board):
    """Raise :class:`ResourceError` where a board has less than a design needs."""
    if any(resources[key] > getattr(board, key) for key in RESOURCES):
        needs = "; ".join(f"{resources[key]:,} of {getattr(board, key):,} {name}"
                          for key, name in RESOURCES.items())
        raise ResourceError(f"The design does not fit {board.title}: it needs {needs}. "
                            "Use a smaller array or network, or a larger board.")


def synthesise(accelerator, board, *, options=Options(), check=True, cache=None, progress=None):
    """Synthesise an accelerator with the top level of a board.

    Parameters
    ----------
    accelerator : wiring.Component
        With ports ``rx`` and ``tx``.
    board : Board or str
    options : Options
    check : bool
        Whether the design must fit the board.
    cache : path, optional
        Another cache folder than the user's.
    progress : callable, optional
        Called with a line of text as each step starts.

    Returns
    -------
    Synthesis

    Raises
    ------
    ResourceError
        If the design does not fit the board.
    YosysError
        If Yosys fails.
    """
    board = boards.get(board) if isinstance(board, str) else board
    plan = boards.plan(accelerator, board)
    passes = script(board, options)

    def produce(folder):
        if progress:
            progress(f"{board.name}: synthesis")
        (folder / "top.il").write_text(plan.rtlil)
        (folder / "pads.v").write_bytes((CELLS / "pads.v").read_bytes())
        log = run_yosys(passes, cwd=folder, timeout=options.timeout)
        (folder / "yosys.log").write_text(log)
        simulated = (folder / "sim.v").read_text()
        if " inout " in simulated:
            raise YosysError("A pad of the netlist has no fixed direction, which cells/pads.v "
                             "does not handle", log)
        (folder / "top.il").unlink()
        (folder / "pads.v").unlink()

    inputs = {"rtlil": digest(plan.rtlil), "script": passes,
              "pads": digest((CELLS / "pads.v").read_bytes()),
              "pyosys": importlib.metadata.version("pyosys")}
    folder, reused = cached("synthesis", inputs, produce, root=cache)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    resources = count(cells, board.family)
    netlist = (folder / "top.json").read_text()
    needed = resources
    if board.family is boards.ICE40:
        needed = {**resources, "lut4": ice40.logic_cells(netlist)}
    if check:
        check_resources(needed, board)
    models, defines = cell_models(board.family)
    return Synthesis(
        board=board, plan=plan,
        netlist=Netlist(verilog=wrapper(board) + (folder / "sim.v").read_text(),
                        models=models, defines=defines, startup=board.startup),
        json=netlist, verilog=(folder / "top.v").read_text(),
        resources=resources, cells=cells, script=passes, reused=reused,
    )
