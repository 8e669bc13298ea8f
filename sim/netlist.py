# SPDX-License-Identifier: Apache-2.0
"""Flat netlists of Yosys, to walk through and to cut at their registers."""

import json
import re
from pathlib import Path

from ..hw.yosys import run_yosys

__all__ = ["cone", "evert", "flat"]

# Types of cells whose outputs do not depend on their inputs in the same cycle.
REGISTERS = re.compile(r"^\$(a|al|s)?dff|^\$_(S|AL)?D?FF|^\$(ff|sr|dlatch)")


def flat(read, top, folder):
    """A module of simple cells and ``$dff``, as Yosys' JSON has it.

    Parameters
    ----------
    read : list of str
        Passes that read the design.
    top : str
        Name of the module.
    folder : path
        Where the files are.
    """
    run_yosys([*read, "proc -norom", "flatten", "opt_clean", "memory_map", "async2sync", "dffunmap",
               "opt_clean", "write_json flat.json"], cwd=folder)
    return json.loads(Path(folder, "flat.json").read_text())["modules"][top]


def cone(module, ports):
    """Bits and names of registers on which some ports depend combinationally."""
    drivers = {}
    for name, cell in module["cells"].items():
        for port, direction in cell["port_directions"].items():
            if direction == "output":
                drivers.update(dict.fromkeys(cell["connections"][port], name))
    todo = [bit for port in ports for bit in module["ports"].get(port, {"bits": ()})["bits"]]
    seen, registers = set(todo), set()
    while todo:
        name = drivers.get(todo.pop())
        if name is None:
            continue
        cell = module["cells"][name]
        if REGISTERS.search(cell["type"]):
            registers.add(name)
            continue
        for port, direction in cell["port_directions"].items():
            if direction == "input":
                for bit in cell["connections"][port]:
                    if bit not in seen:
                        seen.add(bit)
                        todo.append(bit)
    return seen, registers


def evert(module):
    """Make registers inputs ``Q_k``, a state, and outputs ``D_k``, the next.

    Returns
    -------
    dict of str to int
        The number k of each register.
    """
    registers = sorted(name for name, cell in module["cells"].items()
                       if REGISTERS.search(cell["type"]))
    for k, name in enumerate(registers):
        cell = module["cells"].pop(name)
        for port, direction in ("Q", "input"), ("D", "output"):
            bits = cell["connections"][port]
            module["ports"][f"{port}_{k}"] = {"direction": direction, "bits": bits}
            module["netnames"][f"{port}_{k}"] = {"hide_name": 0, "attributes": {}, "bits": bits}
    return {name: k for k, name in enumerate(registers)}
