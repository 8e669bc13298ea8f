# SPDX-License-Identifier: Apache-2.0
"""AXI4-Stream: the interface in ARM's names, and adapters to and from streams."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiStream", "AxiStreamReceiver", "AxiStreamTransmitter", "FlatPorts", "RegisterSlice"]


def check_bus(bus):
    """Refuse a width of ``tdata`` that is not whole bytes."""
    if not isinstance(bus, int):
        raise TypeError(f"Bus must be an integer, not {bus!r}")
    if bus < 8 or bus % 8:
        raise ValueError(f"Bus must be a positive multiple of 8 bits, not {bus!r}")


class AxiStream(wiring.Signature):
    """AXI4-Stream [1]_ as the transmitter sees it, of the members below.

    .. [1] ARM IHI 0051B, AMBA AXI-Stream Protocol Specification.

    Parameters
    ----------
    bus : int
        Bits of ``tdata``, whole bytes.

    Members
    -------
    tdata : Out(bus)
        Byte 0 is the first.
    tkeep : Out(bus // 8)
        0 where a byte of ``tdata`` is null.
    tlast : Out(1)
        The packet ends here.
    tvalid : Out(1)
    tready : In(1)
    """

    def __init__(self, bus):
        check_bus(bus)
        self.bus = bus
        super().__init__({
            "tdata": Out(bus), "tkeep": Out(bus // 8), "tlast": Out(1),
            "tvalid": Out(1), "tready": In(1),
        })


class RegisterSlice(wiring.Component):
    """Cuts every combinational path between two streams.

    :Latency: :attr:`latency` cycle.
    :Throughput: one transfer per cycle.
    :Backpressure: ``i.ready`` comes from a register; the transfer that it lets in too late waits
        in a second one.

    Parameters
    ----------
    shape : shape-castable
        Of the payload.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    latency = 1

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()

        waiting = Signal()
        spare = Signal(Value.cast(self.i.payload).shape(), reset_less=True)

        m.d.comb += self.i.ready.eq(~waiting)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | waiting),
                self.o.payload.eq(Mux(waiting, spare, Value.cast(self.i.payload))),
                waiting.eq(0),
            ]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), waiting.eq(1)]

        return m


class AxiStreamReceiver(wiring.Component):
    """Words from AXI4-Stream.

    Null bytes become 0. They may only follow the bytes of the last word of a packet, which has at
    least one that is not null; elsewhere they set ``error`` in their word.

    :Latency: :attr:`latency` cycle.
    :Throughput: one word per cycle.
    :Backpressure: no combinational path from ``o`` to ``axi``.

    Parameters
    ----------
    bus : int
        Bits of a word, whole bytes.

    Members
    -------
    axi : In(AxiStream(bus))
    o : Out(stream.Signature(StructLayout({"data": bus, "last": 1, "error": 1})))
    """

    latency = RegisterSlice.latency

    def __init__(self, bus):
        check_bus(bus)
        self.bus = bus
        self.layout = data.StructLayout({"data": bus, "last": 1, "error": 1})
        super().__init__({"axi": In(AxiStream(bus)), "o": Out(stream.Signature(self.layout))})

    def elaborate(self, platform):
        m = Module()

        m.submodules.slice = register = RegisterSlice(self.layout)
        keep, last = self.axi.tkeep, self.axi.tlast
        mask = Cat(bit.replicate(8) for bit in keep)
        # Where bytes are kept from 0 up, the number above `keep` is a power of two.
        partial = keep[0] & ((keep & (keep + 1)) == 0)
        m.d.comb += [
            register.i.p.data.eq(self.axi.tdata & mask),
            register.i.p.last.eq(last),
            register.i.p.error.eq(~Mux(last, partial, keep.all())),
            register.i.valid.eq(self.axi.tvalid),
            self.axi.tready.eq(register.i.ready),
        ]
        wiring.connect(m, register.o, wiring.flipped(self.o))

        return m


class AxiStreamTransmitter(wiring.Component):
    """Words to AXI4-Stream, each of them whole.

    :Latency: :attr:`latency` cycle.
    :Throughput: one word per cycle.
    :Backpressure: no combinational path from ``axi`` to ``i``. A word on ``i`` may be withdrawn
        before it is taken; on ``axi`` none ever is.

    Parameters
    ----------
    bus : int
        Bits of a word, whole bytes.

    Members
    -------
    i : In(stream.Signature(StructLayout({"data": bus, "last": 1})))
    axi : Out(AxiStream(bus))
    """

    latency = RegisterSlice.latency

    def __init__(self, bus):
        check_bus(bus)
        self.bus = bus
        self.layout = data.StructLayout({"data": bus, "last": 1})
        super().__init__({"i": In(stream.Signature(self.layout)), "axi": Out(AxiStream(bus))})

    def elaborate(self, platform):
        m = Module()

        m.submodules.slice = register = RegisterSlice(self.layout)
        wiring.connect(m, wiring.flipped(self.i), register.i)
        m.d.comb += [
            self.axi.tdata.eq(register.o.p.data),
            self.axi.tkeep.eq(~0),
            self.axi.tlast.eq(register.o.p.last),
            self.axi.tvalid.eq(register.o.valid),
            register.o.ready.eq(self.axi.tready),
        ]

        return m


class FlatPorts(wiring.Component):
    """A component whose nested members are ports of their own, names joined by ``_``.

    As a top it has the names that tools know: member ``tdata`` of ``s_axis`` is ``s_axis_tdata``.

    Parameters
    ----------
    inner : wiring.Component

    Members
    -------
    Those of ``inner``, one for each signal.
    """

    def __init__(self, inner):
        self.inner = inner
        self.pairs = {}
        members = {}
        for path, member, value in inner.signature.flatten(inner):
            name = "_".join(map(str, path))
            if name in members:
                raise ValueError(f"Members must have different names once joined by _, "
                                 f"and two are {name!r}")
            members[name] = member
            self.pairs[name] = value
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        m.submodules.inner = self.inner
        for name, value in self.pairs.items():
            if self.signature.members[name].flow == In:
                m.d.comb += Value.cast(value).eq(Value.cast(getattr(self, name)))
            else:
                m.d.comb += Value.cast(getattr(self, name)).eq(Value.cast(value))

        return m
