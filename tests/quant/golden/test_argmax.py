# SPDX-License-Identifier: Apache-2.0
from itertools import product

import pytest
import torch

from carrysave.quant.golden.argmax import argmax


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_every_order_and_tie(length, compared):
    rows = list(product((-2, 0, 1, 3), repeat=length))
    found = argmax(torch.tensor(rows))
    assert found.dtype == torch.int64
    assert found.tolist() == [row.index(max(row)) for row in rows]
    compared(len(rows))


def test_random(compared):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-40, 40, (30, 20, 100), generator=generator, dtype=torch.int32)
    assert argmax(values).tolist() == [[row.index(max(row)) for row in x] for x in values.tolist()]
    compared(600)


def test_extremes():
    low, high = -(2**63), 2**63 - 1
    assert argmax([[low, low], [low, high], [high, high]]).tolist() == [0, 1, 0]
