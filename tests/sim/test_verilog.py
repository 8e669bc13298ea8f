# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

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
