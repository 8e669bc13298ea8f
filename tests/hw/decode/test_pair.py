# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from amaranth.hdl import Const

from carrysave.hw.decode import pair as hw_pair
from carrysave.hw.decode.pair import PairDecoder, part_ranges
from carrysave.quant import formats
from carrysave.quant.formats import AbFloat, Flint, Int, Pair
from carrysave.sim.prove import prove
from carrysave.sim.reference.pair import elements, pair_cores
from carrysave.sim.units import run_vectors

from ..units import check

OLIVE4, OLIVE8 = formats.get("olive4"), formats.get("olive8")
FORMATS = [
    OLIVE4, formats.get("olive4_flint"), Pair(Int(4), AbFloat(1, 2, 0)),
    Pair(Int(2), AbFloat(1, 0)), Pair(Flint(), AbFloat(2, 1, 16)),
    Pair(Int(5), AbFloat(3, 1, 2, 1 << 6)),
]
named = {"ids": lambda fmt: fmt.name}


def transfers(fmt, words, **kwargs):
    words = np.asarray(words)[:, None]
    fields = elements(fmt, words, **kwargs)
    wanted = [[dict(zip(fields, map(int, row), strict=True)) for row in zip(*pair, strict=True)]
              for pair in zip(*fields.values(), strict=True)]
    return [{"words": row} for row in words.tolist()], wanted


@pytest.mark.parametrize("fmt", FORMATS, **named)
def test_every_word(fmt, compared):
    inputs, wanted = transfers(fmt, fmt.words())
    assert check(PairDecoder(fmt), inputs, wanted) == list(range(len(wanted)))
    values = [[element["integer"] << element["exponent"] for element in pair] for pair in wanted]
    assert values == fmt.decode(fmt.words()[:, None]).tolist()
    compared(len(wanted))


@pytest.mark.parametrize("fmt, parts", [
    (OLIVE8, False), (OLIVE8, True), (Pair(Int(8), AbFloat(3, 4, 2)), True)],
    ids=lambda value: getattr(value, "name", str(value)))
def test_every_word_of_8_bits(fmt, parts, compared):
    arrows = run_vectors(PairDecoder(fmt, lanes=2, parts=parts, registers=1))
    assert [arrow.mismatches for arrow in arrows] == [0, 0]
    assert arrows[0].compared == 1 << 16
    compared(arrows[0].compared)


def test_parts_fill_their_ranges(compared):
    fields = elements(OLIVE8, OLIVE8.words()[:, None], parts=True)
    high, low = part_ranges(OLIVE8)
    found = [(int(field.min()), int(field.max())) for field in fields.values()]
    assert found == [high.exponent, (-15, 15), low.integer] == [(0, 8), (-15, 15), (0, 15)]
    assert high.value == (-1 << 15, 1 << 15)
    compared(len(fields["low"]))


@pytest.mark.parametrize("fmt", FORMATS[2:], **named)
def test_proved(fmt, compared):
    assert [prove(core).status for core in pair_cores(fmt)] == ["proved"]
    compared(1 << 2 * fmt.bits)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_latency_and_stalls(stall, compared):
    unit = PairDecoder(OLIVE4, registers=1)
    inputs, wanted = transfers(OLIVE4, OLIVE4.words())
    cycles = check(unit, inputs, wanted, stall_i=stall, stall_o=stall)
    assert stall or cycles == list(range(unit.latency, unit.latency + 256))
    assert unit.latency == 1
    compared(len(wanted))


def test_a_victim_that_keeps_its_value_is_found(monkeypatch, compared):
    right = hw_pair._halves

    def wrong(fmt, word):
        for (_, outlier, is_outlier), code in zip(
                right(fmt, word), (word[:fmt.bits], word[fmt.bits:]), strict=True):
            yield code, outlier, is_outlier

    monkeypatch.setattr(hw_pair, "_halves", wrong)
    inputs, wanted = transfers(OLIVE4, OLIVE4.words())
    with pytest.raises(AssertionError, match=r"^31 of 256 differ"):
        check(PairDecoder(OLIVE4), inputs, wanted)
    compared(256)


def test_an_outlier_beside_a_normal_is_found(monkeypatch, compared):
    right = hw_pair._halves
    monkeypatch.setattr(hw_pair, "_halves", lambda fmt, word: (
        (normal, outlier, Const(0, 1)) for normal, outlier, _ in right(fmt, word)))
    assert [prove(core).status for core in pair_cores(OLIVE4)] == ["refuted"]
    compared(1)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"fmt": Int(4)}, TypeError, f"Format must be a Pair, not {Int(4)!r}"),
    ({"fmt": OLIVE4, "lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"fmt": OLIVE4, "lanes": 3}, ValueError, "Lanes must be even, two for each word, not 3"),
    ({"fmt": OLIVE4, "registers": -1}, ValueError, "Registers must be 0 to 1, not -1"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        PairDecoder(**kwargs)
