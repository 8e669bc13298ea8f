# SPDX-License-Identifier: Apache-2.0
"""The netlist of a unit in gates of no technology."""

import importlib.metadata
import json

from ..hw.cache import cached, digest
from ..hw.yosys import run_yosys
from .characterise import gates, gates_script, unit_rtlil

__all__ = ["netlist"]


def netlist(unit, *, timeout=1800, cache=None):
    """The gates that :func:`.characterise.gates` counts, and how they are connected.

    Parameters
    ----------
    unit : wiring.Component
    timeout : float
        Seconds for each mapping.
    cache : path, optional
        Another cache folder than the user's.

    Returns
    -------
    dict
        ``ports``: direction and bits of each. ``cells``: pairs of a type of Yosys, such as
        ``$_NAND_``, and the bit of each pin. ``init``: power-on values of bits that have one.
        A bit is a number; constants are ``"0"``, ``"1"``, ``"x"``.
    """
    text, mapping = unit_rtlil(unit), gates(unit, timeout=timeout, cache=cache).mapping
    script = (*gates_script(mapping), "write_json all.json")

    def produce(folder):
        (folder / "top.il").write_text(text)
        run_yosys(script, cwd=folder, timeout=timeout)
        found = json.loads((folder / "all.json").read_text())["modules"]["top"]
        for path in list(folder.iterdir()):
            path.unlink()
        (folder / "gates.json").write_text(json.dumps(compact(found), separators=(",", ":")))

    inputs = {"rtlil": digest(text), "script": script,
              "pyosys": importlib.metadata.version("pyosys")}
    return json.loads((cached("gates", inputs, produce, root=cache)[0] / "gates.json").read_text())


def compact(module):
    """A module of Yosys' JSON without names of nets and attributes."""
    init = {}
    for net in module["netnames"].values():
        values = net["attributes"].get("init", "")
        init.update((bit, int(value)) for bit, value in zip(net["bits"], values[::-1], strict=False)
                    if value in "01" and isinstance(bit, int))
    return {
        "ports": {name: [port["direction"], port["bits"]]
                  for name, port in module["ports"].items()},
        "cells": [[cell["type"], {pin: bits[0] for pin, bits in cell["connections"].items()}]
                  for cell in module["cells"].values()],
        "init": sorted(init.items()),
    }
