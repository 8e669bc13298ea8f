# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import pytest
import torch
from torch.nn import functional

from carrysave.quant.golden.average_pool import average_pool, window_sum

CASES = [
    ((3, 9, 2), (3,), (2,), ((1, 1),)),
    ((3, 8, 2), (2,), (2,), ((0, 0),)),
    ((2, 6, 5, 3), (3, 2), (2, 1), ((1, 1), (1, 1))),
    ((2, 7, 7, 2), (7, 7), (7, 7), ((0, 0), (0, 0))),
]


def draw(shape):
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape, kernel, stride, padding", CASES)
def test_sums_against_torch(shape, kernel, stride, padding, compared):
    x, taps = draw(shape), int(torch.tensor(kernel).prod())
    found = window_sum(x.to(torch.int8), kernel=kernel, stride=stride, padding=padding)
    run = {1: functional.avg_pool1d, 2: functional.avg_pool2d}[len(kernel)]
    before = [b for b, _ in padding]
    expected = run(x.double().movedim(-1, 1) * taps, kernel, stride, before).movedim(1, -1)
    assert found.dtype == torch.int64
    assert torch.equal(found, expected.round().long())
    assert (expected - expected.round()).abs().max() < 1e-6  # sums are integers
    compared(found.numel())


@pytest.mark.parametrize("shape, kernel, stride, padding", CASES)
@pytest.mark.parametrize("multiplier, shift", [(1, 0), (1, 2), (167, 13), (93, 7)])
def test_rounded_once(shape, kernel, stride, padding, multiplier, shift, compared):
    x = draw(shape)
    options = {"kernel": kernel, "stride": stride, "padding": padding}
    found = average_pool(x, **options, multiplier=multiplier, shift=shift, low=-100, high=90)
    ratio = Fraction(multiplier, 1 << shift)
    expected = [
        min(max(round(total * ratio), -100), 90)
        for total in window_sum(x, **options).flatten().tolist()
    ]
    assert found.flatten().tolist() == expected
    compared(len(expected))


def test_ties_go_to_even(compared):
    x = torch.tensor([[[1], [0], [2], [1], [-1], [0], [-2], [-1]]])
    found = average_pool(
        x, kernel=(2,), stride=(2,), padding=((0, 0),), multiplier=1, shift=1
    )
    assert found.flatten().tolist() == [0, 2, 0, -2]
    compared(4)
