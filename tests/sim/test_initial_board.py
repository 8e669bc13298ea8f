# SPDX-License-Identifier: Apache-2.0
import dataclasses
import importlib.resources
import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from carrysave.hw.io.uart import UartReceiver, UartTransmitter
from carrysave.hw.yosys import run_yosys
from carrysave.sim.initial_board import initial_arrows, late_memory, memory_arrow
from carrysave.sim.verilog import Design, Port, from_component

from .units import Echo

DIVISOR = 4
FRAMES = ((b"\x35", b"\xca"), (bytes(range(90, 102)), bytes(255 - k for k in range(90, 102))))


class Keyed(wiring.Component):
    """Answers each byte with its exclusive or with a key, a memory's word that is read once.

    And with the third word of another memory, which it should do only once that was written.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, *, forgetful=True):
        self.forgetful = forgetful
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(DIVISOR)
        m.submodules.transmitter = transmitter = UartTransmitter(DIVISOR)
        m.submodules.keys = keys = Memory(
            shape=16, depth=256, init=[(40503 * (k + 1)) % 65536 for k in range(256)])
        read = keys.read_port()
        m.submodules.notes = notes = Memory(shape=8, depth=256, init=[])
        note, noted = notes.write_port(), notes.read_port()
        begun, key, age, written = Signal(), Signal(8), Signal(range(4)), Signal()
        m.d.comb += [read.addr.eq(77), read.en.eq(~begun), note.addr.eq(receiver.o.p.data),
                     noted.addr.eq(3), note.data.eq(1), note.en.eq(receiver.o.valid)]
        m.d.sync += begun.eq(1)
        with m.If(receiver.o.valid & (receiver.o.p.data == 3)):
            m.d.sync += written.eq(1)
        with m.If(age != 3):
            m.d.sync += age.eq(age + 1)
        with m.If(age == 2):
            m.d.sync += key.eq(read.data[8:] ^ read.data[:8])
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx),
            transmitter.i.valid.eq(receiver.o.valid & (age == 3)),
            receiver.o.ready.eq(transmitter.i.ready),
            transmitter.i.payload.eq(
                receiver.o.p.data ^ key
                ^ (Mux(written, noted.data, 0) if self.forgetful else noted.data)),
        ]
        return m


def key():
    word = 40503 * 78 % 65536
    return word >> 8 ^ word & 0xFF


def keyed_frames():
    sent = b"\x00\x53\xff"
    return ((sent, bytes(byte ^ key() for byte in sent)),)


def without_reset(design, register):
    (name, text), = design.sources.items()
    text, count = re.subn(
        rf"(\n    \S+  = {register};\n(?:(?!\n  end\n).)*?)    if \(rst\) begin\n.*?    end\n",
        r"\1", text, flags=re.S)
    assert count == 1
    return dataclasses.replace(design, sources={name: text})


def test_exact(compared):
    states, resets = initial_arrows(from_component(Echo(DIVISOR)), FRAMES, divisor=DIVISOR, on="b")
    assert (states.status, resets.status) == ("exact", "exact")
    assert (states.method, resets.method, states.on) == ("initial state", "reset", "b")
    assert states.detail["registers"] == 7 and states.compared == 9 * 13
    assert "every cycle of a request of 1 bytes, each bit of a request of 12 bytes" in resets.what
    assert resets.detail["resets"] > 40 + 120
    compared(states.compared + resets.compared)


@pytest.mark.parametrize("register", ["count", "shift"])
def test_a_register_that_should_reset(register, compared):
    design = without_reset(from_component(Echo(DIVISOR)), register)
    arrows = initial_arrows(design, FRAMES, divisor=DIVISOR)
    assert {arrow.status for arrow in arrows} == {"differs"}
    states, resets = (arrow.first for arrow in arrows)
    assert states["registers"] == [register] and states["reset_at"] == 0 and states["seed"] > 0
    assert resets["reset_at"] > 0 and resets["seed"] == 0
    compared(sum(arrow.compared for arrow in arrows))


def test_content_of_memories(compared):
    arrows = initial_arrows(from_component(Keyed()), keyed_frames(), divisor=DIVISOR)
    assert {arrow.status for arrow in arrows} == {"exact"}
    assert arrows[0].detail["memories"] == 1
    states, _ = initial_arrows(from_component(Keyed(forgetful=False)), keyed_frames(),
                               divisor=DIVISOR)
    assert states.status == "differs" and states.first["registers"] == []
    compared(sum(arrow.compared for arrow in arrows))


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    """Keyed in cells of iCE40, out of its reset after some cycles."""
    folder = tmp_path_factory.mktemp("netlist")
    design = from_component(Keyed())
    (folder / "top.v").write_text(design.sources["top.v"])
    run_yosys(["read_verilog top.v", "synth_ice40 -top top", "write_verilog -noattr sim.v"],
              cwd=folder)
    cells = Path(str(importlib.resources.files("pyosys"))) / "share/ice40/cells_sim.v"
    text = (folder / "sim.v").read_text()
    assert "SB_RAM40_4K" in text

    def make(startup):
        board = f"""
        module board(input clk, input rx, output tx);
          reg [7:0] count = 0;
          always @(posedge clk) if (count != {startup}) count <= count + 1;
          top top(.clk(clk), .rst(count != {startup}), .rx(rx), .tx(tx));
        endmodule
        """
        return Design(
            sources={"board.v": board, "top.v": text, "cells_sim.v": cells.read_text()},
            top="board", clock="clk", reset=None, defines=("NO_ICE40_DEFAULT_ASSIGNMENTS",),
            ports=(Port("rx", 1, "input"), Port("tx", 1, "output")))

    return make


def test_memory_that_starts_late(netlist, compared):
    arrow = memory_arrow(netlist(180), keyed_frames(), divisor=DIVISOR, startup=180, cycles=36)
    assert (arrow.status, arrow.compared) == ("exact", 3)
    assert arrow.detail["models"]
    compared(arrow.compared)


def test_a_design_without_the_power_on_reset(netlist, compared):
    arrow = memory_arrow(netlist(0), keyed_frames(), divisor=DIVISOR, startup=0, cycles=36)
    assert (arrow.status, arrow.mismatches) == ("differs", 3)
    assert arrow.first["expected"] == arrow.first["found"] ^ key()
    compared(arrow.compared)


def test_a_netlist_without_block_ram_models():
    with pytest.raises(ValueError, match="^top must come with one model of SB_RAM40_4K$"):
        late_memory(from_component(Echo(4)), 36)
