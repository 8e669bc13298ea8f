# SPDX-License-Identifier: Apache-2.0
"""Sequencer of graphs: windows over images, tap by tap."""

from functools import partial

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .by_layer import by_layer
from .sequencer import Phase

__all__ = ["GraphSteps", "table_bits"]


def table_bits(words):
    """Width of an address of so many words."""
    return max((words - 1).bit_length(), 1)


class GraphSteps(wiring.Component):
    """Issues the steps of all layers: for each, tile after tile, all pixels of the output.

    A step reads the word at ``pixel + offset`` of every row's memory, the offset from the layer's
    part of the step table, and one word of weights. Where a window reaches beyond the image it is
    not ``inside``.

    Parameters
    ----------
    program : GraphProgram

    Members
    -------
    start : In(1)
        Run the program; taken while ``phase`` is LOAD.
    layer_done : In(1)
        The last result of the layer is being written.
    read_done : In(1)
        The last result has been read.
    step : Out(1)
        A step in this cycle, with ``end`` of its group and ``last`` of its window.
    address, weight : Out
        Of the words to read in this cycle, whether or not there is a step.
    inside : Out(1)
    layer : Out
    phase : Out(Phase)
    """

    def __init__(self, program):
        self.program = program
        super().__init__({
            "start": In(1),
            "layer_done": In(1),
            "read_done": In(1),
            "step": Out(1),
            "end": Out(1),
            "last": Out(1),
            "address": Out(table_bits(program.activation_words)),
            "weight": Out(table_bits(max(map(len, program.weights.values())))),
            "inside": Out(1),
            "layer": Out(range(max(len(program.layers), 2))),
            "phase": Out(Phase),
        })

    def elaborate(self, platform):
        m = Module()
        program, layers = self.program, self.program.layers
        bits = len(self.address)
        axis = max((max(layer.height, layer.width, *layer.padding) + max(layer.stride) * 2 + max(
            step.y + step.x for step in program.steps)).bit_length() for layer in layers) + 1

        # Step table: the entry of this cycle is read in the one before.
        entry_layout = data.StructLayout({
            "offset": bits, "y": signed(axis), "x": signed(axis), "end": 1, "last": 1})
        m.submodules.table = table = Memory(
            shape=entry_layout, depth=len(program.steps),
            init=[{"offset": step.offset % (1 << bits), "y": step.y, "x": step.x,
                   "end": int(step.end), "last": int(step.last)} for step in program.steps])
        port = table.read_port()
        entry = port.data
        place = Signal(table_bits(len(program.steps)))
        ahead = Signal.like(place)
        m.d.comb += [port.addr.eq(ahead), ahead.eq(place)]
        m.d.sync += place.eq(ahead)

        # Numbers of the layer.
        number = partial(by_layer, m, self.layer, list(enumerate(layers)))

        step_base = number("step_base", len(place), lambda la: la.step_base)
        weight_base = number("weight_base", len(self.weight), lambda la: la.weight_base)
        widest = max(max(la.out_width, la.out_height) for la in layers)
        last_x = number("last_x", range(widest), lambda la: la.out_width - 1)
        last_y = number("last_y", range(widest), lambda la: la.out_height - 1)
        last_tile = number("last_tile", range(max(la.tiles for la in layers)),
                           lambda la: la.tiles - 1)
        tile_stride = number("tile_stride", bits, lambda la: la.tile_stride)
        step_x = number("step_x", bits, lambda la: la.stride[1] * la.words)
        step_y = number("step_y", bits, lambda la: (
            la.stride[0] * la.width - (la.out_width - 1) * la.stride[1]) * la.words % (1 << bits))
        corner = number("corner", bits, lambda la: (
            la.base - (la.padding[0] * la.width + la.padding[1]) * la.words) % (1 << bits))
        wait_after = number("wait_after", range(max(program.spacing(la) for la in layers) + 1),
                            lambda la: program.spacing(la) - 1)

        # Where the window is: pixel of the output, word and place of the input.
        x, y = Signal.like(last_x, name="x"), Signal.like(last_y, name="y")
        tile = Signal.like(last_tile, name="tile")
        pixel, first_pixel = Signal(bits), Signal(bits)
        weight, tile_weight = Signal.like(self.weight), Signal.like(self.weight)
        inside = Signal(init=1)
        if any(layer.padded for layer in layers):
            inside = self._inside(m, number, axis, x, y, entry)
        m.d.comb += [
            self.address.eq(pixel + entry.offset),
            self.weight.eq(weight),
            self.inside.eq(inside),
            self.end.eq(entry.end),
            self.last.eq(entry.last),
        ]

        # A group's end waits until the sums of the one before are out of the way.
        wait = Signal.like(wait_after, name="wait")
        with m.If(self.step & entry.end):
            m.d.sync += wait.eq(wait_after)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)

        x_end, y_end, tile_end = x == last_x, y == last_y, tile == last_tile
        with m.Switch(self.phase):
            with m.Case(Phase.LOAD):
                m.d.sync += self.layer.eq(0)
                with m.If(self.start):
                    m.d.sync += self.phase.eq(Phase.PREPARE)
            with m.Case(Phase.PREPARE):
                m.d.comb += ahead.eq(step_base)
                m.d.sync += [
                    self.phase.eq(Phase.RUN), pixel.eq(corner), first_pixel.eq(corner),
                    weight.eq(weight_base), tile_weight.eq(weight_base), wait.eq(0),
                    x.eq(0), y.eq(0), tile.eq(0),
                ]
            with m.Case(Phase.RUN):
                m.d.comb += self.step.eq(~entry.end | (wait == 0))
                with m.If(self.step):
                    m.d.comb += ahead.eq(place + 1)
                    m.d.sync += weight.eq(weight + 1)
                with m.If(self.step & entry.last):
                    m.d.comb += ahead.eq(step_base)
                    m.d.sync += [weight.eq(tile_weight), x.eq(x + 1), pixel.eq(pixel + step_x)]
                    with m.If(x_end):
                        m.d.sync += [x.eq(0), y.eq(y + 1), pixel.eq(pixel + step_y)]
                    with m.If(x_end & y_end):
                        m.d.sync += [
                            y.eq(0), tile.eq(tile + 1), pixel.eq(first_pixel + tile_stride),
                            first_pixel.eq(first_pixel + tile_stride),
                            weight.eq(weight + 1), tile_weight.eq(weight + 1),
                        ]
                        with m.If(tile_end):
                            m.d.sync += self.phase.eq(Phase.DRAIN)
            with m.Case(Phase.DRAIN):
                with m.If(self.layer_done):
                    with m.If(self.layer == len(layers) - 1):
                        m.d.sync += self.phase.eq(Phase.READ)
                    with m.Else():
                        m.d.sync += [self.layer.eq(self.layer + 1), self.phase.eq(Phase.PREPARE)]
            with m.Case(Phase.READ):
                with m.If(self.read_done):
                    m.d.sync += self.phase.eq(Phase.LOAD)

        return m

    def _inside(self, m, number, axis, x, y, entry):
        """Whether the step's place is one of the image."""
        flags = []
        for name, index, offset, n in (("y", y, entry.y, 0), ("x", x, entry.x, 1)):
            stride = number(f"stride_{name}", range(max(
                la.stride[n] for la in self.program.layers) + 1), lambda la, n=n: la.stride[n])
            before = number(f"before_{name}", axis, lambda la, n=n: la.padding[n])
            size = number(f"size_{name}", axis, lambda la, n=n: (la.height, la.width)[n])
            at = Signal(signed(axis + 2), name=f"at_{name}")
            m.d.comb += at.eq(index * stride + offset - before)
            flags += [at >= 0, at < size]
        found = Signal(name="is_inside")
        m.d.comb += found.eq(Cat(flags).all())
        return found
