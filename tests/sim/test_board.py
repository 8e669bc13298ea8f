# SPDX-License-Identifier: Apache-2.0
import os
import select

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from carrysave.sim.board import SimulatedBoard


class Wire(wiring.Component):
    """The transmit pin follows the receive pin, a cycle later, or inverted."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, *, stuck=False):
        self.stuck = stuck
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.tx.eq(0 if self.stuck else self.rx)
        return m


def test_echo(compared):
    sent, found = bytes(range(256)), b""
    with SimulatedBoard(Wire(), divisor=4) as board:
        port = os.open(board.port, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(port, sent)
            while len(found) < len(sent) and select.select([port], [], [], 10)[0]:
                found += os.read(port, 1000)
        finally:
            os.close(port)
    assert found == sent
    compared(len(found))


def test_error_in_the_simulation_is_raised():
    with pytest.raises(RuntimeError, match="transmit pin"):
        with SimulatedBoard(Wire(stuck=True), divisor=4) as board:
            board._thread.join(30)
