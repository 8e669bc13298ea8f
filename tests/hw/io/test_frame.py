# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator

from carrysave.hw.io.frame import FrameServer
from carrysave.hw.io.protocol import (
    CRC_SIZE,
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

IDENTITY = b"carrysav"
TIMEOUT = 40
INFO = pack_request(Command.INFO)


def flatten(vectors):
    return bytes(value & 0xFF for vector in vectors for value in vector)


def infer(vectors):
    return pack_request(Command.INFER, flatten(vectors))


def raw_request(command, length, payload=b""):
    """A request with a false length."""
    return bytes([0x5A, command, *length.to_bytes(2, "little")]) + payload + b"\x12\x34"


class Bench:
    """A server with its engine; streams of bytes on this side.

    ``responses`` holds those complete so far, ``values`` what the engine was given.
    """

    def __init__(self, engine, *, stall=0.0, seed=0):
        self.engine = engine
        self.rng = random.Random(seed)
        self.stall = stall
        self.reset = Signal()
        self.received = bytearray()
        self.responses = []
        self.values = []
        self.server = FrameServer(
            rows=engine.rows, inputs=engine.inputs, outputs=engine.outputs,
            acc_width=engine.acc_width, identity=IDENTITY, timeout=TIMEOUT)

    def run(self, script):
        m = Module()
        m.submodules.server = self.server
        m.submodules.engine = self.engine
        wiring.connect(m, self.server.o_values, self.engine.i)
        wiring.connect(m, self.engine.o, self.server.i_logits)
        finished = []

        async def source(ctx):
            self.ctx = ctx
            await script(self)
            finished.append(True)

        sim = Simulator(ResetInserter(self.reset)(m))
        sim.add_clock(1e-6)
        sim.add_testbench(source)
        sim.add_testbench(self.sink, background=True)
        sim.add_testbench(self.engine_side, background=True)
        sim.run()
        assert finished

    async def sink(self, ctx):
        tx = self.server.o_tx
        held = None
        while True:
            ready = self.rng.random() >= self.stall
            ctx.set(tx.ready, ready)
            _, _, reset, valid, byte = await ctx.tick().sample(self.reset, tx.valid, tx.payload)
            if reset:
                held = None
                continue
            assert held in (None, (valid, byte)), "a byte changed before it was taken"
            held = (valid, byte) if valid and not ready else None
            if valid and ready:
                self.received.append(byte)
                if len(self.received) >= HEADER_SIZE:
                    if len(self.received) == HEADER_SIZE + check_header(self.received):
                        self.responses.append(bytes(self.received))
                        self.received.clear()

    async def engine_side(self, ctx):
        values = self.server.o_values
        held = None
        while True:
            ctx.set(self.engine.pause, self.rng.random() < self.stall)
            _, _, reset, valid, ready, value = await ctx.tick().sample(
                self.reset, values.valid, values.ready, values.p)
            if reset:
                held = None
                continue
            assert held in (None, (valid, value)), "a value changed before it was taken"
            held = (valid, value) if valid and not ready else None
            if valid and ready:
                self.values.append((value.value, value.last))

    async def send(self, data, *, gap=0, errors=()):
        """Send bytes, each ``gap`` cycles after the one before; those numbered carry ``error``."""
        rx = self.server.i_rx
        for number, byte in enumerate(data):
            if number and gap:
                await self.ctx.tick().repeat(gap)
            self.ctx.set(rx.p, {"data": byte, "error": number in errors})
            self.ctx.set(rx.valid, 1)
            for _ in range(self.engine.rows + 3):
                *_, taken = await self.ctx.tick().sample(rx.ready)
                if taken:
                    break
            else:
                raise TimeoutError(f"byte {number} was kept waiting")
            self.ctx.set(rx.valid, 0)

    async def idle(self, cycles):
        await self.ctx.tick().repeat(cycles)

    async def response(self, limit=5000):
        """The next response, oldest first."""
        for _ in range(limit):
            if self.responses:
                return self.responses.pop(0)
            await self.ctx.tick()
        raise TimeoutError(f"no response in {limit} cycles")

    async def status(self):
        try:
            parse_response(await self.response())
        except ProtocolError as error:
            return error.status
        return Status.OK

    async def quiet(self):
        """Wait until nothing has come out for longer than an error takes; the responses."""
        seen, since = None, 0
        while since < TIMEOUT + 60:
            await self.idle(1)
            now = (len(self.responses), len(self.received))
            seen, since = (now, 0) if now != seen else (seen, since + 1)
        assert not self.received
        found, self.responses = self.responses, []
        return found

    async def check_infer(self, vectors, **kwargs):
        """One good request, answered right; the number of values compared."""
        self.values.clear()
        await self.send(infer(vectors), **kwargs)
        payload = parse_response(await self.response(limit=20000))
        predictions = parse_predictions(payload, vectors=len(vectors), outputs=self.engine.outputs)
        assert predictions == self.engine.predict(vectors)
        flat = [value for vector in vectors for value in vector]
        assert self.values == [(v, k == len(flat) - 1) for k, v in enumerate(flat)]
        return len(vectors) * (self.engine.outputs + 1)


@pytest.fixture
def bench(sum_engine):
    def build(rows=4, inputs=3, outputs=3, **kwargs):
        return Bench(sum_engine(rows=rows, inputs=inputs, outputs=outputs), **kwargs)
    return build


def random_vectors(rng, count, inputs):
    return [[rng.randrange(-128, 128) for _ in range(inputs)] for _ in range(count)]


@pytest.mark.parametrize("rows, inputs, outputs", [(1, 1, 1), (4, 3, 3), (2, 64, 10), (300, 2, 2)])
def test_info(bench, rows, inputs, outputs, compared):
    async def script(b):
        await b.send(INFO)
        info = parse_info(parse_response(await b.response()))
        assert info == Info(rows, inputs, outputs, IDENTITY)
        assert await b.quiet() == []

    bench(rows, inputs, outputs).run(script)
    compared(1)


@pytest.mark.parametrize("rows, inputs, outputs",
                         [(1, 1, 1), (4, 3, 3), (5, 1, 2), (1, 7, 4), (2, 64, 10)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_infer_every_number_of_vectors(bench, rows, inputs, outputs, stall, compared):
    async def script(b):
        rng = random.Random(rows)
        corners = [[-128] * inputs, [127] * inputs, [0] * inputs]
        for vectors in ([v] for v in corners):
            compared(await b.check_infer(vectors))
        for count in range(1, rows + 1):
            compared(await b.check_infer(random_vectors(rng, count, inputs), gap=count % 4))
        assert await b.quiet() == []

    bench(rows, inputs, outputs, stall=stall).run(script)


def test_latency_and_throughput(bench, compared):
    b = bench()
    found = []

    async def watch(b):
        while not b.ctx.get(b.server.o_tx.valid):
            await b.idle(1)
            found[-1] += 1
        await b.response()

    async def script(b):
        for request in (INFO, infer([[1, 2, 3]]), INFO[:-1] + b"\xFF"):
            await b.send(request)
            found.append(1)  # `send` ends right after the last byte was taken.
            await watch(b)

    b.run(script)
    assert found == [FrameServer.latency] * 3
    compared(3)


BAD = [  # name, bytes, status
    ("zero", b"\x00", Status.SYNC),
    ("response", b"\xA5\x01\x00\x00", Status.SYNC),
    ("text", b"the quick brown fox jumps over the lazy dog" * 4, Status.SYNC),
    ("late sync", b"\xFF" + INFO, Status.SYNC),
    ("command 0", raw_request(0, 0), Status.COMMAND),
    ("command 3", raw_request(3, 0), Status.COMMAND),
    ("command 0x81", raw_request(0x81, 0), Status.COMMAND),
    ("info of 1", raw_request(1, 1, b"\x00"), Status.LENGTH),
    ("info of 65535", raw_request(1, 65535), Status.LENGTH),
    ("info of 12", raw_request(1, 12, bytes(12)), Status.LENGTH),
    ("infer of 0", raw_request(2, 0), Status.LENGTH),
    ("infer of 1", raw_request(2, 1, bytes(1)), Status.LENGTH),
    ("infer of 4", raw_request(2, 4, bytes(4)), Status.LENGTH),
    ("infer of 11", raw_request(2, 11, bytes(11)), Status.LENGTH),
    ("infer of 13", raw_request(2, 13, bytes(13)), Status.LENGTH),
    ("infer of 15", raw_request(2, 15, bytes(15)), Status.LENGTH),
    ("infer of 258", raw_request(2, 256 + 3, bytes(259)), Status.LENGTH),
    ("infer of 65535", raw_request(2, 65535), Status.LENGTH),
    ("crc low", INFO[:-2] + bytes([INFO[-2] ^ 1, INFO[-1]]), Status.CRC),
    ("crc high", INFO[:-1] + bytes([INFO[-1] ^ 0x80]), Status.CRC),
    ("payload", (lambda r: r[:5] + bytes([r[5] ^ 4]) + r[6:])(infer([[1, 2, 3]])), Status.CRC),
    ("length 6 for 3", (lambda r: r[:2] + b"\x06" + r[3:])(infer([[1, 2, 3]])), Status.TIMEOUT),
    ("only sync", b"\x5A", Status.TIMEOUT),
]


@pytest.mark.parametrize("data, status", [case[1:] for case in BAD], ids=[case[0] for case in BAD])
@pytest.mark.parametrize("gap", [0, TIMEOUT])
def test_bad_frame_gets_one_answer(bench, data, status, gap, compared):
    async def script(b):
        await b.send(data if gap == 0 else data[:30], gap=gap)
        assert b.responses == []
        assert await b.status() == status
        assert await b.quiet() == []
        assert b.values == []
        compared(1 + await b.check_infer([[1, -2, 3], [4, 5, 6]]))

    bench().run(script)


def test_answers_to_bad_frames_are_empty(bench, compared):
    async def script(b):
        for _, data, status in BAD:
            await b.send(data)
            response = await b.response()
            assert response[:HEADER_SIZE] == bytes([0xA5, status, 0, 0])
            assert len(response) == HEADER_SIZE + CRC_SIZE
            compared(1)

    bench().run(script)


def test_when_errors_are_answered(bench, compared):
    """A wrong CRC at once, everything else after ``timeout`` cycles of silence."""
    async def script(b):
        for _, data, status in BAD:
            await b.send(data)
            cycles = 1
            while not b.ctx.get(b.server.o_tx.valid):
                await b.idle(1)
                cycles += 1
            if status == Status.CRC:
                assert cycles == FrameServer.latency
            elif status == Status.TIMEOUT:
                assert cycles == TIMEOUT + 3
            else:
                assert cycles == TIMEOUT + 2
            assert await b.status() == status
            compared(1)

    bench().run(script)


def test_timeout_after_every_byte(bench, compared):
    async def script(b):
        for request in (INFO, infer([[1, 2, 3], [4, 5, 6]])):
            for size in range(1, len(request)):
                await b.send(request[:size])
                assert await b.status() == Status.TIMEOUT
                assert await b.quiet() == []
                assert b.values == []
                compared(1 + await b.check_infer([[size, size, -size]]))
                b.values.clear()

    bench().run(script)


def test_gap_shorter_than_the_timeout_is_none(bench, compared):
    async def script(b):
        compared(await b.check_infer([[1, 2, 3], [-4, -5, -6]], gap=TIMEOUT))
        await b.send(INFO, gap=TIMEOUT + 1)
        assert await b.status() == Status.TIMEOUT

    bench().run(script)


def test_framing_error_in_every_byte(bench, compared):
    async def script(b):
        request = infer([[1, 2, 3], [4, 5, 6]])
        for number in range(len(request)):
            await b.send(request, errors=[number])
            assert await b.status() == Status.FRAMING
            assert await b.quiet() == []
            assert b.values == []
            compared(1 + await b.check_infer([[7, 8, 9]]))
            b.values.clear()

    bench().run(script)


@pytest.mark.parametrize("first, status", [
    (INFO, Status.OK), (infer([[1, 2, 3]]), Status.OK), (INFO[:-1] + b"\x00", Status.CRC),
])
def test_overrun_after_each_byte_of_the_answer(bench, first, status, compared):
    """Bytes that come in while byte number ``start`` of the answer waits or is sent."""
    async def script(b):
        await b.send(first)
        size = len(await b.response())
        for start in range(size):
            await b.send(first)
            while len(b.received) < start:
                await b.idle(1)
            await b.send(b"\x5A\x01")
            assert await b.status() == status
            assert await b.status() == Status.OVERRUN
            assert await b.quiet() == []
            compared(1 + await b.check_infer([[7, 8, 9]]))

    bench(stall=0.9).run(script)


def test_overrun_while_the_overrun_is_answered(bench, compared):
    async def script(b):
        await b.send(INFO)
        await b.send(b"\x00")
        assert await b.status() == Status.OK
        while not b.received:
            await b.idle(1)
        await b.send(INFO)
        assert await b.status() == Status.OVERRUN
        assert await b.status() == Status.OVERRUN
        assert await b.quiet() == []
        compared(3 + await b.check_infer([[7, 8, 9]]))

    bench(stall=0.9).run(script)


def garbage(rng):
    """Bytes that often look like a request for a while."""
    request = bytearray(rng.choice([
        INFO, infer(random_vectors(rng, rng.randrange(1, 5), 3)), rng.randbytes(20),
        b"\x5A" + rng.randbytes(9), b"\x5A\x02" + rng.randbytes(9),
    ]))
    for _ in range(rng.randrange(1, 4)):
        position = rng.randrange(len(request))
        match rng.randrange(4):
            case 0:
                request[position] ^= 1 << rng.randrange(8)
            case 1:
                request[position:position] = rng.randbytes(rng.randrange(1, 4))
            case 2:
                del request[position + 1:]
            case 3:
                request += request[:position + 1]
    return bytes(request)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_garbage_then_a_good_frame(bench, seed, stall, compared):
    rng = random.Random(seed)

    async def script(b):
        for _ in range(25):
            for _ in range(rng.randrange(1, 4)):
                data = garbage(rng)
                errors = [rng.randrange(len(data))] if rng.random() < 0.2 else []
                await b.send(data, gap=rng.choice([0, 0, 1, 5, TIMEOUT // 2]), errors=errors)
                await b.idle(rng.choice([1, 10, TIMEOUT - 5, TIMEOUT + 5, 2 * TIMEOUT]))
            # The line is idle from here on.
            for response in await b.quiet():
                assert response[1] in list(Status)
            compared(await b.check_infer(random_vectors(rng, rng.randrange(1, 5), 3)))
            await b.send(INFO)
            assert parse_info(parse_response(await b.response())).identity == IDENTITY
        assert await b.quiet() == []

    bench(stall=stall, seed=seed).run(script)


def test_reset_at_any_time(bench, compared):
    async def script(b):
        request = infer([[1, 2, 3], [4, 5, 6]])
        for size in range(1, len(request) + 1):
            await b.send(request[:size])
            await b.idle(size)
            b.ctx.set(b.reset, 1)
            await b.idle(1)
            b.ctx.set(b.reset, 0)
            b.received.clear()
            b.responses.clear()
            compared(await b.check_infer([[size, 8, -9]]))
        assert await b.quiet() == []

    bench().run(script)


GOOD = {"rows": 4, "inputs": 3, "outputs": 3, "acc_width": 16, "identity": IDENTITY, "timeout": 40}


@pytest.mark.parametrize("change, kind, text", [
    ({"rows": 0}, TypeError, "Rows must be a positive integer, not 0"),
    ({"inputs": 1.5}, TypeError, "Inputs must be a positive integer, not 1.5"),
    ({"outputs": -1}, TypeError, "Outputs must be a positive integer, not -1"),
    ({"timeout": None}, TypeError, "Timeout must be a positive integer, not None"),
    ({"acc_width": 33}, ValueError, "Accumulator width must be at most 32 bits, not 33"),
    ({"identity": "carrysav"}, TypeError, "Identity must be bytes, not 'carrysav'"),
    ({"identity": b"short"}, ValueError, "Identity must be 8 bytes, not b'short'"),
    ({"rows": 300, "inputs": 256}, ValueError,
     "Payload of a request must be at most 65535 bytes, not 300 rows of 256"),
    ({"rows": 6553, "outputs": 10}, ValueError,
     "Payload of a response must be at most 65535 bytes, not 6553 rows of 42"),
])
def test_parameters_wrong(change, kind, text, compared):
    with pytest.raises(kind) as caught:
        FrameServer(**{**GOOD, **change})
    assert str(caught.value) == text
    compared(1)
