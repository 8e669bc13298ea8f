# SPDX-License-Identifier: Apache-2.0
"""What goes wrong late leaves nothing behind."""

import pytest

from carrysave import flow
from carrysave.config import load_config
from carrysave.errors import BadInput, Failure
from carrysave.fpga.route import TimingError
from carrysave.fpga.synthesis import ResourceError
from carrysave.fpga.tools import ToolError


@pytest.mark.parametrize("error, kind, message", [
    (TimingError("The design misses the clock\n  a → b 90 ns", []), Failure, "a → b 90 ns"),
    (ToolError("yowasp-icepack failed: no"), Failure, "yowasp-icepack failed"),
    (ResourceError("9999 of 5280 LUTs"), BadInput, "board icebreaker: 9999"),
])
def test_a_board_that_fails(bees, tmp_path, monkeypatch, error, kind, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(flow, "build_board", fail)
    with pytest.raises(kind, match=message):
        flow.build(load_config(bees), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("baud, nearest", [(7_000_000, 3_000_000), (2_600_000, 2_400_000)])
def test_baud_that_the_clock_cannot_give(bees, baud, nearest):
    config = load_config(bees)
    config = config.model_copy(update={"uart": config.uart.model_copy(update={"baud": baud})})
    with pytest.raises(BadInput, match=f"uart.baud: {baud} .* the nearest is {nearest}"):
        flow.prepare(config)
