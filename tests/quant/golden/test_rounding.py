# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import pytest
import torch

from carrysave.quant.formats import ROUNDINGS
from carrysave.quant.golden.rounding import round_shift


@pytest.mark.parametrize("plain, hls", ROUNDINGS.items())
def test_every_small_value(plain, hls, exact_round, compared):
    values = torch.arange(-(1 << 9), 1 << 9)
    for shift in range(13):
        expected = [exact_round(Fraction(n, 1 << shift), hls) for n in values.tolist()]
        for name in plain, hls:
            assert round_shift(values, shift, rounding=name).tolist() == expected
            compared(len(values))


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@pytest.mark.parametrize("shift", [1, 2, 3, 31, 40, 61, 62, 63, 64, 65, 66, 200])
def test_at_and_beside_every_tie(rounding, shift, exact_round, compared):
    odd = [k for k in range(-41, 42, 2) if abs(k) << (shift - 1) < 1 << 63]
    values = [(k << (shift - 1)) + beside for k in odd for beside in (-1, 0, 1)]
    values += [0, 1, -1, 2**63 - 1, 1 - 2**63, -(2**63), 2**62, -(2**62), 2**62 + 1, -(2**62) - 1]
    found = round_shift(torch.tensor(values), shift, rounding=rounding)
    assert found.tolist() == [exact_round(Fraction(n, 1 << shift), rounding) for n in values]
    compared(len(values))


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
def test_a_shift_for_each_channel(rounding, exact_round, compared):
    values = torch.arange(-50, 50).reshape(-1, 1)
    shifts = torch.tensor([0, 1, 2, 3, 5, 63, 64, 70])
    found = round_shift(values, shifts, rounding=rounding)
    assert found.tolist() == [
        [exact_round(Fraction(n, 1 << c), rounding) for c in shifts.tolist()]
        for (n,) in values.tolist()
    ]
    compared(found.numel())


def test_kinds_and_shapes():
    for shape in ((), (0,), (2, 3)):
        found = round_shift(torch.ones(shape).to(torch.int8), 1)
        assert found.shape == shape and found.dtype == torch.int64
    assert round_shift([3, 5], 1).tolist() == [2, 2]


@pytest.mark.parametrize("values, shift, error, text", [
    ([1], -1, ValueError, "Shift must be 0 or more, not -1"),
    ([1], torch.tensor([2, -3]), ValueError, "Shift must be 0 or more, not -3"),
    ([1], 1.5, TypeError, "Shift must be integers, not torch.float32"),
    ([0.5], 1, TypeError, "Values must be integers, not torch.float32"),
    (torch.tensor([1], dtype=torch.uint64), 1, TypeError,
     "Values must be integers of at most 64 bits signed, not torch.uint64"),
])
def test_wrong_operands(values, shift, error, text):
    with pytest.raises(error) as caught:
        round_shift(values, shift)
    assert str(caught.value) == text


def test_wrong_rounding():
    with pytest.raises(ValueError, match="^Rounding must be one of half_even, half_up, "):
        round_shift([1], 1, rounding="up")
