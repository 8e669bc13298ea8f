# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from amaranth.hdl import Shape

from carrysave.hw.pe import olive as hw_olive
from carrysave.hw.pe.olive import OliVe, part_product_shapes
from carrysave.quant import formats
from carrysave.quant.formats import AbFloat, Int, Pair
from carrysave.sim.prove import prove
from carrysave.sim.reference import reference
from carrysave.sim.stimulus import random, worst
from carrysave.sim.units import run_vectors

from ..units import check

OLIVE4, FLINT, OLIVE8 = (formats.get(name) for name in ("olive4", "olive4_flint", "olive8"))
PAIRS = [
    (OLIVE4, OLIVE4), (FLINT, FLINT), (OLIVE4, FLINT), (OLIVE8, OLIVE8), (OLIVE8, OLIVE4),
    (Pair(Int(8), AbFloat(3, 4, 2)), OLIVE8), (Pair(Int(3), AbFloat(1, 1, 2)), OLIVE4),
]
pairs = pytest.mark.parametrize("a, b", PAIRS, ids=lambda fmt: fmt.name)


def transfers(unit, *stimuli):
    inputs, wanted = [], []
    for stimulus in stimuli:
        columns = {key: np.asarray(x).tolist() for key, x in stimulus.inputs.items()}
        inputs += [dict(zip(columns, row, strict=True))
                   for row in zip(*columns.values(), strict=True)]
        wanted += np.asarray(reference(unit).expected(unit, stimulus.inputs)).tolist()
    return inputs, wanted


@pairs
@pytest.mark.parametrize("lanes, group", [(2, 1), (6, 5)])
def test_groups(a, b, lanes, group, compared):
    unit = OliVe(a, b, group, lanes=lanes, registers=lanes // 2)
    inputs, wanted = transfers(unit, worst(unit), random(unit, 200))
    cycles = check(unit, inputs, wanted)
    ends = [k for k, transfer in enumerate(inputs) if transfer["last"]]
    assert cycles == [end + unit.latency for end in ends] and unit.latency == lanes // 2
    # No sum is wider than the worst case.
    assert Shape.cast(range(min(wanted), max(wanted) + 1)) == unit.sum_shape
    compared(len(wanted))


@pytest.mark.parametrize("a, b", [PAIRS[2], PAIRS[4]], ids=lambda fmt: fmt.name)
def test_in_the_batch_simulator(a, b, compared):
    arrows = run_vectors(OliVe(a, b, 9, lanes=4, registers=2))
    assert [arrow.mismatches for arrow in arrows] == [0] * len(arrows)
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("a, b", [PAIRS[1], PAIRS[3]], ids=lambda fmt: fmt.name)
def test_decoders_outside(a, b, compared):
    """As in an array: elements come decoded, in any number of lanes."""
    words = OliVe(a, b, 4, lanes=6)
    unit = OliVe(a, b, 4, lanes=6, decoders=False)
    drawn = random(unit, 3000)
    arrows = run_vectors(unit, [drawn])
    assert [arrow.mismatches for arrow in arrows] == [0]
    assert Shape.cast(unit.sum_shape).width >= Shape.cast(words.sum_shape).width
    assert OliVe(a, b, 1, lanes=1, decoders=False).lanes == 1
    compared(arrows[0].compared)


def test_published_widths(compared):
    """4 bits: significands of 4 bits, products that fit 15; 8 bits: four products of 4-bit
    elements, sums of the 32-bit class."""
    assert part_product_shapes(OLIVE4, OLIVE4) == [Shape(15, True)]
    assert len(part_product_shapes(OLIVE8, OLIVE8)) == 4
    assert part_product_shapes(OLIVE8, OLIVE8)[-1] == Shape(8, False)
    assert len(part_product_shapes(OLIVE8, OLIVE4)) == 2
    assert OliVe(OLIVE8, group=1).sum_shape == Shape(32, True)
    compared(5)


def test_proved(compared):
    unit = OliVe(*PAIRS[-1])
    found = {core.name: prove(core).status for core in reference(unit).cores(unit)}
    assert set(found.values()) == {"proved"} and len(found) == 6
    compared(len(found))


@pytest.mark.parametrize("wrong", [
    lambda a, b: (a.integer * b.integer) << a.base + b.base,  # no shift
    lambda a, b: (a.integer[:-1] * b.integer) << a.exponent + b.exponent,  # a sign lost
    lambda a, b: (a.integer * b.integer) << (a.exponent ^ (a.exponent == 5)) + b.exponent,
])
def test_a_wrong_product_is_found(wrong, monkeypatch, compared):
    monkeypatch.setattr(hw_olive, "part_product", lambda a, b: wrong(a, b).as_signed()
                        if wrong(a, b).shape().signed else wrong(a, b))
    unit = OliVe(OLIVE4, group=3, lanes=2)
    inputs, wanted = transfers(unit, worst(unit), random(unit, 600))
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: .* instead of "):
        check(unit, inputs, wanted)
    compared(len(wanted))


def test_a_forgotten_group_is_found(compared):
    unit = OliVe(OLIVE4, group=2)
    one = {"a": [1], "b": [1], "clear": 0, "last": 0}
    assert check(unit, [one, {**one, "last": 1}, {**one, "last": 1}], [2, 1])
    compared(2)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"a_format": Int(4)}, TypeError, f"A format must be a Pair, not {Int(4)!r}"),
    ({"b_format": 4}, TypeError, "B format must be a Pair, not 4"),
    ({"lanes": 3}, ValueError, "Lanes must be even, two for each word, not 3"),
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"group": -1}, TypeError, "Group must be a positive integer, not -1"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        OliVe(**kwargs)
