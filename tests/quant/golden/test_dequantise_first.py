# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from carrysave.quant.golden.dequantise_first import dequantise_first
from carrysave.quant.golden.mixpe import mixpe_groups


def test_every_weight_and_scale(compared):
    weights, scales = torch.cartesian_prod(torch.arange(-8, 8), torch.arange(256)).T
    for activation in -128, -1, 0, 1, 77, 127:
        found = dequantise_first(torch.full((len(weights), 1), activation), weights[:, None],
                                 scales[:, None])
        assert found.tolist() == [
            activation * w * s for w, s in zip(weights.tolist(), scales.tolist(), strict=True)
        ]
    compared(6 * len(weights))


def test_equal_to_dequantisation_after_the_group(compared):
    torch.manual_seed(0)
    a, q = torch.randint(-128, 128, (40, 64)), torch.randint(-8, 8, (40, 64))
    scales = torch.randint(1, 256, (40, 4))
    found = dequantise_first(a, q, scales.repeat_interleave(16, dim=1))
    assert torch.equal(found, mixpe_groups(a, q, size=16, scales=scales))
    compared(40)


def test_too_wide():
    with pytest.raises(ValueError, match="^Weights times scales must fit int16, not reach 32768$"):
        dequantise_first(torch.ones(1).int(), torch.tensor([-128]), torch.tensor([256]))
