# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from carrysave.quant.golden.group_dot import group_dot
from carrysave.quant.golden.mixpe import mixpe


def test_every_pair(compared):
    a, q = torch.arange(-128, 128, dtype=torch.int8), torch.arange(-8, 8, dtype=torch.int8)
    pairs = torch.cartesian_prod(a, q)
    found = mixpe(pairs[:, :1], pairs[:, 1:])
    assert found.dtype == torch.int64
    assert found.tolist() == [x * y for x in range(-128, 128) for y in range(-8, 8)]
    compared(len(found))


@pytest.mark.parametrize("size", [1, 2, 16, 128])
def test_random(size, compared):
    generator = torch.Generator().manual_seed(size)
    a = torch.randint(-128, 128, (300, size), generator=generator, dtype=torch.int8)
    q = torch.randint(-8, 8, (300, size), generator=generator, dtype=torch.int8)
    a[0], q[0], a[1], q[1] = -128, -8, -128, 7
    expected = [
        sum(x * y for x, y in zip(row, weights, strict=True))
        for row, weights in zip(a.tolist(), q.tolist(), strict=True)
    ]
    assert mixpe(a, q).tolist() == expected
    assert expected[:2] == [1024 * size, -896 * size]
    compared(len(expected))


def test_broadcasts_like_group_dot(compared):
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-128, 128, (7, 16), generator=generator)
    q = torch.randint(-8, 8, (5, 16), generator=generator)
    found = mixpe(a[:, None], q)
    assert torch.equal(found, group_dot(a, q, size=16)[..., 0])
    compared(found.numel())


def test_lists():
    assert mixpe([1, 2, 3], [4, -5, 6]).item() == 12
