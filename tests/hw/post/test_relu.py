# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch

from carrysave.hw.post.relu import ReLU
from carrysave.quant.golden.relu import relu
from carrysave.sim.batch import BatchSimulator

from ..units import check, check_everywhere


def stimulus(bits, lanes):
    """Every value in each lane, in another order in each, with and without ``enable``."""
    count = 1 << bits
    values = (np.arange(count)[:, None] * (1 + 2 * np.arange(lanes)) % count) - count // 2
    values = np.concatenate([values, values])
    enable = np.repeat([1, 0], count)
    expected = torch.where(torch.from_numpy(enable[:, None] == 1), relu(values),
                           torch.from_numpy(values))
    inputs = [
        {"values": v, "enable": e} for v, e in zip(values.tolist(), enable.tolist(), strict=True)
    ]
    return inputs, expected.tolist()


@pytest.mark.parametrize("bits, lanes", [(2, 1), (5, 3), (8, 1), (8, 2)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_value(bits, lanes, stall, compared):
    inputs, expected = stimulus(bits, lanes)
    cycles = check(ReLU(bits, lanes=lanes), inputs, expected, stall=stall)
    if not stall:
        assert cycles == list(range(ReLU.latency, ReLU.latency + len(inputs)))
    compared(len(expected) * lanes)


def test_every_value_of_16_bits_and_every_simulator(compared):
    unit = ReLU(16, lanes=3)
    inputs, expected = stimulus(16, 3)
    run = BatchSimulator(unit).run(inputs, outputs=len(expected))
    assert run.outputs.tolist() == expected
    assert (run.cycles == np.arange(len(expected))).all()
    assert check_everywhere(unit, inputs[::999], expected[::999]) == list(range(132))
    compared(3 * len(expected))


def test_enable_is_found():
    inputs, expected = stimulus(3, 1)
    for transfer in inputs:
        transfer["enable"] = 1
    with pytest.raises(AssertionError, match=r"^4 of 16 differ; output \d+: \[0\] instead of "):
        check(ReLU(3), inputs, expected)


@pytest.mark.parametrize("bits", [1, 0, True, 8.0])
def test_bits_wrong(bits):
    with pytest.raises(ValueError, match=f"^Bits must be 2 or more, not {re.escape(repr(bits))}$"):
        ReLU(bits)
