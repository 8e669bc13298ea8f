# SPDX-License-Identifier: Apache-2.0
"""Memory of results, and their way out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Results"]


class Results(wiring.Component):
    """Keeps the results of tiles until they have been sent, tile after tile.

    :Latency: two cycles from the end of a tile to its first word.
    :Throughput: one word per cycle within a tile.
    :Backpressure: results wait in the memory; there is room, for which the sequencer counts.

    Parameters
    ----------
    config : GemmConfig

    Members
    -------
    write, place, values : In
        A line, one result of each chain.
    complete, end : In(1)
        It is the last of its tile, which is the last of the program.
    free : Out
        Lines that are given back in this cycle.
    o : Out(stream)
        ``data``, a line after the other, each in whole words; ``last`` ends the program.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "write": In(1),
            "place": In(range(config.result_lines)),
            "values": In(data.ArrayLayout(config.sum_shape, config.chains)),
            "complete": In(1),
            "end": In(1),
            "free": Out(range(config.chain + 1)),
            "o": Out(stream.Signature(data.StructLayout({"data": config.bus, "last": 1}))),
        })

    def elaborate(self, platform):
        m = Module()
        config, bus = self.config, self.config.bus
        m.submodules.memory = memory = Memory(
            shape=self.values.shape(), depth=config.result_lines, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.place),
                     write.data.eq(self.values)]

        # Tiles that are complete; the end of a program is the last of them.
        tiles = Signal(range(config.result_lines // config.chain + 1))
        ends = Signal()
        place, line = Signal.like(self.place), Signal(range(config.chain))
        ahead = Signal.like(place)
        beat, sending = Signal(range(max(config.result_beats, 2))), Signal()
        sent = self.o.valid & self.o.ready
        line_end = beat == config.result_beats - 1
        tile_end = Signal()
        m.d.comb += [
            tile_end.eq(sent & line_end & (line == config.chain - 1)),
            self.free.eq(Mux(tile_end, config.chain, 0)),
            read.addr.eq(ahead),
            ahead.eq(place),
            self.o.valid.eq(sending),
            self.o.p.last.eq(ends & (tiles == 1) & line_end & (line == config.chain - 1)),
        ]
        m.d.sync += [place.eq(ahead), tiles.eq(tiles + self.complete - tile_end)]
        with m.If(self.complete):
            m.d.sync += ends.eq(self.end)
        with m.If(~sending):
            m.d.sync += sending.eq(tiles != 0)
        with m.If(sent):
            m.d.sync += beat.eq(Mux(line_end, 0, beat + 1))
            with m.If(line_end):
                m.d.comb += ahead.eq(place + 1)
                m.d.sync += line.eq(line + 1)
        with m.If(tile_end):
            m.d.sync += [line.eq(0), sending.eq(0)]

        # Words of a line: each result in whole bytes.
        results = Cat(_bytes(value, config.result_bits) for value in read.data)
        words = [results[k * bus:(k + 1) * bus] for k in range(config.result_beats)]
        m.d.comb += self.o.p.data.eq(Array(words)[beat])

        return m


def _bytes(value, bits):
    """A value in so many bits."""
    shape = value.shape()
    return Cat(value, (value[-1] if shape.signed else Const(0, 1)).replicate(bits - len(value)))
