# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from carrysave.hw.io.axi_stream import FlatPorts
from carrysave.sim.prove_axi import ANSWERS, DRIVEN, prove_axi
from carrysave.sim.verilog import from_component

from .axi_units import FaultyDevice


def prove(fault):
    return prove_axi(from_component(FlatPorts(FaultyDevice(fault))))


def test_good_device_is_proved(compared):
    found = prove("none")
    assert set(found.values()) == {"proved"}
    assert len(found) == 1 + 2 * len(DRIVEN) + sum(map(len, ANSWERS.values()))
    compared(len(found))


@pytest.mark.parametrize("fault, rules", [
    ("payload changes", {"m_axis_t: held"}),
    ("valid falls", {"m_axis_t: held"}),
    ("valid follows ready", {"no path from input to output"}),
    ("valid in reset", {"m_axis_t: quiet after reset"}),
    ("answer falls", {"s_axi_b: held"}),
    ("answer changes", {"s_axi_r: held"}),
    ("unasked", {"s_axi_r: one answer to s_axi_ar", "s_axi_r: held"}),
])
def test_each_fault_is_refuted(fault, rules, compared):
    found = prove(fault)
    refuted = {rule for rule, status in found.items() if status == "refuted"}
    assert refuted == rules
    compared(len(found))


def test_other_clocks_are_beyond_the_proof(compared):
    design = from_component(FlatPorts(FaultyDevice("none")))
    sources = {name: text.replace("posedge clk", "negedge clk")
               for name, text in design.sources.items()}
    assert sources != design.sources
    found = prove_axi(dataclasses.replace(design, sources=sources))
    assert set(found.values()) == {"proved", "not proved"}
    compared(len(found))
