# SPDX-License-Identifier: Apache-2.0
"""Fills the memories from a stream, ahead of the sequencer."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from .gemm_config import Descriptor
from .nest import Nest

__all__ = ["Loader", "MEMORIES"]

MEMORIES = ("a", "a_scale", "w", "w_scale", "bias")


class State(Enum, shape=3):
    IDLE = 0
    CHECK_A = 1
    LOAD_A = 2
    CHECK_W = 3
    LOAD_W = 4


class Loader(wiring.Component):
    """Panels of activations and weights, in the order in which the sequencer needs them.

    For each place of the nest the panel of A comes first, where it is one that is not there
    already, then that of W; a panel is its lines, those of its scales, and for W its biases. A
    line takes whole words of the stream. Memories are rings: a panel is loaded when all its lines
    are free.

    Parameters
    ----------
    config : GemmConfig

    Members
    -------
    start : In(1)
        Run the program; taken while idle.
    layer : Out
        Number of the `Descriptor` that ``descriptor`` is to be in the next cycle.
    descriptor : In(Descriptor)
    i : In(stream)
        Words.
    line : Out
        What is written; ``write_M`` at ``place_M`` for each memory M.
    free_M : In
        Lines that are given back in this cycle.
    loaded_a, loaded_w : Out(1)
        A panel is complete with this cycle.
    """

    def __init__(self, config, *, layers):
        self.config = config
        self.widths = {name: getattr(config, f"{name}_bits") for name in MEMORIES
                       if getattr(config, f"{name}_bits")}
        self.depths = {name: depth(config, name) for name in self.widths}
        ports = {}
        for name, lines in self.depths.items():
            ports |= {f"write_{name}": Out(1), f"place_{name}": Out(range(lines)),
                      f"free_{name}": In(range(lines + 1))}
        super().__init__({
            "start": In(1),
            "layer": Out(range(max(layers, 2))),
            "descriptor": In(Descriptor),
            "i": In(stream.Signature(config.bus)),
            "line": Out(max(config.beats(width) for width in self.widths.values()) * config.bus),
            **ports,
            "loaded_a": Out(1),
            "loaded_w": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, descriptor = self.config, self.descriptor
        m.submodules.nest = nest = Nest()
        m.d.comb += nest.counts.eq(descriptor.counts)
        state = Signal(State)

        # Room in each memory.
        segments = {operand: config.segments(descriptor, operand) for operand in ("a", "w")}
        taking = {"a": Signal(name="take_a"), "w": Signal(name="take_w")}
        room = {}
        for operand, parts in segments.items():
            for name, lines, _ in parts:
                free = Signal(range(self.depths[name] + 1), init=self.depths[name],
                              name=f"room_{name}")
                room[name] = free
                m.d.sync += free.eq(free + getattr(self, f"free_{name}")
                                    - Mux(taking[operand], lines, 0))
        layer = Signal.like(self.layer, name="current")
        m.d.comb += self.layer.eq(layer)
        m.d.sync += layer.eq(self.layer)

        # Words to lines.
        words = len(self.line) // config.bus
        beat, line = Signal(range(max(words, 2))), Signal(16)
        held = [Signal(config.bus, reset_less=True, name=f"held_{k}") for k in range(words - 1)]
        moved = self.i.valid & self.i.ready
        for k in range(words):
            word = self.line[k * config.bus:(k + 1) * config.bus]
            m.d.comb += word.eq(self.i.p if k == words - 1 else
                                Mux(beat == k, self.i.p, held[k]))
            if k < words - 1:
                with m.If(moved & (beat == k)):
                    m.d.sync += held[k].eq(self.i.p)

        leave = {"a": Signal(name="leave_a"), "w": Signal(name="leave_w")}
        with m.Switch(state):
            with m.Case(State.IDLE):
                m.d.comb += self.layer.eq(0)
                with m.If(self.start):
                    m.d.sync += state.eq(State.CHECK_A)
            for operand, check, load in (("a", State.CHECK_A, State.LOAD_A),
                                         ("w", State.CHECK_W, State.LOAD_W)):
                parts, reuse = segments[operand], descriptor[f"{operand}_reuse"]
                with m.Case(check):
                    with m.If(~nest.first.bit_select(reuse, 1)):
                        m.d.comb += leave[operand].eq(1)
                    with m.Elif(Cat(room[name] >= lines for name, lines, _ in parts).all()):
                        m.d.comb += taking[operand].eq(1)
                        m.d.sync += state.eq(load)
                with m.Case(load):
                    m.d.comb += self.i.ready.eq(1)
                    self._load(m, operand, parts, moved, beat, line, leave[operand])
        with m.If(leave["a"]):
            m.d.sync += state.eq(State.CHECK_W)
        with m.If(leave["w"]):
            m.d.comb += nest.advance.eq(1)
            m.d.sync += state.eq(State.CHECK_A)
            with m.If(nest.last.all()):
                m.d.comb += self.layer.eq(layer + 1)
                with m.If(descriptor.last):
                    m.d.sync += state.eq(State.IDLE)

        return m

    def _load(self, m, operand, parts, moved, beat, line, done):
        """One cycle of loading a panel."""
        part = Signal(range(max(len(parts), 2)), name=f"part_{operand}")
        for k, (name, lines, beats) in enumerate(parts):
            place = Signal(range(self.depths[name]), name=f"next_{name}")
            m.d.comb += getattr(self, f"place_{name}").eq(place)
            with m.If(moved & (part == k)):
                m.d.sync += beat.eq(beat + 1)
                with m.If(beat == beats - 1):
                    m.d.comb += getattr(self, f"write_{name}").eq(1)
                    m.d.sync += [beat.eq(0), line.eq(line + 1), place.eq(place + 1)]
                    with m.If(line == lines - 1):
                        m.d.sync += [line.eq(0), part.eq((k + 1) % len(parts))]
                        if k == len(parts) - 1:
                            m.d.comb += [done.eq(1), getattr(self, f"loaded_{operand}").eq(1)]


def depth(config, name):
    """Lines of a memory."""
    return {"a": config.a_lines, "w": config.w_lines}.get(name, config.scale_lines)
