# SPDX-License-Identifier: Apache-2.0
"""Gowin: routed designs and bitstreams back to Verilog."""

import json
import re
import tempfile
from pathlib import Path

from ..hw.yosys import run_yosys
from .gowin_bits import PORTS, Fabric
from .gowin_die import die
from .synthesis import LUT_TABLES
from .tools import ToolError

__all__ = ["decompile", "routed_verilog"]

# What an ALU's LUT holds in each mode, from {I3, I2, I1, I0} = 15 down; I2 is 1 in a sum, and the
# lowest quarter gives the carry. After Project Apicula's chipdb.
ALU_MODES = {
    "0": "0110000001101010", "1": "1001000010011010", "2": "0110000010011010",
    "3": "1001000010011111", "4": "1001000010011010", "6": "1010000010100000",
    "7": "0101000001011111", "8": "1010111101011010", "9": "0111100010001000",
    "C2L": "0000000000000000", "ONE2C": "0000000000001111", "HADDER": "1111000000000000",
}
# Cells of nextpnr with block RAM → cells of Yosys with 8 and with 9 bits to a byte.
BLOCK_RAMS = {"SP": ("SP", "SPX9"), "SDP": ("SDPB", "SDPX9B"), "DP": ("DPB", "DPX9B")}
BUSES = re.compile(r"(DO|DI|AD|DOA|DOB|DIA|DIB|ADA|ADB|BLKSEL|BLKSELA|BLKSELB)(\d+)")
# Series of a device → its die. GW2AR is a GW2A with a second die for memory.
DIES = {"GW1NR": "GW1N-9C", "GW2A": "GW2A-18C", "GW2AR": "GW2A-18C"}
# Flip-flops and block RAM: an input without a net is 1; any other is 0.
OPEN_HIGH = {"CE", "CEA", "CEB", "OCE", "OCEA", "OCEB"}


def alu_table(cell):
    """Content of the LUT of an ALU, a string of 16 bits."""
    for place in ("attributes", "parameters"):
        if raw := cell[place].get("RAW_ALU_LUT"):
            return raw[-16:].rjust(16, "0")
    mode = cell["parameters"]["ALU_MODE"].strip()
    return ALU_MODES[mode.upper() if not re.fullmatch("[01]{2,}", mode) else str(int(mode, 2))]


def gather(cell):
    """Turn a block RAM with a port for each bit into the cell that Yosys had made."""
    plain, nine = BLOCK_RAMS[cell["type"]]
    # A port of 36 bits takes the pins of both, those of the second with copies of the first's.
    ports = PORTS[cell["type"]]
    for port in list(cell["connections"]):
        if port.rstrip("0123456789") not in ports:
            del cell["connections"][port], cell["port_directions"][port]
    cell["type"] = nine if cell["attributes"].get("BSRAM_SUBTYPE", "").strip() == "X9" else plain
    buses = {}
    for port in list(cell["connections"]):
        if found := BUSES.fullmatch(port):
            bits = cell["connections"].pop(port)
            buses.setdefault(found[1], {})[int(found[2])] = bits
            cell["port_directions"][found[1]] = cell["port_directions"].pop(port)
    for bus, bits in buses.items():
        open_bit = ["0"] if cell["port_directions"][bus] == "input" else ["x"]
        cell["connections"][bus] = [(bits.get(k) or open_bit)[0] for k in range(max(bits) + 1)]


def tied(design):
    """A routed design of nextpnr with the cells of Yosys, and without the helpers of packing."""
    module = design["modules"]["top"]
    cells = {}
    for name, cell in module["cells"].items():
        wires, directions = cell["connections"], cell["port_directions"]
        kind = cell["type"]
        if "output" not in directions.values() or kind == "GSR":
            continue
        if kind in ("GOWIN_VCC", "GOWIN_GND"):
            cell["type"] = kind.removeprefix("GOWIN_")
        elif kind == "ALU":
            cell["type"], cell["parameters"] = "GOWIN_ALU", {"INIT": alu_table(cell)}
        elif kind in BLOCK_RAMS:
            gather(cell)
        elif kind in ("IBUF", "OBUF", "TBUF"):
            cell["parameters"] = {}
        for port in ("CE",) if kind.startswith("RAM16") else \
                [port for port in wires if port.startswith("BOTTOM_IO")]:
            wires.pop(port, None)
        for port, bits in wires.items():
            if not bits and directions[port] == "input":
                wires[port] = ["1" if port in OPEN_HIGH else "0"]
        cell["attributes"] = {}
        cells[f"$routed${name}"] = cell  # a net may have the name of a cell
    module["cells"] = cells
    for net in module["netnames"].values():
        net["attributes"] = {}  # routes
    return design


def routed_verilog(text):
    """A routed design of nextpnr-himbaechel as Verilog for simulation.

    Parameters
    ----------
    text : str
        What ``--write`` gave.

    Returns
    -------
    str
        Module ``top`` with the pads as ports, of cells of Yosys and of ``cells/gowin*.v``.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.json").write_text(json.dumps(tied(json.loads(text))))
        run_yosys(["read_json in.json", "deminout", "splitnets", "opt_clean -purge",
                   *LUT_TABLES["gowin"], "rename -hide c:*", "write_verilog -noattr out.v"],
                  cwd=folder)
        return (Path(folder) / "out.v").read_text()


def decompile(bitstream, constraints, device):
    """A bitstream of a GW1N-9C or GW2A-18C as Verilog for simulation.

    From the bits: routing, clocks included; LUTs, wide multiplexers and carry chains; kind, and
    with it initial value, of flip-flops; LUT RAM and block RAM, their settings and contents;
    direction of the pads. What a fuse means is taken from Project Apicula's data base, on which the
    packer rests as well. Not looked at: voltages and strengths of pads, and the global set/reset.

    Parameters
    ----------
    bitstream : bytes
    constraints : str
        The .cst, for the names of the pins.
    device : str
        Name of the FPGA, for its package.

    Returns
    -------
    str
        Module ``top``.

    Raises
    ------
    ToolError
        If the bitstream is damaged, or sets what has no meaning.
    """
    found = die(DIES[device.split("-")[0]])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "top.fs"
        path.write_bytes(bitstream)
        bitmap = read(path)
    pads = {found.pad(device, pin): name
            for name, pin in re.findall(r'^IO_LOC "([^"]+)" (\w+);', constraints, re.M)}
    return Fabric(found, bitmap, pads).verilog()


def read(path):
    """The fuses of a bitstream, after those of the tiles the contents of block RAM."""
    from apycula.bslib import read_bitstream

    try:
        return read_bitstream(path)[0]
    except (AssertionError, IndexError, ValueError) as error:
        raise ToolError("The bitstream is damaged: " + str(error).partition(" for ")[0]) from None
