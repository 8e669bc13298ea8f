# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import random

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from carrysave.sim import cocotb_run
from carrysave.sim.batch import BatchSimulator, UartSession
from carrysave.sim.cocotb_run import CocotbError, run_stream, run_uart
from carrysave.sim.verilog import from_component

from .units import Double, E2M1Dot, Echo, Pipe, e2m1_dot, echo_board

LAYOUT = data.StructLayout({"a": data.ArrayLayout(signed(7), 3), "b": unsigned(300)})


@pytest.fixture(scope="module")
def dot():
    return from_component(E2M1Dot(8))


@pytest.mark.parametrize("kwargs", [
    {}, {"stall_i": 0.5, "stall_o": 0.5, "seed": 3}, {"reset_at": 0},
    {"reset_at": 41, "stall_i": 0.2, "stall_o": 0.6},
])
def test_equals_batch_simulator(dot, kwargs, compared):
    a, b = np.random.default_rng(3).integers(0, 16, (2, 300, 8))
    outputs = run_stream(dot, {"a": a, "b": b}, outputs=300, **kwargs)
    run = BatchSimulator(dot).run({"a": a, "b": b}, outputs=300, **kwargs)
    assert outputs == list(zip(run.cycles.tolist(), run.outputs.tolist(), strict=True))
    assert [payload for _, payload in outputs] == [
        e2m1_dot(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    compared(len(outputs))


def test_wide_structures(compared):
    rng = random.Random(0)
    inputs = [{"a": [rng.randrange(-64, 64) for _ in range(3)], "b": rng.getrandbits(300)}
              for _ in range(50)]
    outputs = run_stream(Pipe(LAYOUT), inputs, outputs=50, stall_o=0.3)
    assert [payload for _, payload in outputs] == inputs
    compared(50)


def test_design_without_clock(compared):
    outputs = run_stream(Double(), range(256), outputs=256)
    assert outputs == [(k, 2 * k) for k in range(256)]
    compared(256)


def test_design_without_reset(dot, compared):
    text = "module bare(input clk, input [63:0] i__payload, input i__valid, output i__ready,\n" \
           "output [11:0] o__payload, output o__valid, input o__ready, output monitor__advance,\n" \
           "output [8:0] monitor__product);\n top top(.rst(1'b0), .*);\nendmodule\n"
    bare = dataclasses.replace(dot, sources={**dot.sources, "bare.sv": text}, top="bare",
                               reset=None)
    a, b = np.random.default_rng(4).integers(0, 16, (2, 50, 8))
    assert run_stream(bare, {"a": a, "b": b}, outputs=50) == run_stream(
        dot, {"a": a, "b": b}, outputs=50)
    with pytest.raises(ValueError, match=r"^reset_at needs a reset, and bare has none$"):
        run_stream(bare, {"a": a, "b": b}, outputs=50, reset_at=3)
    compared(50)


def test_failures_are_raised(dot, tmp_path):
    inputs = {"a": np.zeros((5, 8), int), "b": np.zeros((5, 8), int)}
    with pytest.raises(CocotbError, match="5 of 6 outputs after 40 cycles"):
        run_stream(dot, inputs, outputs=6, max_cycles=40, build_dir=tmp_path)
    assert json.loads((tmp_path / "job.json").read_text())["outputs"] == 6
    assert "5 of 6 outputs" in (tmp_path / "cocotb.log").read_text()
    with pytest.raises(CocotbError, match=r"cycle \d+: o changed before it was taken"):
        run_stream(Pipe(8, unstable=True), range(20), outputs=20, stall_o=0.8)


def test_a_run_without_tests_fails(dot, tmp_path, monkeypatch):
    monkeypatch.setattr(cocotb_run, "sibling", lambda name: "carrysave.sim.stalls")
    with pytest.raises(CocotbError, match="status .* and 0 tests instead of 1$"):
        run_stream(dot, {"a": [[0] * 8], "b": [[0] * 8]}, outputs=1, build_dir=tmp_path)


def test_timeout(dot):
    inputs = {"a": np.zeros((5, 8), int), "b": np.zeros((5, 8), int)}
    with pytest.raises(CocotbError, match=r"^The cocotb run did not end within 2 s$"):
        run_stream(dot, inputs, outputs=6, max_cycles=10**9, timeout=2)


@pytest.mark.parametrize("divisor", [5, 12])
@pytest.mark.parametrize("unit", [Echo, echo_board])
def test_uart_equals_batch_simulator(unit, divisor, compared):
    design = unit(divisor)
    rng = random.Random(0)
    requests = [rng.randbytes(rng.randrange(1, 30)) for _ in range(10)] + [b""]
    expect = [len(request) for request in requests]
    answers, cycles = run_uart(design, requests, divisor=divisor, expect=expect, with_cycles=True,
                               idle=100)
    assert answers == [bytes(255 - byte for byte in request) for request in requests]
    with UartSession(design, divisor=divisor) as session:
        session.idle(100)
        expected = [session.exchange(request, expect=count)
                    for request, count in zip(requests, expect, strict=True)]
    assert answers == [answer for answer, _ in expected]
    assert cycles == [found.tolist() for _, found in expected]
    compared(sum(expect))


def test_uart_failures():
    with pytest.raises(CocotbError, match="1 of 2 bytes after 2000 cycles"):
        run_uart(Echo(8), [b"a"], divisor=8, expect=[2], max_cycles=2000)
    with pytest.raises(CocotbError, match="no stop bit|start bit shorter"):
        run_uart(Echo(8), [b"a"], divisor=32, expect=[1])
    with pytest.raises(ValueError, match=r"one number of expected bytes for each of the 1 req"):
        run_uart(Echo(8), [b"a"], divisor=8, expect=[])
