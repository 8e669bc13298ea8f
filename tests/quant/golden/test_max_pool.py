# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional

from carrysave.quant.golden.max_pool import max_pool

CASES = [
    ((3, 9, 2), (3,), (2,), ((1, 1),)),
    ((3, 8, 2), (2,), (2,), ((0, 0),)),
    ((2, 6, 5, 3), (3, 2), (2, 1), ((1, 1), (1, 1))),
    ((2, 4, 4, 2), (4, 4), (4, 4), ((0, 0), (0, 0))),
]


@pytest.mark.parametrize("shape, kernel, stride, padding", CASES)
@pytest.mark.parametrize("high", [-100, 128])
def test_against_torch(shape, kernel, stride, padding, high, compared):
    """All below zero too: padding must not win."""
    x = torch.randint(-128, high, shape, generator=torch.Generator().manual_seed(0))
    found = max_pool(x.to(torch.int8), kernel=kernel, stride=stride, padding=padding)
    run = {1: functional.max_pool1d, 2: functional.max_pool2d}[len(kernel)]
    before = [b for b, _ in padding]
    expected = run(x.double().movedim(-1, 1), kernel, stride, before).movedim(1, -1)
    assert found.dtype == torch.int64 and torch.equal(found, expected.long())
    compared(found.numel())


def test_padding_on_one_side(compared):
    x = torch.tensor([[[-5], [-9], [-7]]])
    found = max_pool(x, kernel=(2,), stride=(1,), padding=((1, 0),))
    assert found.flatten().tolist() == [-5, -5, -7]
    compared(3)


def test_window_outside():
    with pytest.raises(ValueError, match="^Padding must be below the kernel, 2, not 2$"):
        max_pool(torch.zeros(1, 5, 1), kernel=(2,), stride=(1,), padding=((0, 2),))
