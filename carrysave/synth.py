# SPDX-License-Identifier: Apache-2.0
"""``carrysave synth``: what a unit costs on a family, and how fast it is there."""

import dataclasses
import importlib.metadata

from rich.console import Group
from rich.table import Table

from .errors import BadInput, Failure
from .fpga import characterise
from .fpga.tools import ToolError, tool_version
from .hw import catalogue
from .hw.yosys import YosysError

__all__ = ["show", "synth"]


def synth(name, *, family="ecp5", dsp=True, timing=True, cache=None, progress=None):
    """Characterise a unit of the catalogue.

    Parameters
    ----------
    name : str
        A preset of the catalogue.
    family : {"ecp5", "ice40", "gowin"}
    dsp : bool
        Whether DSP blocks may be used.
    timing : bool
        Whether to place and route it as well.
    cache : path, optional
    progress : callable, optional

    Returns
    -------
    dict
        As ``synth --json`` prints it; ``fmax_mhz`` is None where it does not fit or was not tried.
    """
    progress = progress or (lambda line: None)
    try:
        preset = catalogue.get(name)
        device = characterise.check_family(family)
    except ValueError as error:
        raise BadInput(str(error)) from None
    tools = {"pyosys": importlib.metadata.version("pyosys")}
    try:
        progress(f"{name}: synthesis for {device.title}")
        area = characterise.area(preset.build(), family, dsp=dsp, cache=cache)
        speed = None
        if timing:
            progress(f"{name}: place and route, {len(characterise.SEEDS)} seeds")
            speed = characterise.speed(
                preset.build(), family, mapping=area.mapping, dsp=dsp, cache=cache)
            tools.update([tool_version(device.router[0])])
    except (YosysError, ToolError) as error:
        raise Failure(str(error)) from None
    return {
        "unit": name, "family": family, "device": device.title, "dsp_allowed": dsp,
        **{key: getattr(area, key) for key in ("lut4", "ff", "dsp", "bram", "carry", "mapping")},
        "fmax_mhz": None if speed is None else dataclasses.asdict(speed), "tools": tools,
    }


def show(found):
    """The result as a table for the terminal."""
    table = Table(title=f"{found['unit']} on {found['device']}", title_justify="left")
    for name in ("LUT4", "FF", "DSP", "block RAM", "Fmax, MHz"):
        table.add_column(name, justify="right")
    fmax = found["fmax_mhz"]
    shown = "–" if fmax is None else f"{fmax['median']} ({fmax['min']} to {fmax['max']})"
    table.add_row(*(f"{found[key]:,}" for key in ("lut4", "ff", "dsp", "bram")), shown)
    notes = {
        "merged": "sums merged into LUT trees where Yosys finds them",
        "chains": "a carry chain for every adder",
    }
    carry = "; LUT4 counts carry cells as well" if found["family"] == "ecp5" else ""
    lines = [f"[dim]mapping: {notes[found['mapping']]}{carry}[/]"]
    if fmax is not None:
        lines.append("[dim]Fmax: median of three placements between shift registers[/]")
    return Group(table, *lines)
