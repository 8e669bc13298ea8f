# SPDX-License-Identifier: Apache-2.0
"""The serial protocol, in pure Python: shared by the gateware, the host, and the tests.

A host sends a request and waits for the response. Numbers are little endian::

    request:   0x5A | command, 1 byte | length, 2 bytes | payload | CRC-16, 2 bytes
    response:  0xA5 | status, 1 byte  | length, 2 bytes | payload | CRC-16, 2 bytes

``length`` counts the payload. The CRC is CRC-16/XMODEM of everything between the first byte and
itself. Each bad request gets one response with its :class:`Status` and no payload.
"""

import dataclasses
import enum
import struct

from amaranth.lib import crc

__all__ = [
    "CRC", "Command", "Info", "Prediction", "ProtocolError", "Status", "TIMEOUT", "VERSION",
    "check_header", "pack_info", "pack_predictions", "pack_request", "pack_response",
    "parse_info", "parse_predictions", "parse_request", "parse_response",
]

VERSION = 1
REQUEST = 0x5A
RESPONSE = 0xA5
CRC = crc.catalog.CRC16_XMODEM(data_width=8)

TIMEOUT = 4096
"""Bit periods of silence that end a frame, unless a design is built with another number."""

HEADER_SIZE = 4
CRC_SIZE = 2
IDENTITY_SIZE = 8
VALUE_SIZE = 4
CLASS_SIZE = 2
INFO_LAYOUT = struct.Struct(f"<BHHH{IDENTITY_SIZE}s")


class Command(enum.IntEnum):
    """What a request asks for."""

    INFO = 1
    """No payload. Answered with :class:`Info`."""

    INFER = 2
    """1 to ``rows`` vectors of ``inputs`` int8 values. Answered with a :class:`Prediction` each."""


class Status(enum.IntEnum):
    """What became of a request."""

    OK = 0
    SYNC = 1
    """The first byte was not 0x5A."""
    COMMAND = 2
    """Unknown command."""
    LENGTH = 3
    """Length not allowed for this command."""
    CRC = 4
    """Wrong CRC."""
    TIMEOUT = 5
    """Silence inside the frame."""
    OVERRUN = 6
    """Bytes came in before the last request was answered."""
    FRAMING = 7
    """A stop bit was low."""


REASONS = {
    Status.SYNC: "the first byte of the request was not 0x5A",
    Status.COMMAND: "it does not know the command",
    Status.LENGTH: "the length of the request is not allowed",
    Status.CRC: "the request came with a wrong CRC",
    Status.TIMEOUT: "the request stopped in the middle",
    Status.OVERRUN: "a request was sent before the last one was answered",
    Status.FRAMING: "a byte of the request had no stop bit: check the baud rate",
}


class ProtocolError(ValueError):
    """A frame breaks the protocol, or reports an error in ``status``."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Info:
    """What a board runs.

    ``rows`` vectors fit one request; each has ``inputs`` values and gives ``outputs`` logits.
    ``identity`` tells integer networks apart.
    """

    rows: int
    inputs: int
    outputs: int
    identity: bytes
    version: int = VERSION


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Logits of one vector, and the index of the largest."""

    logits: tuple
    index: int


def pack_frame(sync, code, payload):
    if len(payload) > 0xFFFF:
        raise ValueError(f"Payload must be at most 65535 bytes, not {len(payload)}")
    body = struct.pack("<BH", code, len(payload)) + bytes(payload)
    return bytes([sync]) + body + struct.pack("<H", CRC.compute(body))


def check_header(header, sync=RESPONSE):
    """Number of bytes that follow the first four of a frame, a response by default."""
    if len(header) < HEADER_SIZE:
        raise ProtocolError(f"The frame ended after {len(header)} of {HEADER_SIZE} header bytes")
    if header[0] != sync:
        raise ProtocolError(f"The frame starts with 0x{header[0]:02X}, not 0x{sync:02X}")
    return int.from_bytes(header[2:HEADER_SIZE], "little") + CRC_SIZE


def parse_frame(frame, sync):
    size = HEADER_SIZE + check_header(frame, sync)
    if len(frame) != size:
        raise ProtocolError(f"The frame has {len(frame)} bytes, its header says {size}")
    body, found = frame[1:-CRC_SIZE], int.from_bytes(frame[-CRC_SIZE:], "little")
    expected = CRC.compute(body)
    if found != expected:
        raise ProtocolError(f"The frame's CRC is 0x{found:04X}, not 0x{expected:04X}", Status.CRC)
    return frame[1], bytes(frame[HEADER_SIZE:-CRC_SIZE])


def pack_request(command, payload=b""):
    """A request as bytes."""
    return pack_frame(REQUEST, command, payload)


def parse_request(frame):
    """Command and payload of a request; :exc:`ProtocolError` if it is damaged."""
    code, payload = parse_frame(frame, REQUEST)
    if code not in list(Command):
        raise ProtocolError(f"The command is 0x{code:02X}, which is unknown", Status.COMMAND)
    return Command(code), payload


def pack_response(status, payload=b""):
    """A response as bytes."""
    return pack_frame(RESPONSE, status, payload)


def parse_response(frame):
    """Payload of a response; :exc:`ProtocolError` if it is damaged or reports an error."""
    code, payload = parse_frame(frame, RESPONSE)
    if code not in list(Status):
        raise ProtocolError(f"The status is 0x{code:02X}, which is unknown")
    if code != Status.OK:
        status = Status(code)
        raise ProtocolError(
            f"The board answered {status.name} ({code}): {REASONS[status]}", status)
    return payload


def pack_info(info):
    """Payload of the response to ``INFO``."""
    if len(info.identity) != IDENTITY_SIZE:
        raise ValueError(f"Identity must be {IDENTITY_SIZE} bytes, not {info.identity!r}")
    return INFO_LAYOUT.pack(info.version, info.rows, info.inputs, info.outputs, info.identity)


def parse_info(payload):
    """:class:`Info` from the payload of a response."""
    if payload[:1] and payload[0] != VERSION:
        raise ProtocolError(f"The board speaks version {payload[0]} of the protocol; "
                            f"this program speaks version {VERSION}")
    if len(payload) != INFO_LAYOUT.size:
        raise ProtocolError(f"INFO was answered with {len(payload)} bytes of payload, "
                            f"not {INFO_LAYOUT.size}")
    version, rows, inputs, outputs, identity = INFO_LAYOUT.unpack(payload)
    return Info(rows, inputs, outputs, identity, version)


def prediction_layout(outputs):
    return struct.Struct(f"<{outputs}iH")


def pack_predictions(predictions):
    """Payload of the response to ``INFER``."""
    return b"".join(prediction_layout(len(p.logits)).pack(*p.logits, p.index) for p in predictions)


def parse_predictions(payload, *, vectors, outputs):
    """A :class:`Prediction` for each vector, from the payload of a response."""
    layout = prediction_layout(outputs)
    if len(payload) != vectors * layout.size:
        raise ProtocolError(f"{vectors} vectors were answered with {len(payload)} bytes of "
                            f"payload, not {vectors * layout.size}")
    predictions = [
        Prediction(tuple(logits), index) for *logits, index in layout.iter_unpack(payload)
    ]
    for prediction in predictions:
        if prediction.index >= outputs:
            raise ProtocolError(f"The board answered class {prediction.index} of {outputs}")
    return predictions
