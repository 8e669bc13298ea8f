# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from carrysave.quant.golden.lut_mac import lut_mac, lut_table


def test_table_of_every_sign(compared):
    a = [3, -50, 127, -128]
    (table,) = lut_table(torch.tensor(a)).tolist()
    for index, entry in enumerate(table):
        signs = [1 if index >> j & 1 else -1 for j in range(3)]
        assert entry == sum(s * x for s, x in zip(signs, a, strict=False)) + a[3]
    compared(8)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("k", [1, 4, 7, 64])
def test_equal_to_products(bits, signed, k, compared):
    torch.manual_seed(k)
    low = -(1 << (bits - 1)) if signed else 0
    weights = torch.randint(low, low + (1 << bits), (200, k))
    activations = torch.randint(-128, 128, (200, k))
    weights[0], activations[0] = low, -128
    found = lut_mac(activations, weights, bits=bits, signed=signed)
    assert torch.equal(found, (activations * weights).sum(dim=-1))
    compared(len(found))


def test_every_group_of_weights(compared):
    weights = torch.cartesian_prod(*[torch.arange(-2, 2)] * 4)
    activations = torch.tensor([5, -7, 100, -128])
    found = lut_mac(activations, weights, bits=2)
    assert found.tolist() == [sum(a * w for a, w in zip([5, -7, 100, -128], row, strict=True))
                              for row in weights.tolist()]
    compared(len(found))


def test_weights_too_wide():
    with pytest.raises(ValueError, match="^Values must be -2 to 1, not 0 to 2$"):
        lut_mac(torch.ones(2).int(), torch.tensor([0, 2]), bits=2)
