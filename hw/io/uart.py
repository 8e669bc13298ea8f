# SPDX-License-Identifier: Apache-2.0
"""Asynchronous serial line, 8 data bits, no parity, 1 stop bit, least significant bit first."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]


def check_divisor(divisor):
    if not isinstance(divisor, int):
        raise TypeError(f"Divisor must be an integer, not {divisor!r}")
    if divisor < 3:
        raise ValueError(f"Divisor must be at least 3 cycles per bit, not {divisor!r}")


class UartReceiver(wiring.Component):
    """Bytes from a serial line.

    The start bit is seen between 0 and 1 cycles late, so sample ``n`` (0: start, 9: stop) is taken
    ``h + n * divisor`` to ``h + 1 + n * divisor`` cycles after the falling edge, where
    ``h = (divisor - 1) // 2``. It lies inside its bit for every bit period ``T`` (in cycles) with::

        9 * (T - divisor) < h        and        10 * (divisor - T) <= divisor - h - 1

    From a divisor of 3 on, that holds for all deviations within 2.7 %; at 2 it allows none.

    A start bit that is high again at its middle is ignored. After a stop bit that is low, the
    receiver waits until the line is high, so a break is one byte with ``error``.

    :Latency: :attr:`latency` cycles from the falling edge of the start bit to ``o.valid``.
    :Throughput: one byte in 10 bit periods.
    :Backpressure: one byte is held while the next one arrives, so each must be taken within 9 bit
        periods. A byte that finds the last one still there is dropped, and ``error`` is set
        in the next one delivered.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 3.

    Members
    -------
    rx : In(1, init=1)
        The line, asynchronous.
    o : Out(stream.Signature(StructLayout({"data": 8, "error": 1})))
        Bytes. ``error``: the stop bit was low, or bytes before this one were dropped.
    """

    def __init__(self, divisor):
        check_divisor(divisor)
        self.divisor = divisor
        self.latency = 9 * divisor + (divisor - 1) // 2 + 3
        super().__init__({
            "rx": In(1, init=1),
            "o": Out(stream.Signature(data.StructLayout({"data": 8, "error": 1}))),
        })

    def elaborate(self, platform):
        m = Module()

        rx = Signal(init=1)
        timer = Signal(range(self.divisor))
        bits = Signal(9)  # Data bits come in at the top, behind a one that ends below them.
        dropped = Signal()

        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)

        with m.If(timer == 0):
            m.d.sync += timer.eq(self.divisor - 1)
        with m.Else():
            m.d.sync += timer.eq(timer - 1)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += timer.eq((self.divisor - 1) // 2 - 1)
                with m.If(~rx):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += bits.eq(1 << 8)
                with m.If(timer == 0):
                    with m.If(rx):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "DATA"
            with m.State("DATA"):
                with m.If(timer == 0):
                    m.d.sync += bits.eq(Cat(bits[1:], rx))
                    with m.If(bits[0]):
                        with m.If(self.o.valid & ~self.o.ready):
                            m.d.sync += dropped.eq(1)
                        with m.Else():
                            m.d.sync += [
                                self.o.valid.eq(1),
                                self.o.p.data.eq(bits[1:]),
                                self.o.p.error.eq(~rx | dropped),
                                dropped.eq(0),
                            ]
                        with m.If(rx):
                            m.next = "IDLE"
                        with m.Else():
                            m.next = "BREAK"
            with m.State("BREAK"):
                with m.If(rx):
                    m.next = "IDLE"

        return m


class UartTransmitter(wiring.Component):
    """Bytes to a serial line.

    :Latency: :attr:`latency` cycle from a transfer on ``i`` to the start bit.
    :Throughput: one byte in ``10 * divisor`` cycles, without a gap between bytes.
    :Backpressure: ``i.ready`` from the last cycle of a stop bit until the next transfer.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 3.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes.
    tx : Out(1, init=1)
        The line.
    """

    latency = 1

    def __init__(self, divisor):
        check_divisor(divisor)
        self.divisor = divisor
        super().__init__({
            "i": In(stream.Signature(8)),
            "tx": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()

        timer = Signal(range(self.divisor))
        bits = Signal(10, init=1)  # The highest one is the stop bit, which stays on the line.

        m.d.comb += [
            self.tx.eq(bits[0]),
            self.i.ready.eq((timer == 0) & (bits[1:] == 0)),
        ]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits[1:] != 0):
            m.d.sync += [timer.eq(self.divisor - 1), bits.eq(bits[1:])]
        with m.Elif(self.i.valid):
            m.d.sync += [timer.eq(self.divisor - 1), bits.eq(Cat(0, self.i.payload, 1))]

        return m
