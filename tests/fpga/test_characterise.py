# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re
from collections import Counter

import pytest
from amaranth.back import rtlil

from carrysave.fpga import characterise
from carrysave.fpga.characterise import Harness, area, speed
from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.pe.multiplier import Multiplier
from carrysave.sim.bench import run_stream


def cells(unit):
    return Counter(re.findall(r"^ +cell (\S+) ", rtlil.convert(unit), re.M))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("family", ["ecp5", "ice40"])
def test_area(family, cache, monkeypatch, compared):
    found = area(MixPE(4), family, cache=cache)
    assert found.lut4 == found.sites == min(found.mappings.values())
    assert set(found.mappings) == {"merged", "chains"}
    assert found.mappings[found.mapping] == found.sites
    if family == "ecp5":
        assert found.sites == found.cells["LUT4"] + 2 * found.carry
    else:
        assert found.sites == found.cells["SB_LUT4"]
    assert found.ff == sum(n for cell, n in found.cells.items() if "FF" in cell) > 0
    assert found.dsp == found.bram == 0
    # The second time nothing is synthesised.
    monkeypatch.setattr(characterise, "run_yosys", None)
    assert area(MixPE(4), family, cache=cache) == found
    compared(len(found.cells))


def test_dsp_blocks(cache):
    unit = Multiplier(4)
    plain, blocks = (area(unit, "ice40", dsp=dsp, cache=cache) for dsp in (False, True))
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


def test_speed(cache):
    found = speed(MixPE(4), "ice40", seeds=(1, 2), cache=cache)
    assert 10 < found.min <= found.median <= found.max < 200


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
        with pytest.raises(ValueError, match=r"^Family must be one of ecp5, ice40, not 'gowin'$"):
            function(MixPE(1), "gowin")


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
