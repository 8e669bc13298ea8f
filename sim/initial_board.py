# SPDX-License-Identifier: Apache-2.0
"""Nothing that a board design held before its reset ever reaches its transmit pin."""

import dataclasses
import re
import time

import numpy as np

from .batch import SimulationError, UartSession
from .ledger import Arrow
from .scramble import ALL, randomised
from .verilog import Port

__all__ = ["SEEDS", "initial_arrows", "late_memory", "memory_arrow"]

SEEDS = 8
HOLD = 4  # cycles of reset: the synchroniser of rx, which has none, needs two to forget
SILENCE = 24  # bit periods without a sound from the host after a reset
EVERY = 400  # cycles of a request that is reset in every cycle; longer ones in one of each bit
IDLE = 64  # cycles

HOST = """
module host(input clk, input rx, output tx, input [31:0] seed, input [31:0] only,
            input [31:0] reset_at);
  reg [31:0] now = 0;
  always @(posedge clk) now <= now + 1;
  // From the reset on the host is silent. What was sent before is not listened to.
  wire quiet = now >= reset_at && now - reset_at < {quiet};
  wire rst = now >= reset_at && now - reset_at < {hold};
  wire line;
  {top} dut(.{clock}(clk), .{reset}(rst), .rx(rx | quiet), .tx(line), .seed(seed), .only(only));
  assign tx = line | (now < reset_at) | rst;
endmodule
"""

# Model not silicon-verified. No document of Lattice has it; icestorm issue 76 reports that block
# RAM reads 0 for about 3 us after configuration, whatever the clock, and Amaranth's power-on reset
# of 15 us is there for it.
LATE = """
module SB_RAM40_4K (
	output [15:0] RDATA,
	input RCLK, RCLKE, RE, input [10:0] RADDR,
	input WCLK, WCLKE, WE, input [10:0] WADDR, input [15:0] MASK, WDATA
);
	parameter WRITE_MODE = 0;
	parameter READ_MODE = 0;
{parameters}
	reg [31:0] age = 0;
	reg late = 1;  // the word that was read last
	always @(posedge RCLK) begin
		if (age != 32'd{cycles}) age <= age + 1;
		if (RCLKE & RE) late <= age != 32'd{cycles};
	end
	wire [15:0] word;
	assign RDATA = late ? 16'h0 : word;
	SB_RAM40_4K_PROMPT #(.WRITE_MODE(WRITE_MODE), .READ_MODE(READ_MODE),
		{passed}
	) ram (.RDATA(word), .RCLK(RCLK), .RCLKE(RCLKE), .RE(RE), .RADDR(RADDR), .WCLK(WCLK),
		.WCLKE(WCLKE), .WE(WE), .WADDR(WADDR), .MASK(MASK), .WDATA(WDATA));
endmodule
"""


def late_memory(design, cycles):
    """A netlist for iCE40 whose block RAM reads 0 in the first cycles after power-on.

    Parameters
    ----------
    design : Design
        With the model ``SB_RAM40_4K`` among its sources.
    cycles : int

    Returns
    -------
    Design
    """
    found = {name: re.subn(r"\bmodule SB_RAM40_4K\b", "module SB_RAM40_4K_PROMPT", text)
             for name, text in design.sources.items()}
    if sum(count for _, count in found.values()) != 1:
        raise ValueError(f"{design.top} must come with one model of SB_RAM40_4K")
    names = [f"INIT_{k:X}" for k in range(16)]
    late = LATE.format(
        cycles=cycles, parameters="".join(f"\tparameter [255:0] {name} = 256'h0;\n"
                                          for name in names),
        passed=", ".join(f".{name}({name})" for name in names))
    return dataclasses.replace(
        design, sources={**{name: text for name, (text, _) in found.items()}, "late.v": late})


def _levels(data):
    """Bytes as levels of a serial line."""
    bits = np.unpackbits(np.frombuffer(bytes(data), np.uint8), bitorder="little")
    levels = np.ones((len(data), 10), np.uint8)
    levels[:, 0], levels[:, 1:9] = 0, bits.reshape(-1, 8)
    return levels.reshape(-1)


class _Host:
    """Sends frames to a design after a reset, and keeps count of what differs.

    Answers must be the expected ones, and edges of ``tx`` those of the first run.
    """

    def __init__(self, design, *, divisor, arrow):
        self.design, self.divisor, self.arrow = design, divisor, arrow
        self.edges = {}

    def run(self, frames, *, aborted=b"", **constants):
        """Answers, and edges since the first request."""
        reset_at, divisor = constants["reset_at"], self.divisor
        with UartSession(self.design, divisor=divisor, constants=constants) as session:
            session.drive(_levels(aborted)[:-(-reset_at // divisor)])
            session.idle(reset_at + HOLD + SILENCE * divisor - session.cycle)
            start, answers = session.cycle, []
            for request, answer in frames:
                answers.append(session.exchange(request, expect=len(answer))[0])
            session.idle(SILENCE * divisor)
            return answers, session.tx_edges - start

    def enter(self, frames, *, aborted=b"", locate=None, **constants):
        """Compare a run with what is expected and with the first run of the same frames."""
        arrow, wanted = self.arrow, b"".join(answer for _, answer in frames)
        arrow.compared += len(wanted)
        first = self.first(frames, aborted=aborted, **constants)
        if first:
            arrow.mismatches += 1
            arrow.first = arrow.first or {**first, **constants, **(locate() if locate else {})}

    def first(self, frames, *, aborted=b"", **constants):
        """The first difference, or None."""
        try:
            answers, edges = self.run(frames, aborted=aborted, **constants)
        except SimulationError as error:
            return _place(found=str(error))
        wanted = b"".join(answer for _, answer in frames)
        found = b"".join(answers)
        good = self.edges.setdefault(frames, edges)
        for k, (byte, other) in enumerate(zip(wanted, found, strict=False)):
            if byte != other:
                return _place(element=k, expected=byte, found=other)
        if len(wanted) != len(found):
            return _place(expected=f"{len(wanted)} bytes", found=f"{len(found)} bytes")
        if np.array_equal(good, edges):
            return None
        count = min(len(good), len(edges))
        at = np.append(np.flatnonzero(good[:count] != edges[:count]), count)[0]
        return _place(element=int(at), expected=_edge(good, at), found=_edge(edges, at))


def _place(**values):
    return {"layer": None, "element": None, "cycle": None, "expected": None, **values}


def _edge(edges, at):
    return f"edge of tx in cycle {edges[at]}" if at < len(edges) else "no more edges of tx"


def initial_arrows(design, frames, *, divisor, on=None, seeds=SEEDS, every=EVERY, seed=0):
    """Requests to an accelerator in states that it should forget: two `Arrow` s.

    ``initial state``
        Every register and the content of every memory that is written to begin at random.
    ``reset``
        The accelerator is reset in every cycle of each request, or in a random cycle of each bit
        where that is long, and in a random cycle of each 10 bits up to the end of the answer. The
        host falls silent, nothing comes out, and the same request, sent again, is answered as from
        power-on.

    Parameters
    ----------
    design : Design
        Of an accelerator with ``rx``, ``tx`` and a reset.
    frames : sequence of (bytes, bytes)
        Requests, and the answers of the golden network.
    divisor : int
        Clock cycles per bit: few, for a quick run.
    on : str, optional
        Board.
    seeds : int
        Random states.
    every : int
        Longest request, in cycles, that is reset in every cycle.
    seed : int
        Of the chosen cycles.

    Returns
    -------
    list of Arrow
    """
    scrambled, frames = randomised(design), tuple(frames)
    ports = {"seed": 32, "only": 32, "reset_at": 32}
    pinned = dataclasses.replace(scrambled.design, sources={
        **scrambled.design.sources,
        "host.v": HOST.format(
            quiet=HOLD + 2 * divisor, hold=HOLD, top=design.top, clock=design.clock,
            reset=design.reset)},
        top="host", clock="clk", reset=None,
        ports=(Port("rx", 1, "input"), Port("tx", 1, "output"),
               *(Port(name, width, "input") for name, width in ports.items())))
    states = Arrow("golden", "rtl", "initial state", on=on,
                   what=f"{seeds} random states of {len(scrambled.registers)} registers and "
                        f"{len(scrambled.memories)} memories, reset",
                   detail={"seeds": seeds, "registers": len(scrambled.registers),
                           "memories": len(scrambled.memories), "divisor": divisor})
    start = time.monotonic()
    host = _Host(pinned, divisor=divisor, arrow=states)
    host.enter(frames, seed=0, only=ALL, reset_at=0)
    for number in range(1, seeds + 1):
        def locate(number=number):
            return {"registers": scrambled.guilty(lambda only: host.first(
                frames, seed=number, only=only, reset_at=0))}

        host.enter(frames, locate=locate, seed=number, only=ALL, reset_at=0)
    states.seconds = time.monotonic() - start

    resets = Arrow("golden", "rtl", "reset", on=on, detail={"divisor": divisor, "resets": 0})
    start = time.monotonic()
    host = _Host(pinned, divisor=divisor, arrow=resets)
    rng = np.random.default_rng(seed)
    chosen = []
    for frame in frames:
        host.enter((frame,), seed=0, only=ALL, reset_at=0)
        edges = host.edges.get((frame,), ())
        sent = len(frame[0]) * 10 * divisor
        end = int(edges[-1]) if len(edges) else sent
        step = 1 if sent <= every else divisor
        starts = np.append(np.arange(0, sent, step), np.arange(sent, end, 10 * divisor))
        widths = np.where(starts < sent, step, 10 * divisor)
        for cycle in (starts + 1 + rng.integers(widths)).tolist():
            host.enter((frame,), aborted=frame[0], seed=0, only=ALL, reset_at=cycle)
        resets.detail["resets"] += len(starts)
        chosen.append(f"{'every cycle' if step == 1 else 'each bit'} of a request of "
                      f"{len(frame[0])} bytes")
    resets.what = f"in {', '.join(chosen)}, each byte of the answers"
    resets.seconds = time.monotonic() - start
    return [states, resets]


def memory_arrow(design, frames, *, divisor, startup, cycles, on=None):
    """A board's netlist whose block RAM reads 0 at first, as iCE40's does: one `Arrow`.

    Parameters
    ----------
    design : Design
        With pins ``rx`` and ``tx``; it resets itself.
    frames : sequence of (bytes, bytes)
        Requests, and the answers of the golden network.
    divisor : int
        Clock cycles per bit.
    startup : int
        Cycles until the design leaves its reset.
    cycles : int
        Cycles after power-on in which block RAM reads 0.
    on : str, optional
        Board.
    """
    arrow = Arrow("golden", "netlist", "memory start", on=on,
                  what=f"block RAM reads 0 for {cycles} cycles after power-on",
                  detail={"models": ["SB_RAM40_4K: not silicon-verified"], "cycles": cycles})
    start, found = time.monotonic(), []
    wanted = b"".join(answer for _, answer in frames)
    arrow.compared = len(wanted)
    for model in design, late_memory(design, cycles):
        try:
            with UartSession(model, divisor=divisor) as session:
                session.idle(startup + IDLE)
                answer = b"".join(session.exchange(request, expect=len(answer))[0]
                                  for request, answer in frames)
                found.append((answer, session.tx_edges))
        except SimulationError as error:
            arrow.mismatches, arrow.first = len(wanted), _place(found=str(error))
            break
    else:
        (_, edges), (answer, late) = found
        differing = [k for k, pair in enumerate(zip(wanted, answer, strict=False))
                     if pair[0] != pair[1]]
        arrow.mismatches = len(differing) + abs(len(wanted) - len(answer))
        if differing:
            k = differing[0]
            arrow.first = _place(element=k, expected=wanted[k], found=answer[k])
        elif not np.array_equal(edges, late):
            arrow.mismatches, arrow.first = 1, _place(found="edges of tx in other cycles")
    arrow.seconds = time.monotonic() - start
    return arrow
