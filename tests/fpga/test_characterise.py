# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re
from collections import Counter

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from carrysave.fpga import characterise
from carrysave.fpga.characterise import Harness, area, dependencies, gates, rtlil_of, speed
from carrysave.hw.array.kind import kind_of
from carrysave.hw.array.pe_array import PEArray
from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.pe.multiplier import Multiplier
from carrysave.hw.yosys import YosysError
from carrysave.quant.formats import Int
from carrysave.sim.bench import run_stream

# Transistors of gates in static CMOS, counted by hand: series and parallel pairs; transmission
# gates for multiplexers, XOR and flip-flops.
WEIGHTS = {"NOT": 2, "NAND": 4, "NOR": 4, "AOI3": 6, "OAI3": 6, "AOI4": 8, "OAI4": 8, "NMUX": 10,
           "MUX": 12, "XOR": 12, "XNOR": 12, "DFF_P": 16}


class Nand(wiring.Component):
    """A NAND, and a flip-flop behind it if asked for."""

    a: In(1)
    b: In(1)
    o: Out(1)

    def __init__(self, *, registered):
        self.registered = registered
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d["sync" if self.registered else "comb"] += self.o.eq(~(self.a & self.b))
        return m


def cells(unit):
    return Counter(re.findall(r"^ +cell (\S+) ", rtlil.convert(unit), re.M))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("family", ["ecp5", "ice40", "gowin"])
def test_area(family, cache, monkeypatch, compared):
    found = area(MixPE(4), family, cache=cache)
    assert found.lut4 == found.sites == min(found.mappings.values())
    assert set(found.mappings) == {"merged", "chains"}
    assert found.mappings[found.mapping] == found.sites
    if family == "ecp5":
        assert found.sites == found.cells["LUT4"] + 2 * found.carry
    elif family == "gowin":
        luts = sum(n for cell, n in found.cells.items() if re.fullmatch(r"LUT\d", cell))
        assert found.sites == luts + found.carry and found.carry == found.cells["ALU"] > 0
    else:
        assert found.sites == found.cells["SB_LUT4"]
    assert found.ff == sum(n for cell, n in found.cells.items() if "FF" in cell) > 0
    assert found.dsp == found.bram == 0
    # The second time nothing is synthesised.
    monkeypatch.setattr(characterise, "run_yosys", None)
    assert area(MixPE(4), family, cache=cache) == found
    compared(len(found.cells))


@pytest.mark.parametrize("family", ["ice40", "gowin"])
def test_dsp_blocks(family, cache):
    unit = Multiplier(4)
    plain, blocks = (area(unit, family, dsp=dsp, cache=cache) for dsp in (False, True))
    assert (plain.dsp, blocks.dsp) == (0, 1)
    assert blocks.lut4 < plain.lut4


def test_the_better_mapping(monkeypatch, tmp_path):
    counts = iter([90, 70, 50, 60])

    def count(cells, family):
        return {**dict.fromkeys(("ff", "bram", "dsp", "carry"), 0), "lut4": next(counts)}

    monkeypatch.setattr(characterise, "count", count)
    unit = MixPE(1)
    found = [area(unit, "ice40", cache=tmp_path) for _ in range(2)]
    assert [(x.mapping, x.sites) for x in found] == [("chains", 70), ("merged", 50)]


@pytest.mark.parametrize("family", ["ice40", "gowin"])
def test_speed(family, cache):
    found = speed(MixPE(4), family, seeds=(1, 2), cache=cache)
    assert 10 < found.min <= found.median <= found.max < 200


def test_gates(cache, monkeypatch, compared):
    found = gates(MixPE(4), cache=cache)
    weights = {f"$_{name}_": weight for name, weight in WEIGHTS.items()}
    assert found.transistors == sum(weights[cell] * n for cell, n in found.cells.items())
    assert found.ff == found.cells["$_DFF_P_"] == area(MixPE(4), "ecp5", cache=cache).ff
    assert found.nand2 == round((found.transistors - 16 * found.ff) / 4) > 100
    # The second time nothing is synthesised.
    monkeypatch.setattr(characterise, "run_yosys", None)
    assert gates(MixPE(4), cache=cache) == found
    compared(len(found.cells))


def test_gates_of_one_gate(cache):
    plain, registered = (gates(Nand(registered=each), cache=cache) for each in (False, True))
    assert (plain.cells, plain.transistors, plain.nand2, plain.ff) == ({"$_NAND_": 1}, 4, 1, 0)
    # Reset is logic in front of the flip-flop: ~(a & b | rst).
    assert registered.cells == {"$_AOI3_": 1, "$_DFF_P_": 1}
    assert (registered.transistors, registered.nand2, registered.ff) == (22, 2, 1)


def test_gates_without_a_weight(monkeypatch, tmp_path):
    script = characterise.gates_script
    monkeypatch.setattr(characterise, "gates_script", lambda mapping: tuple(
        each for each in script(mapping) if not each.startswith("dfflegalize")))
    with pytest.raises(YosysError, match=r"^Yosys cannot weigh all cells of .*\$_SDFF"):
        gates(Nand(registered=True), cache=tmp_path)


def test_array_in_a_harness(compared):
    """An array has no ready."""
    unit, harness = rtlil_of(PEArray(kind_of(Int(4), Int(4)), 2, 2, steps=4))
    tops = [re.search(r"^module \\top$.*?^end$", text, re.MULTILINE | re.DOTALL)
            for text in (unit, harness)]
    ports = [set(re.findall(r"^ +wire .*put \d+ +\\(\S+)$", top[0], re.MULTILINE))
             for top in tops if top]
    assert {"clk", "i__valid", "i__payload", "o__valid", "o__payload"} <= ports[0]
    assert not {"i__ready", "o__ready"} & ports[0]
    assert ports[1] == {"clk", "rst", "serial", "valid", "ready", "taken", "result"}
    compared(len(ports[0]) + len(ports[1]))


def test_no_path_that_is_timed(cache, monkeypatch):
    monkeypatch.setattr(characterise, "_fmax", lambda netlist, device, seed, *_:
                        None if seed == 2 else 50.0)
    assert speed(MixPE(4), "ice40", seeds=(1, 3), cache=cache) == characterise.Speed(50, 50, 50)
    assert speed(MixPE(4), "ice40", seeds=(1, 2), cache=cache) is None


def test_what_a_row_depends_on(monkeypatch, compared):
    def found(unit="u", harness="h", family="gowin", **options):
        return dependencies(unit, harness, family, **{"seeds": (1, 2), **options})

    first = found()
    others = [found(unit="v"), found(harness="g"), found(family="ice40"), found(dsp=True),
              found(seeds=(1, 2, 3)), found(seeds=()), found(family="gates")]
    device = characterise.DEVICES["gowin"]
    for change in {"lut4": 1}, {"constraints": ""}, {"synth": "synth"}, {"router": ("r",)}:
        monkeypatch.setitem(characterise.DEVICES, "gowin", dataclasses.replace(device, **change))
        monkeypatch.setattr(characterise, "tool_version", lambda tool: (tool, "1"))
        others.append(found())
        monkeypatch.setitem(characterise.DEVICES, "gowin", device)
    assert all(other != first for other in others)
    assert found(seeds=()) == found(seeds=(), harness="g")  # which is not routed
    compared(len(others))


def test_what_does_not_fit_has_no_speed(cache, monkeypatch):
    small = dataclasses.replace(characterise.DEVICES["ice40"], lut4=20)
    monkeypatch.setitem(characterise.DEVICES, "ice40", small)
    assert speed(MixPE(4), "ice40", seeds=(1,), cache=cache) is None


def test_harness_keeps_the_unit(compared):
    """Nothing is left to optimise away: all inputs come from flip-flops, all outputs leave."""
    unit = MixPE(4)
    found = cells(Harness(unit))
    alone = cells(MixPE(4))
    assert all(found[kind] >= number for kind, number in alone.items())
    compared(found.total())


def test_family_wrong():
    for function in (area, speed):
        with pytest.raises(ValueError,
                           match=r"^Family must be one of ecp5, ice40, gowin, not 'xilinx'$"):
            function(MixPE(1), "xilinx")


@pytest.mark.parametrize("recoding, limit", [("terms", 1681), ("booth", 1016)])
def test_sites_of_16_lanes(recoding, limit, cache):
    """Issue 4: 32-bit accumulator, registers after the products and their sum."""
    unit = MixPE(1 << 16, lanes=16, registers=2, recoding=recoding)
    assert unit.sum_shape.width == 32
    assert area(unit, "ecp5", cache=cache).sites <= limit


def test_booth_of_any_format_is_still_a_unit(compared):
    unit = MixPE(2, recoding="booth")
    inputs = [{"activations": [a], "weights": [w], "clear": 0, "last": 1}
              for a in (-128, -1, 0, 127) for w in range(-8, 8)]
    found = run_stream(unit, inputs, outputs=len(inputs))
    assert [payload for _, payload in found] == [
        x["activations"][0] * x["weights"][0] for x in inputs]
    compared(len(inputs))
