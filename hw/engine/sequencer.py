# SPDX-License-Identifier: Apache-2.0
"""Sequencer: runs a program of layer descriptors."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

__all__ = ["Phase", "Sequencer", "Tag"]


class Phase(Enum, shape=3):
    """What the engine does in a cycle."""

    LOAD = 0
    PREPARE = 1
    RUN = 2
    DRAIN = 3
    READ = 4


#: Place of a group in its dot product.
Tag = data.StructLayout({"first": 1, "last": 1})


class Sequencer(wiring.Component):
    """Issues the steps of all layers: for each layer, tile after tile, K ascending.

    A step names the words that the memories must present: the addresses are those of the next
    cycle, so that a memory with synchronous read has its word ready when the step is offered.

    Parameters
    ----------
    program : Program

    Members
    -------
    start : In(1)
        Run the program; taken while ``phase`` is LOAD.
    layer_done : In(1)
        The last result of the layer is being written.
    read_done : In(1)
        The last result has been read.
    step : Out(stream)
        ``last`` ends a group, whose place is ``tag``.
    weight_ahead, activation_ahead : Out
        Addresses of the next cycle's words.
    buffer : Out(1)
        Activation buffer that the layer reads.
    layer : Out
    phase : Out(Phase)
    """

    def __init__(self, program):
        self.program = program
        super().__init__({
            "start": In(1),
            "layer_done": In(1),
            "read_done": In(1),
            "step": Out(stream.Signature(data.StructLayout({"last": 1, "tag": Tag}))),
            "weight_ahead": Out(range(max(len(program.weights), 2))),
            "activation_ahead": Out(range(program.activation_words)),
            "buffer": Out(1),
            "layer": Out(range(len(program.layers))),
            "phase": Out(Phase),
        })

    def elaborate(self, platform):
        m = Module()
        layers = self.program.layers

        # Descriptor of the layer.
        most = max(layer.inputs for layer in layers)
        inputs_last = Signal(range(most))
        group_last = Signal(range(most))
        tiles_last = Signal(range(max(layer.tiles for layer in layers)))
        with m.Switch(self.layer):
            for index, layer in enumerate(layers):
                with m.Case(index):
                    m.d.comb += [
                        inputs_last.eq(layer.inputs - 1),
                        group_last.eq(layer.group - 1),
                        tiles_last.eq(layer.tiles - 1),
                    ]

        weight = Signal.like(self.weight_ahead)
        k = Signal(range(most))
        in_group = Signal(range(most))
        tile = Signal.like(tiles_last)
        k_end = k == inputs_last
        m.d.comb += [
            self.step.p.last.eq(k_end | (in_group == group_last)),
            self.step.p.tag.first.eq(k == in_group),
            self.step.p.tag.last.eq(k_end),
            self.weight_ahead.eq(weight),
            self.activation_ahead.eq(k),
        ]
        m.d.sync += [weight.eq(self.weight_ahead), k.eq(self.activation_ahead)]

        with m.Switch(self.phase):
            with m.Case(Phase.LOAD):
                m.d.comb += self.weight_ahead.eq(0)
                m.d.sync += [self.layer.eq(0), self.buffer.eq(0)]
                with m.If(self.start):
                    m.d.sync += self.phase.eq(Phase.PREPARE)
            with m.Case(Phase.PREPARE):
                m.d.sync += [self.phase.eq(Phase.RUN), in_group.eq(0), tile.eq(0)]
            with m.Case(Phase.RUN):
                m.d.comb += self.step.valid.eq(1)
                with m.If(self.step.ready):
                    m.d.comb += self.weight_ahead.eq(weight + 1)
                    m.d.comb += self.activation_ahead.eq(Mux(k_end, 0, k + 1))
                    m.d.sync += in_group.eq(Mux(self.step.p.last, 0, in_group + 1))
                    with m.If(k_end):
                        m.d.sync += tile.eq(tile + 1)
                        with m.If(tile == tiles_last):
                            m.d.sync += self.phase.eq(Phase.DRAIN)
            with m.Case(Phase.DRAIN):
                with m.If(self.layer_done):
                    m.d.sync += self.buffer.eq(~self.buffer)
                    with m.If(self.layer == len(layers) - 1):
                        m.d.sync += self.phase.eq(Phase.READ)
                    with m.Else():
                        m.d.sync += [self.layer.eq(self.layer + 1), self.phase.eq(Phase.PREPARE)]
            with m.Case(Phase.READ):
                with m.If(self.read_done):
                    m.d.sync += self.phase.eq(Phase.LOAD)

        return m
