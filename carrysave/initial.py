# SPDX-License-Identifier: Apache-2.0
"""Arrows that show that nothing from before a reset reaches the answers of an accelerator."""

import json
from pathlib import Path

import numpy as np

from .hw.cache import digest
from .hw.engine.choice import engine_of
from .hw.io.accelerator import Accelerator
from .hw.io.protocol import (
    Command,
    Info,
    Prediction,
    Status,
    pack_info,
    pack_predictions,
    pack_request,
    pack_response,
)
from .known import known_arrows
from .sim import initial_board, verilator
from .sim.ledger import Arrow
from .sim.verilog import from_component

__all__ = ["frames", "initial_arrows", "memory_arrow"]

LATE = 3e-6  # seconds after configuration in which iCE40's block RAM reads 0


def frames(subject, program):
    """Two requests and their answers by the integer network: INFO, and INFER of one sample."""
    trace = subject.network.run(subject.x[:1])
    prediction = Prediction(tuple(trace.logits[0].tolist()), int(trace.classes[0]))
    info = Info(program.config.rows, program.inputs, program.outputs, program.identity)
    vector = subject.x[:1].numpy().astype(np.int8).tobytes()
    return (
        (pack_request(Command.INFO), pack_response(Status.OK, pack_info(info))),
        (pack_request(Command.INFER, vector),
         pack_response(Status.OK, pack_predictions([prediction]))),
    )


def initial_arrows(subject, program):
    """Random states and resets of the accelerator, on a line of a few cycles per bit.

    Returns
    -------
    list of Arrow
        See `.sim.initial_board.initial_arrows`.
    """
    # As few as the accelerator and its receiver allow.
    divisor = max(4, -(-(program.config.rows + 2) // 9))
    accelerator = Accelerator(engine_of(program), divisor=divisor, identity=program.identity)
    design, sent = from_component(accelerator, name="accelerator"), frames(subject, program)
    return _known(
        {"step": "states and resets", "sources": design.sources, "divisor": divisor}, sent,
        lambda: initial_board.initial_arrows(design, sent, divisor=divisor))


def memory_arrow(subject, program, design, *, divisor, startup, clock_hz, on=None):
    """A netlist for iCE40 whose block RAM reads 0 in the first 3 µs.

    Parameters
    ----------
    design : Design
        Of the netlist, with pins ``rx`` and ``tx``.
    divisor : int
        Clock cycles per bit.
    startup : int
        Cycles until the netlist leaves its reset.
    clock_hz : float
    on : str, optional
        Board.

    Returns
    -------
    Arrow
    """
    sent, cycles = frames(subject, program), -int(-LATE * clock_hz // 1)
    return _known(
        {"step": "memory", "sources": design.sources, "top": design.top,
         "defines": design.defines, "divisor": divisor, "startup": startup, "cycles": cycles,
         "on": on}, sent,
        lambda: [initial_board.memory_arrow(design, sent, divisor=divisor, startup=startup,
                                            cycles=cycles, on=on)])[0]


def _known(inputs, sent, run):
    """Arrows from the cache, or run now."""
    here = Path(verilator.__file__).parent
    key = {
        "inputs": digest(json.dumps(inputs, sort_keys=True)),
        "frames": digest(b"".join(part for frame in sent for part in frame)),
        "verilator": verilator.version(),
        "code": digest("".join(path.read_text() for path in sorted(here.iterdir())
                               if path.suffix in (".py", ".cpp", ".h"))),
    }
    found, _ = known_arrows("initial", key, run)
    return [_arrow(entry) for entry in found]


def _arrow(entry):
    entry = dict(entry)
    ran = entry.pop("status") != "not run"
    return Arrow(entry.pop("from"), entry.pop("to"), ran=ran, **entry)
