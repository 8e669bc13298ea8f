# SPDX-License-Identifier: Apache-2.0
"""Every arrow is exact on a small subject, and each finds a fault that is planted for it."""

import dataclasses
import re

import pytest
import torch

from carrysave import arrows, flow
from carrysave.chain import netlist_design
from carrysave.fpga.synthesis import synthesise
from carrysave.hw.engine.engine import Engine
from carrysave.inject import inject
from carrysave.quant.golden.requantise import Requantiser
from carrysave.sim.batch import BatchSimulator


def changed_layer(subject, index, **changes):
    """The subject with another layer in its integer network."""
    network = subject.network
    layers = list(network.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(subject, network=dataclasses.replace(network, layers=layers))


@pytest.fixture(scope="module")
def run(prepared):
    return arrows.run_engine(prepared.engine, prepared.subject.x)


def test_trained(prepared, compared):
    arrow = arrows.trained_arrow(prepared.subject)
    assert (arrow.status, arrow.mismatches, arrow.detail["ties"]) == ("exact", 0, 0)
    assert arrow.compared == 30 * (7 + 6 + 3)
    compared(arrow.compared)


def test_trained_finds_a_changed_bias(prepared):
    bias = prepared.subject.network.layers[1].bias.clone()
    bias[2] += 1
    arrow = arrows.trained_arrow(changed_layer(prepared.subject, 1, bias=bias))
    assert (arrow.status, arrow.mismatches) == ("differs", 30)
    assert (arrow.first["layer"], arrow.first["element"]) == ("fc2", 2)


def test_trained_not_run_without_a_model(prepared):
    arrow = arrows.trained_arrow(dataclasses.replace(prepared.subject, trained=None))
    assert arrow.status == "not run" and "loaded" in arrow.why


def test_proof(prepared, compared):
    arrow = arrows.proof_arrow(prepared.subject)
    assert (arrow.status, arrow.mismatches) == ("exact", 0)
    compared(arrow.compared)
    worse = changed_layer(prepared.subject, 0, requantiser=Requantiser(3, 5, 2, 1000))
    arrow = arrows.proof_arrow(worse)
    assert (arrow.status, arrow.mismatches, arrow.first["layer"]) == ("differs", 2, "fc1")


def test_engine_and_cycles(prepared, run, compared):
    arrow = arrows.engine_arrow(prepared.subject, prepared.program, run)
    assert (arrow.status, arrow.mismatches, arrow.compared) == ("exact", 0, 30 * (6 + 3 + 1))
    compared(arrow.compared)
    arrow = arrows.cycle_arrow(prepared.program, run)
    assert (arrow.status, arrow.mismatches) == ("exact", 0)
    compared(arrow.compared)


@pytest.mark.parametrize("fault, layer, element", [
    ("weight:3", "fc1", 0), ("scale:2", "fc1", 1), ("bias:8", "fc2", 2)
])
def test_engine_locates_a_flipped_bit(prepared, fault, layer, element):
    program = inject(prepared.program, fault)
    run = arrows.run_engine(Engine(program), prepared.subject.x)
    arrow = arrows.engine_arrow(prepared.subject, program, run)
    assert arrow.status == "differs" and arrow.mismatches > 0
    assert (arrow.first["layer"], arrow.first["element"]) == (layer, element)
    assert arrow.first["cycle"] > 0 and arrow.first["expected"] != arrow.first["found"]


def test_engine_that_does_not_answer(prepared, monkeypatch):
    """A program of too few cycles: the comparison fails, it does not hang or pass."""
    simulator = BatchSimulator(prepared.engine)
    with pytest.raises(arrows.SimulationError) as error:
        simulator.run({"value": [1], "last": [0]}, outputs=1, max_cycles=200)
    arrow = arrows.engine_arrow(prepared.subject, prepared.program, error.value)
    assert (arrow.status, arrow.mismatches) == ("differs", arrow.compared)
    assert "0 of 1 outputs" in arrow.why


def test_cycles_finds_another_formula(prepared, run, monkeypatch):
    program = prepared.program
    formula = program.cycles()
    formula[1] = dataclasses.replace(formula[1], drain=formula[1].drain + 1)
    monkeypatch.setattr(type(program), "cycles", lambda self: formula)
    arrow = arrows.cycle_arrow(program, run)
    assert arrow.status == "differs" and arrow.first["layer"] == "fc2"


def test_cocotb(prepared, compared):
    board = flow.boards.get("icebreaker")
    design = flow.from_component(prepared.accelerator(board))
    arrow = arrows.cocotb_arrow(
        prepared.subject, prepared.program, design, divisor=prepared.divisor(board), samples=5
    )
    assert (arrow.status, arrow.compared, arrow.mismatches) == ("exact", 5 * 4, 0)
    compared(arrow.compared)
    logits = prepared.subject.network.layers[1].bias + 1
    arrow = arrows.cocotb_arrow(
        changed_layer(prepared.subject, 1, bias=logits), prepared.program, design,
        divisor=prepared.divisor(board), samples=5,
    )
    assert (arrow.status, arrow.mismatches) == ("differs", 15)


def test_netlist(prepared, compared):
    """iCE40 netlist equal to the RTL, and not equal with one inverted LUT."""
    board = flow.boards.get("icebreaker")
    synthesis = synthesise(prepared.accelerator(board), board)
    design = netlist_design(synthesis.netlist)
    rtl = flow.from_component(prepared.accelerator(board))

    def compare(netlist):
        return arrows.pins_arrow(
            prepared.subject, prepared.program, arrows.Level("rtl", rtl),
            arrows.Level("netlist", netlist, synthesis.netlist.startup), board="icebreaker",
            divisor=prepared.divisor(board), samples=30,
        )

    arrow = compare(design)
    assert (arrow.status, arrow.mismatches) == ("exact", 0)
    assert arrow.compared > 30 * 4 + arrow.detail["edges"] - 1 > 1000
    compared(arrow.compared)

    text = design.sources["netlist.v"]
    tables = list(re.finditer(r"LUT_INIT\(16'h([0-9a-f]{4})\)", text))
    middle = tables[len(tables) // 2]
    inverted = f"{int(middle[1], 16) ^ 0xFFFF:04x}"
    broken = text[: middle.start(1)] + inverted + text[middle.end(1) :]
    arrow = compare(dataclasses.replace(design, sources={**design.sources, "netlist.v": broken}))
    assert arrow.status == "differs" and arrow.mismatches > 0


def test_affordable(prepared, compared):
    """So many samples and no batch more stay within the cycles, counted frame by frame."""
    program, rows = prepared.program, prepared.program.config.rows
    for divisor in 4, 100:
        samples = arrows.affordable(program, divisor=divisor, cycles=100_000)
        requests, lengths = arrows.uart_frames(program, torch.zeros(samples + rows, 7))
        cycles = [
            10 * divisor * (len(request) + length) + program.latency(rows)
            for request, length in zip(requests, lengths, strict=True)
        ]
        assert sum(cycles[:-1]) <= 100_000 < sum(cycles)
        compared(len(cycles))
    assert arrows.affordable(program, divisor=10**6) == rows
    batches = arrows.affordable(program, cycles=100_000) // rows
    taken = program.latency(rows) + rows * program.inputs
    assert batches * taken <= 100_000 < (batches + 1) * taken


def test_ties_are_counted(prepared):
    x = torch.zeros(1, 7, dtype=torch.float64) + prepared.subject.network.input.scale * 0.5
    _, ties = arrows.trained_trace(prepared.subject.trained, x)
    assert ties >= 7
