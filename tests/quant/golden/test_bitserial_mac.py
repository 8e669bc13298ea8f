# SPDX-License-Identifier: Apache-2.0
from itertools import product

import pytest
import torch

from carrysave.quant.golden.bitserial_mac import bitserial_mac


@pytest.mark.parametrize("signed", list(product([True, False], repeat=2)), ids=str)
@pytest.mark.parametrize("a_bits, w_bits", [(8, 2), (8, 4), (4, 4), (2, 8), (1, 1), (6, 3)])
def test_every_pair(a_bits, w_bits, signed, compared):
    a, w = (torch.arange(1 << bits) - (1 << (bits - 1) if kind else 0)
            for bits, kind in zip((a_bits, w_bits), signed, strict=True))
    pairs = torch.cartesian_prod(a, w)
    how = {"activation_bits": a_bits, "weight_bits": w_bits, "signed": signed}
    found = bitserial_mac(pairs[:, :1], pairs[:, 1:], **how)
    assert found.tolist() == [x * y for x, y in pairs.tolist()]
    long = bitserial_mac(pairs[:, 0], pairs[:, 1], **how)
    assert int(long) == sum(x * y for x, y in pairs.tolist())
    compared(len(found) + 1)


def test_too_wide():
    with pytest.raises(ValueError, match="^Values must be 0 to 3, not -1 to 3$"):
        bitserial_mac(torch.tensor([-1, 3]), torch.tensor([0, 1]), activation_bits=2,
                      weight_bits=2, signed=(False, False))
