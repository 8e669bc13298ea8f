# SPDX-License-Identifier: Apache-2.0
"""An engine behind AXI4-Stream, with its registers on AXI4-Lite."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .axi_lite import AxiLite, AxiLiteRegisters, Field, Register, Window
from .axi_stream import AxiStream, AxiStreamReceiver, AxiStreamTransmitter, check_bus

__all__ = ["ERRORS", "IDENTITY", "VERSION", "AxiAccelerator", "register_table"]

IDENTITY = int.from_bytes(b"csav", "big")
VERSION = 1

ERRORS = {
    "EARLY": "tlast came before word LENGTH",
    "LATE": "word LENGTH came without tlast, or words were left once the run had ended",
    "KEEP": "a null byte elsewhere than at the end of the last word",
    "WATCHDOG": "nothing moved on the streams for more than WATCHDOG cycles",
    "ABORTED": "CONTROL.ABORT was written during a run",
    "REFUSED": "a start was ignored: BUSY was 1, LENGTH was 0, or ABORT was written with it",
}
"""Flags of STATUS that say what went wrong, from bit 16 on. All but REFUSED end the run."""

CORE = ("start", "busy", "done", "i", "o", "abort", "program")


def register_table(*, bus, program_width):
    """Registers of an :class:`AxiAccelerator`.

    Parameters
    ----------
    bus : int
        Bits of a word on the streams.
    program_width : int
        Bits of the address of a program word.

    Returns
    -------
    tuple of Register and Window
    """
    window = max(0x100, 4 << program_width)
    errors = tuple(Field(name, "w1c", 16 + k, text)
                   for k, (name, text) in enumerate(ERRORS.items()))
    return (
        Register("IDENTITY", 0x00, "Tells the device from others", "ro", IDENTITY),
        Register("VERSION", 0x04, "Of these registers", "ro", VERSION),
        Register("PORTS", 0x08, "How this device was built", fields=(
            Field("BUS_BYTES", "ro", 0, "Bytes of a word on the streams", 16, bus // 8),
            Field("PROGRAM_WIDTH", "ro", 16, "log2 of the words of PROGRAM", 8, program_width),
        )),
        Register("CONTROL", 0x10, "Commands", fields=(
            Field("START", "pulse", 0, "Start a run"),
            Field("ABORT", "pulse", 1, "End the run; while DRAINING, wait for tlast no longer"),
        )),
        Register("STATUS", 0x14, "What the device does and did", fields=(
            Field("IDLE", "ro", 0, "A start is taken", reset=1),
            Field("BUSY", "ro", 1, "A run is going on, or ends"),
            Field("DRAINING", "ro", 2, "The rest of a packet is being swallowed up to its tlast"),
            Field("DONE", "w1c", 8, "A run has ended well: its last word is on m_axis"),
            *errors,
        )),
        Register("IRQ_ENABLE", 0x18, "What makes irq 1", fields=(
            Field("DONE", "rw", 0, "STATUS.DONE"),
            Field("ERROR", "rw", 1, "Any of the flags of STATUS from bit 16 on"),
        )),
        Register("LENGTH", 0x20, "Words of the packet that the next run takes", "rw"),
        Register("WATCHDOG", 0x24, "Cycles in a row in which nothing may move on the streams "
                                   "during a run; 0: as many as it likes", "rw"),
        Register("CYCLES", 0x28, "Of the run, from its start to its end, both counted", "ro"),
        Register("BEATS_IN", 0x2C, "Words that the run has taken", "ro"),
        Register("BEATS_OUT", 0x30, "Words that the run has given", "ro"),
        Window("PROGRAM", window, 1 << program_width, "Program words; open while BUSY is 0"),
    )


class AxiAccelerator(wiring.Component):
    """An engine that a host starts and watches by registers, see :func:`register_table`.

    A run takes one packet of LENGTH words from ``s_axis`` and gives one packet on ``m_axis``; a
    packet that comes earlier waits. LENGTH counts from the start on: written meanwhile, it is for
    the next run.

    The run ends early, with a flag in STATUS, if ``tlast`` is not where LENGTH says, a null byte
    where none may be, if nothing moves for more than WATCHDOG cycles, or if the host aborts. Each
    stream is then brought to the end of a packet: what is left of the packet on ``s_axis``, if
    the run has taken a word of it, is swallowed up to its ``tlast``; the packet on ``m_axis``, if
    its last word is not out, gets one more word, 0 with ``tlast``. BUSY is 1 until both are done.
    A source that never gives ``tlast`` keeps it so until the host aborts again, or the watchdog
    does; what then still comes belongs to a new packet.

    If LENGTH is less than the engine needs, nothing tells: the run waits for the watchdog.

    :Throughput: one word per cycle on each stream.
    :Backpressure: no combinational path from port to port.

    Parameters
    ----------
    core : wiring.Component
        With the attribute ``bus`` and the members

        - ``start : In(1)``, taken while ``busy : Out(1)`` is 0; ``done : Out(1)`` for one cycle
          when a run ends,
        - ``i : In(stream)``, ``o : Out(stream)`` of ``{"data": bus, "last": 1}``; ``o.p.last`` is 1
          with the last word of a run only,
        - ``abort : In(1)``, for one cycle or more: idle from the next cycle on, all forgotten. A
          word on ``i`` that was not taken is withdrawn with it.
        - ``program : In(WordWriter(width))``.

    Members
    -------
    s_axi : In(AxiLite(address_width))
    s_axis : In(AxiStream(bus))
    m_axis : Out(AxiStream(bus))
    irq : Out(1)
        Level.
    """

    def __init__(self, core):
        missing = [name for name in CORE if name not in core.signature.members]
        if missing:
            raise TypeError(f"Core must have the members {', '.join(CORE)}, "
                            f"and {type(core).__name__} has no {missing[0]}")
        check_bus(core.bus)
        word = data.StructLayout({"data": core.bus, "last": 1})
        for side in "io":
            shape = getattr(core, side).payload.shape()
            if shape != word:
                raise TypeError(f"Payload of the core's {side} must be {word!r}, not {shape!r}")
        self.core = core
        self.table = register_table(bus=core.bus, program_width=len(core.program.address))
        self.registers = AxiLiteRegisters(self.table)
        self.receiver = AxiStreamReceiver(core.bus)
        self.transmitter = AxiStreamTransmitter(core.bus)
        super().__init__({
            "s_axi": In(AxiLite(self.registers.address_width)),
            "s_axis": In(AxiStream(core.bus)),
            "m_axis": Out(AxiStream(core.bus)),
            "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.core = core = self.core
        m.submodules.registers = registers = self.registers
        m.submodules.receiver = self.receiver
        m.submodules.transmitter = self.transmitter
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        wiring.connect(m, wiring.flipped(self.s_axis), self.receiver.axi)
        wiring.connect(m, self.transmitter.axi, wiring.flipped(self.m_axis))
        wiring.connect(m, registers.program, core.program)

        packet, results = self.receiver.o, self.transmitter.i
        final = Signal(32)  # BEATS_IN before the last word of the packet.
        taking = Signal()  # The packet has begun, and not ended.
        taken = Signal()  # The packet has ended.
        given = Signal()  # The last result is out.
        finished = Signal()  # The core has been done.
        waited = Signal(32)

        idle = Signal()
        start = registers.control_start & ~registers.control_abort
        accept = Signal()
        m.d.comb += [
            accept.eq(start & registers.status_idle & (registers.length != 0)),
            core.start.eq(accept),
            registers.status_idle.eq(idle & ~core.busy),
            registers.status_busy.eq(~registers.status_idle),
            registers.status_refused_set.eq(registers.control_start & ~accept),
            registers.program_open.eq(registers.status_idle),
            core.i.p.data.eq(packet.p.data),
            core.i.p.last.eq(packet.p.last),
        ]

        move_in = packet.valid & packet.ready
        move_out = results.valid & results.ready
        with m.If(move_in):
            m.d.sync += [taking.eq(~packet.p.last), taken.eq(packet.p.last)]
        with m.If(move_out & results.p.last):
            m.d.sync += given.eq(1)
        with m.If(core.done):
            m.d.sync += finished.eq(1)

        expired = Signal()
        m.d.comb += expired.eq((registers.watchdog != 0) & (waited >= registers.watchdog)
                               & ~move_in & ~move_out)
        m.d.sync += waited.eq(Mux(idle | move_in | move_out, 0, waited + 1))

        def recover():
            m.d.sync += waited.eq(0)
            m.next = "RECOVER"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(accept):
                    m.d.sync += [
                        final.eq(registers.length - 1),
                        registers.cycles.eq(0),
                        registers.beats_in.eq(0),
                        registers.beats_out.eq(0),
                        taken.eq(0), given.eq(0), finished.eq(0),
                    ]
                    m.next = "RUN"

            with m.State("RUN"):
                here = packet.valid & ~taken
                at_end = registers.beats_in == final
                early, late = packet.p.last & ~at_end, ~packet.p.last & at_end
                bad = early | late | packet.p.error
                m.d.comb += [
                    core.i.valid.eq(here & ~bad),
                    packet.ready.eq(core.i.ready & ~taken & ~bad),
                    results.p.data.eq(core.o.p.data),
                    results.p.last.eq(core.o.p.last),
                    results.valid.eq(core.o.valid),
                    core.o.ready.eq(results.ready),
                ]
                m.d.sync += [
                    registers.cycles.eq(registers.cycles + 1),
                    registers.beats_in.eq(registers.beats_in + move_in),
                    registers.beats_out.eq(registers.beats_out + move_out),
                ]
                with m.If(registers.control_abort):
                    m.d.comb += registers.status_aborted_set.eq(1)
                    recover()
                with m.Elif(here & bad):
                    m.d.comb += [
                        registers.status_early_set.eq(early),
                        registers.status_late_set.eq(late),
                        registers.status_keep_set.eq(packet.p.error),
                    ]
                    m.d.sync += taking.eq(1)
                    recover()
                with m.Elif(finished & given):
                    m.d.comb += [
                        registers.status_done_set.eq(taken),
                        registers.status_late_set.eq(~taken),
                    ]
                    with m.If(taken):
                        m.next = "IDLE"
                    with m.Else():
                        recover()
                with m.Elif(expired):
                    m.d.comb += registers.status_watchdog_set.eq(1)
                    recover()

            # Both packets are brought to their ends.
            with m.State("RECOVER"):
                m.d.comb += [
                    core.abort.eq(1),
                    registers.status_draining.eq(taking),
                    packet.ready.eq(taking),
                    results.p.last.eq(1),
                    results.valid.eq(~given),
                ]
                with m.If(taking & registers.control_abort):
                    m.d.sync += taking.eq(0)
                with m.Elif(taking & expired):
                    m.d.comb += registers.status_watchdog_set.eq(1)
                    m.d.sync += taking.eq(0)
                with m.If(~taking & given):
                    m.next = "IDLE"

        errors = Cat(getattr(registers, f"status_{name.lower()}") for name in ERRORS)
        m.d.comb += self.irq.eq(registers.status_done & registers.irq_enable_done
                                | errors.any() & registers.irq_enable_error)

        return m
