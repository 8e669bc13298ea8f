# SPDX-License-Identifier: Apache-2.0
"""iCE40: routed designs and bitstreams back to Verilog."""

import collections
import itertools
import json
import re
import shutil
import tempfile
from pathlib import Path

from ..hw.process import run_process
from ..hw.yosys import run_yosys
from .tools import ToolError, ToolMissing, run_tool

__all__ = ["decompile", "icebox", "logic_cells", "names", "routed_verilog"]

CELLS = Path(__file__).parent / "cells"
# What the device gives an input without a net; all others are 0.
OPEN_INPUTS = {("ICESTORM_LC", "CEN"): "1", ("ICESTORM_RAM", "WCLKE"): "1",
               ("ICESTORM_RAM", "RCLKE"): "1"}
# Passes that end in `out.v`: no pads, and no name but those of places.
PLAIN = ("read_verilog -lib +/ice40/cells_sim.v luts.v", "techmap -map pads.v", "deminout",
         "opt_clean -purge", "setundef -zero -params", "rename -hide w:n[0-9]*",
         "write_verilog -noattr out.v")
BEL = re.compile(r"X(\d+)/Y(\d+)/(?:lc(\d))?")
PLACE = re.compile(r"/\* (LUT|FF|CARRY) +(\d+) +(\d+) +(\d+) \*/")
NET = re.compile(r"\bn\d+\b")


def logic_cells(text):
    """Logic cells that a netlist takes at least: what nextpnr packs into one, and what it cannot.

    A LUT and the register that it alone feeds share one, as do a carry and the LUT with its inputs.

    Parameters
    ----------
    text : str
        Netlist of Yosys, as JSON.

    Returns
    -------
    int
    """
    cells = json.loads(text)["modules"]["top"]["cells"].values()
    readers = collections.Counter(
        bit for cell in cells for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "input" for bit in bits)
    kinds = collections.defaultdict(list)
    for cell in cells:
        kind = "SB_DFF" if cell["type"].startswith("SB_DFF") else cell["type"]
        kinds[kind].append(cell["connections"])
    feeding = {bit for wires in kinds["SB_LUT4"] for bit in wires["O"] if readers[bit] == 1}
    inputs = {tuple(tuple(wires.get(port, ())) for port in ("I1", "I2", "I3"))
              for wires in kinds["SB_LUT4"]}
    carries = [wires for wires in kinds["SB_CARRY"]
               if tuple(tuple(wires.get(port, ())) for port in ("I0", "I1", "CI")) not in inputs]
    registers = [wires for wires in kinds["SB_DFF"] if not feeding.intersection(wires["D"])]
    return len(kinds["SB_LUT4"]) + len(registers) + len(carries)


def names(text):
    """Nets of a routed design by their places, as Verilog of :func:`routed_verilog` has them.

    Parameters
    ----------
    text : str
        Routed design, as nextpnr's JSON.

    Returns
    -------
    dict of str to str
        ``lc_x_y_z`` (output of a logic cell), ``carry_x_y_z``, ``ram_x_y_k`` → name of the net.
    """
    module = json.loads(text)["modules"]["top"]
    known = {bit: name if len(net["bits"]) == 1 else f"{name}[{k}]"
             for name, net in module["netnames"].items() for k, bit in enumerate(net["bits"])}
    return {place: known[bit] for bit, place in places(module["cells"]).items() if bit in known}


def places(cells):
    """Names of nets, by their bits, after the places of the cells that drive them."""
    found = {}
    for cell in cells.values():
        wires, at = cell["connections"], BEL.match(cell["attributes"].get("NEXTPNR_BEL", ""))
        if at is None:
            continue
        if cell["type"] == "ICESTORM_LC":
            for port, kind in ("O", "lc"), ("COUT", "carry"):
                if wires[port]:
                    found[wires[port][0]] = "_".join([kind, *at.groups()])
        elif cell["type"] == "ICESTORM_RAM":
            for port, bits in wires.items():
                if port.startswith("RDATA_") and bits:
                    found[bits[0]] = f"ram_{at[1]}_{at[2]}_{port[6:]}"
    return found


def tied(design):
    """A routed design as nextpnr's JSON has it, ready for Yosys.

    Open inputs are tied, RAM ports gathered, nets and cells named after places, routes dropped.
    """
    module = design["modules"]["top"]
    module["netnames"] = {
        name: {"hide_name": 0, "bits": [bit], "attributes": {}}
        for bit, name in places(module["cells"]).items()}
    cells = module["cells"]
    fresh = itertools.count(1 + max(
        bit for cell in cells.values() for bits in cell["connections"].values()
        for bit in bits if isinstance(bit, int)))
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
    settle(cells)
    module["cells"] = {f"${k}": cell for k, cell in enumerate(cells.values())}  # hidden
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
        result = run_process([icebox(), "-S", "-n", "top", "-p", "top.pcf", "top.asc"],
                             cwd=work, timeout=600)
        if result.returncode:
            lines = result.stdout.strip().splitlines() or [f"status {result.returncode}"]
            raise ToolError(f"icebox_vlog failed: {lines[-1]}", result.stdout)
    return _plain(placed(result.stdout), "read_verilog in.json", "proc", "tribuf", "opt_expr")


def placed(verilog):
    """Verilog of icebox_vlog with the outputs of cells named after their places."""
    kinds = {"LUT": "lut", "FF": "lc", "CARRY": "carry"}
    known = {}
    for line in verilog.splitlines():
        found = PLACE.search(line)
        target = re.search(r"assign (n\d+) +=|(n\d+) <=", line)
        if found and target:  # what a pin shows bears its name
            known[target[1] or target[2]] = "_".join([kinds[found[1]], *found.groups()[1:]])
    for ram in re.finditer(r"\bram40_(\d+)_(\d+) \(.*?\.RDATA\(\{([^}]*)\}\)", verilog, re.S):
        for k, net in enumerate(reversed(ram[3].split(","))):
            known[net.strip()] = f"ram_{ram[1]}_{ram[2]}_{k}"
    return NET.sub(lambda net: known.get(net[0], net[0]), verilog)


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
