# SPDX-License-Identifier: Apache-2.0
import random
import re

import pytest
import torch
from amaranth.hdl import signed

from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.post.accumulator import Accumulator
from carrysave.hw.post.group_scale import GroupScale
from carrysave.quant.golden.accumulator import accumulate

from ..units import check, check_everywhere

TERM, SUM = signed(20), signed(24)


def stimulus(terms, biases):
    """Transfers and sums of dot products.

    Parameters
    ----------
    terms : list of tensors, shape (slots, lanes, groups)
    biases : list of tensors, shape (slots,)
    """
    inputs, expected = [], []
    for term, bias in zip(terms, biases, strict=True):
        slots, _, groups = term.shape
        inputs += [
            # Only the first group reads the bias: what stands there later must not matter.
            {"terms": term[s, :, g].tolist(), "bias": int(bias[s]) if g == 0 else -99,
             "first": int(g == 0), "last": int(g == groups - 1)}
            for g in range(groups) for s in range(slots)
        ]
        expected += accumulate(term, bias[:, None]).tolist()
    return inputs, expected


def random_terms(slots, lanes, count, *, seed=0, most=5):
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    terms = [
        torch.randint(-(1 << 19), 1 << 19, (slots, lanes, rng.randint(1, most)),
                      generator=generator)
        for _ in range(count)
    ]
    biases = [
        torch.randint(-(1 << 22), 1 << 22, (slots,), generator=generator) for _ in range(count)
    ]
    return terms, biases


@pytest.mark.parametrize("slots, lanes", [(1, 1), (1, 3), (2, 1), (5, 2), (8, 1), (21, 1)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random(slots, lanes, stall, compared):
    unit = Accumulator(TERM, SUM, slots=slots, lanes=lanes)
    terms, biases = random_terms(slots, lanes, 12)
    inputs, expected = stimulus(terms, biases)
    cycles = check(unit, inputs, expected, stall=stall)
    if not stall:
        ends = [k for k, transfer in enumerate(inputs) if transfer["last"]]
        assert cycles == [end + unit.latency for end in ends]
    compared(len(expected))


@pytest.mark.parametrize("k, group", [(784, 128), (64, 16), (130, 1), (33, 5)])
@pytest.mark.parametrize("weight, activation", [(-8, -128), (7, -128), (-8, 127), (7, 127)])
def test_worst_case_of_a_layer(k, group, weight, activation, compared):
    """All K products extreme, greatest scale, bias of the same sign: exact in that width."""
    scale = GroupScale(MixPE(group).sum_shape)
    sizes = [min(group, k - start) for start in range(0, k, group)]
    term = torch.tensor([[[255 * size * weight * activation for size in sizes]]])
    bias = torch.tensor([1 << 20 if weight * activation > 0 else -(1 << 20)])
    worst = 255 * k * 8 * 128 + (1 << 20)
    shape = signed(worst.bit_length() + 1)
    inputs, expected = stimulus([term] * 2, [bias] * 2)
    assert expected[0] == [255 * k * weight * activation + int(bias)]
    check(Accumulator(scale.term_shape, shape, slots=1), inputs, expected)
    compared(len(expected))


def test_wraps_where_it_is_too_narrow(compared):
    """What the docstring says; the compiler computes the width."""
    inputs, expected = stimulus([torch.tensor([[[7, 1]]])], [torch.tensor([0])])
    assert expected == [[8]]
    check(Accumulator(signed(4), signed(4), slots=1), inputs, [[-8]])
    compared(1)


def test_every_simulator(compared):
    unit = Accumulator(TERM, SUM, slots=3, lanes=2)
    terms, biases = random_terms(3, 2, 25)
    inputs, expected = stimulus(terms, biases)
    check_everywhere(unit, inputs, expected)
    compared(len(expected))


@pytest.mark.parametrize("slots", [2, 4])
def test_a_wrong_ring_is_found(slots):
    inputs, expected = stimulus(*random_terms(3, 1, 5))
    unit = Accumulator(TERM, SUM, slots=3)
    unit.slots = slots
    with pytest.raises(AssertionError, match=r" of 15 differ; output "):
        check(unit, inputs, expected)


def test_a_lost_bias_is_found():
    inputs, expected = stimulus(*random_terms(2, 1, 3))
    for transfer in inputs:
        transfer["bias"] = 0
    with pytest.raises(AssertionError, match=r"^6 of 6 differ"):
        check(Accumulator(TERM, SUM, slots=2), inputs, expected)


@pytest.mark.parametrize("slots", [0, -1, 1.5, True, None])
def test_slots_wrong(slots):
    message = re.escape(f"Slots must be a positive integer, not {slots!r}")
    with pytest.raises(TypeError, match=f"^{message}$"):
        Accumulator(TERM, SUM, slots=slots)
