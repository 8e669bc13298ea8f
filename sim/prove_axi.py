# SPDX-License-Identifier: Apache-2.0
"""The rules of AXI for what a design drives, proved for all time by reachability."""

import tempfile
from pathlib import Path

from .netlist import aiger, clocked_otherwise, cone, flat, reach

__all__ = ["ANSWERS", "DRIVEN", "prove_axi"]

#: Channels that a design drives, and what goes with valid.
DRIVEN = {"m_axis_t": ("data", "keep", "last"), "s_axi_b": ("resp",), "s_axi_r": ("data", "resp")}
#: Channels that answer, and those that ask.
ANSWERS = {"s_axi_b": ("s_axi_aw", "s_axi_w"), "s_axi_r": ("s_axi_ar",)}

HELD = """
  reg {c}waits = 0;
  reg [{top}:0] {c}kept = 0;
  always @(posedge clk) begin
    {c}waits <= {c}valid & ~{c}ready & ~rst;
    {c}kept <= {{{payload}}};
  end
  wire bad = ~rst & {c}waits & (~{c}valid | {{{payload}}} != {c}kept);
"""
QUIET = """
  reg was_reset = 1;
  always @(posedge clk) was_reset <= rst;
  wire bad = was_reset & {c}valid;
"""
ASKED = """
  reg {r}due = 0;  // a request was taken that is not answered
  reg {r}twice = 0;  // and a second one
  wire {r}go = {r}valid & {r}ready, {r}end = {c}valid & {c}ready;
  always @(posedge clk) begin
    {r}due <= ~rst & ({r}due & ~{r}end | {r}go);
    {r}twice <= ~rst & {r}due & ~{r}end & {r}go;
  end
  wire bad = ~rst & ({c}valid & ~{r}due | {r}twice);
"""


def prove_axi(design, *, timeout=60):
    """Prove that a design keeps to the rules of AXI on its ports ``m_axis_…`` and ``s_axi_…``.

    Whatever the other side does, reset at any time included.

    Parameters
    ----------
    design : Design
    timeout : float
        Seconds for each rule.

    Returns
    -------
    dict of str to str
        ``"proved"``, ``"refuted"`` or ``"not proved"`` (time ran out, or a clock other than the
        design's) by rule: that no output follows an input within the cycle; of each channel, that
        valid and payload hold until taken, and that valid is 0 in and right after reset; of each
        channel that answers, that it does so once for each request, of which at most one is open.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, text in design.sources.items():
            (folder / name).write_text(text)
        read = [f"read_verilog -sv {' '.join(design.sources)}", f"hierarchy -top {design.top}"]
        module = flat(read, design.top, folder)
        known = not clocked_otherwise(module, design.clock)
        given = {bit for port in design.ports if port.direction == "input"
                 for bit in module["ports"][port.name]["bits"]}
        seen, _ = cone(module, [port.name for port in design.ports if port.direction == "output"])
        results = {"no path from input to output": "refuted" if seen & given else "proved"}
        for channel, payload in DRIVEN.items():
            if not design.has_port(f"{channel}valid"):
                continue
            members = [f"{channel}{name}" for name in payload]
            top = sum(design.port(name).width for name in members) - 1
            rules = {
                "held": HELD.format(c=channel, top=top, payload=", ".join(members)),
                "quiet after reset": QUIET.format(c=channel),
            }
            for request in ANSWERS.get(channel, ()):
                rules[f"one answer to {request}"] = ASKED.format(c=channel, r=request)
            for rule, text in rules.items():
                status = _reach(design, read, folder, text, timeout) if known else "not proved"
                results[f"{channel}: {rule}"] = status
    return results


def _reach(design, read, folder, text, timeout):
    ports = {port.name: port for port in design.ports}
    inputs = [f"input [{port.width - 1}:0] {name}" for name, port in ports.items()
              if port.direction == "input"]
    wires = [f"wire [{port.width - 1}:0] {name};" for name, port in ports.items()
             if port.direction == "output"]
    pins = ", ".join(f".{name}({name})" for name in ports)
    (folder / "harness.v").write_text(
        f"module harness(input clk, input rst, {', '.join(inputs)}, output failed);\n"
        f"{' '.join(wires)}\n{design.top} dut(.{design.clock}(clk), .{design.reset}(rst), {pins});"
        f"{text}\n  assign failed = bad;\nendmodule\n")
    frame = reach(aiger([*read, "read_verilog -sv harness.v"], "harness", folder), timeout=timeout)
    if frame is None:
        return "not proved"
    return "proved" if frame < 0 else "refuted"
