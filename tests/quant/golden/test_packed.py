# SPDX-License-Identifier: Apache-2.0
import torch

from carrysave.quant.golden.packed import packed


def test_two_weights_share_an_activation(compared):
    a, w0, w1 = torch.cartesian_prod(
        torch.arange(-128, 128, 5), torch.arange(-8, 8), torch.arange(-8, 8)
    ).T
    found = packed(a[:, None], torch.stack([w0, w1], 1)[..., None])
    assert found.tolist() == [[x * y, x * z] for x, y, z in zip(
        a.tolist(), w0.tolist(), w1.tolist(), strict=True)]
    compared(found.numel())


def test_sums():
    a, w = torch.tensor([1, -2, 3]), torch.tensor([[7, -8, 1], [0, 1, -1]])
    assert packed(a, w).tolist() == [7 + 16 + 3, -2 - 3]
