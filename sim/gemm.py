# SPDX-License-Identifier: Apache-2.0
"""Programs of a matrix engine in the batch simulator."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..hw.engine.gemm import GemmEngine
from ..hw.engine.gemm_config import program_words
from ..hw.engine.images import input_words, read_results
from .batch import BatchSimulator
from .verilog import from_component

__all__ = ["GemmRun", "GemmSimulator"]


@dataclass(frozen=True)
class GemmRun:
    """What a program gave.

    Attributes
    ----------
    results : list of array, shape (m, n)
    total : int
        Cycles from ``start`` up to and with the last word of results.
    steps : bool array
        Whether the array computed, by cycle from ``start``; empty if not asked for.
    """

    results: list
    total: int
    steps: np.ndarray


class Programmed(wiring.Component):
    """An engine whose program comes by its stream: transfers with ``program`` have its words.

    The first transfer without starts it.
    """

    def __init__(self, engine):
        self.engine = engine
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "data": engine.bus, "last": 1, "program": 1, "word": 32}))),
            "o": Out(engine.o.signature),
            "monitor": Out(engine.monitor.signature),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        address = Signal.like(engine.program.address)
        is_word = self.i.valid & self.i.p.program
        m.d.comb += [
            engine.program.address.eq(address),
            engine.program.data.eq(self.i.p.word),
            engine.program.en.eq(is_word),
            engine.start.eq(self.i.valid & ~self.i.p.program),
            engine.i.valid.eq(self.i.valid & ~self.i.p.program),
            engine.i.p.data.eq(self.i.p.data),
            engine.i.p.last.eq(self.i.p.last),
            self.i.ready.eq(engine.i.ready | self.i.p.program),
            self.monitor.step.eq(engine.monitor.step),
        ]
        m.d.sync += address.eq(address + is_word)
        wiring.connect(m, engine.o, wiring.flipped(self.o))
        return m


class GemmSimulator:
    """A matrix engine in the batch simulator, for any program.

    Parameters
    ----------
    config : GemmConfig
    layers : int
        Most GEMMs of a program.
    short : bool
        For short runs, see :class:`.batch.BatchSimulator`.
    """

    def __init__(self, config, *, layers=16, short=False):
        self.config = config
        engine = GemmEngine(config, layers=layers)
        self.array_latency = engine.array.latency
        self.simulator = BatchSimulator(from_component(Programmed(engine), flat=True), short=short)

    def transfers(self, layers, operands):
        """What is sent for a program, and how many transfers come before its start."""
        program = np.array(program_words(layers), np.int64)
        words = to_payload(input_words(self.config, layers, operands), self.config.bus)
        start, total = len(program), len(program) + len(words)
        return {
            "data": np.concatenate([np.zeros((start, *words.shape[1:]), words.dtype), words]),
            "last": np.arange(total) == total - 1,
            "program": np.arange(total) < start,
            "word": np.concatenate([program, np.zeros(len(words), np.int64)]),
        }, start

    def run(self, layers, operands, *, monitor=False, **stalls):
        """Run a program.

        Parameters
        ----------
        layers : list of Layer
        operands : list of (Operand, Operand)
        monitor : bool
            Whether to watch the steps of the array.
        **stalls
            ``stall_i``, ``stall_o``, ``seed`` of :meth:`.batch.BatchSimulator.run`.

        Returns
        -------
        GemmRun
        """
        config = self.config
        inputs, start = self.transfers(layers, operands)
        count = sum(layer.tiles for layer in layers) * config.chain * config.result_beats
        run = self.simulator.run(inputs, outputs=count,
                                 record=["monitor__step"] if monitor else [], **stalls)
        outputs = cast(dict, run.outputs)
        results = from_payload(outputs["data"], config.bus)
        last = np.asarray(outputs["last"])
        if last[:-1].any() or not last[-1]:
            raise AssertionError("last must come with the last word of results, and no other")
        steps = np.asarray(run.records["monitor__step"], bool)[run.start + start:] if monitor \
            else np.zeros(0, bool)
        return GemmRun(read_results(config, layers, results),
                       int(run.cycles[-1]) + 1 - start, steps)


def to_payload(words, bus):
    """Bytes of words as numbers, or as 32-bit parts where they are wide."""
    size = 4 if bus > 64 else 8
    padded = np.pad(words, [(0, 0), (0, -words.shape[1] % size)])
    found = np.ascontiguousarray(padded).view(f"<u{size}")
    return found if bus > 64 else found[:, 0]


def from_payload(values, bus):
    """The inverse of :func:`to_payload`."""
    values = np.asarray(values)
    if values.dtype == object:
        raw = b"".join(int(value).to_bytes(bus // 8, "little") for value in values)
        return np.frombuffer(raw, np.uint8).reshape(-1, bus // 8)
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    return raw[:, :bus // 8]
