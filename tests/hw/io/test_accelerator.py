# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.sim import Simulator

from carrysave.hw.io.accelerator import Accelerator
from carrysave.hw.io.protocol import (
    HEADER_SIZE,
    Command,
    Info,
    ProtocolError,
    Status,
    check_header,
    pack_request,
    parse_info,
    parse_predictions,
    parse_response,
)

IDENTITY = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
TIMEOUT = 20


class Line:
    """The host's end of the two wires, bit by bit."""

    def __init__(self, dut, divisor):
        self.dut = dut
        self.divisor = divisor
        self.responses = []

    def run(self, script):
        finished = []

        async def source(ctx):
            self.ctx = ctx
            await ctx.tick().repeat(3)
            await script(self)
            finished.append(True)

        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(source)
        sim.add_testbench(self.sink, background=True)
        sim.run()
        assert finished

    async def level(self, value, bits=1):
        self.ctx.set(self.dut.rx, value)
        await self.ctx.tick().repeat(bits * self.divisor)

    async def send(self, data, stop=1):
        for byte in data:
            await self.level(0)
            for k in range(8):
                await self.level((byte >> k) & 1)
            await self.level(stop)
            self.ctx.set(self.dut.rx, 1)

    async def sink(self, ctx):
        # No `until` or `repeat`: Amaranth cannot abandon those cleanly when a simulation ends.
        async def wait(cycles):
            for _ in range(cycles):
                await ctx.tick()

        received = bytearray()
        while True:
            while ctx.get(self.dut.tx):
                await wait(1)
            await wait(self.divisor + self.divisor // 2)
            byte = 0
            for k in range(8):
                byte |= ctx.get(self.dut.tx) << k
                await wait(self.divisor)
            assert ctx.get(self.dut.tx) == 1, "no stop bit"
            received.append(byte)
            if len(received) >= HEADER_SIZE:
                if len(received) == HEADER_SIZE + check_header(received):
                    self.responses.append(bytes(received))
                    received.clear()

    async def response(self, limit=3000):
        for _ in range(limit):
            if self.responses:
                return self.responses.pop(0)
            await self.ctx.tick().repeat(self.divisor)
        raise TimeoutError(f"no response in {limit} bit periods")

    async def status(self):
        try:
            parse_response(await self.response())
        except ProtocolError as error:
            return error.status
        return Status.OK


@pytest.mark.parametrize("divisor", [3, 4, 7])
def test_info_and_infer(sum_engine, divisor, compared):
    engine = sum_engine(rows=3, inputs=5, outputs=4)
    dut = Accelerator(engine, divisor=divisor, identity=IDENTITY, timeout=TIMEOUT)

    async def script(line):
        rng = random.Random(divisor)
        for vectors in (1, 3, 2):
            await line.send(pack_request(Command.INFO))
            assert parse_info(parse_response(await line.response())) == Info(3, 5, 4, IDENTITY)
            values = [[rng.randrange(-128, 128) for _ in range(5)] for _ in range(vectors)]
            await line.send(pack_request(
                Command.INFER, bytes(value & 0xFF for vector in values for value in vector)))
            found = parse_predictions(
                parse_response(await line.response()), vectors=vectors, outputs=4)
            assert found == engine.predict(values)
            compared(vectors * 5)

    Line(dut, divisor).run(script)


def test_bad_frames_over_the_wires(sum_engine, compared):
    """Each error code, sent bit by bit; a good request is answered after each."""
    dut = Accelerator(sum_engine(rows=2, inputs=2, outputs=2), divisor=4, identity=IDENTITY,
                      timeout=TIMEOUT)
    info = pack_request(Command.INFO)

    async def script(line):
        async def overrun():
            await line.send(info)
            await line.level(1, 20)
            await line.send(info[:2])
            assert await line.status() == Status.OK

        async def long_break():
            await line.level(0, 100)
            await line.level(1)

        async def glitch_then_cut():
            line.ctx.set(dut.rx, 0)
            await line.ctx.tick()
            await line.level(1, 30)
            await line.send(info[:3])

        for fault, status in [
            (line.send(b"\x55\xAA"), Status.SYNC),
            (line.send(b"\x5A\x33"), Status.COMMAND),
            (line.send(b"\x5A\x02\x03\x00" + bytes(5)), Status.LENGTH),
            (line.send(info[:-1] + b"\x00"), Status.CRC),
            (line.send(info[:-1]), Status.TIMEOUT),
            (overrun(), Status.OVERRUN),
            (line.send(b"\x5A\x01", stop=0), Status.FRAMING),
            (long_break(), Status.FRAMING),
            (glitch_then_cut(), Status.TIMEOUT),
        ]:
            await fault
            assert await line.status() == status
            await line.level(1, 5 * TIMEOUT)
            assert line.responses == []
            await line.send(info)
            assert parse_info(parse_response(await line.response())).identity == IDENTITY
            compared(2)

    Line(dut, 4).run(script)


def test_most_rows_at_a_divisor(sum_engine, compared):
    """The longest check of a length, with the next byte coming in meanwhile."""
    engine = sum_engine(rows=25, inputs=1, outputs=1)
    dut = Accelerator(engine, divisor=3, identity=IDENTITY, timeout=TIMEOUT)
    values = [[k] for k in range(25)]

    async def script(line):
        await line.send(pack_request(Command.INFER, bytes(range(25))))
        payload = parse_response(await line.response())
        assert parse_predictions(payload, vectors=25, outputs=1) == engine.predict(values)
        await line.send(b"\x5A\x02\xFF\xFF" + bytes(9))
        assert await line.status() == Status.LENGTH
        compared(51)

    Line(dut, 3).run(script)


def test_monitor_is_passed_on(sum_engine, compared):
    engine = sum_engine(rows=1, inputs=1, outputs=3)
    dut = Accelerator(engine, divisor=3, identity=IDENTITY, timeout=TIMEOUT)
    seen = set()

    async def script(line):
        await line.send(pack_request(Command.INFER, b"\x07"))
        while not line.responses:
            await line.ctx.tick()
            seen.add(line.ctx.get(dut.monitor))

    Line(dut, 3).run(script)
    assert seen == {0, 1, 2}
    compared(3)


@pytest.mark.parametrize("change, kind, text", [
    ({"divisor": 2}, ValueError, "Divisor must be at least 3 cycles per bit, not 2"),
    ({"divisor": 1.5}, TypeError, "Divisor must be an integer, not 1.5"),
    ({"timeout": 10}, ValueError, "Timeout must be at least 11 bit periods, not 10"),
    ({"timeout": "20"}, TypeError, "Timeout must be an integer, not '20'"),
    ({"identity": b""}, ValueError, "Identity must be 8 bytes, not b''"),
    ({"rows": 26}, ValueError, "Rows must be at most 25 at 3 cycles per bit, not 26"),
])
def test_parameters_wrong(sum_engine, change, kind, text, compared):
    good = {"rows": 1, "divisor": 3, "identity": IDENTITY, "timeout": TIMEOUT}
    arguments = {**good, **change}
    engine = sum_engine(rows=arguments.pop("rows"), inputs=1, outputs=1)
    with pytest.raises(kind) as caught:
        Accelerator(engine, **arguments)
    assert str(caught.value) == text
    compared(1)
