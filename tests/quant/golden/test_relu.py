# SPDX-License-Identifier: Apache-2.0
import torch

from carrysave.quant.golden.relu import relu


def test_every_byte(compared):
    values = torch.arange(-128, 128, dtype=torch.int8)
    assert relu(values).tolist() == [0] * 128 + list(range(128))
    compared(len(values))


def test_wide(compared):
    values = torch.tensor([-(2**63), -(2**31), -1, 0, 1, 2**31, 2**63 - 1])
    assert relu(values).tolist() == [0, 0, 0, 0, 1, 2**31, 2**63 - 1]
    compared(len(values))


def test_operand_is_left_alone():
    values = torch.tensor([-1, 1])
    relu(values)
    assert values.tolist() == [-1, 1]
