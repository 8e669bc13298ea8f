# SPDX-License-Identifier: Apache-2.0
import dataclasses
import random
import re
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from apycula import bslib

from carrysave.fpga import boards, gowin, levels
from carrysave.fpga.gowin_bits import Fabric
from carrysave.fpga.gowin_die import die
from carrysave.fpga.route import route
from carrysave.fpga.synthesis import cell_models, synthesise, wrapper
from carrysave.fpga.tools import ToolError
from carrysave.hw.yosys import run_yosys
from carrysave.sim.batch import BatchSimulator, SimulationError
from carrysave.sim.verilog import Design, Port, from_component

from .echo import GREETING, Echo, echo
from .test_synthesis import MEMORIES, Memories, design, exchange, memories

BOARD = "tang-nano-9k"
DATA = random.Random(0).randbytes(500)


@pytest.fixture(scope="module")
def synthesis():
    return synthesise(Echo(), BOARD)


@pytest.fixture(scope="module")
def routing(synthesis):
    return route(synthesis, timing_driven=False)


def answer(netlist):
    """What a model sends, and when; None for one that does not send frames."""
    try:
        return exchange(design(netlist), DATA, wait=netlist.startup)
    except SimulationError:
        return None


def same(first, second):
    return second is not None and first[0] == second[0] and np.array_equal(first[1], second[1])


@pytest.fixture(scope="module")
def netlist_answer(synthesis):
    return answer(synthesis.netlist)


@pytest.fixture(scope="module")
def bitmap(routing):
    return gowin.read(routing.bitstream)


@pytest.fixture(scope="module")
def frame(routing):
    """Header and footer of the bitstream."""
    return bslib.read_bitstream(routing.bitstream)[1:3]


@pytest.mark.parametrize("name, device, die_name, pins, pack", [
    ("tang-nano-9k", "GW1NR-LV9QN88PC6/I5", "GW1N-9C", ("18", "17", "52"),
     ("--sspi_as_gpio", "--mspi_as_gpio")),
    ("tang-nano-20k", "GW2AR-LV18QN88C8/I7", "GW2A-18C", ("70", "69", "4"),
     ("--sspi_as_gpio", "--mspi_as_gpio")),
    ("tang-primer-20k", "GW2A-LV18PG256C8/I7", "GW2A-18C", ("T13", "M11", "H11"),
     ("--mspi_as_gpio", "--sspi_as_gpio", "--ready_as_gpio", "--done_as_gpio")),
])
def test_plan(name, device, die_name, pins, pack):
    board = boards.get(name)
    assert (board.device, board.clock_hz, board.startup) == (device, 27_000_000, 2)
    plan = boards.plan(Echo(), board)
    assert plan.route == (
        "nextpnr-himbaechel-gowin", "--quiet", "--log", "top.tim", "--device", device, "--vopt",
        f"family={die_name}", "--vopt", "cst=top.cst", "--freq", "27", "--json", "top.json")
    assert plan.pack == ("gowin_pack", "-d", die_name, "-o", "top.fs", *pack, "routed.json")
    for pin, port in zip(pins, ("rx", "tx", "clk"), strict=True):
        assert f'IO_LOC "{board.pins[port]}" {pin};\n' in plan.constraints


def test_every_level_equals_the_rtl(synthesis, routing, netlist_answer, compared):
    """Netlist, routed design, decompiled bitstream: bytes, and every edge of the pin."""
    expected = exchange(from_component(Echo()), DATA, wait=0)
    assert expected[0] == bytes([GREETING]) + echo(DATA)
    found = {"netlist": netlist_answer, "routed": answer(levels.routed(synthesis, routing)),
             "bitstream": answer(levels.decompiled(synthesis, routing))}
    for level, answered in found.items():
        assert same(expected, answered), level
        compared(len(answered[0]) + len(answered[1]))
    assert {"ALU", "RAM16SDP4", "SPX9", "MUX2_LUT8", "DFFSE", "TBUF"} <= set(synthesis.cells)
    assert routing.utilisation(boards.GOWIN)["bram"] == {"used": 2, "available": 26}


def test_a_lut_bit_of_the_netlist(synthesis, netlist_answer):
    netlist = synthesis.netlist
    found: Any = re.search(r"GOWIN_LUT4 #\(\s*\.INIT\(16'h(\w+)\)", netlist.verilog)
    changed = f"{int(found[1], 16) ^ 0x8000:04x}"
    text = netlist.verilog[:found.start(1)] + changed + netlist.verilog[found.end(1):]
    assert not same(netlist_answer, answer(dataclasses.replace(netlist, verilog=text)))


def fault_in_a_route(fabric):
    """A route to a LUT in use: another wire takes the place of its own."""
    text = fabric.verilog()
    for (row, col), fuses in fabric.fuses.items():
        for dest, (mask, patterns) in fabric.die.routes(row, col).items():
            used = frozenset(mask & fuses)
            if used and re.fullmatch("[ABCD][0-5]", dest) \
                    and f"lut_R{row + 1}C{col + 1}_F{dest[1]} " in text:
                # No single fuse makes another route: see test_a_fuse_of_a_route.
                other = min(patterns, key=lambda other: (len(other ^ used) or 99, sorted(other)))
                assert len(other ^ used) > 1
                return [place(fabric.die, row, col, bit) for bit in other ^ used]
    raise AssertionError("no such route")


def fault_in_a_flip_flop(fabric):
    """The fuse with the initial value of the flip-flop at the transmit pin."""
    fabric.verilog()
    (at,) = [at for at, pin in fabric.pads.items() if pin.endswith("tx__io")]
    pad = fabric.die.db[at[:2]].bels[f"IOB{at[2]}"].portmap["I"]
    row, col, name = fabric.source(fabric.die.wire(*at[:2], pad))
    index = int(name.removeprefix("Q"))
    mask, patterns = fabric.die.slices(row, col, index // 2)
    used = frozenset(mask & fabric.fuses[row, col])
    assert patterns[used].kinds[index % 2] == "DFFSE"
    for bit in sorted(mask):
        other = patterns.get(used ^ {bit})
        if other and other.mode == patterns[used].mode and other.kinds[index % 2] == "DFFRE" \
                and other.kinds[1 - index % 2] == patterns[used].kinds[1 - index % 2]:
            return [place(fabric.die, row, col, bit)]
    raise AssertionError("no such fuse")


def fault_in_a_block_ram(fabric):
    """Bit 0 of the word that the first byte reads."""
    row, col = next((row, col) for row, col, _ in fabric.rams.values()
                    if any(fabric.die.content(row, col, fabric.bitmap)[n] >> 16 for n in range(99)))
    return [fabric.die.place(row, col, DATA[0], 0)]


def place(found, row, col, bit):
    """Row and column of a bitmap with a fuse of a tile."""
    return (sum(found.db[k, 0].height for k in range(row)) + bit[0],
            sum(found.db[0, k].width for k in range(col)) + bit[1])


@pytest.mark.parametrize("fault", [
    fault_in_a_route, fault_in_a_flip_flop, fault_in_a_block_ram])
def test_a_fault_in_the_bitstream(tmp_path, synthesis, frame, bitmap, netlist_answer, fault):
    """Bits of the file turned over, its checksums made good again."""
    board = synthesis.board
    places = fault(fabric(synthesis, bitmap))
    text = changed(tmp_path, frame, bitmap, places, synthesis)
    broken = dataclasses.replace(synthesis.netlist, verilog=wrapper(board) + text)
    assert not same(netlist_answer, answer(broken))


def fabric(synthesis, bitmap):
    found = die("GW1N-9C")
    return Fabric(found, bitmap, {
        found.pad(synthesis.board.device, pin): name for name, pin in
        re.findall(r'IO_LOC "(\w+)" (\w+);', synthesis.plan.constraints)})


def changed(tmp_path, frame, bitmap, places, synthesis):
    """Verilog of a bitstream with some bits turned over."""
    lines = [list(map(int, line)) for line in bitmap]
    for y, x in places:
        lines[y][x] ^= 1
    write: Any = bslib.write_bitstream
    write(tmp_path / "top.fs", lines, *frame, False, {})
    return gowin.decompile((tmp_path / "top.fs").read_bytes(), synthesis.plan.constraints,
                           synthesis.board.device)


def test_a_fuse_of_a_route(tmp_path, synthesis, frame, bitmap):
    """A single fuse of a route names no wire, and is found as the bitstream is taken apart."""
    y, x = fault_in_a_route(fabric(synthesis, bitmap))[0]
    with pytest.raises(ToolError, match=r"^Tile R\d+C\d+: wire \w+ set in a way that has no "):
        changed(tmp_path, frame, bitmap, [(y, x)], synthesis)


def test_damaged_bitstream(synthesis, routing):
    lines = routing.bitstream.read_text().splitlines(keepends=True)
    at = max(range(len(lines)), key=lambda k: len(lines[k]))
    lines[at] = lines[at][:100] + "01"[lines[at][100] == "0"] + lines[at][101:]
    with pytest.raises(ToolError, match="^The bitstream is damaged: "):
        gowin.decompile("".join(lines).encode(), synthesis.plan.constraints,
                        synthesis.board.device)


def test_fuses_without_meaning(bitmap):
    """Everything in a tile with logic must be accounted for."""
    found = die("GW1N-9C")
    (row, col) = next((row, col) for row in range(found.db.rows) for col in range(found.db.cols)
                      if "LUT0" in found.db[row, col].bels)
    lines = [list(line) for line in bitmap]
    for bit in found.routes(row, col)["A0"][0]:
        y, x = place(found, row, col, bit)
        lines[y][x] = 1
    with pytest.raises(ToolError, match=rf"^Tile R{row + 1}C{col + 1}: wire A0 set in a way that "):
        Fabric(found, lines, {})


def proved(tmp_path, text, what="a b"):
    (tmp_path / "both.v").write_text(text)
    models, _ = cell_models(boards.GOWIN)
    for path in models:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    log = run_yosys([*(f"read_verilog -defer {path.name}" for path in models),
                     "read_verilog both.v", "hierarchy -top top", "proc", "flatten", "opt",
                     f"sat -verify -prove {what} -show i"], cwd=tmp_path)
    assert "SUCCESS" in log


def test_lut_tables_equal_yosys_models(tmp_path):
    lines, width = [], 0
    for inputs in (1, 2, 3, 4):
        pins = ", ".join(f".I{k}(i[{k}])" for k in range(inputs))
        for bit in range(2**inputs):
            init = f"#(.INIT({2**inputs}'d{1 << bit}))"
            lines += [f"LUT{inputs} {init} a{width} ({pins}, .F(a[{width}]));",
                      f"GOWIN_LUT{inputs} {init} b{width} ({pins}, .F(b[{width}]));"]
            width += 1
    proved(tmp_path, f"module top(input [3:0] i, output [{width - 1}:0] a, b);\n"
           + "\n".join(lines) + "\nendmodule\n")


def test_alu_equals_yosys_model_in_every_mode(tmp_path):
    modes = [mode for mode in gowin.ALU_MODES if mode.isdigit()]
    lines = [
        f"{cell} #({parameter}) {name}{mode} (.I0(i[0]), .I1(i[1]), {second}.I3(i[2]), "
        f".CIN(i[3]), .SUM({name}[{2 * n}]), .COUT({name}[{2 * n + 1}]));"
        for n, mode in enumerate(modes)
        for cell, parameter, name, second in (
            ("ALU", f".ALU_MODE({mode})", "a", ""),
            ("GOWIN_ALU", f".INIT(16'b{gowin.ALU_MODES[mode]})", "b", ".I2(1'b1), "))]
    proved(tmp_path, f"module top(input [3:0] i, output [{2 * len(modes) - 1}:0] a, b);\n"
           + "\n".join(lines) + "\nendmodule\n")


def test_block_ram_model_under_random_access(tmp_path, compared):
    ports = tuple(Port(name, width, "output") for name, width in (
        ("o__valid", 1), ("o__payload", 1),
        *((f"q{k}", width) for k, (width, *_) in enumerate(MEMORIES))))
    (tmp_path / "rtl.il").write_text(rtlil.convert(Memories(), name="memories"))
    run_yosys(["read_rtlil rtl.il", "synth_gowin -family gw1n -nodsp -noiopads -top memories",
               "tee -q -o stat.txt stat", "splitnets", "opt_clean -purge",
               "chtype -set GOWIN_SP t:SP", "chtype -set GOWIN_SPX9 t:SPX9",
               "write_verilog -noattr netlist.v"], cwd=tmp_path)
    used = (tmp_path / "stat.txt").read_text()
    assert "SPX9" in used and "SDPX9B" in used
    models, defines = cell_models(boards.GOWIN)
    netlist = Design(
        top="memories", clock="clk", reset="rst", ports=ports, defines=defines,
        sources={"netlist.v": (tmp_path / "netlist.v").read_text(),
                 **{path.name: path.read_text() for path in models}})
    found = BatchSimulator(netlist).run(
        [], outputs=5_000, record=[port.name for port in ports]).records
    for k, expected in enumerate(memories(5_000)):
        assert np.array_equal(expected, found[f"q{k}"]), MEMORIES[k]
        compared(len(expected))
