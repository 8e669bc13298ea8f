# SPDX-License-Identifier: Apache-2.0
"""An engine behind a serial line."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .frame import FrameServer
from .protocol import TIMEOUT
from .uart import UartReceiver, UartTransmitter

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """An engine that serves requests over a serial line, see :mod:`.protocol`.

    Parameters
    ----------
    engine : wiring.Component
        Streams ``i`` and ``o``, attributes ``rows``, ``inputs``, ``outputs``, ``acc_width``.
    divisor : int
        Clock cycles per bit, ``round(clock / baud)``.
    identity : bytes
        Eight bytes that tell the network apart.
    timeout : int
        Bit periods of silence that end a frame, at least 11: a byte takes 10.

    Members
    -------
    rx : In(1, init=1)
        From the host, asynchronous.
    tx : Out(1, init=1)
        To the host.
    monitor
        The engine's port of that name, if it has one.
    """

    def __init__(self, engine, *, divisor, identity, timeout=TIMEOUT):
        if not isinstance(timeout, int):
            raise TypeError(f"Timeout must be an integer, not {timeout!r}")
        if timeout < 11:
            raise ValueError(f"Timeout must be at least 11 bit periods, not {timeout!r}")
        self.receiver = UartReceiver(divisor)
        self.transmitter = UartTransmitter(divisor)
        # The server keeps a byte for up to `rows + 2` cycles; the receiver holds it for 9 bits.
        if engine.rows + 2 > 9 * divisor:
            raise ValueError(f"Rows must be at most {9 * divisor - 2} at {divisor} cycles per bit, "
                             f"not {engine.rows}")
        self.engine = engine
        self.server = FrameServer(
            rows=engine.rows, inputs=engine.inputs, outputs=engine.outputs,
            acc_width=engine.acc_width, identity=identity, timeout=timeout * divisor)
        members = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        if "monitor" in engine.signature.members:
            members["monitor"] = engine.signature.members["monitor"]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        m.submodules.receiver = self.receiver
        m.submodules.transmitter = self.transmitter
        m.submodules.server = self.server
        m.submodules.engine = self.engine

        m.d.comb += [self.receiver.rx.eq(self.rx), self.tx.eq(self.transmitter.tx)]
        wiring.connect(m, self.receiver.o, self.server.i_rx)
        wiring.connect(m, self.server.o_values, self.engine.i)
        wiring.connect(m, self.engine.o, self.server.i_logits)
        wiring.connect(m, self.server.o_tx, self.transmitter.i)
        if "monitor" in self.signature.members:
            if self.signature.members["monitor"].is_port:
                m.d.comb += self.monitor.eq(self.engine.monitor)
            else:
                wiring.connect(m, wiring.flipped(self.monitor), self.engine.monitor)

        return m
