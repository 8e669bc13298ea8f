# SPDX-License-Identifier: Apache-2.0
import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw.io.protocol import Prediction


class SumEngine(wiring.Component):
    """The smallest engine: logit ``k`` of a vector is its sum times ``k - 1``.

    It takes no value while it gives logits, nor while ``pause`` is 1.
    """

    acc_width = 20

    def __init__(self, *, rows, inputs, outputs):
        self.rows, self.inputs, self.outputs = rows, inputs, outputs
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"value": signed(8), "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "value": signed(self.acc_width), "best": range(outputs), "last": 1,
            }))),
            "pause": In(1),
            "monitor": Out(8),
        })

    def predict(self, vectors):
        sums = [sum(vector) for vector in vectors]
        return [
            Prediction(tuple(total * (k - 1) for k in range(self.outputs)),
                       self.outputs - 1 if total > 0 else 0)
            for total in sums
        ]

    def elaborate(self, platform):
        m = Module()
        taken = Signal(range(self.inputs + 1))
        output = Signal(range(self.outputs))
        total = Signal(signed(self.acc_width))
        m.d.comb += [
            self.i.ready.eq((taken != self.inputs) & ~self.pause),
            self.o.valid.eq(taken == self.inputs),
            self.o.p.value.eq(total * (output - 1)),
            self.o.p.best.eq(Mux(total > 0, output, 0)),
            self.o.p.last.eq(output == self.outputs - 1),
            self.monitor.eq(output),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [total.eq(total + self.i.p.value), taken.eq(taken + 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += output.eq(output + 1)
            with m.If(self.o.p.last):
                m.d.sync += [output.eq(0), total.eq(0), taken.eq(0)]
        return m


@pytest.fixture
def sum_engine():
    return SumEngine
