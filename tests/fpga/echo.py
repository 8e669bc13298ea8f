# SPDX-License-Identifier: Apache-2.0
"""A small accelerator to build: every kind of cell that a real one has, behind a UART."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw.io.uart import UartReceiver, UartTransmitter

__all__ = ["GREETING", "Echo", "echo", "table"]

GREETING = 0x47


def table(depth):
    """Initial content of the block RAM: 24-bit words."""
    return [(0x9E3779 * (k + 1)) & 0xFFFFFF for k in range(depth)]


def echo(data, *, depth=1024):
    """What :class:`Echo` answers to bytes, after its greeting."""
    words, recent, total, answer = table(depth), [0] * 16, 0, []
    for k, byte in enumerate(data):
        total = (total + byte) % 2**16
        address = total % depth
        word = words[address]
        answer.append((word ^ word >> 8 ^ word >> 16 ^ recent[byte % 16]) % 256)
        words[address] = (word + (byte << 6)) % 2**24
        recent[k % 16] = byte
    return bytes(answer)


class Echo(wiring.Component):
    """Greets after reset, then answers each byte with one that depends on all before it.

    A checksum of the bytes addresses an initialised block RAM, whose word is answered and
    incremented; a small memory with an asynchronous read port, a LUT RAM where there is one,
    keeps the last sixteen bytes.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.
    depth : int
        Words of 24 bits.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, divisor=4, depth=1024):
        self.divisor, self.depth = divisor, depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.words = words = memory.Memory(shape=24, depth=self.depth,
                                                   init=table(self.depth))
        m.submodules.recent = recent = memory.Memory(shape=8, depth=16, init=[])
        read, write = words.read_port(), words.write_port()
        recent_read, recent_write = recent.read_port(domain="comb"), recent.write_port()

        total, index, byte, answer = Signal(16), Signal(4), Signal(8), Signal(8)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            transmitter.i.payload.eq(answer),
            read.addr.eq(total),
            write.addr.eq(total),
            write.data.eq(read.data + (byte << 6)),
            recent_read.addr.eq(byte),
            recent_write.addr.eq(index),
            recent_write.data.eq(byte),
        ]
        with m.FSM():
            with m.State("GREET"):
                m.d.comb += [transmitter.i.payload.eq(GREETING), transmitter.i.valid.eq(1)]
                m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.comb += receiver.o.ready.eq(1)
                with m.If(receiver.o.valid):
                    m.d.sync += [byte.eq(receiver.o.p.data), total.eq(total + receiver.o.p.data)]
                    m.next = "READ"
            with m.State("READ"):
                m.next = "WRITE"
            with m.State("WRITE"):
                word = read.data
                m.d.comb += [write.en.eq(1), recent_write.en.eq(1)]
                m.d.sync += [
                    index.eq(index + 1),
                    answer.eq(word[:8] ^ word[8:16] ^ word[16:] ^ recent_read.data),
                ]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += transmitter.i.valid.eq(1)
                with m.If(transmitter.i.ready):
                    m.next = "RECEIVE"

        return m
