# SPDX-License-Identifier: Apache-2.0
import torch

from carrysave.quant.golden.group_scale import group_scale


def test_every_scale(compared):
    sums = [-131072, -16384, -1, 0, 1, 12345, 114688]
    found = group_scale(torch.tensor(sums, dtype=torch.int32)[:, None], torch.arange(256))
    assert found.dtype == torch.int64
    assert found.tolist() == [[p * s for s in range(256)] for p in sums]
    compared(found.numel())


def test_random(compared):
    generator = torch.Generator().manual_seed(0)
    sums = torch.randint(-(2**18), 2**18, (4, 3, 50), generator=generator, dtype=torch.int32)
    scales = torch.randint(0, 2**16, (3, 50), generator=generator, dtype=torch.int32)
    found = group_scale(sums, scales)
    for i, rows in enumerate(sums.tolist()):
        for j, (row, row_scales) in enumerate(zip(rows, scales.tolist(), strict=True)):
            expected = [p * s for p, s in zip(row, row_scales, strict=True)]
            assert found[i, j].tolist() == expected
    compared(found.numel())
