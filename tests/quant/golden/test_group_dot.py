# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from carrysave.quant.golden.group_dot import group_dot


def python_group_dot(activations, weights, size):
    activations, weights = activations.tolist(), weights.tolist()
    return [
        [
            [
                sum(x * y for x, y in zip(a[g : g + size], w[g : g + size], strict=True))
                for g in range(0, len(a), size)
            ]
            for w in weights
        ]
        for a in activations
    ]


def check(activations, weights, size):
    found = group_dot(activations, weights, size=size)
    assert found.dtype == torch.int64
    assert found.tolist() == python_group_dot(activations, weights, size)
    return found.numel()


@pytest.mark.parametrize("size", [1, 4, 7, 16, 100])
@pytest.mark.parametrize("k", [1, 6, 16, 37])
def test_random(size, k, compared):
    generator = torch.Generator().manual_seed(100 * size + k)
    a = torch.randint(-128, 128, (9, k), generator=generator, dtype=torch.int8)
    w = torch.randint(-8, 8, (5, k), generator=generator, dtype=torch.int8)
    compared(check(a, w, size))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_extremes(dtype, compared):
    a = torch.tensor([[-128] * 40, [127] * 40], dtype=dtype)
    w = torch.tensor([[-8] * 40, [7] * 40, [-8, 7] * 20], dtype=dtype)
    compared(check(a, w, 16))


def test_sums_of_53_bits(compared):
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-(2**24), 2**24, (6, 70), generator=generator)
    w = torch.randint(-(2**24), 2**24, (6, 70), generator=generator)
    compared(check(a, w, 31))
    a, w = torch.tensor([[2**52, -1], [2**52, 1]]), torch.tensor([[1, 1], [-1, 1]])
    compared(check(a, w, 1))


@pytest.mark.parametrize("a, w, size", [(2**52, 1, 2), (2**26, 2**27, 1), (-(2**40), 2**40, 8)])
def test_sums_too_wide(a, w, size):
    with pytest.raises(ValueError) as caught:
        group_dot(torch.full((1, 8), a), torch.full((1, 8), w), size=size)
    assert str(caught.value) == f"Sums up to {abs(a) * abs(w) * size} are not exact in float64"


@pytest.mark.parametrize("m, n, k", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_empty(m, n, k):
    found = group_dot(torch.zeros(m, k).int(), torch.zeros(n, k).int(), size=4)
    assert found.shape == (m, n, -(-k // 4))


def test_different_k():
    with pytest.raises(ValueError) as caught:
        group_dot(torch.zeros(1, 4).int(), torch.zeros(1, 5).int(), size=4)
    assert str(caught.value) == "Activations and weights must have the same K, not 4 and 5"


@pytest.mark.parametrize("kinds", [(torch.float32, torch.int8), (torch.int8, torch.float64)])
def test_floats(kinds):
    with pytest.raises(TypeError) as caught:
        group_dot(*(torch.zeros(1, 4, dtype=kind) for kind in kinds), size=4)
    assert str(caught.value) == "Activations and weights must be integer tensors"


def test_sums_of_the_least_integers():
    a, w = torch.full((2, 1, 16), -(2**31), dtype=torch.int32)
    w[0, 0] = 2**31 - 1
    with pytest.raises(ValueError) as caught:
        group_dot(a, w, size=16)
    assert str(caught.value) == f"Sums up to {16 * 2**62} are not exact in float64"


@pytest.mark.parametrize("size", [8, 9, 65536])
def test_a_group_wider_than_k(size, compared):
    a, w = torch.full((2, 1, 8), 2**25 - 1)
    compared(check(a, -w, size))
    with pytest.raises(ValueError) as caught:
        group_dot(a + 1, w + 1, size=size)
    assert str(caught.value) == f"Sums up to {2**53} are not exact in float64"
