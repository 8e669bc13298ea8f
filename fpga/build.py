# SPDX-License-Identifier: Apache-2.0
"""From an accelerator to the bitstream of a board, with a manifest."""

import dataclasses
import importlib.metadata
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from ..hw.cache import digest
from . import boards
from .route import Routing, TimingError, route, worst_path
from .synthesis import Options, Synthesis, synthesise
from .tools import tool_version

__all__ = ["BuildResult", "build", "implement"]


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """A built board design.

    Members
    -------
    synthesis : Synthesis
        With the netlist for simulation.
    routing : Routing
    bitstream : Path
    manifest : dict
        As in ``manifest.json`` beside the bitstream.
    reused : bool
        Whether everything came from the cache.
    seconds : float
        Time that this build took.
    """

    synthesis: Synthesis
    routing: Routing
    bitstream: Path
    manifest: dict
    reused: bool
    seconds: float

    def to_json(self):
        """The manifest and where the bitstream lies, for machines."""
        return {**self.manifest, "bitstream": str(self.bitstream), "reused": self.reused,
                "seconds": round(self.seconds, 3)}


def manifest(synthesis, routing, files):
    """What went into a bitstream and what came out of it; the same for the same build."""
    board, plan = synthesis.board, synthesis.plan
    tools = dict(tool_version(command[0]) for command in routing.commands)
    for package in ("amaranth", "amaranth-boards", "pyosys"):
        tools[package] = importlib.metadata.version(package)
    return {
        "format": 1,
        "board": board.name,
        "device": board.device,
        "family": board.family.name,
        "seed": routing.seed,
        **dataclasses.asdict(routing.timing),
        "resources": routing.utilisation(board.family),
        "synthesis": {**synthesis.resources, "cells": synthesis.cells},
        "tools": dict(sorted(tools.items())),
        "commands": [["yosys", "-p", "; ".join(synthesis.script)],
                     *map(list, routing.commands)],
        "inputs": {"rtlil": digest(plan.rtlil), "constraints": digest(plan.constraints)},
        "outputs": {name: digest(data) for name, data in sorted(files.items())},
    }


def replace_folder(folder, files):
    """Put files into a folder as one step: the old content stays until the new one is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(work, 0o755)
        new, old = work / "new", work / "old"
        new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def implement(synthesis, *, seeds=(1, 2, 3, 4), timeout=3600, cache=None, progress=None):
    """Place, route and pack until the clock of the board is met; parameters as of `build`.

    Returns
    -------
    list of Routing
        All attempts, the good one last.

    Raises
    ------
    TimingError, ToolError
        As `build` does.
    """
    if not seeds:
        raise ValueError("Seeds must name at least one integer")
    board, routings = synthesis.board, []
    for seed, timing_driven in [(seeds[0], False), *((seed, True) for seed in seeds)]:
        routing = route(synthesis, seed=seed, timing_driven=timing_driven, timeout=timeout,
                        cache=cache, progress=progress)
        routings.append(routing)
        if routing.timing.slack_ns >= 0:
            return routings
    best = max(routings, key=lambda routing: routing.timing.slack_ns)
    raise TimingError("\n".join([
        f"The design misses the clock of {board.title}, {best.timing.clock_mhz:g} MHz: the "
        f"best of {len(routings)} attempts reached {best.timing.fmax_mhz:g} MHz",
        *worst_path(best.report)]), routings)


def build(accelerator, board, *, out, name="top", seeds=(1, 2, 3, 4), options=Options(),
          timeout=3600, cache=None, progress=None):
    """Build the bitstream of an accelerator on a board.

    ``out/<board>/`` then holds the bitstream ``<name>.bin`` or ``<name>.bit``, the netlist
    ``<name>.json`` and ``<name>.v``, the constraints, nextpnr's ``report.json`` and
    ``manifest.json``. Nothing there changes if the build fails.

    Parameters
    ----------
    accelerator : wiring.Component
        With ports ``rx`` and ``tx``.
    board : Board or str
    out : path
    name : str
        Base name of the files.
    seeds : sequence of int
        The first is tried without timing-driven placement, which is quick and mostly enough; then
        all are with it, until one meets the board's clock.
    options : Options
        Of synthesis.
    timeout : float
        Seconds for place and route.
    cache : path, optional
        Another cache folder than the user's.
    progress : callable, optional
        Called with a line of text as each step starts.

    Returns
    -------
    BuildResult

    Raises
    ------
    ValueError
        For an unknown board, or a design that does not fit (:class:`ResourceError`).
    TimingError
        If none meets the clock; the message shows the slowest path of the best one.
    YosysError, ToolError
        If a tool fails.
    """
    started = time.monotonic()
    board = boards.get(board) if isinstance(board, str) else board
    synthesis = synthesise(accelerator, board, options=options, cache=cache, progress=progress)
    routings = implement(synthesis, seeds=seeds, timeout=timeout, cache=cache, progress=progress)
    routing = routings[-1]

    family = board.family
    files = {
        name + family.bitstream: routing.bitstream.read_bytes(),
        f"{name}.json": synthesis.json.encode(),
        f"{name}.v": synthesis.verilog.encode(),
        name + family.constraints: synthesis.plan.constraints.encode(),
        "report.json": json.dumps(routing.report, indent=1).encode(),
    }
    record = manifest(synthesis, routing, files)
    folder = Path(out) / board.name
    replace_folder(folder, {**files, "manifest.json": json.dumps(record, indent=1).encode()})
    return BuildResult(
        synthesis=synthesis, routing=routing, bitstream=folder / (name + family.bitstream),
        manifest=record,
        reused=synthesis.reused and all(routing.reused for routing in routings),
        seconds=time.monotonic() - started,
    )
