# SPDX-License-Identifier: Apache-2.0
import dataclasses
import random
import re
from typing import Any

import pytest

from carrysave.fpga import trellis
from carrysave.fpga.route import route
from carrysave.fpga.synthesis import synthesise, wrapper
from carrysave.fpga.tools import run_tool
from carrysave.fpga.trellis_bitstream import read_bitstream
from carrysave.fpga.trellis_cells import routed_cells
from carrysave.fpga.trellis_data import BitstreamError, device, parse_config, render
from carrysave.fpga.trellis_fabric import Fabric
from carrysave.sim.batch import UartSession

from .echo import GREETING, Echo, echo
from .test_synthesis import design

DEVICE = "LFE5U-25F"


@pytest.fixture(scope="module")
def board_design():
    """Synthesis, routing, and the texts of the routed design and of its configuration."""
    synthesis = synthesise(Echo(), "ulx3s")
    routing = route(synthesis, timing_driven=False)
    config = routing.bitstream.with_name("top.config")
    return synthesis, routing.bitstream.read_bytes(), routing.design.read_text(), config.read_text()


@pytest.fixture
def pack(tmp_path):
    def pack(config):
        (tmp_path / "top.config").write_text(config)
        run_tool(("yowasp-ecppack", "--compress", "--input", "top.config", "--bit", "top.bit"),
                 cwd=tmp_path, timeout=120)
        return (tmp_path / "top.bit").read_bytes()
    return pack


def test_routed_design_and_bitstream_equal_netlist_in_every_cycle(board_design, compared):
    synthesis, bitstream, routed, _ = board_design
    data = random.Random(0).randbytes(2000)
    expected = bytes([GREETING]) + echo(data)
    levels = [synthesis.netlist, *(
        dataclasses.replace(synthesis.netlist, verilog=wrapper(synthesis.board) + text)
        for text in (trellis.routed_verilog(routed),
                     trellis.decompile(bitstream, synthesis.plan.constraints, DEVICE)))]
    hashes = set()
    for level in levels:
        with UartSession(design(level), divisor=4) as session:
            received, _ = session.exchange(data, expect=len(expected))
            assert received == expected
            session.idle(30_000 - session.cycle % 30_000)
            hashes.add((session.cycle, session.tx_hash))
            compared(len(received))
    assert len(hashes) == 1


def test_bitstream_equals_configuration_in_every_bit(board_design, compared):
    _, bitstream, routed, config = board_design
    found = trellis.compare_configuration(config, bitstream, again=trellis.unpacked(bitstream))
    chip = device(DEVICE)
    # Two readings of the whole memory, and of two block RAMs.
    assert found["compared"] == 2 * (chip.frames * chip.bits + 2 * 18432)
    assert (found["tiles"], found["mismatches"], found["first"]) == (4312, 0, None)
    compared(found["compared"])


def test_every_cell_of_the_bitstream_equals_the_routed_one(board_design, compared):
    _, bitstream, routed, _ = board_design
    found = trellis.compare_cells(routed, bitstream, DEVICE)
    assert (found["mismatches"], found["first"]) == (0, None)
    assert {"LUT", "CARRY", "RAM", "RAMW", "FF", "EBR", "BUFFER", "INPUT", "OUTPUT"} \
        == set(found["cells"])
    assert found["bits"] > 2 * 18432 and found["inputs"] > 500 and found["parameters"] > 500
    compared(found["compared"])


def test_wires_have_the_same_names_at_both_levels(board_design):
    synthesis, bitstream, routed, _ = board_design
    declared = [set(re.findall(r"^  wire (\w+);$", text, re.M)) for text in (
        trellis.routed_verilog(routed),
        trellis.decompile(bitstream, synthesis.plan.constraints, DEVICE))]
    assert declared[0] == declared[1] and len(declared[0]) > 200
    names = trellis.names(routed)
    known = {wire for wire in declared[0] if wire in names}
    assert len(known) > 150 and any("accelerator" in names[wire] for wire in known)


def tile_of(config, place, pattern):
    """The text of a slice's tile, and the first match of a pattern in it."""
    x, y = re.findall(r"X(\d+)/Y(\d+)/", place)[0]
    text = re.findall(rf"^\.tile R{y}C{x}:PLC2\n(?:.+\n)*", config, re.M)[0]
    match: Any = re.search(pattern, text, re.M)
    return text, match


def changed(config, text, match, replacement):
    return config.replace(text, text[:match.start()] + replacement + text[match.end():])


def cells_of(routed, kind):
    cells, names, _ = routed_cells(routed)
    return [(place, names[place], cell) for place, cell in cells.items() if cell.kind == kind]


def check(board_design, bitstream, *, tile, cell, setting):
    """Both comparisons find one fault where it was planted."""
    _, _, routed, config = board_design
    found = trellis.compare_configuration(config, bitstream)
    assert found["mismatches"] > 0 and found["first"]["tile"] == tile, found["first"]
    cells = trellis.compare_cells(routed, bitstream, DEVICE)
    assert cells["mismatches"] > 0
    assert (cells["first"]["cell"], cells["first"]["setting"]) == (cell, setting)
    return found, cells


def test_flipped_lut_bit_is_located(board_design, pack):
    _, _, routed, config = board_design
    place, name, _ = next(
        found for found in cells_of(routed, "LUT")
        if sum(isinstance(source, tuple) for source in found[2].inputs.values()) == 4)
    slice_, half = place[-4], place[-1]
    text, match = tile_of(config, place, rf"^word: SLICE{slice_}\.K{half}\.INIT ([01]+)$")
    init = match[1][:-1] + str(1 - int(match[1][-1]))
    bitstream = pack(changed(config, text, match, f"word: SLICE{slice_}.K{half}.INIT {init}"))
    found, cells = check(board_design, bitstream, tile=text.split()[1], cell=name, setting="INIT")
    assert found["mismatches"] == cells["mismatches"] == 1
    assert found["first"] == {"tile": text.split()[1],
                              "setting": f"word SLICE{slice_}.K{half}.INIT",
                              "expected": match[1], "found": init}


def test_inverted_initial_value_is_located(board_design, pack):
    _, _, routed, config = board_design
    place, name, cell = cells_of(routed, "FF")[0]
    slice_, half = place[-5], place[-1]
    other = {"SET": "RESET", "RESET": "SET"}[cell.parameters["REGSET"]]
    text, match = tile_of(config, place, rf"^enum: SLICE{slice_}\.REG{half}\.REGSET \w+$")
    bitstream = pack(changed(config, text, match,
                             f"enum: SLICE{slice_}.REG{half}.REGSET {other}"))
    found, cells = check(board_design, bitstream, tile=text.split()[1], cell=name,
                         setting="REGSET")
    assert found["mismatches"] == cells["mismatches"] == 1
    assert (cells["first"]["expected"], cells["first"]["found"]) \
        == (cell.parameters["REGSET"], other)


def test_changed_arc_is_located(board_design, pack):
    """A flip-flop's data from another wire."""
    _, _, routed, config = board_design
    place, name, _ = next(found for found in cells_of(routed, "FF") if "M" in found[2].inputs)
    pin = f"M{2 * 'ABCD'.index(place[-5]) + int(place[-1])}"
    text, match = tile_of(config, place, rf"^arc: {pin} (\S+)$")
    other = "V00T0100" if match[1] != "V00T0100" else "V00B0000"
    bitstream = pack(changed(config, text, match, f"arc: {pin} {other}"))
    found, _ = check(board_design, bitstream, tile=text.split()[1], cell=name, setting="input M")
    assert found["first"] == {"tile": text.split()[1], "setting": f"arc {pin}",
                              "expected": match[1], "found": other}


def test_changed_block_ram_word_is_located(board_design, pack):
    _, _, routed, config = board_design
    match: Any = re.search(r"^\.bram_init (\d+)\n([0-9a-f]{3}) ", config, re.M)
    number = int(match[1])
    word = f"{int(match[2], 16) ^ 1:03x}"
    bitstream = pack(config[:match.start(2)] + word + config[match.end(2):])
    found = trellis.compare_configuration(config, bitstream)
    assert found["mismatches"] == 1
    assert found["first"] == {"tile": f"block RAM {number}", "setting": "word 0",
                              "expected": match[2], "found": word}
    cells = trellis.compare_cells(routed, bitstream, DEVICE)
    assert (cells["mismatches"], cells["first"]["setting"]) == (1, "word 0")
    assert cells["first"]["cell"].startswith("accelerator.words.")
    assert (cells["first"]["expected"], cells["first"]["found"]) == (match[2], word)


def test_damaged_bitstream_is_refused(board_design):
    bitstream = board_design[1]
    chip = device(DEVICE)
    middle = len(bitstream) // 2
    damaged = bytearray(bitstream)
    damaged[middle] ^= 1
    with pytest.raises(BitstreamError, match="damaged: wrong CRC|ends too early"):
        read_bitstream(bytes(damaged), chip)
    with pytest.raises(BitstreamError, match="ends too early"):
        read_bitstream(bitstream[:middle], chip)
    with pytest.raises(BitstreamError, match="no preamble"):
        read_bitstream(b"nothing", chip)
    with pytest.raises(BitstreamError, match="for device 0x41111043, not for LFE5U-85F"):
        read_bitstream(bitstream, device("LFE5U-85F"))


@pytest.mark.parametrize("line, error", [
    ("enum: SLICEA.MODE NOTHING", "is not in the data base"),
    ("arc: A0 NOWHERE", "is not in the data base"),
    ("enum: SLICEA.MODE CCU2\nunknown: F9B10\nenum: SLICEA.CCU2.INJECT1_0 YES\narc: F0 F5A_SLICE",
     "contradicts"),
    ("nonsense", "line 4"),
])
def test_configuration_that_cannot_be_rendered_is_refused(line, error):
    with pytest.raises(BitstreamError, match=error):
        render(parse_config(f".device {DEVICE}\n\n.tile R40C2:PLC2\n{line}\n"))


def test_devices():
    assert (device("LFE5U-85F").frames, device(DEVICE).idcode) == (13294, 0x41111043)
    with pytest.raises(BitstreamError, match="^Device must be one of .*LFE5U-25F.*, not 'x'$"):
        device("x")


@pytest.mark.parametrize("name", [DEVICE, "LFE5U-85F"])
def test_every_block_ram_is_read_back(name, pack, compared):
    """In each of four places: its number, its mode, and an inverted write enable."""
    chip = device(name)
    rows = {tile.y for tile in chip.tiles.values() if tile.kind == "MIB_EBR0"}
    tiles = {(tile.x, tile.y): key for key, tile in chip.tiles.items()
             if tile.y in rows and tile.kind.startswith(("MIB_EBR", "EBR_"))}
    rng, text, wanted = random.Random(2), [f".device {name}"], {}
    for (x, y), tile in sorted(tiles.items()):
        kind = chip.tiles[tile].kind
        if kind not in ("MIB_EBR0", "MIB_EBR2", "MIB_EBR4", "MIB_EBR6"):
            continue
        bel = f"EBR{int(kind[-1]) // 2}"
        number, mode, write = rng.randrange(512), rng.choice(["DP16KD", "PDPW16KD"]), \
            rng.choice(["WEA", "INV"])
        wanted[x, y, bel] = number, mode, write if mode == "DP16KD" else "INV"
        text += ["", ".tile_group " + " ".join(
            tiles[place, y] for place in range(x, x + 3) if (place, y) in tiles),
            f"word: {bel}.WID {number:09b}", f"enum: {bel}.MODE {mode}",
            *([f"enum: {bel}.WEAMUX {write}"] if mode == "DP16KD" else [])]
    config = "\n".join(text) + "\n"
    data = pack(config)
    fabric = Fabric(read_bitstream(data, chip))
    for (x, y, bel), expected in wanted.items():
        found = (fabric.word(x, y, f"{bel}.WID"), fabric.option(x, y, f"{bel}.MODE"),
                 fabric.option(x, y, f"{bel}.WEAMUX"))
        assert found == expected, (x, y, bel)
    assert {bel for _, _, bel in wanted} == {"EBR0", "EBR1", "EBR2", "EBR3"}
    assert trellis.compare_configuration(config, data)["mismatches"] == 0
    compared(3 * len(wanted))
