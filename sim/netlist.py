# SPDX-License-Identifier: Apache-2.0
"""Flat netlists of Yosys, to walk through and to cut at their registers."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

from ..hw.process import run_process
from ..hw.yosys import YosysError, run_yosys

__all__ = ["aiger", "clocked_otherwise", "cone", "evert", "flat", "freezes", "reach"]

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
    for net in module["netnames"].values():
        net["attributes"].pop("init", None)  # of what is no register any more
    return {name: k for k, name in enumerate(registers)}


def clocked_otherwise(module, clock):
    """Names of registers whose clock is not the rising edge of a port: proofs know no other."""
    bits = module["ports"][clock]["bits"] if clock in module["ports"] else None
    return sorted(
        name for name, cell in module["cells"].items() if REGISTERS.search(cell["type"]) and (
            cell["connections"].get("CLK") != bits
            or not int(cell["parameters"].get("CLK_POLARITY", "0"), 2)))


def freezes(module, top, folder, *, given, prove, timeout):
    """Whether an everted module keeps its state: proved in one step, from any state.

    Parameters
    ----------
    module, top, folder
        After `evert`.
    given, prove : list of str
        ``port value``: what holds, and what is to follow.
    timeout : float
        Seconds.

    Returns
    -------
    bool or None
        None if time ran out.
    """
    Path(folder, "step.json").write_text(json.dumps({"modules": {top: module}}))
    sat = ["sat", *(f"-set {each}" for each in given), *(f"-prove {each}" for each in prove),
           f"-timeout {max(1, int(timeout))}", top]
    log = run_yosys(["read_json step.json", " ".join(sat)], cwd=folder, timeout=timeout + 60)
    if "no model found: SUCCESS" in log:
        return True
    return False if "model found: FAIL" in log else None


def aiger(read, top, folder):
    """A design as an AIGER file, from power-on; its outputs are what must not become 1.

    Parameters
    ----------
    read, top, folder
        As of `flat`.

    Returns
    -------
    Path
    """
    # Nothing is folded: what becomes constant would keep the initial value of a register, and
    # passes complain of that.
    run_yosys([*read, f"hierarchy -top {top}", "proc -norom -noopt", "flatten", "opt_clean",
               "memory_map", "async2sync", "dffunmap", "opt_clean", "techmap", "simplemap",
               "opt_clean", "dffunmap", "simplemap", "setundef -zero", "aigmap",
               f"write_aiger -zinit {top}.aig"], cwd=folder)
    return Path(folder, f"{top}.aig")


def reach(path, *, timeout, bound=None, grace=60):
    """Whether an output of an AIGER file can ever be 1, by ABC's property-directed reachability.

    Parameters
    ----------
    path : Path
    timeout : float
        Seconds.
    bound : int, optional
        Cycles from power-on after which nothing new can happen: looking at so many is enough.
    grace : float
        Further seconds for what comes before the search, without a bound.

    Returns
    -------
    int or None
        -1 if it never can; otherwise a cycle in which it is, 0 or more; None if time ran out.
    """
    spec = importlib.util.find_spec("pyosys")
    abc = None if spec is None else Path(str(spec.origin)).parent / "yosys-abc"
    if abc is None or not abc.is_file():
        raise YosysError("ABC was not found: install the Python package pyosys")
    if bound is None:
        limit = timeout + grace
        check = f"scorr; write_aiger reduced.aig; pdr -T {max(1, int(timeout))}"
    else:  # unrolled, and swept for gates that are the same
        limit = timeout
        check = f"frames -i -F {bound}; orpos; iprove"
    script = f"read_aiger {path.name}; scleanup; {check}; print_status"
    try:
        log = run_process([str(abc), "-q", script], cwd=path.parent, timeout=limit).stdout
    except subprocess.TimeoutExpired:
        return None
    if "Property proved" in log or "Status = 1" in log:
        return -1
    # Where signal correspondence has left nothing but a constant, pdr has nothing to do.
    reduced = Path(path.parent, "reduced.aig")
    if reduced.is_file():
        header, *outputs = reduced.read_bytes().split(b"\n")
        _, _, _, latches, count, gates = header.split()[:6]
        if (latches, count, gates) == (b"0", b"1", b"0"):
            return -1 if outputs[0] == b"0" else 0
    found = re.search(r"asserted in frame (\d+)", log)
    if found:
        return int(found[1])
    return 0 if "Status = 0" in log else None
