# SPDX-License-Identifier: Apache-2.0
"""Designs whose registers begin at random values, or at X, instead of their initial values.

Every register of an Amaranth design has an initial value, those without reset too, so Verilator's
``--x-initial unique`` finds nothing to randomise. Here the registers are taken out of the netlist
and put around what remains, which is combinational.
"""

import dataclasses
import json
import re
import tempfile
from pathlib import Path

from ..hw.yosys import run_yosys
from .netlist import REGISTERS, clocked_otherwise, evert
from .verilog import Port

__all__ = ["ALL", "ALL_BUT", "Scrambled", "randomised", "unknown"]

#: Values of the port ``only``: all registers; all but the one of the number added to it.
ALL, ALL_BUT = 0x7FFF_FFFF, 0x4000_0000
NAMED = 5
INNER = "combinational"

MIX = """
  function automatic [63:0] mix(input [31:0] seed, input [31:0] index);
    mix = {seed, index} * 64'h9E3779B97F4A7C15;
    mix = (mix ^ (mix >> 30)) * 64'hBF58476D1CE4E5B9;
    mix = (mix ^ (mix >> 27)) * 64'h94D049BB133111EB;
    mix = mix ^ (mix >> 31);
  endfunction
"""


@dataclasses.dataclass(frozen=True)
class Scrambled:
    """A design with its registers open to the test bench.

    Attributes
    ----------
    design : Design
        With the inputs that the function that made it describes.
    registers : tuple of str
        Names, by number.
    memories : tuple of str
        Names of the memories that are written to.
    """

    design: object
    registers: tuple
    memories: tuple

    def guilty(self, differs):
        """Names of registers that make a difference, some of them.

        Those that make it alone; if there are none, those without which there is none.

        Parameters
        ----------
        differs : callable
            Whether there is a difference with a value of ``only``.
        """
        numbers = range(len(self.registers))
        found = [k for k in numbers if differs(k)]
        found = found or [k for k in numbers if not differs(ALL_BUT + k)]
        return [self.registers[k] for k in found[:NAMED]]


def randomised(design):
    """A design that begins in a random state.

    Inputs: ``seed``, 0 for the initial values of the design; ``only``, the number of the one
    register to begin at random, :data:`ALL` for all of them, or :data:`ALL_BUT`. With all or all
    but one, so does the content of every memory that is written to. Both inputs must be there
    before the first edge and stay.

    Parameters
    ----------
    design : Design

    Returns
    -------
    Scrambled
    """
    opened = _open(design, memories=True)
    lines = []
    for k, (_, width, init) in enumerate(opened.registers):
        chunks = range((width + 63) // 64 - 1, -1, -1)
        mixed = ", ".join(f"mix(seed, 32'd{(k << 12) + chunk})" for chunk in chunks)
        lines.append(f"    Q_{k} = {width}'b{init};\n"
                     f"    if (seed != 0 && only[30] != (only[29:0] == 30'd{k}))"
                     f" Q_{k} = {{{mixed}}};\n")
    start = f"{MIX}  initial begin\n{''.join(lines)}  end\n"
    ports = (*design.ports, Port("seed", 32, "input"), Port("only", 32, "input"))
    return _close(design, opened, ports, start, "Q_{0} <= D_{0};")


def unknown(design):
    """A design whose registers become X while its input ``unknown`` is 1, for Icarus Verilog.

    X must neither be lost nor look like a number. ``if`` and ``case`` take X for 0, so there are
    none: Yosys has made them simple cells, where ``?:`` gives X for each bit in which its two
    sides differ and arithmetic on any X is X altogether. Memories have become registers.
    """
    opened = _open(design, memories=False)
    found = re.search(r"\b(if|casez?|casex)\b *\(", opened.verilog)
    if found:
        raise ValueError(f"{design.top} cannot be simulated with X: {found[1]} is left")
    ports = (*design.ports, Port("unknown", 1, "input"))
    return _close(design, opened, ports, "", "Q_{0} <= unknown ? {{{1}{{1'bx}}}} : D_{0};")


@dataclasses.dataclass(frozen=True)
class _Opened:
    """``registers`` are (name, width, initial value in binary); ``pins`` those of the module."""

    verilog: str
    registers: tuple
    memories: tuple
    pins: tuple


def _open(design, *, memories):
    """The design without its registers."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, text in design.sources.items():
            (folder / name).write_text(text)
        defines = "".join(f"-D{define} " for define in design.defines)
        run_yosys([
            f"read_verilog -sv {defines}{' '.join(design.sources)}",
            f"hierarchy -top {design.top}", "proc -norom -noopt", "flatten", "opt_clean",
            # What follows from X must stay as it is: no optimisation for those.
            *(["opt_expr", "opt_merge"] if memories else ["memory_map"]),
            "opt_clean", "async2sync", "dffunmap", "pmuxtree", "bmuxmap", "demuxmap", "opt_clean",
            "delete t:$scopeinfo", "write_json flat.json",
        ], cwd=folder)
        module = json.loads((folder / "flat.json").read_text())["modules"][design.top]
        if clocked_otherwise(module, design.clock):
            raise ValueError(f"{design.top} must be clocked by the rising edge of {design.clock} "
                             "only")
        registers = _registers(module)
        written = sorted({cell["parameters"]["MEMID"].removeprefix("\\")
                          for cell in module["cells"].values()
                          if cell["type"].startswith("$memwr")})
        evert(module)
        if written:
            _add_input(module, "seed", 32)
            _add_input(module, "only", 32)
        (folder / "open.json").write_text(json.dumps({"modules": {INNER: module}}))
        run_yosys(["read_json open.json", "write_verilog -noattr -norename open.v"], cwd=folder)
        verilog = (folder / "open.v").read_text()
    for number, name in enumerate(written):
        verilog = _fill(verilog, name, number)
    return _Opened(verilog, registers, tuple(written), tuple(module["ports"]))


def _registers(module):
    """Name, width and initial value of each register, in the order of `evert`."""
    init, names = {}, {}
    for name, net in module["netnames"].items():
        value = net["attributes"].get("init", "")
        init.update(zip(net["bits"], reversed(value), strict=False))
        if not net["hide_name"]:
            names.update({bit: name for bit in net["bits"]} | names)
    registers = []
    for name in sorted(module["cells"]):
        cell = module["cells"][name]
        if REGISTERS.search(cell["type"]):
            bits = cell["connections"]["Q"]
            value = "".join(init.get(bit, "x") for bit in reversed(bits)).replace("x", "0")
            registers.append((names.get(bits[0], name), len(bits), value))
    return tuple(registers)


def _add_input(module, name, width):
    used = [bit for net in module["netnames"].values() for bit in net["bits"]]
    first = max(bit for bit in used if isinstance(bit, int)) + 1
    bits = list(range(first, first + width))
    module["ports"][name] = {"direction": "input", "bits": bits}
    module["netnames"][name] = {"hide_name": 0, "attributes": {}, "bits": bits}


def _fill(verilog, name, number):
    """Random content for a memory, at the end of its module, after what Yosys fills it with."""
    declared = re.search(rf"^  reg \[(\d+):0\] (\\?{re.escape(name)} *)\[(\d+):(\d+)\];$",
                         verilog, re.M)
    if declared is None:
        raise ValueError(f"Memory {name} was not found")
    width, place, *ends = declared.groups()
    low, high = sorted(map(int, ends))
    mixed = ", ".join(f"mix(seed, {{4'd{8 + number % 8}, 20'(k), 8'd{chunk}}})"
                      for chunk in range(int(width) // 64, -1, -1))
    filler = (f"  integer fill_{number};\n  initial if (seed != 0 && only[30])\n"
              f"    for (fill_{number} = {low}; fill_{number} <= {high}; "
              f"fill_{number} = fill_{number} + 1)\n"
              f"      {place}[fill_{number}] = {{{mixed}}};\n").replace("(k)", f"(fill_{number})")
    if number == 0:
        filler = MIX + filler
    return verilog.replace("endmodule", filler + "endmodule")


def _close(design, opened, ports, start, edge):
    """A module with the ports of the design around what is left of it."""
    pins = [name for name in (design.clock, design.reset) if name is not None]
    lines = [f"module {design.top}(", ",\n".join(
        [*(f"  input {name}" for name in pins),
         *(f"  {port.direction} [{port.width - 1}:0] {port.name}" for port in ports)]), ");"]
    for k, (_, width, _) in enumerate(opened.registers):
        lines.append(f"  reg [{width - 1}:0] Q_{k};\n  wire [{width - 1}:0] D_{k};")
    joined = ", ".join(f".{name}({name})" for name in opened.pins)
    edges = "".join(f"    {edge.format(k, width)}\n"
                    for k, (_, width, _) in enumerate(opened.registers))
    lines += [f"{start}  always @(posedge {design.clock}) begin\n{edges}  end",
              f"  {INNER} rest({joined});", "endmodule", ""]
    return Scrambled(
        dataclasses.replace(design, ports=tuple(ports), defines=(), sources={
            f"{design.top}.v": "\n".join(lines), f"{INNER}.v": opened.verilog}),
        tuple(name for name, _, _ in opened.registers), opened.memories)
