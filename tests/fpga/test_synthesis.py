# SPDX-License-Identifier: Apache-2.0
import dataclasses
import os
import random

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import Out

from carrysave.fpga import boards
from carrysave.fpga.synthesis import ResourceError, cell_models, synthesise
from carrysave.hw.cache import digest
from carrysave.hw.yosys import run_yosys
from carrysave.sim.batch import BatchSimulator, UartSession
from carrysave.sim.verilog import Design, Port, from_component

from .echo import GREETING, Echo, echo

BOTH = ["icebreaker", "ulx3s"]


def design(netlist):
    return Design(sources=netlist.sources, top=netlist.top, clock=netlist.clock, reset=None,
                  ports=(Port(netlist.rx, 1, "input"), Port(netlist.tx, 1, "output")),
                  defines=netlist.defines)


def exchange(simulated, data, *, wait):
    """Greeting, answers, and the cycles since the reset's end in which tx changed."""
    with UartSession(simulated, divisor=4) as session:
        session.idle(wait)
        received, _ = session.exchange(data, expect=1 + len(data))
        return received, session.tx_edges - wait


@pytest.mark.parametrize("name", BOTH)
def test_netlist_equals_rtl_byte_for_byte_and_edge_for_edge(name, compared):
    data = random.Random(0).randbytes(5000)
    synthesis = synthesise(Echo(), name)
    expected = bytes([GREETING]) + echo(data)
    rtl, rtl_edges = exchange(from_component(Echo()), data, wait=0)
    netlist, netlist_edges = exchange(design(synthesis.netlist), data,
                                      wait=synthesis.netlist.startup)
    assert rtl == netlist == expected
    assert np.array_equal(rtl_edges, netlist_edges)
    compared(len(expected) + len(rtl_edges))


@pytest.mark.parametrize("name, bram, lutram", [
    ("icebreaker", 6, {}), ("ulx3s", 2, {"TRELLIS_DPR16X4": 2})])
def test_resources(name, bram, lutram):
    synthesis = synthesise(Echo(), name)
    resources = synthesis.resources
    assert (resources["bram"], resources["dsp"]) == (bram, 0)
    assert 0 < resources["lut4"] < 400 and 0 < resources["ff"] < 400 and resources["carry"] > 0
    assert lutram.items() <= synthesis.cells.items()
    assert synthesis.to_json()["lut4"] == resources["lut4"]


def test_synthesis_is_reproducible_and_cached(tmp_path):
    first, second, again = (synthesise(Echo(), "ulx3s", cache=tmp_path / folder)
                            for folder in ("a", "b", "a"))
    assert (first.reused, second.reused, again.reused) == (False, False, True)
    assert digest(first.json) == digest(second.json)
    assert first == dataclasses.replace(second) == dataclasses.replace(again, reused=False)
    for text in (first.json, first.verilog, first.netlist.verilog):
        assert os.getcwd() not in text and str(tmp_path) not in text


def test_too_small_a_board_is_refused_with_both_numbers():
    board = dataclasses.replace(boards.get("ulx3s"), lut4=10, bram=1)
    needed = synthesise(Echo(), "ulx3s").resources
    with pytest.raises(ResourceError) as error:
        synthesise(Echo(), board)
    assert str(error.value) == (
        f"The design does not fit ULX3S (ECP5 25F): it needs {needed['lut4']} of 10 LUTs; "
        f"{needed['ff']} of 24,288 flip-flops; {needed['bram']} of 1 block RAMs; 0 of 28 DSP "
        "blocks. Use a smaller array or network, or a larger board.")


@pytest.mark.parametrize("family, cell, init, pins, output", [
    (boards.ICE40, "SB_LUT4", "LUT_INIT", "I0 I1 I2 I3", "O"),
    (boards.ECP5, "LUT4", "INIT", "A B C D", "Z")])
def test_lut_table_equals_yosys_model(tmp_path, family, cell, init, pins, output):
    """Both select one bit of the table, so one table for each bit proves all."""
    joined = ", ".join(f".{pin}(i[{k}])" for k, pin in enumerate(pins.split()))
    instances = "\n".join(
        f"{cell}{suffix} #(.{init}(16'h{1 << bit:04x})) u{bit}{suffix} "
        f"({joined}, .{output}({name}[{bit}]));"
        for bit in range(16) for suffix, name in (("", "a"), ("_TABLE", "b")))
    (tmp_path / "luts.v").write_text(
        f"module top(input [3:0] i, output [15:0] a, b);\n{instances}\nendmodule\n")
    models, defines = cell_models(family)
    for path in models:
        (tmp_path / f"model_{path.stem}.v").write_bytes(path.read_bytes())
    read = [f"read_verilog -defer {' '.join('-D' + name for name in defines)} model_{path.stem}.v"
            for path in models if path.stem in ("cells_sim", "common_sim", "luts")]
    log = run_yosys([*read, "read_verilog luts.v", "hierarchy -top top", "proc", "flatten", "opt",
                     "sat -verify -prove a b -show i"], cwd=tmp_path)
    assert "SUCCESS" in log


MEMORIES = [  # width, depth, granularity of writes, ports
    (36, 512, 9, "two"), (36, 512, None, "rom"), (18, 1024, 9, "one"), (9, 2048, None, "through"),
    (4, 4096, None, "one"), (2, 8192, None, "one"), (1, 16384, None, "two"),
]


SEED = 0x9E3779B97F4A7C15F39CC0605CEDC834


def content(k):
    """Initial content of memory ``k``."""
    width, depth, *_ = MEMORIES[k]
    return [(0x9E3779B97 * (n + k + 1)) % 2**width for n in range(depth)]


class Memories(wiring.Component):
    """Block RAMs at the mercy of a generator of random numbers.

    Ports: ``two`` addresses, often the same; ``one`` address for reading and writing; the same
    ``through``, a read sees what is written; ``rom``.
    """

    def __init__(self):
        super().__init__({"o": Out(stream.Signature(1)),
                          **{f"q{k}": Out(width) for k, (width, *_) in enumerate(MEMORIES)}})

    def elaborate(self, platform):
        m = Module()
        state = Signal(128, init=SEED)
        m.d.sync += state.eq((state.rotate_right(37) * 5 + 0x1234567) ^ (state >> 3))
        m.d.comb += self.o.valid.eq(1)
        for k, (width, depth, granularity, ports) in enumerate(MEMORIES):
            noise = Signal(128, name=f"noise_{k}")
            m.d.comb += noise.eq(state.rotate_right(23 * k % 128))
            m.submodules[f"memory_{k}"] = block = memory.Memory(
                shape=width, depth=depth, init=content(k), attrs={"ram_style": "block"})
            write = None if ports == "rom" else block.write_port(granularity=granularity)
            read = block.read_port(transparent_for=(write,) if ports == "through" else ())
            m.d.comb += [
                # Every other access to the first few words.
                read.addr.eq(Mux(noise[0], noise[2:16], noise[2:5])),
                read.en.eq(noise[1]),
                getattr(self, f"q{k}").eq(read.data),
            ]
            if write is not None:
                m.d.comb += [write.en.eq(noise[33:37]), write.data.eq(noise[40:76])]
                m.d.comb += write.addr.eq(
                    Mux(noise[17], noise[18:32], noise[18:21]) if ports == "two" else read.addr)
        return m


def memories(cycles):
    """Read data of every memory of :class:`Memories` in each cycle after a reset of one cycle."""
    def rotate(value, amount):
        return (value >> amount | value << 128 - amount) % 2**128

    def bits(value, start, stop):
        return (value >> start) % 2**(stop - start)

    words = [content(k) for k in range(len(MEMORIES))]
    outputs, trace, state = [0] * len(MEMORIES), [], SEED
    for cycle in range(-1, cycles):
        if cycle >= 0:
            trace.append(list(outputs))
        for k, (width, depth, granularity, ports) in enumerate(MEMORIES):
            noise = rotate(state, 23 * k % 128)
            source = bits(noise, 2, 16 if noise & 1 else 5) % depth
            target = bits(noise, 18, 32 if noise >> 17 & 1 else 21) % depth
            target = target if ports == "two" else source
            old, read = words[k][target], words[k][source]
            if ports != "rom":
                step = granularity or width
                mask = sum((2**step - 1) << step * lane for lane in range(width // step)
                           if noise >> 33 + lane & 1)
                words[k][target] = old & ~mask | bits(noise, 40, 76) & mask
            if noise >> 1 & 1:
                outputs[k] = words[k][source] if ports == "through" else read
        if cycle >= 0:
            state = ((rotate(state, 37) * 5 + 0x1234567) ^ (state >> 3)) % 2**128
    return np.array(trace).T


def test_ecp5_block_ram_model_under_random_access(tmp_path, compared):
    ports = tuple(Port(name, width, "output") for name, width in (
        ("o__valid", 1), ("o__payload", 1),
        *((f"q{k}", width) for k, (width, *_) in enumerate(MEMORIES))))
    (tmp_path / "rtl.il").write_text(rtlil.convert(Memories(), name="memories"))
    run_yosys(["read_rtlil rtl.il", "synth_ecp5 -nodsp -top memories",
               "tee -q -o stat.txt stat", "splitnets", "opt_clean -purge",
               "chtype -set LUT4_TABLE t:LUT4", "write_verilog -noattr netlist.v"], cwd=tmp_path)
    assert "DP16KD" in (tmp_path / "stat.txt").read_text()
    models, defines = cell_models(boards.ECP5)
    netlist = Design(
        top="memories", clock="clk", reset="rst", ports=ports, defines=defines,
        sources={"netlist.v": (tmp_path / "netlist.v").read_text(),
                 **{path.with_suffix(".v").name: path.read_text() for path in models}})
    found = BatchSimulator(netlist).run(
        [], outputs=20_000, record=[port.name for port in ports]).records
    for k, expected in enumerate(memories(20_000)):
        assert np.array_equal(expected, found[f"q{k}"]), MEMORIES[k]
        assert len(np.unique(expected)) >= min(2**MEMORIES[k][0], 400), MEMORIES[k]
        compared(len(expected))
