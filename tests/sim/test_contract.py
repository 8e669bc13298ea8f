# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.pipeline import Pipeline
from carrysave.sim.contract import PROPERTIES, prove_contract
from carrysave.sim.verilog import from_component

from .units import Double, E2M1Dot, Pipe

LAYOUT = data.StructLayout({"x": 4, "last": 1})


class Stage(wiring.Component):
    """One register with one deliberate fault, or none."""

    def __init__(self, fault=None):
        self.fault = fault
        super().__init__({"i": In(stream.Signature(LAYOUT)), "o": Out(stream.Signature(4))})

    def elaborate(self, platform):
        m = Module()
        fault, i, o = self.fault, self.i, self.o
        valid, x, twice = Signal(init=fault == "from reset"), Signal(4), Signal()
        advance = o.ready | ~valid
        m.d.comb += [i.ready.eq(advance), o.valid.eq(valid), o.p.eq(x)]
        with m.If(advance):
            m.d.sync += [valid.eq(i.valid & i.p.last), x.eq(i.p.x)]
        if fault == "valid waits for ready":
            m.d.comb += o.valid.eq(valid & o.ready)
        if fault == "payload follows ready":
            m.d.comb += o.p.eq(Mux(o.ready, x, 0))
        if fault == "payload changes":
            m.d.sync += x.eq(i.p.x)
        if fault == "valid is dropped":
            with m.If(~advance):
                m.d.sync += valid.eq(0)
        if fault == "lost":  # taken while the register is full
            m.d.comb += i.ready.eq(1)
        if fault == "twice":
            with m.If(o.ready & o.valid & ~twice):
                m.d.sync += [valid.eq(1), twice.eq(1)]
        if fault == "every transfer":
            with m.If(advance):
                m.d.sync += valid.eq(i.valid)
        if fault == "stuck":
            m.d.comb += i.ready.eq(0)
        if fault == "rare":  # a result is swallowed once in 16 times
            count = Signal(4)
            with m.If(advance & i.valid & i.p.last):
                m.d.sync += [count.eq(count + 1), valid.eq(count != 15)]
        return m


def statuses(unit, *, latency):
    results = prove_contract(from_component(unit), latency=latency)
    assert [result.name for result in results] == list(PROPERTIES)
    return [result.status for result in results]


@pytest.mark.parametrize("unit, latency", [
    (Stage(), 1), (Pipe(unsigned(7)), 1), (E2M1Dot(2), 2),
    *((MixPE(4, lanes=2, registers=registers), registers) for registers in range(4)),
    (MixPE(4, zero_points=True, registers=2), 2),
], ids=lambda value: type(value).__name__)
def test_good_units_are_proved(unit, latency, compared):
    if isinstance(unit, E2M1Dot):  # its monitor is a third port
        with pytest.raises(ValueError, match="^top must have no ports but i and o, not monitor__"):
            statuses(unit, latency=latency)
    else:
        assert statuses(unit, latency=latency) == ["proved"] * 3
    compared(3)


@pytest.mark.parametrize("edge", ["posedge clk & i__valid", "negedge clk"])
def test_other_clocks_are_beyond_the_proofs(edge, compared):
    design = from_component(Stage())
    sources = {name: text.replace("posedge clk", edge.replace("clk & i__valid", "gated")).replace(
        "input clk;", "input clk; wire gated = clk & i__valid;")
        for name, text in design.sources.items()}
    assert sources != design.sources
    results = prove_contract(dataclasses.replace(design, sources=sources), latency=1)
    assert {result.status for result in results} == {"not proved"}
    assert all(result.why.endswith("has another clock than clk rising")
               for result in results)
    compared(len(results))


@pytest.mark.parametrize("fault, wrong", [
    ("valid waits for ready", 0), ("payload follows ready", 0), ("payload changes", 1),
    ("valid is dropped", 1), ("lost", 2), ("twice", 2), ("every transfer", 2),
    ("from reset", 2), ("stuck", 2), ("rare", 2),
])
def test_each_fault_refutes_its_property(fault, wrong, compared):
    assert statuses(Stage(fault), latency=1)[wrong] == "refuted"
    compared(1)


def test_a_result_that_comes_late_is_missed(compared):
    """The bound on the latency is part of the proof."""
    assert statuses(MixPE(4, registers=2), latency=1)[2] == "refuted"
    compared(1)


def test_a_sink_that_is_always_ready(compared):
    """The unit has no port for it."""
    assert not from_component(Double()).has_port("o__ready")
    assert statuses(Double(), latency=0) == ["proved"] * 3
    assert statuses(Double(), latency=1)[2] == "refuted"
    compared(2)


def test_the_longest_pipeline(compared):
    """More registers than the bound allows are seen; with the greatest bound, none is."""
    assert statuses(Stage(), latency=14) == ["proved"] * 3
    assert statuses(Stage("stuck"), latency=14)[2] == "refuted"
    compared(2)


def test_time_that_runs_out_is_no_proof(compared):
    """A product of which SAT must show that it is symmetric, within a second."""

    class Slow(wiring.Component):
        i: In(stream.Signature(data.StructLayout({"a": 24, "b": 24})))
        o: Out(stream.Signature(1))

        def elaborate(self, platform):
            m = Module()
            pipe = Pipeline(m, self)
            a, b = self.i.p.a, self.i.p.b
            ab, ba = Signal(48), Signal(48)
            m.d.comb += [ab.eq(a * b), ba.eq(sum((Mux(b[k], a, 0) << k) for k in range(24)))]
            m.d.comb += [self.o.valid.eq(pipe.valid & (ab == ba)), self.o.p.eq(0)]
            return m

    results = prove_contract(from_component(Slow()), latency=0, timeout=1)
    assert results[2].status == "not proved" and re.search("within 1 s$", results[2].why)
    compared(1)


@pytest.mark.parametrize("latency", [-1, 15])
def test_latency_wrong(latency):
    with pytest.raises(ValueError, match=f"^Latency must be 0 to 14, not {latency}$"):
        prove_contract(None, latency=latency)
