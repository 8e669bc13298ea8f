# SPDX-License-Identifier: Apache-2.0
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from carrysave.schematic import schematic


def edges(drawing, kind):
    return {
        (edge["from"], edge["to"]): edge["label"]
        for edge in drawing["edges"] if edge["kind"] == kind
    }


def nodes(drawing):
    return {node["id"]: node for node in drawing["nodes"]}


def test_engine(make_engine, compared):
    engine = make_engine((12, 6, 3), rows=2, columns=4, drains=1)
    program = engine.program
    drawing = schematic(engine)
    total = program.sum_shape.width
    group = engine.array.sum_shape.width
    term = group + program.scale_bits
    best = (program.outputs - 1).bit_length()
    expected = {
        ("in:i", "activations_0"): "8 bit",
        ("activations_0", "array"): "activations 2 × 8 bit",
        ("weights", "array"): "weights 4 × 4 bit",
        ("sequencer", "array"): "tag 2 bit\nlast",
        ("array", "post.scale"): f"sums {group} bit\ntag 2 bit",
        ("post.scale_memory", "post.scale"): f"scale {program.scale_bits} bit",
        ("post.scale", "post.accumulator"): f"terms {term} bit\nfirst, last",
        ("post.bias_memory", "post.accumulator"): f"bias {total} bit",
        ("post.accumulator", "post.requantise"): f"sums {total} bit",
        ("post.requantise", "post.relu"): "values 8 bit\nenable",
        # One multiplexer for both: the final layer's sums, and the others' activations.
        ("post.relu", "activations_0"): "8 bit",
        ("post.accumulator", "activations_0"): "8 bit",
        ("post.relu", "results_0"): f"{total} bit",
        ("post.accumulator", "results_0"): f"{total} bit",
        ("results_0", "argmax"): f"value {total} bit",
        ("argmax", "out:o"): f"best {best} bit\nvalue {total} bit\nlast",
    }
    assert edges(drawing, "data") == expected
    assert set(edges(drawing, "address")) == {
        ("sequencer", "weights"),
        ("sequencer", "activations_0"),
        ("post.write_walk", "activations_0"),
        ("post.write_walk", "results_0"),
        ("post.scale_walk", "post.scale_memory"),
        ("post.bias_walk", "post.bias_memory"),
    }
    compared(len(expected) + 6)


@pytest.mark.parametrize(
    "rows, columns, drains, chains", [(1, 4, 1, 1), (2, 2, 2, 2), (4, 2, 2, 2), (3, 1, 1, 1)]
)
def test_repeated_parts_are_one_node(make_engine, rows, columns, drains, chains):
    engine = make_engine(rows=rows, columns=columns, drains=drains)
    program = engine.program
    found = nodes(schematic(engine))
    assert found["array"]["kind"] == "array"
    assert found["array"]["detail"].split("\n")[0] == f"{rows} × {columns} MixPE"
    words = 2 * (1 << (program.activation_words - 1).bit_length())
    many = f"{rows} × " if rows > 1 else ""
    assert found["activations_0"]["detail"] == f"{many}{words} × 8 bit"
    assert found["weights"]["detail"].startswith(f"{len(program.weights)} × ")
    assert sum(node["label"].startswith("results") for node in found.values()) == 1
    assert found["results_0"]["detail"].startswith("2 × " if chains > 1 else "")
    assert not any("element" in name for name in found)


def test_one_layer_has_no_requantiser(make_engine):
    drawing = schematic(make_engine((8, 3), rows=1, columns=2))
    assert "post.requantise" not in nodes(drawing)
    assert ("post.accumulator", "results_0") in edges(drawing, "data")


def test_deterministic(make_engine):
    assert schematic(make_engine()) == schematic(make_engine())


class Source(wiring.Component):
    o: Out(stream.Signature(data.StructLayout({"value": 8, "pair": data.ArrayLayout(3, 2)})))
    address: Out(2)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.o.p.value.eq(self.o.p.value + 1), self.o.p.pair[1].eq(1)]
        m.d.sync += self.address.eq(self.address + 1)
        m.d.comb += self.o.valid.eq(1)
        return m


class Sink(wiring.Component):
    i: In(stream.Signature(data.StructLayout({"value": 8, "pair": data.ArrayLayout(3, 2)})))
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.o ^ self.i.p.as_value().xor())
        m.d.comb += self.i.ready.eq(1)
        return m


class Pair(wiring.Component):
    """Two sources, a memory, a sink; ``way`` says how the value gets from one to the other."""

    o: Out(1)

    def __init__(self, way):
        self.way = way
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Source()
        m.submodules.second = second = Source()
        m.submodules.sink = sink = Sink()
        m.d.comb += [self.o.eq(sink.o), sink.i.valid.eq(1)]
        if self.way == "wire":
            m.d.comb += sink.i.p.eq(second.o.p)
        elif self.way == "mux":
            m.d.comb += sink.i.p.eq(Mux(self.o, first.o.p, second.o.p))
        elif self.way == "select":
            m.d.comb += sink.i.p.value.eq(Mux(first.o.p.value[0], second.o.p.value, 3))
        elif self.way == "register":
            m.d.sync += sink.i.p.eq(first.o.p)
        elif self.way == "arithmetic":
            m.d.comb += sink.i.p.value.eq(first.o.p.value + 1)
        elif self.way == "memory":
            m.submodules.memory = memory = Memory(shape=8, depth=4, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(first.address), write.data.eq(second.o.p.value), write.en.eq(1),
                read.addr.eq(second.address), sink.i.p.value.eq(read.data),
            ]
        return m


VALUE, BOTH = "value 8 bit", "pair 2 × 3 bit\nvalue 8 bit"


@pytest.mark.parametrize("way, values, addresses, controls", [
    ("wire", {("second", "sink"): BOTH}, set(), set()),
    ("mux", {("first", "sink"): BOTH, ("second", "sink"): BOTH}, set(), set()),
    ("select", {("second", "sink"): VALUE}, set(), {("first", "sink")}),
    ("register", {("first", "sink"): BOTH}, set(), set()),
    ("arithmetic", {}, set(), {("first", "sink")}),
    ("memory", {("second", "memory"): "8 bit", ("memory", "sink"): VALUE},
     {("first", "memory")}, set()),
])
def test_edges_follow_the_design(way, values, addresses, controls):
    drawing = schematic(Pair(way))
    found = edges(drawing, "data")
    found.pop(("sink", "out:o"))
    assert found == values
    # `second` addresses the memory too, but an edge is what matters most: data.
    assert set(edges(drawing, "address")) == addresses
    assert set(edges(drawing, "control")) == controls
    assert [n["kind"] for n in drawing["nodes"]] == (
        ["unit"] * 3 + ["memory"] * (way == "memory") + ["port"]
    )


def test_a_leaf_is_refused():
    with pytest.raises(ValueError, match=r"^Component must consist of units, not Sink$"):
        schematic(Sink())
