# SPDX-License-Identifier: Apache-2.0
"""Whether each planted fault is found by the arrow that should find it."""

import dataclasses
import functools
import re
import shutil

import pytest

from carrysave import known, unit_chain, units
from carrysave.commands.networks import _verify_units
from carrysave.fpga import ice40
from carrysave.fpga.alone import netlist_alone
from carrysave.fpga.characterise import Harness
from carrysave.fpga.harnessed import CONSTRAINTS, harnessed
from carrysave.fpga.tools import run_tool
from carrysave.hw.cache import cached
from carrysave.hw.catalogue import Preset
from carrysave.hw.fixed.khot import KHotMultiply
from carrysave.hw.pe.multiplier import Multiplier
from carrysave.quant.formats import Int
from carrysave.sim.ledger import Arrow, Ledger
from carrysave.sim.verilog import from_component

KHOT = Preset("khot", KHotMultiply, {"constants": (3, -5)})
icebox = pytest.mark.skipif(shutil.which("icebox_vlog") is None, reason="icebox_vlog")


def netlist_of(unit, family, dsp=False):
    rtl = from_component(unit)
    return rtl, unit_chain.as_netlist(rtl, netlist_alone(unit, family, dsp=dsp))


def changed(design, old, new):
    text = design.sources["netlist.v"]
    assert re.search(old, text)
    sources = {**design.sources, "netlist.v": re.sub(old, new, text, count=1)}
    return dataclasses.replace(design, sources=sources)


def test_netlists(compared):
    arrows = unit_chain.verify(KHOT, "netlist")
    assert [(arrow.method, arrow.on, arrow.status) for arrow in arrows] == [
        (method, family, "exact") for family in ("ecp5", "ice40") for method in ("batch", "proof")]
    compared(sum(arrow.compared for arrow in arrows))


def test_bit_of_a_lut(compared):
    unit = KHotMultiply((3, -5))
    rtl, netlist = netlist_of(unit, "ice40")
    # Its entry 0, as inputs that it does not need are 0.
    table = re.findall("16'h(....)", netlist.sources["netlist.v"])[0]
    wrong = changed(netlist, f"16'h{table}", f"16'h{int(table, 16) ^ 1:04x}")
    arrow = unit_chain.run_netlist(unit, rtl, wrong, on="ice40")
    assert arrow.status == "differs" and arrow.first["expected"] != arrow.first["found"]
    compared(arrow.compared)


@pytest.mark.parametrize("family, old, new", [
    ("ecp5", r"\.SIGNEDA\(1'h1\)", ".SIGNEDA(1'h0)"),
    ("ice40", r"\.A_SIGNED\((32'd1|1'h1|32'sd1)\)", ".A_SIGNED(32'd0)")])
def test_sign_flag_of_a_block(family, old, new, compared):
    # Of short operands, which are extended to the block's width, it changes no bit that is used.
    unit = Multiplier(group=4, lanes=1, activation=Int(16), weight=Int(16))
    rtl, netlist = netlist_of(unit, family, dsp=True)
    arrow = unit_chain.run_netlist(unit, rtl, netlist, on=f"{family}, DSP")
    assert arrow.status == "exact"
    wrong = unit_chain.run_netlist(unit, rtl, changed(netlist, old, new), on=f"{family}, DSP")
    assert wrong.status == "differs" and wrong.first["element"] is not None
    compared(arrow.compared + wrong.compared)


def test_proof_with_fewest_lanes(compared):
    preset = Preset("small", Multiplier, {
        "group": 4, "lanes": 16, "activation": Int(4), "weight": Int(4)})
    arrow = unit_chain.proof_arrow(preset, "ecp5")
    assert arrow.status == "exact" and arrow.detail["lanes"] == 1
    compared(arrow.compared)


@pytest.fixture(scope="module")
def chained():
    unit = KHotMultiply((3, -5))
    made, rtl = harnessed(unit), from_component(Harness(KHotMultiply((3, -5))))
    return unit, made, {
        "rtl": rtl, "netlist": unit_chain.as_netlist(rtl, made.netlist),
        "bitstream": unit_chain.decoded(rtl, made.netlist, made.decompiled())}


@icebox
def test_bitstream(compared):
    arrows = unit_chain.verify(KHOT, "bitstream")
    assert [(arrow.source, arrow.target, arrow.status) for arrow in arrows] == [
        (source, target, "exact") for source, target in (
            ("rtl", "netlist"), ("netlist", "routed"), ("routed", "bitstream"),
            ("golden", "bitstream"), ("rtl", "bitstream"))]
    compared(sum(arrow.compared for arrow in arrows))


@icebox
def test_initial_value(chained, compared):
    unit, _, designs = chained
    wrong = changed(designs["bitstream"], r"(reg result = 1'h)0", r"\g<1>1")
    arrows = unit_chain.pin_arrows(unit, {**designs, "bitstream": wrong})
    assert [arrow.status for arrow in arrows][:2] == ["exact", "differs"]
    assert arrows[1].first == {"layer": None, "element": "result", "cycle": 0, "expected": 0,
                               "found": 1}
    compared(arrows[1].compared)


@icebox
def test_bit_of_the_routing(chained, compared, tmp_path):
    unit, made, designs = chained
    (tmp_path / "top.bin").write_bytes(made.bitstream)
    run_tool(["yowasp-iceunpack", "top.bin", "top.asc"], cwd=tmp_path, timeout=120)
    lines = (tmp_path / "top.asc").read_text().splitlines()
    # In a tile of logic, the columns before those of the logic cells switch wires.
    places = [(row, line.index("1")) for start, line in enumerate(lines)
              if line.startswith(".logic_tile") for row in range(start + 1, start + 17)
              for line in [lines[row]] if "1" in line[:24] and "1" in line[36:46]]
    row, column = places[0]
    lines[row] = lines[row][:column] + "0" + lines[row][column + 1:]
    (tmp_path / "top.asc").write_text("\n".join(lines) + "\n")
    run_tool(["yowasp-icepack", "top.asc", "wrong.bin"], cwd=tmp_path, timeout=120)
    text = ice40.decompile((tmp_path / "wrong.bin").read_bytes(), CONSTRAINTS)
    wrong = unit_chain.decoded(designs["rtl"], made.netlist, text)
    arrows = unit_chain.pin_arrows(unit, {**designs, "bitstream": wrong})
    assert [arrow.status for arrow in arrows] == ["exact", "differs", "differs"]
    assert arrows[1].first["element"] in ("taken", "result")
    assert arrows[2].first["element"] is not None
    compared(arrows[1].compared)


def test_large_units_have_no_bitstream(monkeypatch):
    monkeypatch.setattr(unit_chain, "LARGEST", 10)
    (arrow,) = unit_chain.bitstream_arrows(KHOT)
    assert (arrow.target, arrow.status) == ("bitstream", "not run")
    assert "LUTs and payload bits; a harness on an UP5K takes 10" in arrow.why


def test_missing_tool(monkeypatch):
    monkeypatch.setattr(ice40.shutil, "which", lambda name: None)
    (arrow,) = unit_chain.verify(KHOT, "bitstream")
    assert arrow.status == "not run" and arrow.detail == {"missing": True}
    assert "install IceStorm" in arrow.why


def test_ledger_of_a_unit_is_kept(monkeypatch, tmp_path, compared):
    done = []

    def verify(preset, kind, *, timeout):
        done.append(kind)
        return [Arrow("rtl", kind, "batch", compared=3, ran=kind == "netlist" or len(done) > 2,
                      why="" if kind == "netlist" else "a tool was not found: install it")]

    monkeypatch.setattr(unit_chain, "verify", verify)
    monkeypatch.setattr(known, "cached", functools.partial(cached, root=tmp_path))
    for kept, states in ((False, ["exact", "not run"]), (False, ["exact", "exact"]),
                         (True, ["exact", "exact"])):
        (ledger, found), = units.verify_units(["khot-2"], kinds=units.CHAIN)
        assert found is kept
        assert [arrow["status"] for arrow in ledger["arrows"]] == states
        compared(sum(arrow["compared"] for arrow in ledger["arrows"]))
    assert done == ["netlist", "bitstream", "bitstream"]


@pytest.mark.parametrize("chain, status", [(True, 1), (False, 0)])
def test_exit_status(chain, status, monkeypatch, capsys):
    """What is not installed is an error where the chain was asked for."""
    arrows = [Arrow("golden", "rtl", "random", compared=5),
              Arrow("rtl", "netlist", "batch", on="ecp5", compared=7),
              Arrow("rtl", "bitstream", "batch", ran=False, why="icebox_vlog: install it",
                    detail={"missing": True})]
    kinds = []

    def verify(names, **options):
        kinds.extend(options["kinds"])
        return [(Ledger(name, {}, arrows).to_json(), False) for name in names]

    monkeypatch.setattr(units, "verify_units", verify)
    monkeypatch.setenv("COLUMNS", "140")
    assert _verify_units("khot-2", False, None, None, 60, chain, False) == status
    assert ("bitstream" in kinds) is chain
    shown = capsys.readouterr().out
    assert "khot-2: rtl → bitstream: not run: icebox_vlog: install it" in shown
    _verify_units(None, False, None, None, 60, chain, False)
    (row,) = [line for line in capsys.readouterr().out.splitlines()
             if line.split()[:1] == ["khot-2"]]
    assert row.split()[1:4] == ["5", "7", "–"]
