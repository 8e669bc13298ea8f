# SPDX-License-Identifier: Apache-2.0
"""Whether a pipeline does the same for two values of a port."""

import json
import tempfile
from itertools import groupby
from pathlib import Path

from ..hw.yosys import YosysError
from .netlist import aiger, clocked_otherwise, evert, flat, freezes, reach
from .verilog import Port

__all__ = ["equivalent"]


def equivalent(design, select, value, *, latency, grouped=False, domain=(), timeout=60):
    """Whether a design is proved to do the same with a value of a constant port as with 0.

    A payload counts where it is valid. There are three proofs by induction over steps, of which one
    is enough. A step is a cycle in which the output does not wait: in one that waits the design is
    proved to keep its state.

    1. From each of the first states after power-on, and from any state with more steps before it
       than the pipeline has stages, both give the same outputs and the same next state.
    2. Each in a state of its own, they give the same outputs in the first steps after power-on, and
       once more if they did in as many steps before. This is for pipelines without an accumulator.
    3. Property-directed reachability of a difference from power-on, for those with one.

    Parameters
    ----------
    design : Design
        With streams ``i`` and ``o``.
    select : str
        The port.
    value : int
    latency : int
        Stages of the pipeline.
    grouped : bool
        Whether it accumulates.
    domain : iterable of (offset, width, codes)
        Where in ``i.payload`` only some codes come; see `.stimulus.restricted`.
    timeout : float
        Seconds for each proof.

    Returns
    -------
    bool
        False as well if time ran out, or if a register has another clock than the design.
    """
    clocks = [Port(port, 1, "input") for port in (design.clock, design.reset) if port]
    ports = [*clocks, *design.ports]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, text in design.sources.items():
            (folder / name).write_text(text)
        (folder / "seen.v").write_text(_seen(design.top, ports, domain))
        (folder / "pair.v").write_text(_pair(ports, select, value))
        read = f"read_verilog -sv {' '.join(design.sources)} seen.v"
        try:
            chosen = flat([f"{read} pair.v", "hierarchy -top gate", "proc -norom", "flatten",
                           "opt_expr"], "gate", folder)
            if design.clock and clocked_otherwise(chosen, design.clock):
                return False
            module = flat([read, "hierarchy -top seen", "proc -norom", "flatten", "zinit -all"],
                          "seen", folder)
            registers = evert(module).values()

            def frozen(choice):
                given = {"o__valid": 1, "o__ready": 0, select: choice, design.reset: 0}
                return freezes(module, "seen", folder, timeout=timeout,
                               given=[f"{port} {bit}" for port, bit in given.items() if port],
                               prove=[f"D_{k} Q_{k}" for k in registers])

            def inductive(history, *, apart):
                (folder / "step.json").write_text(json.dumps({"modules": {"seen": module}}))
                (folder / "steps.v").write_text(
                    _steps(module, select, value, history, design.reset, apart=apart))
                path = aiger(["read_json step.json", "read_verilog -sv steps.v"], "steps", folder)
                return reach(path, timeout=timeout, bound=history + 1) == -1

            keeps = bool(registers) and frozen(0)
            if inductive(latency + 1 if keeps else 0, apart=False):
                return True
            if not grouped:
                return keeps and frozen(value) is True and inductive(latency + 1, apart=True)
            path = aiger([f"{read} pair.v", "miter -equiv gold gate miter"], "miter", folder)
            return reach(path, timeout=timeout) == -1
        except YosysError as error:
            if "TIMEOUT" in error.log or "did not finish" in str(error):
                return False
            raise


def _seen(top, ports, domain):
    """The design as its user sees it: only legal codes come, and payloads are 0 if not valid."""
    lines, pins, names = [], {}, {port.name for port in ports}
    for port in ports:
        stream, _, field = port.name.rpartition("__")
        pins[port.name] = port.name
        if port.name == "i__payload" and domain:
            pins[port.name] = "legal"
            lines += [f"reg [{port.width - 1}:0] legal;", "always @* begin", "legal = i__payload;"]
            for offset, width, codes in domain:
                code = f"i__payload[{offset} +: {width}]"
                known = " | ".join(f"({code} >= {low} & {code} <= {high})"
                                   for low, high in _runs(codes))
                lines.append(f"if (~({known})) legal[{offset} +: {width}] = {codes[0]};")
            lines.append("end")
        elif port.direction == "output" and field == "payload" and f"{stream}__valid" in names:
            pins[port.name] = f"{port.name}_any"
            lines += [f"wire [{port.width - 1}:0] {port.name}_any;",
                      f"assign {port.name} = {stream}__valid ? {port.name}_any : 0;"]
    return _module("seen", ports, [*lines, _instance(top, "inner", pins)])


def _runs(codes):
    """First and last of each run of consecutive sorted numbers."""
    for _, run in groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0]):
        run = [code for _, code in run]
        yield run[0], run[-1]


def _pair(ports, select, value):
    """``gold`` and ``gate``, which have chosen."""
    rest = {port.name: port.name for port in ports if port.name != select}
    return "".join(
        _module(name, [port for port in ports if port.name != select],
                [_instance("seen", "inner", {**rest, select: choice})])
        for name, choice in (("gold", 0), ("gate", value)))


def _steps(module, select, value, history, reset, *, apart):
    """Gold and gate side by side, step by step; ``bad`` if they differ.

    They start in any state, and are compared after so many steps of which none waits; or they
    start from power-on, and are compared from the first. The gate is in the state of gold, and its
    next state is compared as well; or ``apart`` in its own, and outputs were the same before.
    """
    ports = [Port(name, len(port["bits"]), port["direction"])
             for name, port in module["ports"].items()]
    state = [port for port in ports if port.name.startswith("Q_")]
    inputs = [port for port in ports
              if port.direction == "input" and port not in state and port.name != select]
    outputs = [port for port in ports if port.direction == "output"]
    lines = ["reg first; always @(posedge step_clk) first <= first;",
             f"reg [{history.bit_length()}:0] step = 0; always @(posedge step_clk) "
             "step <= step + 1;"]
    pins = {port.name: port.name for port in inputs}
    for name in "gold", "gate":
        lines += [f"wire [{port.width - 1}:0] {name}_{port.name};" for port in outputs]
    for name in ("gold", "gate") if apart else ("gold",):
        for port in state:
            width, now, after = f"[{port.width - 1}:0]", f"{name}_{port.name}", port.name[1:]
            lines += [f"reg {width} r_{now}; wire {width} {now} = first & step == 0 ? 0 : r_{now};",
                      f"always @(posedge step_clk) r_{now} <= {name}_D{after};"]
    for name, choice in ("gold", 0), ("gate", value):
        own = {port.name: f"{name}_{port.name}" for port in outputs}
        own |= {port.name: f"{name if apart else 'gold'}_{port.name}" for port in state}
        lines.append(_instance("seen", name, {**pins, **own, select: choice}))
    waits = f"gold_o__valid & ~o__ready & ~{reset or 0}" if "o__ready" in pins else "0"
    differ = " | ".join(f"gold_{port.name} != gate_{port.name}" for port in outputs
                        if not (apart and port.name.startswith("D_")))
    before = f"({waits}) | ({differ})" if apart else waits
    lines += [f"wire differ = {differ};",
              f"reg lawful = 1; always @(posedge step_clk) lawful <= lawful & ~({before});",
              f"assign bad = lawful & (first | step == {history}) & differ;"]
    return _module("steps", [Port("step_clk", 1, "input"), *inputs, Port("bad", 1, "output")],
                   lines)


def _module(name, ports, lines):
    declared = ", ".join(f"{port.direction} [{port.width - 1}:0] {port.name}" for port in ports)
    return "\n".join([f"module {name}({declared});", *lines, "endmodule", ""])


def _instance(of, name, pins):
    return f"{of} {name}({', '.join(f'.{port}({pin})' for port, pin in pins.items())});"
