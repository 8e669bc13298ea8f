# SPDX-License-Identifier: Apache-2.0
"""Send inputs to a board, real or simulated, and check its answers against the golden model."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import BadInput
from .fpga import boards
from .fpga.host import Board, BoardError
from .quant.data import DataError, read_npz
from .sim.board import SimulatedBoard

__all__ = ["Answers", "infer", "read_inputs"]


@dataclass(frozen=True)
class Answers:
    """What a board answered.

    ``mismatches`` counts logits and classes that are not the golden model's, out of ``compared``;
    ``correct`` counts right predictions, None without labels.
    """

    logits: np.ndarray
    classes: np.ndarray
    compared: int
    mismatches: int
    correct: int | None
    seconds: float
    port: str


def read_inputs(path, network):
    """Inputs and labels (or None) of an ``.npz`` file with ``x`` and perhaps ``y``."""
    try:
        arrays = read_npz(path, need=("x",), may=("y",))
    except DataError as error:
        raise BadInput(f"--input: {error}") from None
    x, y = arrays["x"], arrays.get("y")
    features = x.reshape(len(x), -1).shape[1] if x.ndim >= 2 and len(x) else 0
    if features != network.inputs or x.dtype.kind not in "biuf":
        raise BadInput(
            f"--input: x of {path} must be numbers of shape (samples, {network.inputs}), "
            f"not {x.dtype} {x.shape}"
        )
    x = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        raise BadInput(f"--input: x of {path} must be finite")
    if y is None:
        return x, None
    if y.shape != (len(x),):
        raise BadInput(f"--input: y of {path} must have the shape ({len(x)},), not {y.shape}")
    places = {label: index for index, label in enumerate(network.labels)}
    return x, np.array([places.get(str(label), -1) for label in y])


def infer(prepared, *, port=None, simulate=False, board=None, source=None, count=None):
    """Send inputs and check every answer.

    Parameters
    ----------
    prepared : Prepared
    port : str, optional
        Serial port of the board.
    simulate : bool
        Use a simulated board behind a pseudo-terminal instead.
    board : str, optional
        Board to simulate; the first of the configuration by default.
    source : path, optional
        ``.npz`` file with inputs; the held-out data by default.
    count : int, optional
        Only the first so many inputs.

    Returns
    -------
    Answers

    Raises
    ------
    BadInput
        No such port, no answer, or a board that runs another network.
    """
    network, config = prepared.subject.network, prepared.config
    if simulate == (port is not None):
        raise BadInput("infer: give either --port PORT or --simulate")
    if source is None:
        x, y = prepared.subject.data.x_test, prepared.subject.data.y_test
    else:
        x, y = read_inputs(Path(source), network)
    x, y = x[:count], None if y is None else y[:count]
    activations = network.encode(x)
    with contextlib.ExitStack() as stack:
        if simulate:
            try:
                chosen = boards.get(board or (config.build.boards or boards.names())[0])
            except ValueError as error:
                raise BadInput(f"--board: {error}") from None
            port = stack.enter_context(SimulatedBoard(
                prepared.design(chosen), divisor=prepared.divisor(chosen)
            )).port
        try:
            # A simulated board is slower than a real one.
            client = stack.enter_context(
                Board.open(port, config.uart.baud, timeout=60.0 if simulate else 5.0)
            )
            info = client.info()
            if info.identity != prepared.clean.identity:
                raise BadInput(
                    f"{port}: the board runs network {info.identity.hex()}, the configuration "
                    f"gives {prepared.clean.identity.hex()}: build and flash it anew"
                )
            started = time.monotonic()
            logits, classes = client.infer(activations.numpy().astype(np.int8))
            seconds = time.monotonic() - started
        except BoardError as error:
            raise BadInput(str(error)) from None
    trace = network.run(activations)
    wrong = (logits != trace.logits.numpy()).sum() + (classes != trace.classes.numpy()).sum()
    return Answers(
        logits=logits,
        classes=classes,
        compared=logits.size + classes.size,
        mismatches=int(wrong),
        correct=None if y is None else int((classes == y).sum()),
        seconds=seconds,
        port=port,
    )
