# SPDX-License-Identifier: Apache-2.0
import torch

from carrysave.quant.golden.accumulator import accumulate


def test_random(compared):
    generator = torch.Generator().manual_seed(0)
    for groups in (1, 2, 9):
        terms = torch.randint(-(2**31), 2**31, (20, 6, groups), generator=generator)
        bias = torch.randint(-(2**31), 2**31, (6,), generator=generator)
        bias[0], bias[1] = -(2**31), 2**31 - 1
        found = accumulate(terms, bias)
        assert found.dtype == torch.int64
        assert found.tolist() == [
            [b + sum(row) for b, row in zip(bias.tolist(), rows, strict=True)]
            for rows in terms.tolist()
        ]
        compared(found.numel())


def test_narrow_kinds_do_not_wrap():
    terms = torch.full((1, 300), 127, dtype=torch.int8)
    assert accumulate(terms, torch.tensor([100], dtype=torch.int8)).tolist() == [38200]
    terms = torch.full((1, 4), -(2**31), dtype=torch.int32)
    assert accumulate(terms, torch.tensor([-1], dtype=torch.int32)).tolist() == [-(2**33) - 1]


def test_no_groups():
    assert accumulate(torch.zeros(3, 0, dtype=torch.int64), torch.tensor(5)).tolist() == [5, 5, 5]
