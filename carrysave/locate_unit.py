# SPDX-License-Identifier: Apache-2.0
"""The first place where Verilog for a unit parts from the unit's golden function."""

import dataclasses
import multiprocessing
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from .errors import BadInput, Failure
from .hw import catalogue
from .locate import AROUND, Place
from .sim.payload import plain
from .units import find, trials

__all__ = ["locate_unit"]


def locate_unit(name, path=None, *, top=None):
    """The `Place` of the first wrong transfer of a unit, or None if all are right.

    Parameters
    ----------
    name : str
        Preset.
    path : Path, optional
        Somebody else's Verilog for it, as of `units.verify_rtl`; else our own.
    top : str, optional
        Name of its module; the file's name by default.
    """
    find(name)
    text = None
    if path is not None:
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"RTL file {path} cannot be read: {error}") from None
    # In a process of its own: $finish, $stop and assertions end it.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_locate, name, text, top or (path and path.stem)).result()
        except BrokenProcessPool:
            raise Failure(f"RTL file {path} has ended the simulation: an assertion, $stop or "
                          "$finish; see above what it printed") from None


def _locate(name, text, top):
    from .sim import units
    from .sim.batch import BatchSimulator
    from .sim.verilator import VerilatorError
    from .sim.verilog import from_component

    unit = catalogue.get(name).build()
    design = from_component(unit)
    if text is not None:
        design = dataclasses.replace(design, sources={"foreign.v": text}, top=top)
    simulator = BatchSimulator(design)
    try:
        for stimulus, kwargs in trials(unit, design):
            (arrow,) = units.run_vectors(unit, [stimulus], simulator=simulator, **kwargs)
            if arrow.mismatches:
                break
        else:
            return None
    except VerilatorError as error:
        raise BadInput(f"RTL file: {error}") from None
    first = arrow.first
    said = re.match(r"cycle (\d+): ", str(first["found"]))
    cycle = first["cycle"] if first["cycle"] is not None else int(said[1]) if said else None
    place = Place("golden", "rtl", arrow.method, element=first["element"], cycle=cycle,
                  signal="o", expected=first["expected"], found=first["found"],
                  compared=arrow.compared)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rtl.vcd"
        place.first = max(0, (cycle or 0) - AROUND)
        skipped = kwargs.get("reset_at") or 0
        try:
            simulator.run(stimulus.inputs, outputs=arrow.compared, **kwargs,
                          extra=units.EXTRA, vcd=(
                              file, skipped + place.first, skipped + place.first + 2 * AROUND))
        except units.SimulationError:
            pass
        if file.exists():
            place.signals = _signals(unit, design, file, skipped + place.first)
    return place


def _signals(unit, design, file, first):
    """Values of the ports in every cycle of a waveform."""
    from .sim.difference import Waveform

    wave = Waveform(file, top=1)
    rows = []
    for port in design.ports:
        if port.name not in wave.signals:
            continue
        identifier, width, _ = wave.signals[port.name]
        value, values, changes = 0, [], dict(wave.cycles())
        for cycle in range(first, first + 2 * AROUND):
            value = changes.get(cycle, {}).get(identifier, value)
            values.append(value)
        if width == 1:
            rows.append({"name": port.name, "kind": "bit", "values": values})
        else:
            shape = (unit.i if port.name.startswith("i") else unit.o).p.shape()
            rows.append({"name": port.name, "kind": "bus", "values": [
                _short(plain(shape, value), value) for value in values]})
    return rows


def _short(decoded, value):
    """A number as such, a structure as hexadecimal."""
    return str(decoded) if isinstance(decoded, int) else f"{value:x}"
