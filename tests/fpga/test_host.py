# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import select
import threading
import tty

import numpy as np
import pytest

from carrysave.fpga.host import Board, BoardError
from carrysave.hw.io.protocol import (
    HEADER_SIZE,
    TIMEOUT,
    Command,
    Info,
    Prediction,
    Status,
    check_header,
    pack_info,
    pack_predictions,
    pack_request,
    pack_response,
    parse_request,
)

INFO = Info(rows=4, inputs=3, outputs=2, identity=b"carrysav")
BAUD = 921600  # Opening waits for 4096 bit periods.


def predict(vector):
    total = int(np.sum(vector, dtype=np.int64))
    return Prediction((total, -total), 0 if total >= 0 else 1)


def answer(request):
    """What a board answers."""
    command, payload = parse_request(request)
    if command is Command.INFO:
        return pack_response(Status.OK, pack_info(INFO))
    vectors = np.frombuffer(payload, dtype=np.int8).reshape(-1, INFO.inputs)
    assert 1 <= len(vectors) <= INFO.rows
    return pack_response(Status.OK, pack_predictions(predict(vector) for vector in vectors))


@contextlib.contextmanager
def fake_board(answer=answer):
    """A pseudo-terminal with a board behind it; the name of its port and the requests so far."""
    board, port = os.openpty()
    tty.setraw(port)
    stop_read, stop_write = os.pipe()
    requests, failures = [], []

    def serve():
        received = bytearray()
        while True:
            ready, _, _ = select.select([board, stop_read], [], [])
            if stop_read in ready:
                return
            received += os.read(board, 4096)
            while len(received) >= HEADER_SIZE:
                size = HEADER_SIZE + check_header(received, sync=0x5A)
                if len(received) < size:
                    break
                requests.append(bytes(received[:size]))
                del received[:size]
                try:
                    os.write(board, answer(requests[-1]))
                except Exception as error:
                    failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(port), requests
    finally:
        os.write(stop_write, b"x")
        thread.join(10)
        for descriptor in (board, port, stop_read, stop_write):
            os.close(descriptor)
        assert not thread.is_alive() and failures == []


def test_info(compared):
    with fake_board() as (name, requests), Board.open(name, BAUD) as board:
        assert board.info() == INFO
        assert board.info() == INFO
        assert requests == [pack_request(Command.INFO)]
        compared(1)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 103])
def test_infer_in_requests_of_rows(count, compared):
    activations = np.random.default_rng(count).integers(-128, 128, (count, 3), dtype=np.int8)
    with fake_board() as (name, requests), Board.open(name, BAUD) as board:
        logits, classes = board.infer(activations)
    assert (logits.dtype, logits.shape) == (np.int32, (count, 2))
    assert (classes.dtype, classes.shape) == (np.int64, (count,))
    for vector, row, index in zip(activations, logits, classes, strict=True):
        assert predict(vector) == Prediction(tuple(row.tolist()), index)
    expected = [pack_request(Command.INFO)] + [
        pack_request(Command.INFER, activations[start:start + 4].tobytes())
        for start in range(0, count, 4)
    ]
    assert requests == expected
    compared(1 + 3 * count)


def test_large_request(compared):
    """Longer than the buffers of a terminal."""
    info = Info(rows=100, inputs=600, outputs=1, identity=b"carrysav")

    def answer(request):
        command, payload = parse_request(request)
        if command is Command.INFO:
            return pack_response(Status.OK, pack_info(info))
        vectors = np.frombuffer(payload, dtype=np.int8).reshape(-1, 600)
        return pack_response(Status.OK, pack_predictions(
            Prediction((int(np.sum(vector, dtype=np.int64)),), 0) for vector in vectors))

    activations = np.random.default_rng(0).integers(-128, 128, (100, 600), dtype=np.int8)
    with fake_board(answer) as (name, _), Board.open(name, BAUD) as board:
        logits, _ = board.infer(activations)
    assert logits[:, 0].tolist() == activations.sum(axis=1).tolist()
    compared(100)


def test_activations_wrong(compared):
    with fake_board() as (name, requests), Board.open(name, BAUD) as board:
        with pytest.raises(TypeError, match=r"^Activations must be int8, not float64$"):
            board.infer(np.zeros((1, 3)))
        for shape in ((3,), (1, 4), (1, 1, 3), (2, 0)):
            with pytest.raises(ValueError) as caught:
                board.infer(np.zeros(shape, dtype=np.int8))
            assert str(caught.value) == f"Activations must have the shape (n, 3), not {shape}"
            compared(1)
        assert requests == [pack_request(Command.INFO)]


def failing(reply, *, timeout=5.0):
    """The message after the board has replied so, and the port's name replaced by PORT."""
    with fake_board(lambda request: reply) as (name, requests):
        with Board.open(name, BAUD, timeout=timeout) as board:
            with pytest.raises(BoardError) as caught:
                board.info()
            assert len(requests) == 1, "nothing is retried"
    text = str(caught.value)
    assert "\n" not in text and text.startswith(name + ": ")
    return text.replace(name, "PORT"), caught.value.status


@pytest.mark.parametrize("status", list(Status)[1:])
def test_every_error_of_the_board(status, compared):
    text, found = failing(pack_response(status))
    assert text.startswith(f"PORT: The board answered {status.name} ({int(status)}): ")
    assert found == status
    compared(1)


@pytest.mark.parametrize("reply, text", [
    (b"\x00\x00\x00\x00", "PORT: The frame starts with 0x00, not 0xA5"),
    (pack_response(0, b"\x01" + bytes(13)),
     "PORT: INFO was answered with 14 bytes of payload, not 15"),
    (pack_response(0, b"\x07" + bytes(14)), "PORT: The board speaks version 7 of the protocol; "
                                            "this program speaks version 1"),
    (bytes.fromhex("a5 00 00 00 12 34"), "PORT: The frame's CRC is 0x3412, not 0x0000"),
], ids=["first byte", "length", "version", "crc"])
def test_broken_answers(reply, text, compared):
    assert failing(reply)[0] == text
    compared(1)


@pytest.mark.parametrize("reply, received", [
    (b"", "0 of 4 bytes of its header"),
    (b"\xA5\x00", "2 of 4 bytes of its header"),
    (pack_response(0, bytes(15))[:-1], "16 of 17 bytes of its payload and CRC"),
], ids=["nothing", "header", "payload"])
def test_silent_board(reply, received, compared):
    text, status = failing(reply, timeout=0.1)
    assert text == (f"PORT: no answer to INFO within 0.1 s ({received} came in): check the board, "
                    "its bitstream, and the baud rate (921600)")
    assert status == Status.TIMEOUT
    compared(1)


def test_bytes_nobody_asked_for(compared):
    with fake_board(lambda request: answer(request) + b"xyz") as (name, _):
        with Board.open(name, BAUD) as board:
            board.info()
            while board.port.in_waiting < 3:
                pass
            with pytest.raises(BoardError) as caught:
                board.infer(np.zeros((1, 3), dtype=np.int8))
        assert str(caught.value) == (
            f"{name}: 3 bytes came in that nobody asked for: open the port again")
        # Opening drops what has come in.
        with Board.open(name, BAUD) as board:
            assert board.info() == INFO
    compared(2)


def test_opening_outlasts_the_timeout_of_a_board(monkeypatch, compared):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    with fake_board() as (name, _):
        Board.open(name, 9600).close()
    assert len(slept) == 1 and slept[0] > TIMEOUT / 9600
    compared(1)


def test_port_is_not_there(tmp_path, compared):
    missing, text = tmp_path / "ttyUSB7", tmp_path / "notes.txt"
    text.write_text("no port")
    for path, reason in [(missing, "No such file or directory"),
                         (text, "Inappropriate ioctl for device"), (tmp_path, "Is a directory")]:
        with pytest.raises(BoardError) as caught:
            Board.open(str(path), 115200)
        start = f"{path}: cannot open this serial port at 115200 baud: {reason}. Ports here: "
        assert str(caught.value).startswith(start) and "\n" not in str(caught.value)
        compared(1)


def test_port_in_use(compared):
    with fake_board() as (name, _), Board.open(name, BAUD):
        with pytest.raises(BoardError) as caught:
            Board.open(name, BAUD)
        assert str(caught.value).startswith(
            f"{name}: cannot open this serial port at 921600 baud: another program uses it. ")
    compared(1)


def test_baud_rate_wrong(compared):
    for baud in (1.5, "fast", None):
        with pytest.raises(TypeError, match=f"^Baud rate must be an integer, not {baud!r}$"):
            Board.open("nowhere", baud)
        compared(1)
    for baud in (-1, 0, 299):
        with pytest.raises(ValueError, match=f"^Baud rate must be at least 300, not {baud}$"):
            Board.open("nowhere", baud)
        compared(1)


def test_port_vanishes(compared):
    """As when the cable is pulled."""
    board, port = os.openpty()
    tty.setraw(port)
    opened = Board.open(os.ttyname(port), BAUD, timeout=1.0)
    os.close(port)
    os.close(board)
    with opened:
        with pytest.raises(BoardError, match=r"cannot (read|write to) the serial port: ") as caught:
            opened.info()
    assert "\n" not in str(caught.value)
    compared(1)
