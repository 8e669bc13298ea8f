# SPDX-License-Identifier: Apache-2.0
"""What follows the array in an engine of graphs: scale, accumulate, requantise."""

import functools

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..fixed.requantise import Requantise
from .by_layer import by_layer
from .graph_program import Unit
from .graph_steps import table_bits

__all__ = ["GraphPost", "clamped"]


def clamped(value, low, high):
    """A value within limits."""
    return Mux(value < low, low, Mux(value > high, high, value))


class GraphPost(wiring.Component):
    """Sums of groups to results: ``clamp(round((bias + sum_g S[g] * P[g]) * b / 2 ** c))``.

    Tables are read in the order in which sums leave the array: each entry serves all rows.

    Parameters
    ----------
    program : GraphProgram
    sum_shape : Shape
        Of the array's sums.

    Members
    -------
    restart : In(1)
        Before the first sum of a layer.
    layer : In
    sums : In(stream)
    values : Out
        Results of a word in the cycle in which ``valid``; the ``accumulators`` with ``total``,
        two cycles earlier.
    """

    def __init__(self, program, sum_shape):
        self.program, self.sum_shape = program, Shape.cast(sum_shape)
        lanes = program.config.lanes
        super().__init__({
            "restart": In(1),
            "layer": In(range(max(len(program.layers), 2))),
            "sums": In(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(sum_shape, lanes), "tag": 1}), always_ready=True)),
            "total": Out(1),
            "accumulators": Out(data.ArrayLayout(program.sum_shape, lanes)),
            "valid": Out(1),
            "values": Out(data.ArrayLayout(signed(8), lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        program, config = self.program, self.program.config
        lanes, rows = range(config.lanes), config.rows
        macs = [(k, la) for k, la in enumerate(program.layers) if la.unit is Unit.MAC]

        number = functools.partial(by_layer, m, self.layer, macs)

        # Place of the sums.
        row = Signal(range(rows))
        word = Signal(range(config.words_per_tile))
        group = Signal(range(max(la.groups for _, la in macs)))
        pixel = Signal(range(max(la.pixels for _, la in macs)))
        last_group = number("last_group", len(group), lambda la: la.groups - 1)
        last_pixel = number("last_pixel", len(pixel), lambda la: la.pixels - 1)
        scale, tile_scale = (Signal(table_bits(len(program.scales)), name=name)
                             for name in ("scale", "tile_scale"))
        channel, tile_channel = (Signal(table_bits(len(program.channels)), name=name)
                                 for name in ("channel", "tile_channel"))
        scale_base = number("scale_base", len(scale), lambda la: la.scale_base)
        channel_base = number("channel_base", len(channel), lambda la: la.channel_base)
        row_end, word_end = row == rows - 1, word == config.words_per_tile - 1
        group_end, pixel_end = group == last_group, pixel == last_pixel
        with m.If(self.restart):
            m.d.sync += [scale.eq(scale_base), tile_scale.eq(scale_base),
                         channel.eq(channel_base), tile_channel.eq(channel_base)]
        with m.Elif(self.sums.valid):
            m.d.sync += row.eq(Mux(row_end, 0, row + 1))
            with m.If(row_end):
                m.d.sync += [word.eq(Mux(word_end, 0, word + 1)), scale.eq(scale + 1),
                             channel.eq(Mux(word_end, tile_channel, channel + 1))]
            with m.If(row_end & word_end):
                m.d.sync += group.eq(Mux(group_end, 0, group + 1))
                with m.If(group_end):
                    m.d.sync += [scale.eq(tile_scale), pixel.eq(Mux(pixel_end, 0, pixel + 1))]
                    with m.If(pixel_end):
                        m.d.sync += [tile_scale.eq(scale + 1), scale.eq(scale + 1),
                                     channel.eq(channel + 1), tile_channel.eq(channel + 1)]

        # Stage 1: read tables.
        m.submodules.scales = scales = Memory(
            shape=data.ArrayLayout(program.scale_bits, config.lanes), depth=len(program.scales),
            init=program.scales)
        select_bits = table_bits(len(program.shifts))
        entry = data.ArrayLayout(data.StructLayout({
            "bias": program.sum_shape, "multiplier": program.multiplier_bits,
            "select": select_bits}), config.lanes)
        m.submodules.channels = channels = Memory(
            shape=entry, depth=len(program.channels), init=[
                [{"bias": bias, "multiplier": b, "select": select} for bias, b, select in line]
                for line in program.channels])
        scale_port, channel_port = scales.read_port(), channels.read_port()
        m.d.comb += [scale_port.addr.eq(scale), channel_port.addr.eq(channel)]
        slot = Signal(range(config.chain))
        with m.If(self.sums.valid):
            m.d.sync += slot.eq(Mux(slot == config.chain - 1, 0, slot + 1))
        flags = data.StructLayout({"valid": 1, "first": 1, "last": 1,
                                   "slot": slot.shape()})
        read = Signal(flags)
        sums = [Signal(self.sum_shape, name=f"sum_{k}", reset_less=True) for k in lanes]
        m.d.sync += [read.valid.eq(self.sums.valid), read.first.eq(group == 0),
                     read.last.eq(group_end), read.slot.eq(slot),
                     *(each.eq(total) for each, total in zip(
                         sums, self.sums.p.sums, strict=True))]

        # Stage 2: scale.
        scaled = Signal(flags)
        m.d.sync += scaled.eq(read)
        m.submodules.partial = partial = Memory(
            shape=data.ArrayLayout(program.sum_shape, config.lanes), depth=config.chain, init=[])
        partial_read, partial_write = partial.read_port(), partial.write_port()
        m.d.comb += [partial_read.addr.eq(read.slot), partial_write.addr.eq(scaled.slot),
                     partial_write.en.eq(scaled.valid)]
        line = Signal(entry, reset_less=True)
        m.d.sync += line.eq(channel_port.data)
        terms = []
        for k in lanes:
            product = sums[k] * scale_port.data[k]
            term = Signal(product.shape(), name=f"term_{k}", reset_less=True)
            m.d.sync += term.eq(product)
            terms.append(term)

        # Stage 3: accumulate.
        kept = Signal(entry, reset_less=True)
        m.d.sync += [kept.eq(line), self.total.eq(scaled.valid & scaled.last)]
        for k in lanes:
            total = Signal(program.sum_shape, name=f"total_{k}")
            m.d.comb += [
                total.eq(Mux(scaled.first, line[k].bias, partial_read.data[k]) + terms[k]),
                partial_write.data[k].eq(total),
            ]
            m.d.sync += self.accumulators[k].eq(total)

        # Stages 4 and 5: requantise.
        m.submodules.requantise = requantise = Requantise(
            program.sum_shape, multiplier_bits=program.multiplier_bits, shifts=program.shifts,
            lanes=config.lanes, per_channel=True)
        low = number("low", signed(8), lambda la: la.low)
        high = number("high", signed(8), lambda la: la.high)
        m.d.comb += [
            requantise.i.valid.eq(self.total),
            Value.cast(requantise.i.p.sums).eq(Value.cast(self.accumulators)),
            requantise.o.ready.eq(1),
            self.valid.eq(requantise.o.valid),
        ]
        for k in lanes:
            m.d.comb += [
                requantise.i.p.multiplier[k].eq(kept[k].multiplier),
                requantise.i.p.select[k].eq(kept[k].select),
                self.values[k].eq(clamped(requantise.o.p.values[k], low, high)),
            ]

        return m
