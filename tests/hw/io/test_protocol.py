# SPDX-License-Identifier: Apache-2.0
import binascii
import random
import subprocess
import sys

import pytest

from carrysave.hw.io.protocol import (
    CRC,
    REASONS,
    Command,
    Info,
    Prediction,
    ProtocolError,
    Status,
    check_header,
    pack_info,
    pack_predictions,
    pack_request,
    pack_response,
    parse_info,
    parse_predictions,
    parse_request,
    parse_response,
)

INFO = Info(rows=4, inputs=64, outputs=10, identity=b"\x01\x23\x45\x67\x89\xab\xcd\xef")


def test_crc_against_binascii(compared):
    """CRC-16/XMODEM is what the standard library calls ``crc_hqx`` from 0."""
    rng = random.Random(0)
    assert CRC.compute(b"123456789") == 0x31C3
    for size in range(200):
        data = rng.randbytes(size)
        assert CRC.compute(data) == binascii.crc_hqx(data, 0)
        compared(1)


def test_frames_byte_by_byte(compared):
    assert pack_request(Command.INFO) == bytes.fromhex("5a 01 00 00 30 37")
    assert pack_request(Command.INFER, b"\x01\xff") == bytes.fromhex("5a 02 02 00 01 ff 2a 84")
    assert pack_response(Status.TIMEOUT) == bytes.fromhex("a5 05 00 00 f0 eb")
    assert pack_info(INFO) == bytes.fromhex("01 0400 4000 0a00 0123456789abcdef")
    assert pack_predictions([Prediction((1, -2), 0)]) == bytes.fromhex("01000000 feffffff 0000")
    compared(5)


def test_there_and_back(compared):
    rng = random.Random(1)
    for size in [*range(20), 255, 256, 65535]:
        payload = rng.randbytes(size)
        for command in Command:
            assert parse_request(pack_request(command, payload)) == (command, payload)
            compared(1)
        assert parse_response(pack_response(Status.OK, payload)) == payload
        assert check_header(pack_response(Status.OK, payload)[:4]) == size + 2
    assert parse_info(pack_info(INFO)) == INFO
    for outputs in (1, 2, 10, 300):
        predictions = [
            Prediction(tuple(rng.randrange(-2**31, 2**31) for _ in range(outputs)),
                       rng.randrange(outputs))
            for _ in range(5)
        ]
        payload = pack_predictions(predictions)
        assert parse_predictions(payload, vectors=5, outputs=outputs) == predictions
        compared(5)


@pytest.mark.parametrize("status", list(Status)[1:])
def test_error_responses(status, compared):
    with pytest.raises(ProtocolError) as caught:
        parse_response(pack_response(status))
    assert caught.value.status == status
    assert str(caught.value) == (
        f"The board answered {status.name} ({int(status)}): {REASONS[status]}")
    compared(1)


def test_any_changed_bit_is_found(compared):
    frame = pack_response(Status.OK, b"carrysave")
    for position in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(ProtocolError):
            parse_response(changed)
        compared(1)


@pytest.mark.parametrize("call, text", [
    (lambda: parse_response(b""), "The frame ended after 0 of 4 header bytes"),
    (lambda: parse_response(b"\xA5\x00\x00"), "The frame ended after 3 of 4 header bytes"),
    (lambda: parse_response(pack_request(1)), "The frame starts with 0x5A, not 0xA5"),
    (lambda: parse_request(pack_response(0)), "The frame starts with 0xA5, not 0x5A"),
    (lambda: parse_response(pack_response(0) + b"\x00"),
     "The frame has 7 bytes, its header says 6"),
    (lambda: parse_response(bytes.fromhex("a5 05 00 00 f0 ea")),
     "The frame's CRC is 0xEAF0, not 0xEBF0"),
    (lambda: parse_response(pack_response(99)), "The status is 0x63, which is unknown"),
    (lambda: parse_request(pack_request(9)), "The command is 0x09, which is unknown"),
    (lambda: parse_info(b"\x02"), "The board speaks version 2 of the protocol; "
                                  "this program speaks version 1"),
    (lambda: parse_info(b""), "INFO was answered with 0 bytes of payload, not 15"),
    (lambda: parse_info(b"\x01" * 16), "INFO was answered with 16 bytes of payload, not 15"),
    (lambda: parse_predictions(bytes(13), vectors=2, outputs=1),
     "2 vectors were answered with 13 bytes of payload, not 12"),
    (lambda: parse_predictions(pack_predictions([Prediction((5, 6), 2)]), vectors=1, outputs=2),
     "The board answered class 2 of 2"),
])
def test_damaged(call, text, compared):
    with pytest.raises(ProtocolError) as caught:
        call()
    assert str(caught.value) == text
    compared(1)


def test_parameters_wrong(compared):
    with pytest.raises(ValueError, match=r"^Payload must be at most 65535 bytes, not 65536$"):
        pack_request(Command.INFER, bytes(65536))
    with pytest.raises(ValueError, match=r"^Identity must be 8 bytes, not b'short'$"):
        pack_info(Info(1, 1, 1, b"short"))
    compared(2)


def test_no_torch(compared):
    program = "import carrysave.hw.io.protocol, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    compared(1)
