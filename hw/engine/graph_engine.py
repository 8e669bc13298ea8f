# SPDX-License-Identifier: Apache-2.0
"""The engine of graphs: convolutions, pooling, residual additions, all on chip."""

from contextlib import nullcontext
from functools import partial

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..array.pe_array import PEArray
from ..post.argmax import ArgMax
from .by_layer import by_layer
from .graph_post import GraphPost
from .graph_program import Unit
from .graph_steps import GraphSteps, table_bits
from .graph_vector import Addition, Greatest
from .sequencer import Phase

__all__ = ["GraphEngine"]


class GraphEngine(wiring.Component):
    """Runs an integer network of convolutions, linear layers, pooling and additions.

    Each row of the array computes one sample, whose activations lie in the row's own memory,
    channels innermost, ``lanes`` of them in a word. Windows are addressed tap by tap in place:
    nothing is copied. Weights, scales and biases are read in the order in which the compiler wrote
    them.

    :Latency: ``program.latency(vectors)`` cycles from the last input to the last output, if never
        stalled.
    :Throughput: one batch at a time.
    :Backpressure: results wait in their memory.

    Parameters
    ----------
    program : GraphProgram

    Members
    -------
    i : In(stream)
        Activations of up to ``rows`` samples, sample after sample, channel-last; ``last`` with the
        very last.
    o : Out(stream)
        Logits sample by sample, ``best`` the arg-max of the sample up to here, ``last`` its end.
    monitor : Out(Signature)
        What happens inside, for simulation: ``phase``, ``layer``, ``step``, ``write`` with
        ``final``, ``rows`` (one bit each), ``index`` (of the word) and ``values`` by row and lane.
    """

    def __init__(self, program):
        self.program = program
        config = program.config
        self.rows, self.inputs = config.rows, program.inputs
        self.outputs, self.acc_width = program.outputs, program.sum_shape.width
        self.array = PEArray(program.kind, config.rows, config.columns, steps=program.group,
                             chains=config.lanes, systolic=False)
        self.steps = GraphSteps(program)
        self.post = GraphPost(program, self.array.sum_shape)
        self.argmax = ArgMax(program.sum_shape, program.outputs)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"value": signed(8), "last": 1}))),
            "o": Out(stream.Signature(self.argmax.o.p.shape())),
            "monitor": Out(wiring.Signature({
                "phase": Out(Phase),
                "layer": Out(range(max(len(program.layers), 2))),
                "step": Out(1),
                "write": Out(1),
                "final": Out(1),
                "rows": Out(config.rows),
                "index": Out(table_bits(max(program.activation_words,
                                            program.layers[-1].out_words))),
                "values": Out(data.ArrayLayout(
                    data.ArrayLayout(program.sum_shape, config.lanes), config.rows)),
            })),
        })

    def elaborate(self, platform):
        m = Module()
        program, config = self.program, self.program.config
        rows, lanes, layers = config.rows, config.lanes, program.layers
        m.submodules.steps = steps = self.steps
        m.submodules.array = array = self.array
        m.submodules.post = post = self.post
        loading = steps.phase == Phase.LOAD
        word_layout = data.ArrayLayout(signed(8), lanes)

        number = partial(by_layer, m, steps.layer, list(enumerate(layers)))
        unit = number("unit", Unit, lambda la: la.unit)
        final = number("final", 1, lambda la: la.final)

        self._weights(m, number, steps.weight, array.i.p.columns)

        # Activations: a memory for each row.
        ports = []
        for r in range(rows):
            m.submodules[f"activations_{r}"] = memory = Memory(
                shape=word_layout, depth=max(program.activation_words, 2), init=[])
            ports.append((memory.read_port(), memory.write_port()))
            m.d.comb += ports[r][0].addr.eq(steps.address)

        # A step's operands, one cycle after it.
        step = Signal(data.StructLayout({"valid": 1, "end": 1, "last": 1, "inside": 1}))
        m.d.sync += [step.valid.eq(steps.step), step.end.eq(steps.end), step.last.eq(steps.last),
                     step.inside.eq(steps.inside)]
        m.d.comb += [array.i.valid.eq(step.valid & (unit == Unit.MAC)),
                     array.i.p.last.eq(step.end)]
        operands = []
        for r, (read, _) in enumerate(ports):
            operand = Signal(8 * lanes, name=f"operand_{r}")
            m.d.comb += [operand.eq(Mux(step.inside, Value.cast(read.data), 0)),
                         Value.cast(array.i.p.rows[r]).eq(operand)]
            operands.append(read.data)
        wiring.connect(m, array.o, post.sums)
        m.d.comb += [post.restart.eq(steps.phase == Phase.PREPARE), post.layer.eq(steps.layer)]

        # Results of a word: of one row, or of all rows at once.
        results = [(post.valid & ~final, [[*post.values]] * rows, Unit.MAC)]
        if any(layer.unit is Unit.MAX for layer in layers):
            m.submodules.greatest = greatest = Greatest(rows, lanes)
            m.d.comb += [greatest.valid.eq(step.valid & (unit == Unit.MAX)),
                         greatest.inside.eq(step.inside), greatest.last.eq(step.last)]
            for mine, operand in zip(greatest.values, operands, strict=True):
                m.d.comb += mine.eq(operand)
            results.append((greatest.done, [[*word] for word in greatest.results], Unit.MAX))
        if any(layer.unit is Unit.ADD for layer in layers):
            m.submodules.addition = addition = Addition(program)
            m.d.comb += [addition.valid.eq(step.valid & (unit == Unit.ADD)),
                         addition.last.eq(step.last), addition.layer.eq(steps.layer)]
            for mine, operand in zip(addition.values, operands, strict=True):
                m.d.comb += mine.eq(operand)
            results.append((addition.done, [[*addition.results]] * rows, Unit.ADD))
        write = Signal()
        values = Signal(data.ArrayLayout(word_layout, rows))
        m.d.comb += write.eq(Cat(done for done, _, _ in results).any() | (post.total & final))
        for _, words, of in results:
            with m.If(unit == of):
                m.d.comb += [values[r][k].eq(value)
                             for r, word in enumerate(words) for k, value in enumerate(word)]

        # Where they go.
        place = self._places(m, number, unit, write, steps)

        # Load: sample after sample, one to a row.
        load = self._load(m, loading, steps)
        for r, (_, port) in enumerate(ports):
            with m.If(loading):
                m.d.comb += [port.en.eq(load.write & (load.row == r)), port.addr.eq(load.address),
                             port.data.eq(load.word)]
            with m.Else():
                m.d.comb += [
                    port.en.eq(write & ~final & place.real
                               & ((unit == Unit.MAX) | (place.row == r))),
                    port.addr.eq(place.address), port.data.eq(values[r]),
                ]

        # Results: logits by row and word.
        self._read_out(m, write & final & place.real, place, load.rows, steps)

        m.d.comb += [
            self.monitor.phase.eq(steps.phase),
            self.monitor.layer.eq(steps.layer),
            self.monitor.step.eq(steps.step),
            self.monitor.write.eq(write & place.real),
            self.monitor.final.eq(final),
            self.monitor.rows.eq(Cat((unit == Unit.MAX) | (place.row == r) for r in range(rows))),
            self.monitor.index.eq(place.address),
        ]
        for r in range(rows):
            for k in range(lanes):
                m.d.comb += self.monitor.values[r][k].eq(
                    Mux(final, post.accumulators[k], values[r][k]))

        return m

    def _weights(self, m, number, address, columns):
        """Memories of weights, one of each width: one word per step, extended to the widest."""
        program = self.program
        count = program.config.columns * program.config.lanes
        wide = Signal(data.ArrayLayout(signed(program.weight.bits), count), name="weights")
        width = number("weight_bits", range(program.weight.bits + 1), lambda la: la.weight_bits)
        m.d.comb += Value.cast(columns).eq(Value.cast(wide))
        for bits, words in program.weights.items():
            m.submodules[f"weights_{bits}"] = memory = Memory(
                shape=data.ArrayLayout(signed(bits), count), depth=len(words), init=words)
            port = memory.read_port()
            m.d.comb += port.addr.eq(address)
            with m.If(width == bits) if len(program.weights) > 1 else nullcontext():
                m.d.comb += [each.eq(code) for each, code in zip(wide, port.data, strict=True)]

    def _places(self, m, number, unit, write, steps):
        """Row, address, and whether it is there, of the word that is written next."""
        program, config = self.program, self.program.config
        layers, rows = program.layers, config.rows
        bits = len(self.monitor.index)
        row = Signal(range(rows), init=rows - 1)
        word = Signal(range(config.words_per_tile))
        pixel = Signal(range(max(la.pixels for la in layers)))
        tile = Signal(range(max(la.tiles for la in layers)))
        first, address, tile_address = (Signal(bits, name=name) for name in (
            "first_word", "pixel_address", "tile_address"))
        last_word = number("last_word", word.shape(), lambda la: la.words_per_tile - 1)
        last_pixel = number("last_out_pixel", pixel.shape(), lambda la: la.pixels - 1)
        last_tile = number("last_out_tile", tile.shape(), lambda la: la.tiles - 1)
        out_words = number("out_words", bits, lambda la: la.out_words)
        per_tile = number("per_tile", bits, lambda la: la.words_per_tile)
        out_base = number("out_base", bits, lambda la: la.out_base)
        row_end = (unit == Unit.MAX) | (row == 0)
        word_end, pixel_end = word == 0, pixel == last_pixel
        with m.If(steps.phase == Phase.PREPARE):
            m.d.sync += [word.eq(last_word), address.eq(out_base), tile_address.eq(out_base),
                         first.eq(0), tile.eq(0), pixel.eq(0), row.eq(rows - 1)]
        with m.Elif(write):
            m.d.sync += row.eq(Mux(row_end, rows - 1, row - 1))
            with m.If(row_end):
                m.d.sync += word.eq(Mux(word_end, last_word, word - 1))
            with m.If(row_end & word_end):
                m.d.sync += [address.eq(address + out_words),
                             pixel.eq(Mux(pixel_end, 0, pixel + 1))]
                with m.If(pixel_end):
                    m.d.sync += [tile.eq(tile + 1), first.eq(first + per_tile),
                                 address.eq(tile_address + per_tile),
                                 tile_address.eq(tile_address + per_tile)]
        m.d.comb += steps.layer_done.eq(
            write & row_end & word_end & pixel_end & (tile == last_tile))
        found = Signal(data.StructLayout({"row": row.shape(), "address": bits, "real": 1}),
                       name="place")
        m.d.comb += [found.row.eq(row), found.address.eq(address + word),
                     found.real.eq(first + word < out_words)]
        return found

    def _load(self, m, loading, steps):
        """Words of the input from its values."""
        program, config = self.program, self.program.config
        channels = program.input_shape[2]
        bits = table_bits(program.activation_words)
        lane = Signal(range(config.lanes))
        channel = Signal(range(channels))
        left = Signal(range(program.inputs), init=program.inputs - 1)
        held = Signal(8 * config.lanes)
        found = Signal(data.StructLayout({
            "write": 1, "row": range(config.rows), "address": bits,
            "word": data.ArrayLayout(signed(8), config.lanes), "rows": range(config.rows)}),
            name="load")
        row, rows = (Signal(range(config.rows), name=name) for name in ("sample", "loaded"))
        address = Signal(bits, init=program.layers[0].base, name="filled")
        moved = self.i.valid & self.i.ready
        channel_end, sample_end = channel == channels - 1, left == 0
        word_end = channel_end | (lane == config.lanes - 1)
        m.d.comb += [
            self.i.ready.eq(loading),
            steps.start.eq(self.i.valid & self.i.p.last),
            found.write.eq(moved & word_end),
            found.row.eq(row), found.rows.eq(rows), found.address.eq(address),
        ]
        for k in range(config.lanes):
            m.d.comb += found.word[k].eq(Mux(
                lane == k, self.i.p.value, held[8 * k:8 * k + 8].as_signed()))
        with m.If(moved):
            m.d.sync += [
                lane.eq(Mux(word_end, 0, lane + 1)),
                channel.eq(Mux(channel_end, 0, channel + 1)),
                left.eq(Mux(sample_end, program.inputs - 1, left - 1)),
                held.eq(Mux(word_end, 0, Value.cast(found.word))),
                address.eq(address + word_end),
            ]
            with m.If(sample_end):
                m.d.sync += [row.eq(row + 1), address.eq(program.layers[0].base)]
            with m.If(self.i.p.last):
                m.d.sync += [
                    row.eq(0), rows.eq(row), lane.eq(0), channel.eq(0), held.eq(0),
                    left.eq(program.inputs - 1), address.eq(program.layers[0].base)]
        return found

    def _read_out(self, m, write, place, loaded, steps):
        """Memory of results, and their way out: sample after sample, as many as were loaded."""
        program, config = self.program, self.program.config
        m.submodules.argmax = argmax = self.argmax
        bits = table_bits(program.layers[-1].out_words)
        m.submodules.results = memory = Memory(
            shape=data.ArrayLayout(program.sum_shape, config.lanes),
            depth=max(config.rows << bits, 2), init=[])
        port, read = memory.write_port(), memory.read_port()
        m.d.comb += [port.en.eq(write), port.addr.eq(Cat(place.address[:bits], place.row)),
                     port.data.eq(self.post.accumulators)]

        row, row_ahead = (Signal(range(config.rows), name=name) for name in ("row", "row_ahead"))
        word, word_ahead = (Signal(bits, name=name) for name in ("word", "word_ahead"))
        lane, output = Signal(range(config.lanes)), Signal(range(program.outputs))
        reading = Signal()
        lane_end = lane == config.lanes - 1
        m.d.comb += [
            read.addr.eq(Cat(word_ahead, row_ahead)),
            word_ahead.eq(word), row_ahead.eq(row),
            argmax.i.valid.eq(reading),
            argmax.i.p.value.eq(Array(read.data)[lane]),
            argmax.i.p.last.eq(output == program.outputs - 1),
        ]
        m.d.sync += [word.eq(word_ahead), row.eq(row_ahead)]
        with m.If(steps.phase == Phase.READ):
            m.d.sync += reading.eq(1)
        with m.If(reading & argmax.i.ready):
            m.d.sync += [lane.eq(Mux(lane_end, 0, lane + 1)), output.eq(output + 1)]
            m.d.comb += word_ahead.eq(word + lane_end)
            with m.If(argmax.i.p.last):
                m.d.comb += [word_ahead.eq(0), row_ahead.eq(row + 1)]
                m.d.sync += [lane.eq(0), output.eq(0)]
                with m.If(row == loaded):
                    m.d.comb += [row_ahead.eq(0), steps.read_done.eq(1)]
                    m.d.sync += reading.eq(0)
        wiring.connect(m, argmax.o, wiring.flipped(self.o))
