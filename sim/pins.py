# SPDX-License-Identifier: Apache-2.0
"""A unit between shift registers, through its pins: vectors bit by bit, and random levels."""

import dataclasses

import numpy as np
from amaranth.hdl import Value

from .payload import pack, unpack
from .verilog import Port

__all__ = ["INPUTS", "OUTPUTS", "as_pins", "frame", "levels", "random_levels", "results"]

#: Ports of :class:`.fpga.characterise.Harness`, in the order of the columns of levels.
INPUTS, OUTPUTS = ("rst", "serial", "valid", "ready"), ("taken", "result")
GAP = 4  # cycles between frames: registers of the harness


def as_pins(design):
    """The design with all its pins in one payload for each direction: a transfer every cycle.

    Parameters
    ----------
    design : Design
        With the ports ``clk``, `INPUTS` and `OUTPUTS`.

    Returns
    -------
    Design
        It has no reset: that is a pin.
    """
    pins = [f".{name}(i__payload[{k}])" for k, name in enumerate(INPUTS)]
    pins += [f".{name}(o__payload[{k}])" for k, name in enumerate(OUTPUTS)]
    top = f"module pins(input clk, input [{len(INPUTS) - 1}:0] i__payload, " \
          f"output [{len(OUTPUTS) - 1}:0] o__payload);\n" \
          f"  {design.top} inner(.clk(clk), {', '.join(pins)});\nendmodule\n"
    return dataclasses.replace(
        design, sources={**design.sources, "pins.v": top}, top="pins", clock="clk", reset=None,
        ports=(Port("i__payload", len(INPUTS), "input"),
               Port("o__payload", len(OUTPUTS), "output")))


def frame(unit):
    """Cycles that one transfer takes: the longer of its payloads, and the way through."""
    return max(_width(unit.i), _width(unit.o)) + unit.latency + GAP


def _width(stream):
    return len(Value.cast(stream.p))


def levels(unit, inputs):
    """Levels of `INPUTS` in each cycle that send payloads, one a frame, the last bit first."""
    width = _width(unit.i)
    bits = _bits(pack(unit.i.p.shape(), inputs), width)
    count, cycles = len(bits), frame(unit)
    found = np.zeros((count, cycles, len(INPUTS)), np.uint8)
    found[:, :width, 1] = bits[:, ::-1]
    found[:, width - 1, 2] = 1
    found[:, :, 3] = 1
    idle = np.zeros((unit.latency + GAP + cycles, len(INPUTS)), np.uint8)
    idle[:, 3] = 1
    return np.concatenate([found.reshape(-1, len(INPUTS)), idle])


def results(unit, seen, transfers):
    """Payloads of some transfers, from the levels of `OUTPUTS` in each cycle."""
    width = _width(unit.o)
    # The result is in the shift register a cycle after it is valid, on the pin one more.
    first = np.asarray(transfers) * frame(unit) + _width(unit.i) + unit.latency + 2
    bits = seen[first[:, None] + np.arange(width), OUTPUTS.index("result")].astype(np.uint8)
    padded = np.pad(bits, [(0, 0), (0, -width % 32)])
    return unpack(unit.o.p.shape(), np.packbits(padded, axis=1, bitorder="little").view("<u4"))


def random_levels(cycles, seed=0):
    """Random levels of `INPUTS`: stalls of both sides half of the time, a reset now and then."""
    rng = np.random.default_rng(seed)
    found = (rng.random((cycles, len(INPUTS))) < (0.005, 0.5, 0.5, 0.5)).astype(np.uint8)
    return found


def _bits(words, width):
    return np.unpackbits(np.ascontiguousarray(words, "<u4").view(np.uint8), axis=1,
                         bitorder="little")[:, :width]
