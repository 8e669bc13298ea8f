# SPDX-License-Identifier: Apache-2.0
"""Toggles against a waveform of the same gates, as Yosys describes them and Verilator runs them."""

import re
from pathlib import Path

import numpy as np
import pyosys
import pytest
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.fpga.gates import netlist
from carrysave.hw.pe.mixpe import MixPE
from carrysave.sim import activity
from carrysave.sim.activity import FUNCTIONS, GateSimulator
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.payload import first, pack
from carrysave.sim.trace import uniform
from carrysave.sim.verilog import Design

SIMCELLS = Path(str(pyosys.__file__)).parent / "share" / "simcells.v"
PINS = {"$_NOT_": "A", "$_BUF_": "A", "$_MUX_": "ABS", "$_NMUX_": "ABS", "$_AOI3_": "ABC",
        "$_OAI3_": "ABC", "$_AOI4_": "ABCD", "$_OAI4_": "ABCD"}


class Ports(wiring.Component):
    """Streams, for a netlist that is made by hand."""

    def __init__(self, width, results, *, always_ready=True):
        super().__init__({
            "i": In(stream.Signature(width, always_ready=always_ready)),
            "o": Out(stream.Signature(results, always_ready=True))})

    def elaborate(self, platform):
        raise NotImplementedError


def every_gate():
    """A unit and a netlist: all gates between an input of four bits and flip-flops."""
    inputs, valid, cells, results = [10, 11, 12, 13], 14, [], []
    for k, kind in enumerate(FUNCTIONS):
        pins = dict(zip(PINS.get(kind, "AB"), inputs, strict=False))
        cells.append([kind, {**pins, "Y": 100 + k}])
        cells.append(["$_DFF_P_", {"D": 100 + k, "C": 2, "Q": 200 + k}])
        results.append(200 + k)
    cells.append(["$_DFF_P_", {"D": valid, "C": 2, "Q": 15}])
    # A gate before those that drive it, a constant, registers in a row, one that starts at 1.
    cells.insert(0, ["$_NAND_", {"A": 101, "B": "1", "Y": 300}])
    cells.append(["$_DFF_P_", {"D": 300, "C": 2, "Q": 301}])
    cells.append(["$_DFF_P_", {"D": 301, "C": 2, "Q": 302}])
    results += [301, 302]
    return Ports(4, len(results)), {
        "ports": {"clk": ["input", [2]], "i__payload": ["input", inputs],
                  "i__valid": ["input", [valid]], "o__payload": ["output", results],
                  "o__valid": ["output", [15]]},
        "cells": cells, "init": [[301, 1]]}


def verilog(found):
    """A netlist as instances of Yosys' own cells."""
    def net(bit):
        return f"net_{bit}" if isinstance(bit, int) else f"1'b{int(bit == '1')}"

    ports, lines = [], []
    for name, (direction, bits) in found["ports"].items():
        ports.append(f"{direction} [{len(bits) - 1}:0] {name}")
        for k, bit in enumerate(bits):
            here = f"{name}[{k}]"
            ends = (net(bit), here) if direction == "input" else (here, net(bit))
            lines.append(f"assign {ends[0]} = {ends[1]};")
    init = dict(found["init"])
    for k, (kind, pins) in enumerate(found["cells"]):
        joined = ", ".join(f".{pin}({net(bit)})" for pin, bit in pins.items())
        lines.append(f"\\{kind} cell_{k} ({joined});")
        if kind == "$_DFF_P_":
            lines.append(f"initial cell_{k}.Q = {init.get(pins['Q'], 0)};")
    nets = {bit for _, bits in found["ports"].values() for bit in bits}
    nets |= {bit for _, pins in found["cells"] for bit in pins.values()}
    wires = [f"wire net_{bit};" for bit in sorted(bit for bit in nets if isinstance(bit, int))]
    text = SIMCELLS.read_text()
    modules = [re.findall(rf"^module \\{re.escape(kind)} .*?^endmodule", text, re.M | re.S)[0]
               for kind in sorted({kind for kind, _ in found["cells"]})]
    return "\n".join([*modules, f"module top({', '.join(ports)});", *wires, *lines, "endmodule\n"])


def toggles_in(path, start, end):
    """By net, in how many of the cycles it settled on another level than in the one before."""
    by_code, levels, time, history = {}, {}, None, {}
    for line in [*path.read_text().splitlines(), "#"]:
        if match := re.fullmatch(r"\s*\$var wire\s+1 (\S+) net_(\d+) \$end", line):
            by_code.setdefault(match[1], set()).add(int(match[2]))
        elif line.startswith("#"):
            if time is not None and time % 2 == 0:
                history[time // 2] = dict(levels)
            time = int(line[1:]) if line[1:] else None
        elif line[:1] in ("0", "1") and line[1:]:
            levels[line[1:]] = line[0]
    return {bit: sum(history[cycle][code] != history[cycle - 1][code]
                     for cycle in range(start, end))
            for code, bits in by_code.items() for bit in bits}


def both(unit, found, inputs, outputs, folder, warm=3):
    """Activity, and toggles and outputs of the waveform."""
    measured = GateSimulator(found, unit).observe(inputs, outputs=outputs, warm=warm)
    own = GateSimulator(found, unit).design
    design = Design(sources={"top.v": verilog(found)}, top="top", clock="clk", reset=own.reset,
                    ports=own.ports)
    count = len(first(inputs))
    run = BatchSimulator(design).run(inputs, outputs=outputs, extra=1,
                                     vcd=(str(folder / "t.vcd"), 0, count + 1))
    return measured, toggles_in(folder / "t.vcd", warm, count), run.outputs


def test_every_gate_as_in_a_waveform(tmp_path, compared):
    unit, found = every_gate()
    inputs = np.random.default_rng(0).integers(0, 16, 200)
    assert set(inputs.tolist()) == set(range(16))
    measured, expected, outputs = both(unit, found, inputs, 200, tmp_path)
    assert measured.outputs.tolist() == outputs.tolist()
    assert measured.cycles == 197 and len(measured.toggles) == len(expected) - 1  # the clock
    assert measured.toggles == {bit: expected[bit] for bit in measured.toggles}
    assert min(measured.toggles[bit] for bit in range(100, 100 + len(FUNCTIONS))) > 0
    compared(len(measured.toggles))


def test_a_unit_as_in_a_waveform(tmp_path, compared):
    found, unit = netlist(MixPE(4, registers=2)), MixPE(4, registers=2)
    sent = uniform(unit, 300)
    measured, expected, _ = both(unit, found, sent.inputs, sent.outputs, tmp_path)
    assert (pack(unit.o.p.shape(), measured.outputs) == sent.expected).all()
    assert measured.toggles == {bit: expected[bit] for bit in measured.toggles}
    assert measured.total == sum(expected[bit] for bit in measured.toggles)
    assert measured.total < measured.weighted
    compared(len(measured.toggles))


@pytest.mark.parametrize("kind", ["$_AOI3_", "$_NMUX_"])
def test_a_wrong_gate_is_seen(kind, tmp_path, monkeypatch, compared):
    function = FUNCTIONS[kind]
    monkeypatch.setitem(FUNCTIONS, kind, lambda a, b, c, d: function(b, c, a, d))
    unit, found = every_gate()
    measured, expected, outputs = both(
        unit, found, np.random.default_rng(0).integers(0, 16, 50), 50, tmp_path)
    assert measured.outputs.tolist() != outputs.tolist()
    assert measured.toggles != {bit: expected[bit] for bit in measured.toggles}
    compared(1)


def test_by_hand(compared):
    """A flip-flop that toggles, an inverter that feeds it, a gate that never changes."""
    found = {
        "ports": {"clk": ["input", [2]], "i__payload": ["input", [3]], "i__valid": ["input", [4]],
                  "o__payload": ["output", [5]], "o__valid": ["output", [4]]},
        "cells": [["$_DFF_P_", {"D": 6, "C": 2, "Q": 5}], ["$_NOT_", {"A": 5, "Y": 6}],
                  ["$_AND_", {"A": 5, "B": "0", "Y": 7}], ["$_XOR_", {"A": 3, "B": 5, "Y": 8}]],
        "init": [[5, 1]]}
    measured = GateSimulator(found, Ports(1, 1)).observe(np.array([0, 1, 1, 0, 0, 0]), outputs=6,
                                                         warm=2)
    assert measured.outputs.tolist() == [1, 0, 1, 0, 1, 0]
    assert measured.fan_out == {3: 1, 4: 0, 5: 3, 6: 1, 7: 0, 8: 0}
    assert measured.toggles == {3: 1, 4: 0, 5: 4, 6: 4, 7: 0, 8: 3}
    assert (measured.cycles, measured.total, measured.weighted) == (4, 12, 1 + 3 * 4 + 4)
    compared(6)


def test_nothing_changes_without_operands(compared):
    """Zeros, each a sum of its own: not one toggle once the first have gone through."""
    unit, found = MixPE(4, registers=2), netlist(MixPE(4, registers=2))
    zeros = {name: np.zeros((40, *dims), np.int64) for name, dims in (
        ("activations", (1,)), ("weights", (1,)), ("clear", ()))}
    simulator = GateSimulator(found, unit)
    inputs = {**zeros, "last": np.ones(40, np.int64)}
    assert simulator.observe(inputs, outputs=40, warm=8).total == 0
    inputs["activations"][20] = 1
    assert simulator.observe(inputs, outputs=40, warm=8).total > 0
    compared(2)


def test_a_transfer_that_waits(compared):
    found = {
        "ports": {"clk": ["input", [2]], "i__payload": ["input", [3]], "i__valid": ["input", [4]],
                  "i__ready": ["output", [5]], "o__payload": ["output", [3]],
                  "o__valid": ["output", [5]]},
        "cells": [["$_DFF_P_", {"D": 6, "C": 2, "Q": 5}], ["$_NOT_", {"A": 5, "Y": 6}]],
        "init": []}
    with pytest.raises(ValueError, match=r"^Ports must take a transfer each cycle$"):
        GateSimulator(found, Ports(1, 1, always_ready=False)).observe(np.zeros(4, int), outputs=4)
    compared(1)


def test_mistakes(compared):
    unit, found = every_gate()
    found["cells"].append(["$_SR_PP_", {"S": 10, "R": 11, "Y": 400}])
    with pytest.raises(ValueError, match=r"^Cells must be of the kinds \$_BUF_.* or \$_DFF_P_, "
                                         r"not \$_SR_PP_$"):
        GateSimulator(found, unit)
    simulator = GateSimulator(every_gate()[1], unit)
    with pytest.raises(ValueError, match=r"^VCD must be of a compiled design, not of a netlist "):
        simulator.run(np.zeros(1, int), outputs=1, vcd=("t.vcd", 0, 1))
    compared(2)


def test_truth_tables(compared):
    """Row k has pin A in its lowest bit."""
    assert activity._truth("$_AND_") == 0b1000_1000_1000_1000
    assert activity._truth("$_NOT_") == 0b0101_0101_0101_0101
    assert activity._truth("$_MUX_") == 0b1100_1010_1100_1010
    assert activity._truth("$_AOI4_") == 0b0000_0111_0111_0111
    compared(4)
