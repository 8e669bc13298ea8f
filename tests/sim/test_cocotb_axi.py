# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from carrysave.hw.io.axi_stream import FlatPorts
from carrysave.sim.cocotb_axi import run_axi
from carrysave.sim.cocotb_run import CocotbError
from carrysave.sim.verilog import from_component

from .axi_units import FAULTS, FaultyDevice
from .units import Double


@pytest.fixture(scope="module")
def design():
    return from_component(FlatPorts(FaultyDevice()))


def script(fault="none"):
    """Packets and register accesses at the same time; what comes out of both if all is well."""
    rng = random.Random(0)
    packets = [[rng.getrandbits(32) for _ in range(length)] for length in (1, 2, 30, 7)]
    steps = [
        ("write", 0, FAULTS.index(fault)),
        *(("send", packet) for packet in packets),
        ("together", ("take", len(packets)),
         *([("write", 4, 0xABCD), ("read", 0)] if fault == "none" else [])),
        *(step for k in range(8) for step in (("write", 4, k), ("read", 4))),
        ("reset", 2), ("read", 4),
    ]
    taken = [packets] + ([0, [0, 0]] if fault == "none" else [])
    return steps, [0, *[None] * len(packets), taken,
                   *(found for k in range(8) for found in (0, [0, k])), None, [0, 0]]


@pytest.mark.parametrize("stall", [0.0, 0.4, 0.9])
def test_good_device(design, stall, compared):
    steps, expected = script()
    assert run_axi(design, steps, stall=stall, seed=1) == (expected, [])
    compared(len(steps))


def test_same_seed_same_cycles(design, compared):
    steps, _ = script()
    runs = [run_axi(design, [*steps, ("cycle",)], stall=0.5, seed=seed)[0][-1]
            for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    compared(3)


def test_all_cycles_are_used(design, compared):
    """Without pauses a word moves in each cycle."""
    steps = [("send", list(range(200))), ("cycle",), ("take", 1), ("cycle",)]
    (_, before, taken, after), _ = run_axi(design, steps)
    assert taken == [list(range(200))]
    assert after - before < 210
    compared(200)


@pytest.mark.parametrize("fault, message", [
    ("payload changes", "m_axis_t: payload changed before taken"),
    ("no tlast", r"The script did not end within 4000 cycles: step 5, \['together', \['take', 4"),
    ("valid falls", "m_axis_t: valid fell before it was taken"),
    ("valid follows ready", "m_axis_t: valid or payload follows ready"),
    ("valid in reset", "m_axis_t: valid in or right after reset"),
    ("null bytes", "m_axis_tkeep is 0b1101 with tlast 1"),
    ("answer falls", "s_axi_b: valid fell before it was taken"),
    ("answer changes", "s_axi_r: payload changed before taken"),
    ("unasked", "s_axi_r: an answer without a request"),
])
def test_faults_that_the_monitor_finds(design, fault, message, compared):
    steps, _ = script(fault)
    with pytest.raises(CocotbError, match=message):
        run_axi(design, steps, stall=0.5, max_cycles=4000)
    compared(1)


@pytest.mark.parametrize("fault", ["word lost", "word twice"])
def test_faults_that_the_words_show(design, fault, compared):
    """No rule of AXI is broken, but the packets are not those that were sent."""
    steps, expected = script(fault)
    found, left = run_axi(design, steps[:4] + [("idle", 400)], stall=0.5)
    assert found == [*expected[:4], None]
    sent = [packet for _, packet in steps[1:4]]
    words = [word for packet in sent for word in packet]
    came = [word for packet in left for word in packet]
    third = words[2::3]
    assert came == ([word for word in words if word not in third] if fault == "word lost" else
                    [word for each in words for word in [each] * (1 + (each in third))])
    compared(len(came))


def test_valid_that_waits_for_ready(design, compared):
    """Only a sink that waits for valid shows it: they wait for each other."""
    steps, expected = script("valid waits for ready")
    assert run_axi(design, steps, stall=0.5)[0] == expected
    with pytest.raises(CocotbError, match="did not end within 4000 cycles"):
        run_axi(design, [("stall", "m_axis_t", "patient"), *steps], max_cycles=4000)
    steps, expected = script()
    assert run_axi(design, [("stall", "m_axis_t", "patient"), *steps])[0] == [None, *expected]
    compared(3)


def test_design_without_clock(compared):
    with pytest.raises(ValueError, match="^A design with AXI ports must have a clock and a reset, "
                                         "and top has no clock$"):
        run_axi(Double(), [])
    compared(1)


def test_what_nobody_took_is_reported(design, compared):
    steps = [("send", [1, 2]), ("send", [3]), ("send", [[4, 15, 0]]), ("take", 1), ("sent",)]
    assert run_axi(design, steps) == ([None, None, None, [[1, 2]], None], [[3], [4]])
    compared(3)


def test_a_step_that_a_reset_cuts(design, compared):
    steps = [("stall", "s_axi_b", 1.0)]
    for cycles in (1, 2):
        steps += [("send", list(range(20))), ("idle", 5 + 15 * cycles),
                  ("together", ("write", 4, 1), ("reset", cycles)), ("send", [5]), ("take", 1)]
    steps += [("stall", "s_axi_b", 0.0), ("write", 4, 2), ("read", 4)]
    once = [None, None, [None, None], None, [[5]]]
    assert run_axi(design, steps) == ([None, *once, *once, None, 0, [0, 2]], [])
    compared(4)
