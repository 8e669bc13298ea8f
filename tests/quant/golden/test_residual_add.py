# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import pytest
import torch

from carrysave.quant.golden.residual_add import aligned_sum, residual_add


def every_pair():
    codes = torch.arange(-128, 128)
    return torch.cartesian_prod(codes, codes).T


@pytest.mark.parametrize("low, high", [(-128, 127), (0, 127), (0, 90), (-256, 254)])
@pytest.mark.parametrize(
    "a_ratio, b_ratio", [((1, 0), (1, 0)), ((3, 2), (1, 0)), ((1, 1), (1, 1)), ((201, 8), (77, 7))]
)
def test_every_pair_of_codes(a_ratio, b_ratio, low, high, compared):
    a, b = every_pair()
    options = dict(zip(
        ("a_multiplier", "a_shift", "b_multiplier", "b_shift"), (*a_ratio, *b_ratio), strict=True
    ))
    found = residual_add(a, b, **options, low=low, high=high)
    tables = [
        {x: round(x * Fraction(m, 1 << s)) for x in range(-128, 128)} for m, s in (a_ratio, b_ratio)
    ]
    sums = [tables[0][x] + tables[1][y] for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert aligned_sum(a, b, **options).tolist() == sums
    assert found.tolist() == [min(max(z, low), high) for z in sums]
    compared(len(sums))


def test_two_roundings(compared):
    """Each branch is rounded by itself: 0.5 + 0.5 is 0 + 0."""
    one = torch.tensor([1])
    found = residual_add(one, one, a_multiplier=1, a_shift=1, b_multiplier=1, b_shift=1)
    assert found.tolist() == [0]
    compared(1)
