# SPDX-License-Identifier: Apache-2.0
"""Talk to a board over its serial port."""

import contextlib
import errno
import os
import time

import numpy as np

from ..hw.io import protocol
from ..hw.io.protocol import Command, ProtocolError, Status

__all__ = ["Board", "BoardError"]

CHUNK = 256
"""Bytes written at once: sent well within any sensible timeout, even by a slow line."""


class BoardError(RuntimeError):
    """The board or its port failed; the message is one line for the user.

    ``status`` is the board's own error code, or None if it did not send one.
    """

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


def reason_of(error):
    """What the operating system says of an error; pyserial may have wrapped it."""
    for cause in (error, error.__context__):
        number = getattr(cause, "errno", None) or next(iter(getattr(cause, "args", ())), None)
        if number == errno.EWOULDBLOCK:
            return "another program uses it"
        if number == errno.EACCES:
            return "Permission denied; join the group that owns it, often dialout"
        if isinstance(number, int):
            return os.strerror(number)
    return " ".join(str(error).split())


def ports_here():
    from serial.tools import list_ports

    return ", ".join(sorted(port.device for port in list_ports.comports())) or "none"


class Board:
    """A board that serves requests, see :mod:`carrysave.hw.io.protocol`.

    Nothing is retried: each failure is a :exc:`BoardError`. After one, close the board and open it
    again, which waits until the board has forgotten a half-sent request.

    Parameters
    ----------
    port : serial.Serial
        Open port, or an object with ``read``, ``write``, ``in_waiting``, ``timeout``, ``close``.
    name : str
        Name of the port, for messages.
    baud : int
        Bits per second.
    timeout : float
        Seconds without a byte, beyond the time that a request takes on the line, after which the
        board counts as silent.
    """

    def __init__(self, port, *, name, baud=115200, timeout=5.0):
        self.port = port
        self.name = name
        self.baud = baud
        self.timeout = timeout
        self._info = None

    @classmethod
    def open(cls, port, baud=115200, *, timeout=5.0):
        """Open a serial port by name, and wait until the board has dropped what it held.

        Raises
        ------
        TypeError, ValueError
            If the baud rate is no integer, or below 300.
        BoardError
            If the port cannot be opened, is in use, or does not know the baud rate.
        """
        if not isinstance(baud, int):
            raise TypeError(f"Baud rate must be an integer, not {baud!r}")
        if baud < 300:
            raise ValueError(f"Baud rate must be at least 300, not {baud!r}")
        try:
            import serial
        except ImportError:
            raise BoardError("Serial ports need the Python package pyserial: install it") from None
        try:
            opened = serial.Serial(
                port, baud, timeout=timeout, write_timeout=timeout, exclusive=True)
        # Not only OSError: pyserial lets pass termios.error, which is none.
        except Exception as error:
            raise BoardError(f"{port}: cannot open this serial port at {baud} baud: "
                             f"{reason_of(error)}. Ports here: {ports_here()}") from None
        board = cls(opened, name=port, baud=baud, timeout=timeout)
        try:
            with board._explained("clear"):
                time.sleep(1.1 * protocol.TIMEOUT / baud)
                opened.read(opened.in_waiting)
        except BaseException:
            board.close()
            raise
        return board

    def close(self):
        """Close the port."""
        self.port.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    @contextlib.contextmanager
    def _explained(self, action):
        """Turn errors of protocol and port into one line that names the port."""
        try:
            yield
        except ProtocolError as error:
            raise BoardError(f"{self.name}: {error}", error.status) from None
        except OSError as error:
            raise BoardError(f"{self.name}: cannot {action} the serial port: "
                             f"{reason_of(error)}") from None

    def _read(self, size, *, of, command):
        data = bytearray()
        while len(data) < size:
            with self._explained("read"):
                chunk = self.port.read(size - len(data))
            if not chunk:
                raise BoardError(
                    f"{self.name}: no answer to {command.name} within {self.timeout:g} s "
                    f"({len(data)} of {size} bytes of its {of} came in): check the board, its "
                    f"bitstream, and the baud rate ({self.baud})", Status.TIMEOUT)
            data += chunk
        return data

    def _request(self, command, payload=b""):
        """Send one request; payload of the response."""
        with self._explained("read"):
            waiting = self.port.in_waiting
        if waiting:
            raise BoardError(f"{self.name}: {waiting} bytes came in that nobody asked for: "
                             "open the port again")
        request = protocol.pack_request(command, payload)
        with self._explained("write to"):
            self.port.timeout = self.timeout + 10 * len(request) / self.baud
            for start in range(0, len(request), CHUNK):
                self.port.write(request[start:start + CHUNK])
        response = self._read(protocol.HEADER_SIZE, of="header", command=command)
        with self._explained("read"):
            size = protocol.check_header(response)
            response += self._read(size, of="payload and CRC", command=command)
            return protocol.parse_response(response)

    def info(self):
        """What the board runs, asked for once.

        Returns
        -------
        protocol.Info
        """
        if self._info is None:
            payload = self._request(Command.INFO)
            with self._explained("read"):
                self._info = protocol.parse_info(payload)
        return self._info

    def infer(self, activations):
        """Let the board compute.

        Parameters
        ----------
        activations : int8 array, shape (n, inputs)
            As many as wanted: they are sent in requests of at most ``rows`` vectors.

        Returns
        -------
        logits : int32 array, shape (n, outputs)
        classes : int64 array, shape (n,)
            As the board computed them.

        Raises
        ------
        TypeError, ValueError
            If the array is not int8, or of another shape.
        BoardError
        """
        activations = np.asarray(activations)
        if activations.dtype != np.int8:
            raise TypeError(f"Activations must be int8, not {activations.dtype}")
        info = self.info()
        if activations.ndim != 2 or activations.shape[1] != info.inputs:
            raise ValueError(f"Activations must have the shape (n, {info.inputs}), "
                             f"not {activations.shape}")
        predictions = []
        for start in range(0, len(activations), info.rows):
            vectors = activations[start:start + info.rows]
            payload = self._request(Command.INFER, vectors.tobytes())
            with self._explained("read"):
                predictions += protocol.parse_predictions(
                    payload, vectors=len(vectors), outputs=info.outputs)
        logits = np.array([p.logits for p in predictions], dtype=np.int32)
        classes = np.array([p.index for p in predictions], dtype=np.int64)
        return logits.reshape(len(activations), info.outputs), classes
