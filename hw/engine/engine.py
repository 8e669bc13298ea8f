# SPDX-License-Identifier: Apache-2.0
"""The engine: runs an integer network, layer by layer."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..array.output_stationary import OutputStationaryArray
from ..post.argmax import ArgMax
from .post import Post
from .sequencer import Phase, Sequencer, Tag

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Output-stationary accelerator for a stack of linear layers, weights in its memories.

    Vectors are loaded, all layers computed, and the logits read out with their arg-max. Activations
    go to and fro between two buffers per row; weights, scales and biases are read in the order in
    which the compiler wrote them.

    :Latency: ``program.latency(vectors)`` cycles from the last input to the last output, if never
        stalled.
    :Throughput: one batch at a time.
    :Backpressure: results wait in their memory.

    Parameters
    ----------
    program : Program

    Members
    -------
    i : In(stream)
        Activations of up to ``rows`` vectors, vector after vector; ``last`` with the very last.
    o : Out(stream)
        Logits vector by vector, ``best`` the arg-max of the vector up to here, ``last`` its end.
    monitor : Out(Signature)
        What happens inside, for simulation: ``phase``, ``layer``, ``step`` (the array computes),
        ``write`` with ``final``, ``row``, ``index`` and ``values`` (see `Post`).
    """

    def __init__(self, program):
        self.program = program
        self.rows, self.inputs = program.config.rows, program.inputs
        self.outputs, self.acc_width = program.outputs, program.sum_shape.width
        self.array = OutputStationaryArray(
            program.config.rows,
            program.config.columns,
            group=program.group,
            drains=program.drains,
            tag=Tag,
        )
        self.sequencer = Sequencer(program)
        self.post = Post(program, self.array.sum_shape)
        self.argmax = ArgMax(program.sum_shape, program.outputs)
        members = self.post.signature.members
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"value": signed(8), "last": 1}))),
            "o": Out(stream.Signature(self.argmax.o.p.shape())),
            "monitor": Out(wiring.Signature({
                "phase": Out(Phase),
                "layer": Out(range(max(len(program.layers), 2))),
                "step": Out(1),
                **{name: members[name] for name in ("write", "final", "row", "index", "values")},
            })),
        })

    def elaborate(self, platform):
        m = Module()
        program, config = self.program, self.program.config
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.array = array = self.array
        m.submodules.post = post = self.post
        m.submodules.argmax = argmax = self.argmax
        loading = sequencer.phase == Phase.LOAD
        rows_per_chain = config.rows // program.drains

        # Weights: one word per step.
        m.submodules.weights = weights = Memory(
            shape=data.ArrayLayout(signed(4), config.columns),
            depth=len(program.weights),
            init=program.weights,
        )
        weight_port = weights.read_port()
        m.d.comb += weight_port.addr.eq(sequencer.weight_ahead)

        # Load: vector after vector, one to a row.
        row = Signal(range(config.rows))
        loaded = Signal.like(row)
        index = Signal(range(program.inputs))
        vector_end = index == program.inputs - 1
        m.d.comb += [
            self.i.ready.eq(loading),
            sequencer.start.eq(self.i.valid & self.i.p.last),
            post.restart.eq(loading),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += index.eq(Mux(vector_end, 0, index + 1))
            with m.If(vector_end):
                m.d.sync += row.eq(row + 1)
            with m.If(self.i.p.last):
                m.d.sync += [row.eq(0), index.eq(0), loaded.eq(row)]

        # Activations: two buffers a row, one read and one written.
        for r in range(config.rows):
            words = 1 << len(sequencer.activation_ahead)
            m.submodules[f"activations_{r}"] = memory = Memory(
                shape=signed(8), depth=2 * words, init=[]
            )
            read, write = memory.read_port(), memory.write_port()
            chain, chain_row = divmod(r, rows_per_chain)
            m.d.comb += [
                read.addr.eq(Cat(sequencer.activation_ahead, sequencer.buffer)),
                array.i.p.activations[r].eq(read.data),
            ]
            with m.If(loading):
                m.d.comb += [
                    write.en.eq(self.i.valid & (row == r)),
                    write.addr.eq(index),
                    write.data.eq(self.i.p.value),
                ]
            with m.Else():
                place = Signal(len(sequencer.activation_ahead), name=f"place_{r}")
                m.d.comb += [
                    place.eq(post.index),
                    write.en.eq(post.write & ~post.final & (post.row == chain_row)),
                    write.addr.eq(Cat(place, ~sequencer.buffer)),
                    write.data.eq(post.values[chain]),
                ]

        # Compute.
        m.d.comb += [
            array.i.valid.eq(sequencer.step.valid),
            sequencer.step.ready.eq(array.i.ready),
            array.i.p.weights.eq(weight_port.data),
            array.i.p.last.eq(sequencer.step.p.last),
            array.i.p.tag.eq(sequencer.step.p.tag),
            post.i.valid.eq(array.o.valid),
            array.o.ready.eq(post.i.ready),
            post.i.p.sums.eq(array.o.p.sums),
            post.i.p.tag.eq(array.o.p.tag),
            sequencer.layer_done.eq(post.layer_done),
        ]

        # Results: logits by chain, row and index.
        depth = program.layers[-1].tiles * config.columns
        place = Signal(range(max(depth, 2)))
        ahead = Signal.like(place)
        read_row = Signal(range(rows_per_chain))
        read_row_ahead = Signal.like(read_row)
        read_chain = Signal(range(program.drains))
        read_vector = Signal.like(row)
        reading = Signal()
        written = Signal(len(place))
        m.d.comb += written.eq(post.index)
        for d in range(program.drains):
            m.submodules[f"results_{d}"] = memory = Memory(
                shape=program.sum_shape, depth=rows_per_chain << len(place), init=[]
            )
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                write.en.eq(post.write & post.final),
                write.addr.eq(Cat(written, post.row)),
                write.data.eq(post.values[d]),
                read.addr.eq(Cat(ahead, read_row_ahead)),
            ]
            with m.If(read_chain == d):
                m.d.comb += argmax.i.p.value.eq(read.data)

        # Read out: vector after vector, as many as were loaded.
        m.d.comb += [
            ahead.eq(place),
            read_row_ahead.eq(read_row),
            argmax.i.valid.eq(reading),
            argmax.i.p.last.eq(place == program.outputs - 1),
        ]
        m.d.sync += [place.eq(ahead), read_row.eq(read_row_ahead)]
        with m.If(sequencer.phase == Phase.READ):
            m.d.sync += reading.eq(1)
        with m.If(reading & argmax.i.ready):
            m.d.comb += ahead.eq(place + 1)
            with m.If(argmax.i.p.last):
                m.d.comb += [ahead.eq(0), read_row_ahead.eq(read_row + 1)]
                m.d.sync += read_vector.eq(read_vector + 1)
                with m.If(read_row == rows_per_chain - 1):
                    m.d.comb += read_row_ahead.eq(0)
                    m.d.sync += read_chain.eq(read_chain + 1)
                with m.If(read_vector == loaded):
                    m.d.comb += [read_row_ahead.eq(0), sequencer.read_done.eq(1)]
                    m.d.sync += [reading.eq(0), read_vector.eq(0), read_chain.eq(0)]
        wiring.connect(m, argmax.o, wiring.flipped(self.o))

        m.d.comb += [
            self.monitor.phase.eq(sequencer.phase),
            self.monitor.layer.eq(sequencer.layer),
            self.monitor.step.eq(array.i.valid & array.i.ready),
            *(
                getattr(self.monitor, name).eq(getattr(post, name))
                for name in ("write", "final", "row", "index", "values")
            ),
        ]

        return m
