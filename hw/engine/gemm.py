# SPDX-License-Identifier: Apache-2.0
"""The matrix engine: GEMMs of any size on an array of any kind."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arithmetic import check_positive
from ..array.pe_array import PEArray
from .collector import Collector
from .gemm_config import descriptor_words, program_words
from .loader import MEMORIES, Loader, depth
from .results import Results
from .steps import Steps

__all__ = ["GemmEngine"]


class GemmEngine(wiring.Component):
    """Matrix products ``C = A @ B.T`` by an output-stationary array, fed from a stream.

    A program is a list of `Descriptor` s, one GEMM each. A loader fills the memories ahead of the
    sequencer, which keeps the array busy as long as panels are there, and results leave while the
    next tile is computed. The stream brings panels in the order in which they are needed: see
    :mod:`.images`.

    :Latency: ``schedule(config, layers)`` gives every cycle.
    :Throughput: one step of the array per cycle.
    :Backpressure: input waits for memory, results in theirs, and the array for either.

    Parameters
    ----------
    config : GemmConfig
    layers : int
        Most descriptors of a program.
    program : list of Layer, optional
        That the program memory starts with.

    Members
    -------
    start : In(1)
        Run the program; taken while not ``busy``.
    busy : Out(1)
    done : Out(1)
        In the last cycle of a run.
    abort : In(1)
        Back to idle; what is under way is forgotten.
    program : In(Signature)
        ``data``, a 32-bit word, is written at ``address`` when ``en``; not while busy.
    i, o : In, Out(stream)
        ``data`` of ``config.bus`` bits; ``last`` with the very last word of a run, of no meaning on
        ``i``.
    monitor : Out(Signature)
        ``step``: the array computes in this cycle.
    """

    def __init__(self, config, *, layers=16, program=()):
        check_positive("Layers", layers)
        if len(program) > layers:
            raise ValueError(f"Program must have at most {layers} layers, not {len(program)}")
        self.config, self.layers, self.initial = config, layers, list(program)
        self.bus = config.bus
        self.array = PEArray(config.kind, config.rows, config.columns, steps=config.longest_group,
                             chains=config.chains, systolic=config.systolic)
        words = data.StructLayout({"data": config.bus, "last": 1})
        super().__init__({
            "start": In(1), "busy": Out(1), "done": Out(1), "abort": In(1),
            "program": In(wiring.Signature({
                "address": Out(range(max(layers * descriptor_words(), 2))), "data": Out(32),
                "en": Out(1)})),
            "i": In(stream.Signature(words)),
            "o": Out(stream.Signature(words)),
            "monitor": Out(wiring.Signature({"step": Out(1)})),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = ResetInserter(self.abort)(self._core())
        return m

    def _core(self):
        m = Module()
        config = self.config
        m.submodules.array = array = self.array
        m.submodules.loader = loader = Loader(config, layers=self.layers)
        m.submodules.steps = steps = Steps(config, layers=self.layers)
        m.submodules.collector = collector = Collector(config, array)
        m.submodules.results = results = Results(config)

        # Program.
        words = descriptor_words()
        initial = program_words(self.initial)
        m.submodules.program = program = Memory(
            shape=data.ArrayLayout(32, words), depth=self.layers,
            init=[initial[k:k + words] for k in range(0, len(initial), words)])
        write = program.write_port(granularity=1)
        bits = (words - 1).bit_length()  # of a power of two
        m.d.comb += [write.addr.eq(self.program.address[bits:]),
                     write.en.eq(self.program.en << self.program.address[:bits])]
        for k in range(words):
            m.d.comb += write.data[k].eq(self.program.data)
        for reader in loader, steps:
            port = program.read_port()
            m.d.comb += [port.addr.eq(reader.layer),
                         Value.cast(reader.descriptor).eq(Value.cast(port.data)),
                         reader.start.eq(self.start & ~self.busy)]

        # Input.
        m.d.comb += [loader.i.valid.eq(self.i.valid), loader.i.p.eq(self.i.p.data),
                     self.i.ready.eq(loader.i.ready)]

        # Operands: a bank for each row and column, read one cycle after its neighbour.
        sides = {"a": (array.i.p.rows, steps.a), "w": (array.i.p.columns, steps.w)}
        for name, (operands, address) in sides.items():
            bits = Shape.cast(operands.shape().elem_shape).width
            for k, operand in enumerate(operands):
                m.submodules[f"{name}_{k}"] = bank = Memory(
                    shape=bits, depth=depth(config, name), init=[])
                read, write = bank.read_port(), bank.write_port()
                if k and config.systolic:
                    before, address = address, Signal(len(address), name=f"{name}_address_{k}")
                    m.d.sync += address.eq(before)
                m.d.comb += [
                    read.addr.eq(address), Value.cast(operand).eq(read.data),
                    write.en.eq(getattr(loader, f"write_{name}")),
                    write.addr.eq(getattr(loader, f"place_{name}")),
                    write.data.eq(loader.line[k * bits:(k + 1) * bits]),
                ]
        step = Signal(data.StructLayout({"valid": 1, "last": 1}))
        m.d.sync += [step.valid.eq(steps.step), step.last.eq(steps.last)]
        m.d.comb += [array.i.valid.eq(step.valid), array.i.p.last.eq(step.last),
                     self.monitor.step.eq(steps.step)]

        # Scales and biases: whole lines.
        for name in MEMORIES[1:]:
            bits = getattr(config, f"{name}_bits")
            if name not in sides and bits:
                m.submodules[name] = memory = Memory(
                    shape=bits, depth=depth(config, name), init=[])
                read, write = memory.read_port(), memory.write_port()
                m.d.comb += [
                    read.addr.eq(getattr(collector, name)),
                    getattr(collector, f"value_{name}").eq(read.data),
                    write.en.eq(getattr(loader, f"write_{name}")),
                    write.addr.eq(getattr(loader, f"place_{name}")),
                    write.data.eq(loader.line),
                ]

        # What the parts tell each other.
        freed = {"a": (collector.free_a, collector.steps),
                 "a_scale": (collector.free_a, collector.groups),
                 "w": (collector.free_w, collector.steps),
                 "w_scale": (collector.free_w, collector.groups),
                 "bias": (collector.free_w, 1)}
        for name in loader.widths:
            flag, lines = freed[name]
            m.d.comb += getattr(loader, f"free_{name}").eq(Mux(flag, lines, 0))
        m.d.comb += [
            steps.loaded_a.eq(loader.loaded_a),
            steps.loaded_w.eq(loader.loaded_w),
            steps.free_results.eq(results.free),
            results.write.eq(collector.write),
            results.place.eq(collector.place),
            results.values.eq(collector.results),
            results.complete.eq(collector.complete),
            results.end.eq(collector.end),
        ]
        wiring.connect(m, steps.tile, collector.tile)
        wiring.connect(m, array.o, collector.sums)
        wiring.connect(m, results.o, wiring.flipped(self.o))

        # Run.
        m.d.comb += self.done.eq(self.o.valid & self.o.ready & self.o.p.last)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.Elif(self.start):
            m.d.sync += self.busy.eq(1)

        return m
