# SPDX-License-Identifier: Apache-2.0
import random

import pytest
import torch

from carrysave.quant.golden.khot import khot, khot_multiply, khot_terms


def brute_force(n, candidates):
    """The rule as it is said: nearest, then fewer ones, then smaller."""
    return min(candidates, key=lambda c: (abs(c - n), c.bit_count(), c))


def few_ones(k, limit):
    return [n for n in range(limit + 1) if n.bit_count() <= k]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_every_value_of_12_bits(k, compared):
    candidates = few_ones(k, 1 << 13)
    values = torch.arange((1 << 12) + 1)
    expected = torch.tensor([brute_force(n, candidates) for n in values.tolist()])
    assert torch.equal(khot(values, k), expected)
    assert torch.equal(khot(-values, k), -expected)
    compared(2 * len(values))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 11, 15, 22, 23, 31, 32, 47, 63, 64, 100, 127])
def test_every_value_within_a_limit(k, limit, compared):
    candidates, values = few_ones(k, limit), range(-200, 201)
    expected = [brute_force(abs(n), candidates) * (1 if n >= 0 else -1) for n in values]
    assert khot(torch.tensor(values), k, limit=limit).tolist() == expected
    compared(len(values))


def test_wide_values(compared):
    """No other number with few ones is nearer, or as near and better: their neighbourhood tells."""
    rng = random.Random(0)
    for k in 1, 2, 5, 13:
        values = [rng.randrange(1 << rng.randint(20, 61)) for _ in range(300)]
        values += [1 << 61, (1 << 61) - 1, (1 << 61) - (1 << 40), 3 << 59, 11 << 50]
        found = khot(torch.tensor(values), k).tolist()
        for n, c in zip(values, found, strict=True):
            assert c.bit_count() <= k
            # Cutting off leaves the nearest below; the nearest above is cut off from none but it.
            ones = [1 << p for p in range(62) if n >> p & 1][::-1]
            below = sum(ones[:k])
            above = n if len(ones) <= k else below + ones[k - 1]
            assert c == brute_force(n, [below, above])
            compared(1)


@pytest.mark.parametrize("value, k, result", [
    (7, 1, 8), (3, 1, 2), (6, 1, 4), (12, 1, 8), (5, 1, 4), (0, 1, 0), (-7, 1, -8), (-6, 1, -4),
    # 27 = 11011 is as far from 26, with three ones, as from 28, with three: the smaller one.
    # 54 = 110110 with two ones: 48 is 6 away, 64 10 away. 56: tie of 48 and 64, and 64 has fewer.
    (27, 3, 26), (54, 2, 48), (56, 2, 64), (-56, 2, -64), (11, 2, 10), (13, 2, 12), (14, 2, 16),
])
def test_check_values(value, k, result, compared):
    assert int(khot(value, k)) == result
    compared(1)


def test_terms_of_every_value(compared):
    values = torch.arange(-(1 << 12), (1 << 12) + 1)
    for k in 1, 2, 3, 4:
        constants = khot(values, k)
        sign, shifts = khot_terms(constants, k)
        assert shifts.shape == (len(values), k)
        powers = torch.where(shifts < 0, 0, 2 ** shifts.clamp(min=0))
        assert torch.equal(sign * powers.sum(-1), constants)
        assert torch.equal(sign, constants.sign())
        falls = shifts[:, 1:] < shifts[:, :-1]
        assert (falls | (shifts[:, 1:] == -1)).all()
        compared(len(values))


def test_terms_by_hand():
    sign, shifts = khot_terms(torch.tensor([[-10, 0], [1, 6]]), 3)
    assert sign.tolist() == [[-1, 0], [1, 1]]
    assert shifts.tolist() == [[[3, 1, -1], [-1, -1, -1]], [[0, -1, -1], [2, 1, -1]]]
    assert khot_terms(torch.tensor([-10, 7])).shifts.tolist() == [[3, 1, -1], [2, 1, 0]]
    assert khot_terms(torch.tensor([0])).shifts.shape == (1, 0)
    assert khot_terms([1 << 61]).shifts.tolist() == [[61]]


def test_products(compared):
    x = torch.arange(-300, 301)[:, None]
    constants = torch.arange(-140, 141)
    assert torch.equal(khot_multiply(x, constants), x * constants)
    compared(x.numel() * constants.numel())
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-(2**31), 2**31, (2000,), generator=generator)
    constants = torch.randint(-(2**31), 2**31, (2000,), generator=generator)
    x[:2], constants[:2] = -(2**31), torch.tensor([-(2**31), 2**31 - 1])
    for k in 1, 2, 4, 31:
        few = khot(constants, k)
        assert torch.equal(khot_multiply(x, few), x * few)
        compared(len(x))
    assert khot_multiply(5, 0) == 0 and khot_multiply([-3, 3], -(2**61)).tolist() == [
        3 << 61, -3 << 61]


def test_shapes_and_kinds():
    for shape in (), (0,), (2, 3):
        values = torch.full(shape, 7, dtype=torch.int8)
        assert khot(values, 2).shape == khot_multiply(values, values).shape == shape
        assert khot(values, 2).dtype == khot_multiply(values, values).dtype == torch.int64
        assert khot_terms(values, 3).shifts.shape == (*shape, 3)


@pytest.mark.parametrize("call, error, text", [
    (lambda: khot([1], 0), ValueError, "K must be 1 to 62, not 0"),
    (lambda: khot([1], 2.0), TypeError, "K must be an integer, not 2.0"),
    (lambda: khot([1.5], 1), TypeError, "Values must be integers, not torch.float32"),
    (lambda: khot([(1 << 61) + 1], 1), ValueError,
     f"Values must be at most 2 ** 61, not {2**61 + 1}"),
    (lambda: khot([-(1 << 63)], 1), ValueError, f"Values must be at most 2 ** 61, not {2**63}"),
    (lambda: khot([1], 1, limit=-1), ValueError, f"Limit must be 0 to {2**61}, not -1"),
    (lambda: khot_terms([3, -7], 2), ValueError,
     "Values must have at most 2 ones, not 3 as -7 has"),
    (lambda: khot_multiply([1 << 40], 1 << 23), ValueError, "Products must be below 2 ** 63"),
    (lambda: khot_multiply([0.5], 1), TypeError, "X must be integers, not torch.float32"),
])
def test_refused(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
