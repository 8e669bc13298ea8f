# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from carrysave.fpga.alone import netlist_alone
from carrysave.hw.fixed.khot import KHotMultiply
from carrysave.hw.pe.multiplier import Multiplier
from carrysave.quant.formats import Int
from carrysave.sim.same import same
from carrysave.sim.verilog import Design, Port, from_component

COUNTER = """
module top(input clk, input rst, output [1:0] q);
  reg [1:0] count = {0};
  always @(posedge clk) count <= rst ? 0 : count + {1};
  assign q = count;
endmodule
"""


def counter(initial=0, step=1):
    return Design({"top.v": COUNTER.format(initial, step)}, "top", "clk", "rst",
                  (Port("q", 2, "output"),))


def pair(unit, family):
    rtl, netlist = from_component(unit), netlist_alone(unit, family)
    return rtl, dataclasses.replace(rtl, sources=netlist.sources, defines=netlist.defines)


@pytest.mark.parametrize("other, status, cycle", [
    (counter(), "proved", None), (counter(step=5), "proved", None),
    (counter(initial=1), "refuted", 0), (counter(step=2), "refuted", 1)])
def test_counters(other, status, cycle, compared):
    found = same(counter(), other)
    assert (found.status, found.cycle) == (status, cycle)
    compared(1)


@pytest.mark.parametrize("family", ["ecp5", "ice40"])
def test_netlist(family, compared):
    rtl, netlist = pair(KHotMultiply((3, -5)), family)
    assert same(rtl, netlist).status == "proved"
    # Entry 0 of a LUT.
    text = netlist.sources["netlist.v"]
    place = text.index("16'h") + 4
    table = format(int(text[place:place + 4], 16) ^ 1, "04x")
    wrong = {**netlist.sources, "netlist.v": text[:place] + table + text[place + 4:]}
    assert same(rtl, dataclasses.replace(netlist, sources=wrong)).status == "refuted"
    compared(2)


def test_initial_value(compared):
    rtl, netlist = pair(KHotMultiply((3, -5)), "ecp5")
    text = netlist.sources["netlist.v"].replace('"RESET"', '"SET"', 1)
    wrong = dataclasses.replace(netlist, sources={**netlist.sources, "netlist.v": text})
    found = same(rtl, wrong)
    assert (found.status, found.cycle) == ("refuted", 0)
    compared(1)


def test_sums_merged(compared):
    """8 by 8 bits, with an accumulator."""
    rtl, netlist = pair(Multiplier(1), "ice40")
    assert same(rtl, netlist, merged=True).status == "proved"
    narrow = pair(Multiplier(1, weight=Int(4)), "ice40")
    assert same(*narrow).status == "proved"
    compared(2)


def test_ports_must_be_the_same():
    other = dataclasses.replace(counter(), ports=(Port("q", 3, "output"),))
    with pytest.raises(ValueError, match=r"^top and top must have the same ports, clock and reset"):
        same(counter(), other)
