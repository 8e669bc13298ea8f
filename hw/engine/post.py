# SPDX-License-Identifier: Apache-2.0
"""What follows the array: scale, accumulate, requantise, activate, write."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..fixed.requantise import Requantise
from ..post.accumulator import Accumulator
from ..post.group_scale import GroupScale
from ..post.relu import ReLU
from .sequencer import Tag
from .walk import TileWalk

__all__ = ["Post"]


class Post(wiring.Component):
    """Group sums to results, with the scale and bias memories and the addresses of the writes.

    Parameters
    ----------
    program : Program
    group_sum_shape : Shape

    Members
    -------
    restart : In(1)
        Before each run of the program.
    i : In(stream)
        ``sums`` by chain, ``tag`` of their group.
    write : Out(1)
        Results are written in this cycle.
    final : Out(1)
        They are the accumulators of the final layer, else activations.
    row, index : Out
        Row within each chain, and index in the vector.
    values : Out(ArrayLayout)
        By chain.
    layer_done : Out(1)
        With the last write of a layer.
    """

    def __init__(self, program, group_sum_shape):
        self.program, self.group_sum_shape = program, group_sum_shape
        self.rows = program.config.rows // program.drains
        tiles = max(layer.tiles for layer in program.layers)
        super().__init__({
            "restart": In(1),
            "i": In(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(group_sum_shape, program.drains),
                "tag": Tag,
            }))),
            "write": Out(1),
            "final": Out(1),
            "row": Out(range(max(self.rows, 2))),
            "index": Out(range(max(tiles * program.config.columns, 2))),
            "values": Out(data.ArrayLayout(program.sum_shape, program.drains)),
            "layer_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        program, columns, lanes = self.program, self.program.config.columns, self.program.drains
        hidden = program.layers[:-1]

        # Scale: one word per sum.
        m.submodules.scale_memory = scale_memory = Memory(
            shape=unsigned(program.scale_bits), depth=len(program.scales), init=program.scales
        )
        scale_port = scale_memory.read_port()
        m.submodules.scale_walk = scale_walk = TileWalk(
            columns, rows=self.rows, depth=len(program.scales)
        )
        m.submodules.scale = scale = GroupScale(
            self.group_sum_shape, scale_bits=program.scale_bits, lanes=lanes, tag=Tag
        )
        m.d.comb += [
            scale_walk.restart.eq(self.restart),
            scale_walk.advance.eq(self.i.valid & self.i.ready),
            scale_port.addr.eq(scale_walk.ahead),
            scale.i.valid.eq(self.i.valid),
            self.i.ready.eq(scale.i.ready),
            scale.i.p.sums.eq(self.i.p.sums),
            scale.i.p.scale.eq(scale_port.data),
            scale.i.p.tag.eq(self.i.p.tag),
        ]

        # Accumulate: one bias per output, read with its first group.
        m.submodules.bias_memory = bias_memory = Memory(
            shape=program.sum_shape, depth=len(program.biases), init=program.biases
        )
        bias_port = bias_memory.read_port()
        m.submodules.bias_walk = bias_walk = TileWalk(
            columns, rows=self.rows, depth=len(program.biases)
        )
        m.submodules.accumulator = accumulator = Accumulator(
            scale.term_shape, program.sum_shape, slots=program.chain, lanes=lanes
        )
        m.d.comb += [
            bias_walk.restart.eq(self.restart),
            bias_walk.advance.eq(scale.o.valid & scale.o.ready & scale.o.p.tag.first),
            bias_port.addr.eq(bias_walk.ahead),
            accumulator.i.valid.eq(scale.o.valid),
            scale.o.ready.eq(accumulator.i.ready),
            accumulator.i.p.terms.eq(scale.o.p.terms),
            accumulator.i.p.bias.eq(bias_port.data),
            accumulator.i.p.first.eq(scale.o.p.tag.first),
            accumulator.i.p.last.eq(scale.o.p.tag.last),
        ]

        # Layer that the results belong to, and their place in it.
        layer = Signal(range(len(program.layers)))
        tile = Signal(range(max(layer.tiles for layer in program.layers)))
        tiles_last = Signal.like(tile)
        m.submodules.write_walk = write_walk = TileWalk(
            columns, rows=self.rows, depth=1 << len(self.index)
        )
        m.d.comb += [
            self.final.eq(layer == len(program.layers) - 1),
            self.row.eq(write_walk.row),
            self.index.eq(write_walk.address),
            write_walk.advance.eq(self.write),
            write_walk.restart.eq(self.restart | self.layer_done),
            self.layer_done.eq(self.write & write_walk.tile_end & (tile == tiles_last)),
        ]
        with m.If(self.restart):
            m.d.sync += [layer.eq(0), tile.eq(0)]
        with m.Elif(self.layer_done):
            m.d.sync += [layer.eq(layer + 1), tile.eq(0)]
        with m.Elif(self.write & write_walk.tile_end):
            m.d.sync += tile.eq(tile + 1)
        with m.Switch(layer):
            for index, descriptor in enumerate(program.layers):
                with m.Case(index):
                    m.d.comb += tiles_last.eq(descriptor.tiles - 1)

        # The final layer's accumulators are written as they are.
        m.d.comb += accumulator.o.ready.eq(1)
        with m.If(self.final):
            m.d.comb += self.write.eq(accumulator.o.valid)
            for value, total in zip(self.values, accumulator.o.p, strict=True):
                m.d.comb += value.eq(total)

        # Hidden layers: requantise, activate.
        if hidden:
            shifts = sorted({layer.shift for layer in hidden})
            m.submodules.requantise = requantise = Requantise(
                program.sum_shape,
                multiplier_bits=max(layer.multiplier.bit_length() for layer in hidden),
                shifts=shifts,
                lanes=lanes,
            )
            m.submodules.relu = relu = ReLU(lanes=lanes)
            m.d.comb += [
                requantise.i.valid.eq(accumulator.o.valid & ~self.final),
                requantise.i.p.sums.eq(accumulator.o.p),
                relu.i.valid.eq(requantise.o.valid),
                requantise.o.ready.eq(relu.i.ready),
                relu.i.p.values.eq(requantise.o.p.values),
                relu.i.p.enable.eq(requantise.o.p.tag),
                relu.o.ready.eq(1),
            ]
            with m.Switch(layer):
                for index, descriptor in enumerate(hidden):
                    with m.Case(index):
                        m.d.comb += [
                            requantise.i.p.multiplier.eq(descriptor.multiplier),
                            requantise.i.p.select.eq(shifts.index(descriptor.shift)),
                            requantise.i.p.tag.eq(descriptor.relu),
                        ]
            with m.If(~self.final):
                m.d.comb += self.write.eq(relu.o.valid)
                for value, result in zip(self.values, relu.o.p, strict=True):
                    m.d.comb += value.eq(result)

        return m
