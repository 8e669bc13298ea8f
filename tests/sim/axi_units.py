# SPDX-License-Identifier: Apache-2.0
"""A device with AXI ports and faults to be found."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw.io.axi_lite import AxiLite, AxiLiteRegisters, Register
from carrysave.hw.io.axi_stream import AxiStream, AxiStreamReceiver, AxiStreamTransmitter

FAULTS = (
    "none", "word lost", "word twice", "payload changes", "no tlast", "valid falls",
    "valid follows ready", "valid waits for ready", "valid in reset", "null bytes",
    "answer falls", "answer changes", "unasked",
)


class FaultyDevice(wiring.Component):
    """What comes on ``s_axis`` goes to ``m_axis``; register 0 says with which fault.

    Parameters
    ----------
    fault : str, optional
        One of `FAULTS` for good.
    """

    def __init__(self, fault=None):
        self.fault = fault
        super().__init__({
            "s_axi": In(AxiLite(3)), "s_axis": In(AxiStream(32)), "m_axis": Out(AxiStream(32)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = AxiLiteRegisters((
            Register("FAULT", 0, "Which", "rw"), Register("VALUE", 4, "A value", "rw"),
        ))
        m.submodules.receiver = receiver = AxiStreamReceiver(32)
        m.submodules.transmitter = transmitter = AxiStreamTransmitter(32)
        wiring.connect(m, wiring.flipped(self.s_axis), receiver.axi)

        number = Signal(8)
        if self.fault is None:
            m.d.comb += number.eq(registers.fault)
        else:
            m.d.comb += number.eq(FAULTS.index(self.fault))

        def fault(name):
            return number == FAULTS.index(name)

        count = Signal(8)
        m.d.sync += count.eq(count + 1)

        # From the source to the sink.
        i, o = receiver.o, transmitter.i
        third, again = Signal(range(3)), Signal()
        lost = fault("word lost") & (third == 2)
        m.d.comb += [
            o.valid.eq(i.valid & ~lost), o.p.data.eq(i.p.data), o.p.last.eq(i.p.last),
            i.ready.eq(o.ready & ~(fault("word twice") & (third == 2) & ~again) | lost),
        ]
        with m.If(i.valid & o.ready):
            m.d.sync += again.eq(~again & fault("word twice") & (third == 2))
        with m.If(i.valid & i.ready):
            m.d.sync += third.eq(Mux(third == 2, 0, third + 1))

        axi, sink = transmitter.axi, self.m_axis
        seen, sticky = Signal(), Signal(reset_less=True)
        m.d.sync += [
            seen.eq((seen | sink.tready) & ~(sink.tvalid & sink.tready)),
            sticky.eq(sticky | fault("valid in reset")),
        ]
        m.d.comb += [
            sink.tdata.eq(axi.tdata ^ Mux(fault("payload changes"), count, 0)),
            sink.tkeep.eq(Mux(fault("null bytes"), 0b1101, axi.tkeep)),
            sink.tlast.eq(axi.tlast & ~fault("no tlast")),
            sink.tvalid.eq(axi.tvalid & ~(fault("valid falls") & count[0])
                           & (sink.tready | ~fault("valid follows ready"))
                           & (seen | ~fault("valid waits for ready"))
                           | sticky & ResetSignal()),
            axi.tready.eq(sink.tready & sink.tvalid),
        ]

        # Registers.
        bus, host, unasked = registers.bus, self.s_axi, Signal()
        for name in ("awaddr", "awprot", "awvalid", "wdata", "wstrb", "wvalid", "araddr", "arprot",
                     "arvalid"):
            m.d.comb += getattr(bus, name).eq(getattr(host, name))
        for name in ("awready", "wready", "bresp", "arready", "rresp"):
            m.d.comb += getattr(host, name).eq(getattr(bus, name))
        with m.If(host.rready & host.rvalid):
            m.d.sync += unasked.eq(0)
        with m.Elif(fault("unasked") & (count[:4] == 0)):
            m.d.sync += unasked.eq(1)
        m.d.comb += [
            host.bvalid.eq(bus.bvalid & ~(fault("answer falls") & count[0])),
            bus.bready.eq(host.bready & host.bvalid),
            host.rdata.eq(bus.rdata ^ Mux(fault("answer changes"), count, 0)),
            host.rvalid.eq(bus.rvalid | unasked),
            bus.rready.eq(host.rready),
        ]

        return m
