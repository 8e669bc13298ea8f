# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from carrysave.fpga.alone import netlist_alone
from carrysave.fpga.synthesis import CELLS
from carrysave.hw.fixed.khot import KHotMultiply
from carrysave.hw.pe.multiplier import Multiplier
from carrysave.sim.batch import BatchSimulator
from carrysave.sim.verilog import Design, Port

NAMES = [*(f"A{k}" for k in range(18)), *(f"B{k}" for k in range(18)), "SIGNEDA", "SIGNEDB"]


@pytest.mark.parametrize("family", ["ecp5", "ice40"])
def test_ports_stay(family, compared):
    found = netlist_alone(KHotMultiply((3, -5)), family)
    for port in ("clk", "rst", "i__payload", "i__valid", "i__ready", "o__payload", "o__valid",
                 "o__ready"):
        assert f" {port};" in found.verilog
        compared(1)
    assert found.resources["lut4"] > 0 and found.unverified == []


def test_models_of_blocks():
    found = netlist_alone(Multiplier(1), "ecp5", dsp=True)
    assert found.resources["dsp"] == 1 and found.unverified == ["ecp5_dsp.v"]
    assert "ecp5_dsp.v" in found.sources


def test_multiplier_of_ecp5(compared):
    """FPGA-TN-02205: 18 by 18 bits, each operand signed or not."""
    pins = [f".{name}(i__payload[{k}])" for k, name in enumerate(NAMES)]
    pins += [f".P{k}(o__payload[{k}])" for k in range(36)]
    top = f"module top(input clk, input [37:0] i__payload, output [35:0] o__payload);\n" \
          f"MULT18X18D block({', '.join(pins)});\nendmodule\n"
    design = Design({"top.v": top, "block.v": (CELLS / "ecp5_dsp.v").read_text()}, "top", "clk",
                    None, (Port("i__payload", 38, "input"), Port("o__payload", 36, "output")))
    edges = [0, 1, 2, (1 << 17) - 1, 1 << 17, (1 << 17) + 1, (1 << 18) - 1]
    rng = np.random.default_rng(0)
    cases = [*itertools.product(edges, edges, range(2), range(2)),
             *zip(*rng.integers(1 << 18, size=(2, 4000)).tolist(),
                  *rng.integers(2, size=(2, 4000)).tolist(), strict=True)]
    sent = [a | b << 18 | signed_a << 36 | signed_b << 37 for a, b, signed_a, signed_b in cases]

    def value(code, signed):
        return code - (code >> 17 << 18) if signed else code

    expected = [value(a, signed_a) * value(b, signed_b) % (1 << 36)
                for a, b, signed_a, signed_b in cases]
    found = BatchSimulator(design).run(np.array(sent), outputs=len(sent)).outputs
    assert found.tolist() == expected
    compared(len(expected))
