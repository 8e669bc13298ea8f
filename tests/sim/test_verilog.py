# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from carrysave.hw.yosys import run_yosys
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.verilog import Design, Port, from_component

from .units import Double, E2M1Dot


def test_ports_of_a_component(compared):
    design = from_component(E2M1Dot(2), name="dot")
    codes = data.ArrayLayout(4, 2)
    assert (design.top, design.clock, design.reset) == ("dot", "clk", "rst")
    assert list(design.sources) == ["dot.v"]
    assert [(port.name, port.width, port.direction, port.signed) for port in design.ports] == [
        ("i__payload", 16, "input", False), ("i__valid", 1, "input", False),
        ("i__ready", 1, "output", False),
        ("o__payload", 10, "output", True), ("o__valid", 1, "output", False),
        ("o__ready", 1, "input", False),
        ("monitor__advance", 1, "output", False), ("monitor__product", 9, "output", True),
    ]
    assert design.port("i__payload").shape == data.StructLayout({"a": codes, "b": codes})
    compared(len(design.ports))


def test_text_is_deterministic(compared):
    first, second = (from_component(E2M1Dot(4)).sources for _ in range(2))
    assert first == second
    assert "/units.py" not in first["top.v"]
    compared(len(first["top.v"].splitlines()))


def test_without_clock_and_with_constant_members():
    design = from_component(Double())
    assert (design.clock, design.reset) == (None, None)
    assert not design.has_port("o__ready")
    assert dataclasses.replace(design, top="other").top == "other"


def test_no_such_port():
    with pytest.raises(KeyError, match=r"top has no port 'x'; it has i__payload, i__valid"):
        from_component(Double()).port("x")


def test_direction_wrong():
    with pytest.raises(ValueError, match=r"^Direction of port a must be 'input' or 'output', not "):
        Port("a", 1, "inout")


def test_other_domains_are_refused():
    class Fast(wiring.Component):
        i: In(stream.Signature(8))
        o: Out(8)

        def elaborate(self, platform):
            m = Module()
            m.d.fast += self.o.eq(self.i.payload)
            return m

    with pytest.raises(ValueError, match=r"^Fast must use the clock domain sync only; its Verilog "
                                         r"has the ports fast_clk, fast_rst as well$"):
        from_component(Fast())


def test_ports_compare_without_shapes():
    ports = (Port("a", 1, "input", shape=range(2)),)
    assert Design({}, "top", None, None, ports).port("a") == Port("a", 1, "input")


class Table(wiring.Component):
    """A memory that starts with some words and zeros; what is written is read later."""

    i: In(stream.Signature(data.StructLayout({"address": 5, "value": 8, "write": 1})))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=32, init=[7, 0, 9])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            self.i.ready.eq(self.o.ready | ~self.o.valid), read.en.eq(self.i.ready),
            read.addr.eq(self.i.p.address), write.addr.eq(self.i.p.address),
            write.data.eq(self.i.p.value),
            write.en.eq(self.i.valid & self.i.ready & self.i.p.write), self.o.p.eq(read.data),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        return m


def test_zeros_of_memories_are_filled_by_loops(compared):
    design = from_component(Table())
    text = design.sources["top.v"]
    assert "integer word" in text and text.count("] = 8'h00;") < 29
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.v").write_text(text)
        run_yosys(["read_verilog top.v", "hierarchy -check -top top"], cwd=folder)  # not -sv
    rng, stored, expected = np.random.default_rng(0), [7, 0, 9] + [0] * 29, []
    inputs = {"address": np.r_[np.arange(32), rng.integers(0, 32, 500)],
              "value": rng.integers(0, 256, 532),
              "write": np.r_[np.zeros(32, int), rng.integers(0, 2, 500)]}
    for address, value, write in zip(*inputs.values(), strict=True):
        expected.append(stored[address])
        if write:
            stored[address] = value
    for each in design, from_component(Table(), flat=True):
        run = BatchSimulator(each, short=True).run(inputs, outputs=532)
        assert np.asarray(run.outputs).tolist() == expected
        compared(532)


def test_flat_designs_have_one_module():
    assert len(re.findall(r"^module ", from_component(Table(), flat=True).sources["top.v"],
                          re.M)) == 1
