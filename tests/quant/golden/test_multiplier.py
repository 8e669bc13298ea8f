# SPDX-License-Identifier: Apache-2.0
import torch

from carrysave.quant.golden.multiplier import multiplier


def test_every_pair_of_bytes(compared):
    a = torch.arange(-128, 128)
    pairs = torch.cartesian_prod(a, a)
    found = multiplier(pairs[:, :1], pairs[:, 1:])
    assert found.tolist() == [x * y for x, y in pairs.tolist()]
    compared(len(found))


def test_sums(compared):
    torch.manual_seed(0)
    a, b = torch.randint(-(2**31), 2**31, (2, 50, 9))
    expected = [sum(x * y for x, y in zip(p, q, strict=True))
                for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    assert multiplier(a, b).tolist() == expected
    compared(50)
