# SPDX-License-Identifier: Apache-2.0
"""iCE40: routed designs and bitstreams back to Verilog."""

import itertools
import json
import re
import shutil
import tempfile
from pathlib import Path

from ..hw.process import run_process
from ..hw.yosys import run_yosys
from .tools import ToolError, ToolMissing, run_tool

__all__ = ["decompile", "icebox", "routed_verilog"]

CELLS = Path(__file__).parent / "cells"
# What the device gives an input without a net; all others are 0.
OPEN_INPUTS = {("ICESTORM_LC", "CEN"): "1", ("ICESTORM_RAM", "WCLKE"): "1",
               ("ICESTORM_RAM", "RCLKE"): "1"}
# Passes that end in `out.v`: nets of one bit with hidden names, for the speed of simulators.
PLAIN = ("read_verilog -lib +/ice40/cells_sim.v luts.v", "techmap -map pads.v", "deminout", "splitnets", "opt_clean -purge",
         "setundef -zero -params", "rename -hide w:* c:*", "write_verilog -noattr out.v")


def tied(design):
    """A routed design as nextpnr's JSON has it, its open inputs tied and its RAM ports gathered."""
    module = design["modules"]["top"]
    cells = module["cells"]
    fresh = itertools.count(1 + max(
        bit for net in module["netnames"].values() for bit in net["bits"] if isinstance(bit, int)))
    for name, cell in cells.items():
        wires, directions = cell["connections"], cell["port_directions"]
        for port, bits in wires.items():
            if not bits and directions[port] == "input":
                wires[port] = [OPEN_INPUTS.get((cell["type"], port), "0")]
        if cell["type"] == "SB_GB" and cell["attributes"].get("FOR_PAD_IN"):
            # Driven by the pad itself, next to it.
            pad = name.removeprefix("$gbuf_").removesuffix("_io")
            wires["USER_SIGNAL_TO_GLOBAL_BUFFER"] = cells[pad]["connections"]["PACKAGE_PIN"]
        if cell["type"] == "SB_IO":
            wires.pop("GLOBAL_BUFFER_OUTPUT", None)  # never connected: see SB_GB
        if cell["type"] == "ICESTORM_RAM":
            gather(cell, fresh)
    for net in module["netnames"].values():
        net["attributes"] = {}  # routes
    settle(cells)
    return design


def settle(cells):
    """Put constants in the place of LUTs that give nothing else: pads want to know."""
    known = {}
    for cell in cells.values():
        if cell["type"] != "ICESTORM_LC" or int(cell["parameters"]["DFF_ENABLE"], 2):
            continue
        wires = cell["connections"]
        fixed = [wires[f"I{k}"][0] for k in range(4)]
        table = int(cell["parameters"]["LUT_INIT"], 2)
        reached = {table >> k & 1 for k in range(16)
                   if all(bit == str(k >> at & 1) for at, bit in enumerate(fixed)
                          if isinstance(bit, str))}
        if len(reached) == 1 and wires["O"]:
            known[wires["O"][0]] = str(reached.pop())
            wires["O"] = []
    for cell in cells.values():
        wires = cell["connections"]
        for port, bits in wires.items():
            wires[port] = [known.get(bit, bit) for bit in bits]


def gather(cell, fresh):
    """Turn a RAM with a port for each bit into Yosys' SB_RAM40_4K; open outputs get nets."""
    buses = {}
    for port in list(cell["connections"]):
        found = re.fullmatch(r"([RW]ADDR|[RW]DATA|MASK)_(\d+)", port)
        if found:
            bits = cell["connections"].pop(port)
            buses.setdefault(found[1], {})[int(found[2])] = bits
            cell["port_directions"][found[1]] = cell["port_directions"].pop(port)
    for bus, bits in buses.items():
        cell["connections"][bus] = [
            (bits[k] or [next(fresh)])[0] for k in range(len(bits))]
    edges = "".join(
        letter for letter in "RW" if int(cell["parameters"].pop(f"NEG_CLK_{letter}"), 2))
    cell["type"] = "SB_RAM40_4K" + {"": "", "R": "NR", "W": "NW", "RW": "NRNW"}[edges]
    for letter in edges:
        ports = cell["connections"]
        ports[f"{letter}CLKN"] = ports.pop(f"{letter}CLK")
        cell["port_directions"][f"{letter}CLKN"] = cell["port_directions"].pop(f"{letter}CLK")


def routed_verilog(text):
    """A routed design of nextpnr-ice40 as Verilog for simulation.

    Parameters
    ----------
    text : str
        What ``--write`` gave.

    Returns
    -------
    str
        Module ``top`` with the pads as ports, of ``SB_LUT4_TABLE``, ``SB_RAM40_4K`` and logic.

    Raises
    ------
    YosysError
        If there are cells that are not known.
    """
    return _plain(json.dumps(tied(json.loads(text))),
                  "read_json in.json", "techmap -autoproc -map ice40_routed.v")


def decompile(bitstream, constraints, device=None):
    """A bitstream of an iCE40 as Verilog for simulation.

    LUTs, registers, carries, block RAM with its contents, global buffers and pads are what the
    bits say: IceStorm's ``iceunpack`` and ``icebox_vlog`` see neither netlist nor routed design.
    They know no DSP and no SPRAM of the UP5K.

    Parameters
    ----------
    bitstream : bytes
    constraints : str
        The .pcf, for the names of the pins.

    Returns
    -------
    str
        Module ``top``.

    Raises
    ------
    ToolError
        If a tool fails or is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "top.bin").write_bytes(bitstream)
        # Only pins: icebox_vlog stops at constraints of clocks.
        (work / "top.pcf").write_text("".join(
            f"{line}\n" for line in constraints.splitlines() if line.startswith("set_io")))
        run_tool(["yowasp-iceunpack", "top.bin", "top.asc"], cwd=work, timeout=300)
        result = run_process([icebox(), "-s", "-S", "-n", "top", "-p", "top.pcf", "top.asc"],
                             cwd=work, timeout=600)
        if result.returncode:
            lines = result.stdout.strip().splitlines() or [f"status {result.returncode}"]
            raise ToolError(f"icebox_vlog failed: {lines[-1]}", result.stdout)
    return _plain(result.stdout, "read_verilog in.json", "proc", "tribuf", "opt_expr")


def _plain(text, *passes):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "in.json").write_text(text)
        for name in ("luts.v", "pads.v", "ice40_routed.v"):
            shutil.copyfile(CELLS / name, work / name)
        run_yosys([*passes, *PLAIN], cwd=work)
        return (work / "out.v").read_text()


def icebox():
    """The program icebox_vlog."""
    found = shutil.which("icebox_vlog")
    if found is None:
        raise ToolMissing("icebox_vlog was not found: install IceStorm (Debian, Ubuntu: "
                          "apt-get install fpga-icestorm)")
    return found
