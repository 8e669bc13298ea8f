# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.fpga.cover import COUNTS, PATH, count, dependencies
from carrysave.fpga.structure import BLOCKS, passes, structure
from carrysave.hw.pe import MixPE


class Unit(wiring.Component):
    """``o = function(m, a, b)`` in one register."""

    def __init__(self, function, width=8, out=16):
        self.function = function
        words = data.StructLayout({"a": width, "b": width})
        super().__init__({"i": In(stream.Signature(words)), "o": Out(stream.Signature(out))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [self.o.valid.eq(self.i.valid),
                     self.o.p.eq(self.function(self.i.p.a, self.i.p.b))]
        return m


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name, function, width, expected", [
    # A register for each bit and one for valid, whatever else.
    ("and", lambda a, b: a & b, 8, {"lut": 8, "ff": 9, "path_lut": 1}),
    ("select", lambda a, b: Mux(a[0], a ^ b, a | b), 8, {"lut": 7 + 1, "ff": 9, "path_lut": 1}),
    # Of eight bits: two LUTs and one over them.
    ("parity", lambda a, b: a.xor(), 8, {"lut": 3, "ff": 2, "path_lut": 2}),
    # Operands of three inputs each: a LUT for each four, nothing twice.
    ("equal", lambda a, b: a == b, 8, {"lut": 4 + 1, "ff": 2, "path_lut": 2}),
    ("add", lambda a, b: a + b, 8,
     {"site": 9, "chain": 1, "ff": 10, "path_site": 9, "path_chain": 1}),
    # Four bits in all: no chain.
    ("short add", lambda a, b: a + b, 2, {"lut": 3, "ff": 4, "path_lut": 1}),
    ("wire", lambda a, b: a, 8, {"ff": 9}),
    ("constant", lambda a, b: a & 0, 8, {"ff": 1}),
])
def test_what_small_units_are_made_of(name, function, width, expected, cache, compared):
    found = count(Unit(function, width), cache=cache)
    assert list(found) == ["logic"]
    assert {key: number for key, number in found["logic"].items() if number} == expected
    compared(len(COUNTS + PATH))


def test_products(cache, compared):
    """Whole where a family's blocks take them, joined where one does not; else full adders."""
    found = count(Unit(lambda a, b: a * b, 8), cache=cache)
    assert found["logic"]["full"] > 60 and found["logic"]["path_product"] == 0
    for family in BLOCKS:
        whole = {"ff": 17, "path_product": 1}
        assert {key: number for key, number in found[family].items() if number} == whole
    small = count(Unit(lambda a, b: a * b, 4), cache=cache)
    assert small["ice40"] == small["logic"] and small["ecp5"]["full"] == 0  # 8 bits are too few
    wide = count(Unit(lambda a, b: a * b, 20, 40), cache=cache)
    assert {family: wide[family]["product"] for family in BLOCKS} == dict.fromkeys(BLOCKS, 3 * 40)
    compared(9)


def test_memory(cache, compared):
    class Table(Unit):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            from amaranth.lib.memory import Memory
            m.submodules.memory = memory = Memory(shape=12, depth=32, init=[
                (k * 2654435761 >> 8) & 4095 for k in range(32)])
            port = memory.read_port(domain="comb")
            m.d.comb += port.addr.eq(self.i.p.a)
            m.d.sync += self.o.p.eq(port.data)
            return m

    found = count(Table(lambda a, b: a), cache=cache)["logic"]
    assert (found["lut"], found["path_memory"]) == (12 * 32 // 16, 1)
    compared(2)


def test_the_order_of_names_decides_nothing(cache, tmp_path, compared):
    """Counted again, without the cache, it is the same; the hash is that of what is counted."""
    first, second = (count(MixPE(lanes=4), cache=folder) for folder in (cache, tmp_path))
    assert first == second
    found = [dependencies(MixPE(lanes=lanes)) for lanes in (4, 4, 5)]
    assert found[0] == found[1] != found[2] and json.loads(json.dumps(found[0])) == found[0]
    compared(len(first["logic"]))


def test_other_cells_are_an_error():
    cell = {"type": "$div", "connections": {}, "parameters": {}}
    netlist = {"modules": {"top": {"ports": {}, "cells": {"x": cell}}}}
    with pytest.raises(ValueError, match=r"^Cell must be a gate, a register or one of \$alu, "
                                         r"\$fa, \$mem_v2, product, not '\$div'$"):
        structure(netlist)


def test_passes_of_families():
    lines = passes(("ice40",))
    assert "write_json logic.json" in lines and "write_json ice40.json" in lines
    assert not [line for line in lines if "ecp5" in line]
