# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from carrysave.quant.golden.group_dot import group_dot
from carrysave.quant.golden.mixpe import mixpe, mixpe_groups


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


@pytest.mark.parametrize("size", [1, 5, 16, 64])
@pytest.mark.parametrize("zero_points", [False, True])
def test_groups(size, zero_points, compared):
    torch.manual_seed(size)
    k, groups = 33, -(-33 // size)
    a, q = torch.randint(-128, 128, (20, k)), torch.randint(0, 16, (20, k))
    scales = torch.randint(1, 256, (20, groups))
    zeros = torch.randint(0, 16, (20, groups)) if zero_points else None
    found = mixpe_groups(a, q, size=size, scales=scales, zeros=zeros).tolist()
    for row, total in enumerate(found):
        assert total == sum(
            int(a[row, i]) * int(scales[row, i // size])
            * (int(q[row, i]) - (0 if zeros is None else int(zeros[row, i // size])))
            for i in range(k)
        )
    compared(len(found))


def test_scales_must_match_the_groups():
    one = torch.ones(5).int()
    with pytest.raises(ValueError, match="^Scales must be 3 for K = 5, not 2$"):
        mixpe_groups(one, one, size=2, scales=torch.ones(2).int())
