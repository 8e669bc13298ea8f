# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.hw.pe.mixpe import MixPE
from carrysave.quant.formats import Int
from carrysave.sim.reference import grouped, reference
from carrysave.sim.stimulus import exhaustive, random, stimuli, worst


def test_exhaustive_sends_every_pair_in_every_lane(compared):
    unit = MixPE(4, lanes=3, activation=Int(5), weight=Int(3, signed=False), zero_points=True)
    inputs = exhaustive(unit).inputs
    for lane in range(3):
        a, w = (inputs[name][:, lane].tolist() for name in ("activations", "weights"))
        pairs = set(zip(a, w, strict=True))
        assert pairs == {(a, w) for a in range(-16, 16) for w in range(8)}
    assert len(inputs["last"]) == 256 and inputs["last"].all() and not inputs["clear"].any()
    assert set(inputs["zero"].tolist()) == set(range(8))
    assert (inputs["activations"][:, 0] != inputs["activations"][:, 1]).any()
    compared(3 * 256)


def test_too_many_bits_are_not_swept():
    assert exhaustive(MixPE(4, activation=Int(13))) is None


def test_random_groups(compared):
    unit = MixPE(9, lanes=4)
    inputs = random(unit, 100_000).inputs
    last, clear = inputs["last"], inputs["clear"]
    lengths = np.diff(np.flatnonzero(last), prepend=-1)
    assert len(last) * unit.lanes >= 100_000 and last[-1] == 1
    assert set(lengths.tolist()) == set(range(1, 10)) and 0 < clear.sum() < len(clear) / 20
    compared(len(last))


@pytest.mark.parametrize("unit, extremes", [
    (MixPE(5, lanes=2), (-127 * 8 * 10, 128 * 8 * 10)),
    (MixPE(7, lanes=1, activation=Int(8, signed=False)), (-255 * 8 * 7, 255 * 7 * 7)),
    (MixPE(6, activation=Int(16)), (-32767 * 8 * 6, 32768 * 8 * 6)),
], ids=["int8", "uint8", "int16"])
def test_the_worst_case_fills_the_sum(unit, extremes, compared):
    sums = reference(unit).expected(unit, worst(unit).inputs)
    assert (int(sums.min()), int(sums.max())) == extremes
    compared(len(sums))


def test_all_of_a_unit(compared):
    found = stimuli(MixPE(3, lanes=2), 1000)
    assert [stimulus.method for stimulus in found] == ["exhaustive", "random"]
    assert [len(stimulus) for stimulus in found] == [4096, 4096 + 2 * 3 + 500]
    compared(2)


def by_hand(terms, inputs):
    total, sums = 0, []
    for term, clear, last in zip(terms, inputs["clear"], inputs["last"], strict=True):
        total = term if clear else total + term
        if last:
            sums.append(total)
            total = 0
    return sums


@pytest.mark.parametrize("kind", [np.int64, object])
def test_grouped(kind, compared):
    rng = np.random.default_rng(0)
    for size in (1, 2, 50, 1000):
        terms = rng.integers(-100, 100, size).astype(kind) * (1 if kind is np.int64 else 1 << 70)
        inputs = {"clear": rng.random(size) < 0.2, "last": rng.random(size) < 0.3}
        assert grouped(terms, inputs).tolist() == by_hand(terms.tolist(), inputs)
        inputs["last"][-1] = True
        assert grouped(terms, inputs).tolist() == by_hand(terms.tolist(), inputs)
        compared(size)
