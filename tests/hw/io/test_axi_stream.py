# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw.io.axi_stream import (
    AxiStream,
    AxiStreamReceiver,
    AxiStreamTransmitter,
    FlatPorts,
    RegisterSlice,
)
from carrysave.sim.bench import run_stream
from carrysave.sim.cocotb_axi import run_axi
from carrysave.sim.contract import prove_contract
from carrysave.sim.prove_axi import prove_axi
from carrysave.sim.verilog import from_component

WORD = data.StructLayout({"data": 24, "last": 1})


class Loop(wiring.Component):
    """Receiver and transmitter; ``errors`` counts words with ``error``."""

    def __init__(self, bus):
        self.bus = bus
        super().__init__({
            "s_axis": In(AxiStream(bus)), "m_axis": Out(AxiStream(bus)), "errors": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = AxiStreamReceiver(self.bus)
        m.submodules.transmitter = transmitter = AxiStreamTransmitter(self.bus)
        wiring.connect(m, wiring.flipped(self.s_axis), receiver.axi)
        wiring.connect(m, transmitter.axi, wiring.flipped(self.m_axis))
        m.d.comb += [
            transmitter.i.valid.eq(receiver.o.valid), receiver.o.ready.eq(transmitter.i.ready),
            transmitter.i.p.data.eq(receiver.o.p.data), transmitter.i.p.last.eq(receiver.o.p.last),
        ]
        with m.If(receiver.o.valid & receiver.o.ready):
            m.d.sync += self.errors.eq(self.errors + receiver.o.p.error)
        return m


@pytest.fixture(scope="module")
def design():
    return from_component(FlatPorts(Loop(24)))


@pytest.mark.parametrize("stall_i, stall_o", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_slice_latency_and_throughput(stall_i, stall_o, compared):
    rng = random.Random(0)
    inputs = [{"data": rng.getrandbits(24), "last": rng.randrange(2)} for _ in range(200)]
    found = run_stream(RegisterSlice(WORD), inputs, outputs=200, stall_i=stall_i, stall_o=stall_o)
    assert [payload for _, payload in found] == inputs
    if stall_i == stall_o == 0:
        assert [cycle for cycle, _ in found] == [RegisterSlice.latency + k for k in range(200)]
    compared(len(found))


def test_slice_is_proved(compared):
    """With room for two: all is out after two cycles in which the sink is ready."""
    results = prove_contract(from_component(RegisterSlice(24)), latency=2)
    assert [result.status for result in results] == ["proved"] * 3
    compared(3)


def test_rules_are_proved(design, compared):
    found = prove_axi(design)
    assert set(found.values()) == {"proved"}
    assert len(found) == 3
    compared(len(found))


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_packets(design, stall, compared):
    rng = random.Random(1)
    packets = [[rng.getrandbits(24) for _ in range(rng.randrange(1, 20))] for _ in range(30)]
    steps = [*(("send", packet) for packet in packets), ("take", 30), ("pin", "errors")]
    results, left = run_axi(design, steps, stall=stall, seed=2)
    assert results[-2:] == [packets, 0]
    assert left == []
    compared(sum(map(len, packets)))


def test_every_keep(design, compared):
    """Null bytes are 0; an error unless they end the last word, which has other bytes as well."""
    steps, expected = [], []
    errors = 0
    for last in (1, 0):
        for keep in range(8):
            mask = sum(0xFF << 8 * k for k in range(3) if keep >> k & 1)
            steps += [("send", [[0xABCDEF, keep, last]]), *([] if last else [("send", [1])]),
                      ("take", 1), ("pin", "errors")]
            errors += keep not in ((1, 3, 7) if last else (7,))
            expected += [None, *([] if last else [None]),
                         [[0xABCDEF & mask, *([] if last else [1])]], errors]
    assert run_axi(design, steps) == (expected, [])
    assert errors == 5 + 7
    compared(16)


@pytest.mark.parametrize("seed", range(3))
def test_bursts_cut_by_reset(design, seed, compared):
    """Nothing of what was under way comes out afterwards."""
    rng, steps, expected = random.Random(seed), [], []
    for _ in range(20):
        packet = [rng.getrandbits(24) for _ in range(10)]
        steps += [("send", [1] * 50), ("idle", rng.randrange(30)), ("reset", rng.randrange(1, 3)),
                  ("send", packet), ("take", 1)]
        expected += [None] * 4 + [[packet]]
    assert run_axi(design, steps, stall=0.4, seed=seed) == (expected, [])
    compared(20)


def test_names_of_flat_ports(design, compared):
    names = [f"{side}_t{name}" for side in ("s_axis", "m_axis")
             for name in ("data", "keep", "last", "valid", "ready")]
    assert sorted(port.name for port in design.ports) == sorted([*names, "errors"])
    for port in design.ports:
        given = port.name.startswith("s_axis") != port.name.endswith("ready")
        assert port.direction == ("input" if given and port.name != "errors" else "output")
    compared(len(names))


class Twice(wiring.Component):
    a_b: In(1)
    a: In(wiring.Signature({"b": In(1)}))


@pytest.mark.parametrize("make, kind, text", [
    (lambda: AxiStream(12), ValueError, "Bus must be a positive multiple of 8 bits, not 12"),
    (lambda: AxiStreamReceiver(0), ValueError, "Bus must be a positive multiple of 8 bits, not 0"),
    (lambda: AxiStreamTransmitter(8.0), TypeError, "Bus must be an integer, not 8.0"),
    (lambda: FlatPorts(Twice()), ValueError,
     "Members must have different names once joined by _, and two are 'a_b'"),
])
def test_parameters_wrong(make, kind, text, compared):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == text
    compared(1)
