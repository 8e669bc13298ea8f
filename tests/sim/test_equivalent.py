# SPDX-License-Identifier: Apache-2.0
import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.sim.equivalent import equivalent
from carrysave.sim.verilog import from_component


class Delay(wiring.Component):
    """A pipeline of some stages; ``fault`` 1 makes it do something else, or seem to."""

    def __init__(self, what, stages=2):
        self.what, self.stages = what, stages
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8)),
                          "fault": In(1)})

    def elaborate(self, platform):
        m = Module()
        what, fault = self.what, self.fault
        advance = self.o.ready | ~self.o.valid
        x, valid, count = self.i.payload, self.i.valid, Signal(7)
        unused = Signal(8)
        with m.If(advance & self.i.valid):
            m.d.sync += count.eq(count + 1)
        if what == "code 255":
            x = Mux(fault & (x == 255), 0, x)
        if what == "not valid":
            x = Mux(fault & ~valid, 0, x)
        if what == "count":  # after 100 transfers
            x = Mux(fault & (count == 100), 0, x)
        for _ in range(self.stages):
            data, there = Signal(8), Signal()
            with m.If(advance):
                m.d.sync += [data.eq(x), there.eq(valid), unused.eq(unused ^ x ^ fault)]
            x, valid = data, there
        if what == "waits":  # changes while it waits
            with m.If(fault & ~advance):
                m.d.sync += data.eq(0)
        m.d.comb += [self.i.ready.eq(advance), self.o.valid.eq(valid),
                     self.o.payload.eq(x ^ (fault if what == "always" else 0))]
        return m


def proved(what, stages=2, **kwargs):
    design = from_component(Delay(what, stages))
    return equivalent(design, "fault", 1, latency=stages, timeout=20, **kwargs)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("what", ["nothing", "not valid"])
def test_the_same(what, grouped, compared):
    assert proved(what, grouped=grouped)
    compared(1)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("what", ["always", "code 255", "count", "waits"])
def test_not_the_same(what, grouped, compared):
    assert not proved(what, grouped=grouped)
    compared(1)


@pytest.mark.parametrize("stages", [0, 1, 14, 15, 16, 17])
def test_any_latency(stages, compared):
    assert proved("nothing", stages) and not proved("code 255", stages)
    compared(2)


def test_codes_that_do_not_come(compared):
    assert proved("code 255", domain=[(0, 8, list(range(255)))])
    assert not proved("code 255", domain=[(0, 8, [*range(100), 255])])
    assert proved("code 255", domain=[(0, 4, [0, 1, 2, 7])])
    compared(3)
