# SPDX-License-Identifier: Apache-2.0
"""Answers requests of the serial protocol with the help of an engine."""

import enum

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from . import protocol
from .protocol import Command, Status

__all__ = ["FrameServer"]


class Field(enum.IntEnum):
    """Field of a frame that the next byte belongs to, for requests and responses alike.

    The low byte of the CRC is the one that follows a complete ``PAYLOAD``.
    """

    SYNC = 0
    CODE = 1
    LENGTH_LOW = 2
    LENGTH_HIGH = 3
    PAYLOAD = 4
    CRC_HIGH = 5


class FrameServer(wiring.Component):
    """Receives a request, lets the engine compute, and sends the response.

    The payload of a request waits in a buffer memory and goes to the engine after its CRC was
    found right. A request with a wrong CRC is answered at once; any other bad one once the line
    has been silent for ``timeout`` cycles. Bytes that arrive while a response is being sent are
    ignored, and lead to a second response, ``OVERRUN``, after it. See :mod:`.protocol`.

    :Latency: :attr:`latency` cycle from the last byte of a request on ``i_rx`` to the first byte
        of its response on ``o_tx``.
    :Throughput: one byte per cycle on ``i_rx`` and ``o_tx``, one value per cycle on ``o_values``.
    :Backpressure: ``i_rx`` is taken at once, except during ``rows + 2`` cycles after the
        length of a request; the other streams may stall as they like.

    Parameters
    ----------
    rows : int
        Vectors that fit one request.
    inputs, outputs : int
        Values and logits per vector.
    acc_width : int
        Bits of a logit, at most 32.
    identity : bytes
        Eight bytes that tell the network apart.
    timeout : int
        Cycles of silence that end a frame.

    Members
    -------
    i_rx : In(stream.Signature(StructLayout({"data": 8, "error": 1})))
        Bytes from the host.
    o_tx : Out(stream.Signature(8))
        Bytes to the host.
    o_values : Out(stream.Signature(StructLayout({"value": signed(8), "last": 1})))
        Activations to the engine; ``last`` in the last value of the request.
    i_logits : In(stream.Signature(StructLayout({"value": signed(acc_width), \
                                                 "best": range(outputs), "last": 1})))
        Logits from the engine; ``last`` in the last value of each vector, where ``best`` is
        the index of the largest.
    """

    latency = 1

    def __init__(self, *, rows, inputs, outputs, acc_width, identity, timeout):
        for name, value in (("Rows", rows), ("Inputs", inputs), ("Outputs", outputs),
                            ("Accumulator width", acc_width), ("Timeout", timeout)):
            if not isinstance(value, int) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        if acc_width > 8 * protocol.VALUE_SIZE:
            raise ValueError(f"Accumulator width must be at most 32 bits, not {acc_width}")
        if not isinstance(identity, bytes):
            raise TypeError(f"Identity must be bytes, not {identity!r}")
        self.vector_size = outputs * protocol.VALUE_SIZE + protocol.CLASS_SIZE
        for name, size in (("request", inputs), ("response", self.vector_size)):
            if rows * size > 0xFFFF:
                raise ValueError(f"Payload of a {name} must be at most 65535 bytes, "
                                 f"not {rows} rows of {size}")
        self.rows = rows
        self.inputs = inputs
        self.info = protocol.pack_info(protocol.Info(rows, inputs, outputs, identity))
        self.timeout = timeout
        super().__init__({
            "i_rx": In(stream.Signature(data.StructLayout({"data": 8, "error": 1}))),
            "o_tx": Out(stream.Signature(8)),
            "o_values": Out(stream.Signature(data.StructLayout({"value": signed(8), "last": 1}))),
            "i_logits": In(stream.Signature(data.StructLayout({
                "value": signed(acc_width), "best": range(outputs), "last": 1,
            }))),
        })

    def elaborate(self, platform):
        m = Module()

        capacity = self.rows * self.inputs
        field = Signal(Field)
        byte = Signal(8)
        moved = Signal()  # `byte` is a part of the frame, received or sent in this cycle.
        ended = Signal()  # The payload has moved.
        infer = Signal()  # The command: INFER, or else INFO.
        length = Signal(16)  # Of the request's payload.
        mismatch = Signal()  # The low byte of the CRC is wrong.
        overrun = Signal()

        m.submodules.buffer = buffer = Memory(shape=signed(8), depth=capacity, init=[])
        write = buffer.write_port()
        read = buffer.read_port()

        # Both frames: follow the fields, compute the CRC.
        m.submodules.crc = crc = protocol.CRC.create()
        crc_byte = Mux(field == Field.CRC_HIGH, crc.crc[8:], crc.crc[:8])
        m.d.comb += [crc.data.eq(byte), crc.start.eq(field == Field.SYNC)]
        with m.If(moved):
            with m.Switch(field):
                with m.Case(Field.SYNC):
                    m.d.sync += field.eq(field + 1)
                with m.Case(Field.PAYLOAD):
                    m.d.comb += crc.valid.eq(~ended)
                    m.d.sync += field.eq(field + ended)
                with m.Case(Field.CRC_HIGH):
                    m.d.sync += field.eq(Field.SYNC)
                with m.Default():
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += field.eq(field + 1)

        # Counters: of the buffer's bytes, and of those left to send. CHECK uses both as sums.
        checking = Signal()
        address = Signal(range(capacity + 1))
        address_clear, address_step = Signal(), Signal()
        with m.If(address_clear):
            m.d.sync += address.eq(0)
        with m.Elif(address_step):
            m.d.sync += address.eq(address + Mux(checking, self.inputs, 1))
        left = Signal(range(max(self.rows * self.vector_size, len(self.info)) + 1))
        left_clear, left_step = Signal(), Signal()
        with m.If(left_clear):
            m.d.sync += left.eq(0)
        with m.Elif(left_step):
            size = Mux(infer, self.vector_size, len(self.info))
            m.d.sync += left.eq(left + Mux(checking, size, -1))
        complete = address == length

        # Silence: cycles until the line counts as idle; negative once it does.
        timer = Signal(range(-1, self.timeout), init=-1)
        silent = (timer < 0) & ~self.i_rx.valid
        with m.If(self.i_rx.valid):
            m.d.sync += timer.eq(self.timeout - 1)
        with m.Elif(timer >= 0):
            m.d.sync += timer.eq(timer - 1)

        # To the engine: while one value is on `o_values`, `address` is that of the next.
        feeding = Signal()
        advance = ~self.o_values.valid | self.o_values.ready
        m.d.comb += [
            read.addr.eq(address),
            read.en.eq(advance),
            self.o_values.p.value.eq(read.data),
            self.o_values.p.last.eq(complete),
        ]
        with m.If(advance):
            m.d.sync += self.o_values.valid.eq(feeding & ~complete)
            with m.If(feeding):
                with m.If(complete):
                    m.d.sync += feeding.eq(0)
                with m.Else():
                    m.d.comb += address_step.eq(1)

        # From the engine: four bytes of each logit and, after the last, two of the class.
        index = Signal(3)
        logit = Signal(32)
        best = Signal(16)
        result = Signal(8)
        m.d.comb += [logit.eq(self.i_logits.p.value), best.eq(self.i_logits.p.best)]
        with m.If(index[2]):
            m.d.comb += result.eq(best.word_select(index[0], 8))
        with m.Else():
            m.d.comb += result.eq(logit.word_select(index[:2], 8))

        # Response: which byte is next.
        status = Signal(Status)
        info = Signal(8)
        with m.Switch(left[:4]):
            for position, value in enumerate(self.info):
                with m.Case(len(self.info) - position):
                    m.d.comb += info.eq(value)
        with m.Switch(field):
            with m.Case(Field.SYNC):
                m.d.comb += self.o_tx.payload.eq(protocol.RESPONSE)
            with m.Case(Field.CODE):
                m.d.comb += self.o_tx.payload.eq(status)
            with m.Case(Field.LENGTH_LOW):
                m.d.comb += self.o_tx.payload.eq(left[:8])
            with m.Case(Field.LENGTH_HIGH):
                m.d.comb += self.o_tx.payload.eq(left[8:])
            with m.Case(Field.PAYLOAD):
                m.d.comb += self.o_tx.payload.eq(
                    Mux(left == 0, crc_byte, Mux(infer, result, info)))
            with m.Default():
                m.d.comb += self.o_tx.payload.eq(crc_byte)

        received = self.i_rx.p.data
        verdict = Signal(Status)
        judge = Signal()
        with m.If(judge):
            m.d.sync += status.eq(verdict)

        def refuse(reason):
            m.d.comb += [verdict.eq(reason), judge.eq(1)]
            m.next = "DRAIN"

        m.d.comb += [
            self.i_rx.ready.eq(~checking),
            byte.eq(received),
            ended.eq(complete),
            write.addr.eq(address),
            write.data.eq(received),
        ]
        with m.FSM():
            with m.State("RECEIVE"):
                m.d.comb += moved.eq(self.i_rx.valid)
                with m.If(self.i_rx.valid & self.i_rx.p.error):
                    refuse(Status.FRAMING)
                with m.Elif(self.i_rx.valid):
                    with m.Switch(field):
                        with m.Case(Field.SYNC):
                            m.d.comb += [
                                address_clear.eq(1),
                                left_clear.eq(1),
                                verdict.eq(Status.TIMEOUT),
                                judge.eq(1),
                            ]
                            with m.If(received != protocol.REQUEST):
                                refuse(Status.SYNC)
                        with m.Case(Field.CODE):
                            m.d.sync += infer.eq(received[1])
                            with m.If((received != Command.INFO) & (received != Command.INFER)):
                                refuse(Status.COMMAND)
                        with m.Case(Field.LENGTH_LOW):
                            m.d.sync += length[:8].eq(received)
                        with m.Case(Field.LENGTH_HIGH):
                            m.d.sync += length[8:].eq(received)
                            m.next = "CHECK"
                        with m.Case(Field.PAYLOAD):
                            m.d.sync += mismatch.eq(received != crc_byte)
                            m.d.comb += [write.en.eq(~complete), address_step.eq(~complete)]
                        with m.Case(Field.CRC_HIGH):
                            m.d.comb += [address_clear.eq(1), judge.eq(1)]
                            with m.If(mismatch | (received != crc_byte)):
                                m.d.comb += [verdict.eq(Status.CRC), left_clear.eq(1)]
                            with m.Else():
                                m.d.comb += verdict.eq(Status.OK)
                                m.d.sync += feeding.eq(infer)
                            m.next = "ANSWER"
                with m.Elif(silent & (field != Field.SYNC)):
                    m.next = "DRAIN"

            # Is `length` one of `inputs`, `2 * inputs`, …, `rows * inputs`; for INFO, 0?
            with m.State("CHECK"):
                m.d.comb += [checking.eq(1), left_step.eq(1)]
                with m.If(complete & ((length != 0) == infer)):
                    m.d.comb += [address_clear.eq(1), left_step.eq(~infer)]
                    m.next = "RECEIVE"
                with m.Elif(~infer | (address == capacity)):
                    refuse(Status.LENGTH)
                with m.Else():
                    m.d.comb += address_step.eq(1)

            with m.State("DRAIN"):
                m.d.comb += left_clear.eq(1)
                m.d.sync += field.eq(Field.SYNC)
                with m.If(silent):
                    m.next = "ANSWER"

            with m.State("ANSWER"):
                from_engine = infer & (field == Field.PAYLOAD) & (left != 0)
                m.d.comb += [
                    self.o_tx.valid.eq(self.i_logits.valid | ~from_engine),
                    moved.eq(self.o_tx.valid & self.o_tx.ready),
                    byte.eq(self.o_tx.payload),
                    ended.eq(left == 0),
                ]
                with m.If(self.i_rx.valid):
                    m.d.sync += overrun.eq(1)
                with m.If(moved):
                    with m.If(field == Field.PAYLOAD):
                        m.d.comb += left_step.eq(left != 0)
                    with m.If(from_engine):
                        m.d.sync += index.eq(index + 1)
                        with m.If((index == 3) & ~self.i_logits.p.last | (index == 5)):
                            m.d.comb += self.i_logits.ready.eq(1)
                            m.d.sync += index.eq(0)
                    with m.If(field == Field.CRC_HIGH):
                        m.d.sync += overrun.eq(0)
                        m.next = "RECEIVE"
                        with m.If(overrun | self.i_rx.valid):
                            refuse(Status.OVERRUN)

        return m
