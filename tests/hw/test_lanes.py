# SPDX-License-Identifier: Apache-2.0
"""Every unit with lanes refuses a number of lanes that cannot be."""

import pytest
from amaranth.hdl import signed

from carrysave.hw.fixed.requantise import Requantise
from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.post.accumulator import Accumulator
from carrysave.hw.post.group_scale import GroupScale
from carrysave.hw.post.relu import ReLU


@pytest.mark.parametrize("lanes", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("make", [
    lambda lanes: MixPE(4, lanes=lanes),
    lambda lanes: GroupScale(signed(8), lanes=lanes),
    lambda lanes: Accumulator(signed(8), signed(12), slots=2, lanes=lanes),
    lambda lanes: ReLU(lanes=lanes),
    lambda lanes: Requantise(signed(8), lanes=lanes),
])
def test_lanes_wrong(make, lanes):
    with pytest.raises(TypeError, match=r"^Lanes must be a positive integer, not "):
        make(lanes)
