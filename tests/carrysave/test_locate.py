# SPDX-License-Identifier: Apache-2.0
"""Faults planted along the chain of a board: the arrow that should find each does, and names it."""

import dataclasses
import json
import random
import re
import shutil
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from carrysave import arrows, flow, locate_view
from carrysave import chain as chains
from carrysave.chain import BoardChain
from carrysave.config import load_config
from carrysave.fpga import boards, ice40, levels
from carrysave.fpga.tools import run_tool
from carrysave.hw.engine.engine import Engine
from carrysave.inject import inject
from carrysave.locate import locate
from carrysave.sim.ledger import Ledger

if shutil.which("icebox_vlog") is None:
    pytest.skip("needs icebox_vlog: apt-get install fpga-icestorm", allow_module_level=True)


TOML = """
name = "ants"
[data]
source = "ants.npz"
[model]
hidden = [16]
[quantise]
group = 8
[train]
epochs = 3
quantised_epochs = 3
[engine]
rows = 1
columns = 1
[uart]
baud = 3_000_000
[build]
boards = ["icebreaker"]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A network as small as fills a block RAM: netlists that are quickly compiled."""
    folder = tmp_path_factory.mktemp("ants")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    np.savez(folder / "ants.npz", x=rng.normal(size=(60, 16)) + labels[:, None], y=labels)
    (folder / "ants.toml").write_text(TOML)
    return flow.prepare(load_config(folder / "ants.toml"))


@pytest.fixture(scope="module")
def board(tiny):
    """Its chain on an iCEBreaker."""
    return BoardChain(tiny, boards.get("icebreaker"), lambda line: None)


def find(tiny, arrow):
    """The place of an arrow, and its picture and waveform."""
    place: Any = locate(tiny, Ledger("bees", {}, [arrow]), None)
    ElementTree.fromstring(locate_view.picture(place))
    assert "$enddefinitions" in place.vcd()
    assert place.cycle >= 0 and place.compared > 100
    assert {place.expected, place.found} == {0, 1}
    return place


def test_every_arrow_is_exact(board, compared):
    for target in "netlist", "routed", "bitstream":
        (arrow,) = board.get(target)
        assert (arrow.status, arrow.mismatches) == ("exact", 0)
        compared(arrow.compared)


def repacked(bitstream, tmp_path, change):
    """A bitstream whose textual form has been changed by ``change(lines)``."""
    (tmp_path / "top.bin").write_bytes(bitstream)
    run_tool(["yowasp-iceunpack", "top.bin", "top.asc"], cwd=tmp_path, timeout=60)
    lines = (tmp_path / "top.asc").read_text().splitlines()
    change(lines)
    (tmp_path / "top.asc").write_text("\n".join(lines) + "\n")
    run_tool(["yowasp-icepack", "top.asc", "new.bin"], cwd=tmp_path, timeout=60)
    changed = (tmp_path / "new.bin").read_bytes()
    assert changed != bitstream
    return changed


def broken_bitstream(board, tiny, tmp_path, monkeypatch, change):
    """The arrow routed → bitstream with another bitstream than the routed design's."""
    synthesis, routing = board.get("synthesis"), board.get("routing")
    path = tmp_path / "broken.bin"
    path.write_bytes(repacked(routing.bitstream.read_bytes(), tmp_path, change))
    monkeypatch.setattr(chains.levels, "decompiled", lambda *_, real=levels.decompiled: real(
        synthesis, dataclasses.replace(routing, bitstream=path), cache=tmp_path / "cache"))
    return BoardChain(tiny, board.board, lambda line: None).get("bitstream")[0]


def test_a_lut_bit_of_the_netlist(board, tiny, monkeypatch):
    synthesis = board.get("synthesis")
    text = synthesis.netlist.verilog
    tables = list(re.finditer(r"LUT_INIT\(16'h([0-9a-f]{4})\)", text))
    for middle in tables[len(tables) // 2:]:
        flipped = f"{int(middle[1], 16) ^ 0x8001:04x}"
        broken = dataclasses.replace(synthesis, netlist=dataclasses.replace(
            synthesis.netlist, verilog=text[:middle.start(1)] + flipped + text[middle.end(1):]))
        monkeypatch.setattr(BoardChain, "_synthesis", lambda self, broken=broken: broken)
        arrow = BoardChain(tiny, board.board, lambda line: None).get("netlist")[0]
        if arrow.status == "differs":
            break
    assert (arrow.source, arrow.target, arrow.status) == ("rtl", "netlist", "differs")
    place = find(tiny, arrow)
    assert place.signal.startswith("accelerator_") and place.cell.startswith("SB_")


def logic_tiles(lines):
    """Line of each logic tile of a textual bitstream, by its place."""
    return {tuple(map(int, line.split()[1:])): k + 1 for k, line in enumerate(lines)
            if line.startswith(".logic_tile")}


def test_a_routing_bit_of_the_bitstream(board, tiny, tmp_path, monkeypatch):
    rng = random.Random(1)
    names = ice40.names(board.get("routing").design.read_text())
    cells = sorted({tuple(map(int, name.split("_")[1:])) for name in names
                    if name.startswith("lc_")})
    for attempt in range(20):
        x, y, z = rng.choice(cells)

        def change(lines, x=x, y=y, z=z):
            # Columns 26 to 35 of a logic cell's rows choose the inputs of its LUT.
            row = logic_tiles(lines)[x, y] + 2 * z
            column = 26 + lines[row][26:36].find("1") if "1" in lines[row][26:36] else 26
            old = lines[row]
            lines[row] = old[:column] + "01"[old[column] == "0"] + old[column + 1:]

        folder = tmp_path / str(attempt)
        folder.mkdir()
        with monkeypatch.context() as patch:
            arrow = broken_bitstream(board, tiny, folder, patch, change)
            if arrow.status == "differs":
                place = find(tiny, arrow)
                break
    else:
        pytest.fail("no routing bit was noticed")
    assert (arrow.source, arrow.target) == ("routed", "bitstream")
    # The wire may lead elsewhere; what it leads to is a cell that has a place.
    assert re.fullmatch(r"ICESTORM_(LC|RAM) .* at X\d+/Y\d+/(lc\d|ram)", place.cell)


def test_a_word_of_block_ram_in_the_bitstream(board, tiny, tmp_path, monkeypatch):
    where = []

    def change(lines):
        starts = [k for k, line in enumerate(lines) if line.startswith(".ram_data")]
        for start in starts:  # the first word that is not 0
            for k in range(start + 1, start + 17):
                if int(lines[k], 16):
                    last = max(i for i, digit in enumerate(lines[k]) if digit != "0")
                    lines[k] = lines[k][:last] + "0" + lines[k][last + 1:]
                    where.append(tuple(map(int, lines[start].split()[1:])))
                    return

    arrow = broken_bitstream(board, tiny, tmp_path, monkeypatch, change)
    assert (arrow.source, arrow.target, arrow.status) == ("routed", "bitstream", "differs")
    place = find(tiny, arrow)
    x, y = where[0]
    assert place.cell.startswith("ICESTORM_RAM") and f" at X{x}/Y{y}/ram" in place.cell


def test_an_initial_value_out_of_the_bitstream(board, tiny, monkeypatch):
    """The register of the transmit pin starts at the other level."""
    real = levels.decompiled(board.get("synthesis"), board.get("routing"))
    cells = json.loads(board.get("routing").design.read_text())["modules"]["top"]["cells"]
    (pin,) = (cell for cell in cells.values() if cell["connections"].get("D_OUT_0"))
    # A register starts at 0: one that is to start at 1 lies behind an inverter.
    (inverter,) = (cell["connections"] for cell in cells.values()
                   if cell["connections"].get("O") == pin["connections"]["D_OUT_0"])
    known = ice40.places(cells)
    (register,) = (known[bit] for port in ("I0", "I1", "I2", "I3") for bit in inverter[port]
                   if f"reg {known[bit]} = 1'h0" in real.verilog)
    at = "X{}/Y{}/lc{}".format(*register.split("_")[1:])
    broken = dataclasses.replace(real, verilog=real.verilog.replace(
        f"reg {register} = 1'h0", f"reg {register} = 1'h1"))
    monkeypatch.setattr(chains.levels, "decompiled", lambda *_: broken)
    arrow = BoardChain(tiny, board.board, lambda line: None).get("bitstream")[0]
    assert (arrow.source, arrow.target, arrow.status) == ("routed", "bitstream", "differs")
    place = find(tiny, arrow)
    assert place.cell.endswith(at) and place.cycle == 0


def test_a_weight_in_the_rtl(prepared):
    """Golden against RTL: the PE, and the monitor around its write."""
    program = inject(prepared.program, "weight:3")
    run = arrows.run_engine(Engine(program), prepared.subject.x)
    arrow = arrows.engine_arrow(prepared.subject, program, run)
    place: Any = locate(prepared, Ledger("bees", {}, [arrow]), run)
    config = prepared.program.config
    assert place.pe == f"row {place.sample % config.rows}, column {place.element % config.columns}"
    at = place.cycle - place.first
    rows = {signal["name"]: signal["values"] for signal in place.signals}
    assert rows["write"][at] == 1 and rows["value, expected"][at] == place.expected
    assert f"cycle {place.cycle}" in locate_view.picture(place)
