# SPDX-License-Identifier: Apache-2.0
"""A simulated board behind a pseudo-terminal."""

import contextlib
import os
import select
import threading
import tty

from .batch import UartSession

__all__ = ["SimulatedBoard"]

CHUNK = 4096  # bytes read at once
IDLE = 20_000  # cycles simulated at a time while the host is silent


class SimulatedBoard(contextlib.AbstractContextManager):
    """Runs a design in the batch simulator and joins its UART pins to a pseudo-terminal.

    A host program opens ``port`` as it would a serial port. The simulation runs in a thread until
    the board is closed; an error in it closes the port, and is raised by :meth:`close`.

    Parameters
    ----------
    design : Design or wiring.Component
        With pins ``rx`` and ``tx``.
    divisor : int
        Clock cycles per bit.
    """

    def __init__(self, design, *, divisor):
        self._session = UartSession(design, divisor=divisor)
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._closing = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._serve, name="simulated board", daemon=True)
        self._thread.start()

    def _serve(self):
        try:
            while not self._closing.is_set():
                waiting, _, _ = select.select([self._ours], [], [], 0.001)
                if waiting:
                    request = os.read(self._ours, CHUNK)
                    answer, _ = self._session.exchange(request, expect=0)
                else:
                    answer, _ = self._session.idle(IDLE)
                while answer:
                    answer = answer[os.write(self._ours, answer) :]
        except Exception as error:  # Handed to the thread that closes the board.
            self._error = error

    def close(self):
        """Stop the simulation and close the port."""
        self._closing.set()
        self._thread.join()
        for end in self._ours, self._theirs:
            os.close(end)
        self._session.close()
        if self._error is not None:
            raise self._error

    def __exit__(self, *_):
        self.close()
