# SPDX-License-Identifier: Apache-2.0
import random
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from amaranth.hdl import signed, unsigned

from carrysave.hw.fixed import requantise as hw_requantise
from carrysave.hw.fixed.requantise import Requantise
from carrysave.hw.fixed.rounding import round_up as rounding_bit
from carrysave.quant.golden.requantise import requantise
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.prove import prove
from carrysave.sim.reference.requantise import cores
from carrysave.sim.stimulus import stimuli
from carrysave.sim.units import run_vectors

from ..units import cells, check, check_everywhere

PARAMETERS = [  # width of the sums, multiplier bits, shifts, bits, lanes
    (25, 16, (16,), 8, 1), (25, 16, (0,), 8, 2), (19, 1, (1, 7, 62), 8, 1),
    (32, 24, (30, 31), 8, 3), (12, 8, (1, 7, 19, 20, 21), 4, 1),
    (32, 31, (62, 0, 40), 8, 1), (20, 16, (18, 17), 2, 2),
    (30, 16, (20,), 16, 1), (10, 8, (3, 5, 3), 8, 1),
]


def stimulus(sums, multipliers, selects, shifts, *, bits=8):
    """Transfers and values; ``sums`` is a list of lists by lane."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    inputs, expected = [], []
    for k, (z, b, s) in enumerate(zip(sums, multipliers, selects, strict=True)):
        inputs.append({"sums": z, "multiplier": b, "select": s, "tag": k % 2})
        y = requantise(z, multiplier=b, shift=shifts[s], low=low, high=high).tolist()
        expected.append({"values": y, "tag": k % 2})
    return inputs, expected


def near_steps(rng, *, width, multiplier, shift, bits):
    """A sum at or next to a step of the result, within the width."""
    step = Fraction(2 * rng.randint(-(1 << bits), 1 << bits) + 1, 2) * (1 << shift) / multiplier
    z = round(step) + rng.randint(-1, 1)
    return max(-(1 << width - 1), min(z, (1 << width - 1) - 1))


def random_stimulus(width, multiplier_bits, shifts, bits, lanes, *, count, seed=0):
    rng = random.Random(seed)
    sums, multipliers, selects = [], [], []
    for k in range(count):
        select = k % len(shifts)
        top = (1 << multiplier_bits) - 1
        # Powers of two have ties, others hardly any.
        b = rng.choice([0, top, 1 << rng.randrange(multiplier_bits), rng.randint(1, top)])
        ends = -(1 << width - 1), (1 << width - 1) - 1
        sums.append([
            rng.choice([*ends, 0, -1, rng.randint(*ends)] + 5 * [
                near_steps(rng, width=width, multiplier=b or 1, shift=shifts[select], bits=bits)])
            for _ in range(lanes)
        ])
        multipliers.append(b)
        selects.append(select)
    return stimulus(sums, multipliers, selects, shifts, bits=bits)


@pytest.mark.parametrize("width, multiplier_bits, shifts, bits, lanes", PARAMETERS, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_steps_and_extremes(width, multiplier_bits, shifts, bits, lanes, stall, compared):
    inputs, expected = random_stimulus(width, multiplier_bits, shifts, bits, lanes, count=300)
    unit = Requantise(
        signed(width), multiplier_bits=multiplier_bits, shifts=shifts, bits=bits, lanes=lanes)
    cycles = check(unit, inputs, expected, stall=stall)
    if not stall:
        assert cycles == list(range(unit.latency, unit.latency + len(inputs)))
    compared(lanes * len(expected))


@pytest.mark.parametrize("width, multiplier_bits", [(1, 1), (2, 1), (3, 3), (5, 2)])
def test_every_sum_multiplier_and_shift(width, multiplier_bits, compared):
    """Shifts from none to more than the product has bits."""
    shifts = range(width + multiplier_bits + 3)
    cases = [
        ([z], b, s) for s in range(len(shifts)) for b in range(1 << multiplier_bits)
        for z in range(-(1 << width - 1), 1 << width - 1)
    ]
    sums, multipliers, selects = zip(*cases, strict=True)
    inputs, expected = stimulus(sums, multipliers, selects, shifts, bits=3)
    unit = Requantise(signed(width), multiplier_bits=multiplier_bits, shifts=shifts, bits=3)
    check(unit, inputs, expected)
    compared(len(expected))


def test_every_sum_and_multiplier_of_8_bits(compared):
    shifts = (0, 1, 7, 4, 12, 15, 16, 62)
    unit = Requantise(signed(8), multiplier_bits=8, shifts=shifts, lanes=2)
    z, b, s = (x.reshape(-1) for x in np.mgrid[-128:128, 0:256, 0:len(shifts)])
    sums = np.stack([z, -1 - z], axis=1)
    run = BatchSimulator(unit).run(
        {"sums": sums, "multiplier": b, "select": s, "tag": z & 1}, outputs=len(z))
    # The golden function takes one multiplier and shift; these are products already.
    products = torch.from_numpy(sums * b[:, None])
    for select, shift in enumerate(shifts):
        mine = s == select
        expected = requantise(products[mine], multiplier=1, shift=shift)
        assert (run.outputs["values"][mine] == expected.numpy()).all()
    assert (run.outputs["tag"] == z & 1).all()
    assert (run.cycles == np.arange(len(z)) + unit.latency).all()
    inputs, expected = random_stimulus(8, 8, shifts, 8, 2, count=200)
    assert check_everywhere(unit, inputs, expected) == list(range(2, 202))
    compared(2 * len(z) + 2 * len(expected))


def test_ties_go_to_even(compared):
    sums = [[z] for z in range(-8, 8)]
    inputs, expected = stimulus(sums, [1] * 16, [0] * 16, (1,))
    assert [value for out in expected for value in out["values"]] == [
        -4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4]
    check(Requantise(signed(4), multiplier_bits=1, shifts=(1,)), inputs, expected)
    compared(16)


@pytest.mark.parametrize("wrong", ["half_up", "floor", "half_zero"])
def test_a_wrong_rounding_is_found(wrong, monkeypatch):
    inputs, expected = random_stimulus(25, 16, (16, 12), 8, 1, count=300)
    unit = Requantise(signed(25), shifts=(16, 12))

    def round_up(rounding, **bits):
        return rounding_bit(wrong, **bits)

    monkeypatch.setattr(hw_requantise, "round_up", round_up)
    with pytest.raises(AssertionError, match=r"^\d+ of 300 differ; output "):
        check(unit, inputs, expected)
    assert prove(next(cores(unit))).status == "refuted"


@pytest.mark.parametrize("parameters", [
    {"rounding": "half_up", "lanes": 3, "zero_point": True, "signed_result": False},
    {"per_channel": True, "lanes": 3, "bits": 5},
    {"per_channel": True, "lanes": 1, "zero_point": True, "tag": 5},
], ids=str)
def test_options(parameters, compared):
    unit = Requantise(signed(20), multiplier_bits=8, shifts=(9, 14, 0), **parameters)
    arrows = run_vectors(unit, stimuli(unit, 50_000))
    assert not any(arrow.mismatches for arrow in arrows)
    [core] = cores(unit)
    assert prove(core).status == "proved"
    compared(sum(arrow.compared for arrow in arrows))


def test_half_up(compared):
    """Every tie goes up, and the zero point is added before the clamp."""
    unit = Requantise(signed(4), multiplier_bits=1, shifts=(1,), bits=3, rounding="half_up",
                      zero_point=True, signed_result=False)
    inputs = [{"sums": [z], "multiplier": 1, "select": 0, "zero": 4, "tag": 0}
              for z in range(-8, 8)]
    check(unit, inputs, [{"values": [y], "tag": 0} for y in (
        0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7)])
    assert unit.formats == {"values": "uint3"}
    compared(16)


def test_one_rounding_adder(compared):
    """However many shifts there are to choose from."""
    one, many = (cells(Requantise(signed(20), shifts=shifts)) for shifts in ((9,), (7, 9, 12, 20)))
    assert one["$add"] == many["$add"] == 1
    compared(2)


def test_a_wrong_shift_or_width_is_found():
    inputs, expected = random_stimulus(25, 16, (16, 12), 8, 1, count=300)
    with pytest.raises(AssertionError, match=r"^\d+ of 300 differ; output "):
        check(Requantise(signed(25), shifts=(16, 13)), inputs, expected)
    unit = Requantise(signed(25), shifts=(16, 12))
    unit.bits = 7
    with pytest.raises(AssertionError, match=r"^\d+ of 300 differ; output "):
        check(unit, inputs, expected)


@pytest.mark.parametrize("args, kwargs, message", [
    ((unsigned(8),), {}, "Sum shape must be signed, not unsigned(8)"),
    ((signed(8),), {"multiplier_bits": 0}, "Multiplier bits must be 1 to 32, not 0"),
    ((signed(8),), {"multiplier_bits": 33}, "Multiplier bits must be 1 to 32, not 33"),
    ((signed(8),), {"multiplier_bits": 8.0}, "Multiplier bits must be 1 to 32, not 8.0"),
    ((signed(8),), {"shifts": ()}, "Shifts must be integers from 0 to 62, not ()"),
    ((signed(8),), {"shifts": [3, 63]}, "Shifts must be integers from 0 to 62, not (3, 63)"),
    ((signed(8),), {"shifts": (-1,)}, "Shifts must be integers from 0 to 62, not (-1,)"),
    ((signed(8),), {"shifts": (1.5,)}, "Shifts must be integers from 0 to 62, not (1.5,)"),
    ((signed(8),), {"bits": 1}, "Bits must be 2 to 32, not 1"),
    ((signed(8),), {"rounding": "RND"}, "Rounding must be one of half_even, half_up, not 'RND'"),
])
def test_parameters_wrong(args, kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Requantise(*args, **kwargs)
