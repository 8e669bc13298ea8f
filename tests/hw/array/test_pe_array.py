# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module, Shape, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw import catalogue
from carrysave.hw.array.kind import CONTROL, ROWS, Kind, kind_of
from carrysave.hw.array.pe_array import PEArray
from carrysave.quant.formats import Block, Group, Int, get
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.payload import plain, to_ints
from carrysave.sim.reference import reference
from carrysave.sim.stimulus import draw

PRESETS = [preset for preset in catalogue.PRESETS
           if preset.room == "pe" and preset.name != "mixpe-w4a16-aligned"]  # that has no groups


def groups(sizes, chain, gap=0):
    """Where steps are: their cycles, and those of the ends of groups, at least ``chain`` apart."""
    cycles, ends, now = [], [], 0
    for size in sizes:
        end = now + size - 1
        if ends:
            end = max(end, ends[-1] + chain)
        cycles += [*range(now, now + size - 1), end]
        ends.append(end)
        now = end + 1 + gap
    return np.array(cycles), np.array(ends)


def stimulus(array, sizes, *, seed=0):
    """Transfers of groups of some sizes in every row and column, and the sums of all elements.

    Returns
    -------
    dict by port of an element, arrays (lines, steps, …)
    dict of tuple to array
        Results by row and column, one per group.
    """
    rng = np.random.default_rng(seed)
    unit = array.kind.build(max(sizes))
    steps = sum(sizes)
    last = np.zeros(steps, np.int64)
    last[np.cumsum(sizes) - 1] = 1
    operands = {}
    for by_row, count in ((True, array.rows), (False, array.columns)):
        drawn = [draw(unit, rng, steps) for _ in range(count)]
        for port in drawn[0]:
            if port not in CONTROL and (port in ROWS) == by_row:
                operands[port] = np.stack([np.asarray(each[port]) for each in drawn])
    expected = {}
    for r in range(array.rows):
        for c in range(array.columns):
            inputs = {port: lines[r if port in ROWS else c] for port, lines in operands.items()}
            inputs |= {"clear": np.zeros_like(last), "last": last}
            expected[r, c] = np.asarray(reference(unit).expected(unit, inputs))
    return operands, expected


def run(array, operands, cycles, ends, *, simulator=None):
    """Outputs of an array, and their cycles, for steps presented in some cycles."""
    total = int(cycles[-1]) + 1 + (array.rows + array.columns if array.systolic else 0)
    lines = {}
    for port, values in operands.items():
        found = np.zeros((total, *values.shape[:1], *values.shape[2:]), values.dtype)
        for k, value in enumerate(values):
            found[cycles + (k if array.systolic else 0), k] = value
        lines["rows" if port in ROWS else "columns", port] = found
    inputs = {side: {port: value for (at, port), value in lines.items() if at == side}
              for side in ("rows", "columns")}
    last = np.zeros(total, np.int64)
    last[ends] = 1
    tags = np.random.default_rng(1).integers(0, 2, total)
    valid = np.zeros(total, np.int64)
    valid[cycles] = 1
    simulator = simulator or BatchSimulator(Probe(array), short=True)
    count = len(ends) * array.chain
    result = simulator.run({**inputs, "last": last, "tag": tags, "step": valid}, outputs=count,
                           extra=2 * array.chain)
    return result, tags[ends]


class Probe(wiring.Component):
    """An array whose steps may pause: ``step`` says which transfers are any."""

    def __init__(self, array):
        self.array = array
        inside = dict(array.i.p.shape())
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(
                {**{name: field.shape for name, field in inside.items()}, "step": 1}),
                always_ready=True)),
            "o": Out(stream.Signature(array.o.p.shape(), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        m.d.comb += array.i.valid.eq(self.i.valid & self.i.p.step)
        for name, _ in array.i.p.shape():
            m.d.comb += Value.cast(array.i.p[name]).eq(Value.cast(self.i.p[name]))
        wiring.connect(m, array.o, wiring.flipped(self.o))
        return m


def check(array, sizes, *, seed=0, gap=0):
    cycles, ends = groups(sizes, array.chain, gap)
    operands, expected = stimulus(array, sizes, seed=seed)
    result, tags = run(array, operands, cycles, ends)
    sums = np.asarray(result.outputs["sums"])
    if sums.dtype == np.uint32 and sums.ndim == 3 and isinstance(array.sum_shape, Shape):
        wide = array.sum_shape  # more than 64 bits: words
        sums = np.array([plain(wide, value) for value in to_ints(sums.reshape(-1, sums.shape[2]))],
                        object).reshape(sums.shape[:2])
    per_chain, compared = array.columns // array.chains, 0
    for g, end in enumerate(ends):
        for t in range(array.chain):
            n = g * array.chain + t
            assert result.cycles[n] == end + array.latency + t
            assert result.outputs["tag"][n] == tags[g]
            for d in range(array.chains):
                c = (d + 1) * per_chain - 1 - t // array.rows
                r = array.rows - 1 - t % array.rows
                assert np.all(sums[n, d] == expected[r, c][g]), (g, r, c)
                compared += 1
    assert compared == len(sizes) * array.rows * array.columns > 0
    return compared


def kind_of_preset(preset):
    parameters = {key: value for key, value in preset.parameters.items() if key != "group"}
    for key, most in (("lanes", 4), ("columns", 2)):
        if key in parameters:
            parameters[key] = min(parameters[key], most)
    if isinstance(parameters.get("a_format"), Block):
        parameters["a_format"] = replace(parameters["a_format"], size=4)
    return Kind(preset.unit, parameters)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_element(preset):
    array = PEArray(kind_of_preset(preset), 2, 3, steps=9, chains=1 + 2 * (len(preset.name) % 2))
    check(array, [9, 6, 1, 2, 7, 6])


@pytest.mark.parametrize("rows, columns, chains, systolic", [
    (1, 1, 1, True), (1, 5, 1, True), (4, 1, 1, True), (3, 4, 2, True), (2, 6, 3, True),
    (5, 3, 1, False), (4, 4, 4, False), (2, 6, 3, False)])
def test_shapes(rows, columns, chains, systolic):
    kind = kind_of(Int(8), Group(Int(4), 32), lanes=2)
    array = PEArray(kind, rows, columns, steps=32, chains=chains, systolic=systolic, tag=1)
    rng = np.random.default_rng(rows)
    sizes = [array.chain, array.chain, *rng.integers(1, 2 * array.chain + 2, 12).tolist()]
    check(array, [min(size, 32) for size in sizes], gap=0)
    check(array, [min(size, 32) for size in sizes], gap=3)


@pytest.mark.parametrize("name", ["mxfp4", "mxint8", "mxfp8_e4m3", "mxfp8_e5m2", "nvfp4"])
def test_blocks_have_elements_of_their_format(name):
    fmt = get(name)
    kind = kind_of(fmt, fmt, lanes=4)
    assert kind.scaling == "block" and kind.group == fmt.size
    check(PEArray(kind, 3, 2, steps=8), [8, 8, 6, 8])


def test_pairs_are_decoded_at_the_borders():
    kind = kind_of(get("olive8"), get("olive8"), lanes=2)
    array = PEArray(kind, 2, 2, steps=8)
    assert not array.elements[0][0].decoders
    check(array, [8, 4, 5])


@pytest.mark.parametrize("arguments, message", [
    ({"rows": 0}, "Rows must be a positive integer, not 0"),
    ({"chains": 2}, "Chains must divide the 3 columns, not 2"),
])
def test_parameters_wrong(arguments, message):
    kind = kind_of(Int(8), Int(8))
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        PEArray(**{"kind": kind, "rows": 2, "columns": 3, "steps": 8, **arguments})


@pytest.mark.parametrize("a, w, options, message", [
    ("mxfp4", "int8", {}, "Activations and weights must both be in blocks of one size, "
                          "not mxfp4 and int8"),
    ("mxfp4", "nvfp4", {}, "Activations and weights must both be in blocks of one size, "
                           "not mxfp4 and nvfp4"),
    ("olive4", "int8", {}, "Activations and weights must both be outlier-victim pairs, or "
                           "neither: not olive4 and int8"),
    ("mxfp4", "mxfp4", {"lanes": 3}, "Lanes must divide the block size 32, not 3"),
    ("int8", "int8", {"element": "mul"},
     "Element must be one of multiplier, mixpe, booth, not 'mul'"),
    ("e4m3", "e4m3", {"element": "mixpe"},
     "Element is chosen among integer formats only, not for e4m3 and e4m3"),
])
def test_kinds_wrong(a, w, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        kind_of(get(a), get(w), **options)
