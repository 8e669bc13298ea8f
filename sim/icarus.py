# SPDX-License-Identifier: Apache-2.0
"""Streams in Icarus Verilog, which knows X, from registers that hold nothing else."""

import dataclasses
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..hw.process import MissingTool, run_process
from .stalls import SINK, SOURCE, stalled

__all__ = ["IcarusError", "IcarusRun", "run_streams", "version"]

BENCH = """
module bench;
  reg clk = 0, rst = 0, unknown = 0;
  reg [{i_top}:0] i__payload;
  reg i__valid, o__ready;
  wire [{o_top}:0] o__payload;
  wire i__ready{i_ready}, o__valid{o_valid};
  {top} dut({pins});

  reg [{i_top}:0] inputs [0:{count} - 1];
  reg [1:0] stalls [0:{total} - 1];
  reg [31:0] lengths [0:{runs} - 1];
  integer run, cycle, at, sent;
  reg busy;

  task tick; begin #1 clk = 1; #1 clk = 0; end endtask

  initial begin
    $readmemh("inputs.hex", inputs);
    $readmemb("stalls.bin", stalls);
    $readmemh("lengths.hex", lengths);
    at = 0;
    for (run = 0; run < {runs}; run = run + 1) begin
      // Nothing is known but that the design is reset for one cycle.
      i__payload = {{{i_top} + 1{{1'bx}}}};
      i__valid = 1'bx; o__ready = 1'bx; rst = 1'bx; unknown = 1; tick;
      unknown = 0; rst = 1; tick;
      rst = 0; sent = 0; busy = 0;
      for (cycle = 0; cycle < lengths[run]; cycle = cycle + 1) begin
        if (!busy && sent < {count} && ({always_valid} || !stalls[at][0])) begin
          busy = 1;
          i__payload = inputs[sent];
        end
        i__valid = busy; o__ready = {always_ready} || !stalls[at][1];
        #1 if (o__valid === 1'b0) $display("%b 0 -", i__ready);
        else $display("%b %b %b", i__ready, o__valid, o__payload);
        if (busy && i__ready === 1'b1) begin busy = 0; sent = sent + 1; end
        tick;
        if (!busy) i__payload = {{{i_top} + 1{{1'bx}}}};
        at = at + 1;
      end
    end
    $finish(0);
  end
endmodule
"""


class IcarusError(RuntimeError):
    """Icarus Verilog did not accept a design."""


@dataclasses.dataclass(frozen=True)
class IcarusRun:
    """What was seen in one run.

    Attributes
    ----------
    outputs : list of (int, int)
        Cycle and payload, as bits, of each transfer on ``o``.
    cycles : int
        In all.
    unknown : (int, str, str) or None
        Cycle, port and value of the first X: on ``i__ready``, on ``o__valid``, or on
        ``o__payload`` while valid.
    """

    outputs: list
    cycles: int
    unknown: tuple | None


def version():
    """Version of Icarus Verilog in use; :class:`.MissingTool` if there is none."""
    for name in ("iverilog", "vvp"):
        if shutil.which(name) is None:
            raise MissingTool("install iverilog (Icarus Verilog)")
    found = run_process(["iverilog", "-V"], cwd="/", timeout=60).stdout
    return " ".join(re.findall(r"version (\S+)", found)[:1])


def run_streams(design, words, runs, *, timeout=600):
    """Send payloads in several runs, each from unknown registers and a reset of one cycle.

    Payloads are X as long as they are not valid, and so is everything before the reset.

    Parameters
    ----------
    design : Design
        As `.scramble.unknown` makes it.
    words : list of int
        Payloads as bits.
    runs : list of dict
        ``stall_i``, ``stall_o``, ``seed`` and ``cycles`` of each.
    timeout : float
        Seconds.

    Returns
    -------
    list of IcarusRun
    """
    version()
    always = {"always_valid": not design.has_port("i__valid"),
              "always_ready": not design.has_port("o__ready")}
    names = [design.clock, design.reset, *(port.name for port in design.ports)]
    outer = dict(zip(names, ["clk", "rst", *names[2:]], strict=True))
    bench = BENCH.format(
        i_top=design.port("i__payload").width - 1, o_top=design.port("o__payload").width - 1,
        i_ready="" if design.has_port("i__ready") else " = 1'b1",
        o_valid="" if design.has_port("o__valid") else " = 1'b1",
        top=design.top, count=len(words), runs=len(runs),
        total=sum(run["cycles"] for run in runs),
        pins=", ".join(f".{name}({outer[name]})" for name in names if name is not None),
        **{name: f"1'b{int(value)}" for name, value in always.items()})
    paused = [
        [stalled(seed=run["seed"], side=side, cycle=cycle, probability=run[stall])
         for side, stall in ((SINK, "stall_o"), (SOURCE, "stall_i"))]
        for run in runs for cycle in range(run["cycles"])]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, text in design.sources.items():
            (folder / name).write_text(text)
        (folder / "bench.v").write_text(bench)
        (folder / "inputs.hex").write_text("".join(f"{word:x}\n" for word in words))
        (folder / "stalls.bin").write_text("".join(f"{o:d}{i:d}\n" for o, i in paused))
        (folder / "lengths.hex").write_text("".join(f"{run['cycles']:x}\n" for run in runs))
        _run(["iverilog", "-g2012", "-s", "bench", "-o", "bench.vvp", "bench.v", *design.sources],
             folder, timeout)
        lines = _run(["vvp", "-n", "bench.vvp"], folder, timeout).splitlines()
    seen = [line.split() for line in lines if re.fullmatch(r"[01xz] [01xz] [01xz-]+", line)]
    if len(seen) != len(paused):
        raise IcarusError(f"Icarus Verilog ended early: {lines[-1] if lines else 'no output'}")
    results, start = [], 0
    for run in runs:
        stop = start + run["cycles"]
        results.append(_read(seen[start:stop], paused[start:stop], always["always_ready"]))
        start = stop
    return results


def _read(seen, paused, always_ready):
    outputs, first = [], None
    for cycle, ((ready, valid, payload), (waits, _)) in enumerate(zip(seen, paused, strict=True)):
        for port, value in (("i__ready", ready), ("o__valid", valid),
                            ("o__payload", "0" if valid == "0" else payload)):
            if first is None and set(value) - set("01"):
                first = cycle, port, value
        if valid == "1" and (always_ready or not waits) and not set(payload) - set("01"):
            outputs.append((cycle, int(payload, 2)))
    return IcarusRun(outputs, len(seen), first)


def _run(args, folder, timeout):
    try:
        result = run_process(args, cwd=folder, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise IcarusError(f"{args[0]} did not finish within {timeout:g} s") from None
    if result.returncode:
        lines = result.stdout.splitlines()
        raise IcarusError(f"{args[0]} failed: {lines[0] if lines else result.returncode}")
    return result.stdout
