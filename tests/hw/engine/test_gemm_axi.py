# SPDX-License-Identifier: Apache-2.0
"""The matrix engine in a system: program and control by AXI4-Lite, matrices by AXI4-Stream."""

import numpy as np
import pytest

from carrysave.hw.array.kind import kind_of
from carrysave.hw.engine.gemm import GemmEngine
from carrysave.hw.engine.gemm_config import GemmConfig, program_words
from carrysave.hw.engine.images import Operand, input_words, read_results
from carrysave.hw.engine.schedule import schedule
from carrysave.hw.engine.tiling import Gemm, array_latency, plan
from carrysave.hw.io.axi_accelerator import AxiAccelerator
from carrysave.hw.io.axi_stream import FlatPorts
from carrysave.quant.formats import Group, Int
from carrysave.sim.cocotb_axi import run_axi
from carrysave.sim.verilog import from_component

CONFIG = GemmConfig(kind_of(Int(8), Group(Int(4), 16)), 4, 4, bus=32, a_lines=256, w_lines=128,
                    scale_lines=64, k_max=256)
SIZES = [(9, 10, 48), (5, 13, 40), (16, 4, 100)]
START, ABORT, BUSY, CLEAR = 1, 2, 2, 0xFFFFFF00


@pytest.fixture(scope="module")
def accelerator():
    accelerator = AxiAccelerator(GemmEngine(CONFIG, layers=4))
    return from_component(FlatPorts(accelerator)), {
        register.name: register.offset for register in accelerator.table}


def problem(size):
    """A program, its words, and the result."""
    m, n, k = size
    rng = np.random.default_rng(k)
    a, b = rng.integers(-128, 128, (m, k)), rng.integers(-8, 8, (n, k))
    scales = rng.integers(0, 256, (n, -(-k // 16)))
    layers = plan(CONFIG, [Gemm("g", m, n, k)])
    words = input_words(CONFIG, layers, [(Operand(a & 255), Operand(b & 15, scales))])
    result = a @ (b * np.repeat(scales, 16, axis=1)[:, :k]).T
    return layers, [int.from_bytes(word.tobytes(), "little") for word in words], result


def prepare(at, layers, words):
    return [*(("write", at["PROGRAM"] + 4 * k, word)
              for k, word in enumerate(program_words(layers))),
            ("write", at["LENGTH"], len(words)), ("write", at["WATCHDOG"], 5000)]


def finish(at):
    return [("poll", at["STATUS"], BUSY, 0), ("read", at["CYCLES"]), ("take", 1),
            ("write", at["STATUS"], CLEAR)]


def test_runs_that_are_cut_short_leave_nothing_behind(accelerator, compared):
    design, at = accelerator
    steps, checks = [], []
    for size in SIZES:
        layers, words, result = problem(size)
        steps += prepare(at, layers, words)
        start = ("write", at["CONTROL"], START)
        steps += [start, ("send", words[:len(words) // 2]), *finish(at)]
        steps += [start, ("send", words), ("idle", len(words)), ("write", at["CONTROL"], ABORT),
                  *finish(at)]
        steps += [start, ("send", words), *finish(at)]
        checks.append((len(steps) - 2, layers, result))
    found, left = run_axi(design, steps, stall=0.2, max_cycles=100_000, timeout=500)
    assert not left
    for step, layers, result in checks:
        (packet,) = found[step]
        raw = np.array([list(word.to_bytes(CONFIG.bus // 8, "little")) for word in packet],
                       np.uint8)
        assert read_results(CONFIG, layers, raw)[0].tolist() == result.tolist()
        compared(result.size)


def test_cycles_are_those_of_the_schedule(accelerator, compared):
    design, at = accelerator
    steps, checks = [], []
    for size in SIZES:
        layers, words, _ = problem(size)
        steps += [*prepare(at, layers, words), ("send", words), ("write", at["CONTROL"], START),
                  *finish(at)]
        checks.append((len(steps) - 3, schedule(CONFIG, array_latency(CONFIG), layers).total))
    found, _ = run_axi(design, steps, max_cycles=100_000, timeout=500)
    assert [found[step][1] for step, _ in checks] == [total for _, total in checks]
    compared(len(checks))
