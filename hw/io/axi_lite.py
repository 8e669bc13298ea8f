# SPDX-License-Identifier: Apache-2.0
"""AXI4-Lite: the interface in ARM's names, and registers declared in one table."""

import dataclasses
import enum
import re

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "ACCESS", "AxiLite", "AxiLiteRegisters", "Field", "Register", "Response", "Window",
    "WordWriter", "c_header", "markdown",
]

WIDTH = 32

ACCESS = {
    "rw": "written and read back",
    "ro": "read only",
    "w1c": "set by the hardware, cleared by writing 1; a set in the same cycle wins",
    "pulse": "1 for the one cycle in which 1 is written; reads as 0",
}
"""What the kinds of access mean."""


class Response(enum.IntEnum):
    """``bresp`` and ``rresp``, as far as they are used."""

    OKAY = 0
    SLVERR = 2


def check_name(what, name):
    if not isinstance(name, str) or not re.fullmatch("[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", name):
        raise ValueError(f"Name of a {what} must be in upper case, as STATUS or BEATS_IN, "
                         f"not {name!r}")


def check_offset(name, offset, step):
    if not isinstance(offset, int) or offset < 0 or offset % step:
        raise ValueError(f"Offset of {name} must be a multiple of {step}, not {offset!r}")


@dataclasses.dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Parameters
    ----------
    name : str
        In upper case.
    access : str
        One of `ACCESS`.
    bit : int
        The lowest.
    description : str
    width : int
    reset : int
        Value after reset; of ``ro``, that of hardware which does not drive it.
    """

    name: str
    access: str
    bit: int
    description: str
    width: int = 1
    reset: int = 0

    def __post_init__(self):
        check_name("field", self.name)
        if self.access not in ACCESS:
            raise ValueError(f"Access of {self.name} must be {', '.join(ACCESS)}, "
                             f"not {self.access!r}")
        if not (self.width >= 1 and 0 <= self.bit <= WIDTH - self.width):
            raise ValueError(f"Bits of {self.name} must be among the {WIDTH} of a register, not "
                             f"{self.width} from bit {self.bit}")
        if not 0 <= self.reset < 1 << self.width or (self.access == "pulse" and self.reset):
            limit = 0 if self.access == "pulse" else (1 << self.width) - 1
            raise ValueError(f"Reset value of {self.name} must be 0 to {limit}, not {self.reset!r}")

    @property
    def mask(self):
        return (1 << self.width) - 1 << self.bit


@dataclasses.dataclass(frozen=True)
class Register:
    """A word of 32 bits: one value, or fields.

    Parameters
    ----------
    name : str
        In upper case.
    offset : int
        Bytes.
    description : str
    access : str, optional
        One of `ACCESS`, where the register is one value.
    reset : int
        Of that value.
    fields : tuple of Field
        Otherwise. Bits that none has read as 0.
    """

    name: str
    offset: int
    description: str
    access: str | None = None
    reset: int = 0
    fields: tuple = ()

    def __post_init__(self):
        check_name("register", self.name)
        check_offset(self.name, self.offset, WIDTH // 8)
        if (self.access is None) == (not self.fields):
            raise ValueError(f"Register {self.name} must have either an access or fields")
        taken = 0
        for field in self.parts.values():
            if taken & field.mask:
                raise ValueError(f"Fields of {self.name} must not overlap, as {field.name} does")
            taken |= field.mask

    @property
    def parts(self):
        """Fields by the names of their ports: ``length``, ``status_done``."""
        if self.access is not None:
            return {self.name.lower(): Field(self.name, self.access, 0, self.description,
                                             width=WIDTH, reset=self.reset)}
        return {f"{self.name}_{field.name}".lower(): field for field in self.fields}

    @property
    def ports(self):
        """Members that `AxiLiteRegisters` has for it."""
        members = {}
        for name, field in self.parts.items():
            flow = In if field.access == "ro" else Out
            members[name] = flow(field.width, init=field.reset)
            if field.access == "w1c":
                members[f"{name}_set"] = In(field.width)
        return members

    @property
    def writable(self):
        return any(field.access != "ro" for field in self.parts.values())


@dataclasses.dataclass(frozen=True)
class Window:
    """Words that are written to a memory, and cannot be read.

    Parameters
    ----------
    name : str
        In upper case.
    offset : int
        Bytes; a multiple of the window's size, rounded up to a power of two.
    words : int
    description : str
    """

    name: str
    offset: int
    words: int
    description: str

    def __post_init__(self):
        check_name("window", self.name)
        if not isinstance(self.words, int) or self.words < 1:
            raise ValueError(f"Words of {self.name} must be a positive integer, not {self.words!r}")
        check_offset(self.name, self.offset, WIDTH // 8 << self.address_width)

    @property
    def address_width(self):
        """Bits that tell the words apart."""
        return max(1, (self.words - 1).bit_length())

    @property
    def ports(self):
        """Members that `AxiLiteRegisters` has for it."""
        name = self.name.lower()
        return {name: Out(WordWriter(self.address_width)), f"{name}_open": In(1)}


def check_table(table):
    """Refuse entries that share a name or an address; the bytes that the table spans."""
    names, taken = {"bus"}, {}
    for entry in table:
        for name in entry.ports:
            if name in names:
                raise ValueError(f"Names must differ, and {name!r} is there twice")
            names.add(name)
        for word in range(entry.words if isinstance(entry, Window) else 1):
            address = entry.offset + WIDTH // 8 * word
            if address in taken:
                raise ValueError(f"Addresses must differ, and {entry.name} and {taken[address]} "
                                 f"share {address:#x}")
            taken[address] = entry.name
    if not taken:
        raise ValueError("The table must have an entry")
    return max(taken) + WIDTH // 8


class AxiLite(wiring.Signature):
    """AXI4-Lite [1]_ of 32 bits as the manager sees it.

    .. [1] ARM IHI 0022, AMBA AXI and ACE Protocol Specification, part B.

    Parameters
    ----------
    address_width : int
        Bits.

    Members
    -------
    awaddr, awprot, awvalid : Out; awready : In
    wdata, wstrb, wvalid : Out; wready : In
    bresp, bvalid : In; bready : Out
    araddr, arprot, arvalid : Out; arready : In
    rdata, rresp, rvalid : In; rready : Out
    """

    def __init__(self, address_width):
        if not isinstance(address_width, int) or address_width < 2:
            raise ValueError(f"Address width must be at least 2 bits, not {address_width!r}")
        super().__init__({
            "awaddr": Out(address_width), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(WIDTH), "wstrb": Out(WIDTH // 8), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_width), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(WIDTH), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


class WordWriter(wiring.Signature):
    """Writes words of 32 bits to a memory, as the writer sees it.

    Parameters
    ----------
    address_width : int
        Bits.

    Members
    -------
    address : Out(address_width)
        Of a word.
    data : Out(32)
    en : Out(1)
    """

    def __init__(self, address_width):
        super().__init__({"address": Out(address_width), "data": Out(WIDTH), "en": Out(1)})


class AxiLiteRegisters(wiring.Component):
    """The registers of a table, as a subordinate on AXI4-Lite.

    Address and data of a write come in any order; ``wstrb`` holds for each byte. One write and one
    read are under way at a time. The answer is SLVERR, and nothing changes, for an address that is
    not of an entry (a misaligned one never is), a write to a register without a writable field, a
    read of a window, and a write to a window that is closed or that has some, but not all bytes.
    ``awprot`` and ``arprot`` say nothing here.

    :Latency: A write has its effect in the cycle after the later of address and data was taken, and
        its answer in the next. A read is answered in the cycle after its address was taken, with
        the values of the cycle in which it was.
    :Throughput: one write in 3 cycles, one read in 2.
    :Backpressure: answers wait for their ready; all outputs come from registers.

    Parameters
    ----------
    table : sequence of Register and Window
    address_width : int, optional
        Bits; the fewest by default.

    Members
    -------
    bus : In(AxiLite(address_width))
    NAME, REGISTER_FIELD
        In lower case, one for each value: ``Out`` where it is ``rw``, ``w1c`` or ``pulse``, ``In``
        where it is ``ro``.
    REGISTER_FIELD_set : In
        Sets bits of a ``w1c`` value.
    WINDOW : Out(WordWriter)
    WINDOW_open : In(1)
        Whether the window takes words.
    """

    def __init__(self, table, *, address_width=None):
        self.table = tuple(table)
        size = check_table(self.table)
        fewest = max(2, (size - 1).bit_length())
        if address_width is None:
            address_width = fewest
        if address_width < fewest:
            raise ValueError(f"Address width must be at least {fewest} bits for this table, "
                             f"not {address_width!r}")
        self.address_width = address_width
        members = {"bus": In(AxiLite(address_width))}
        for entry in self.table:
            members.update(entry.ports)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        # Write: both halves are kept until the answer is taken.
        address, word, strobe = Signal.like(bus.awaddr), Signal(WIDTH), Signal(WIDTH // 8)
        has_address, has_word = Signal(), Signal()
        m.d.comb += [bus.awready.eq(~has_address), bus.wready.eq(~has_word)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), has_address.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [word.eq(bus.wdata), strobe.eq(bus.wstrb), has_word.eq(1)]
        write, write_okay = Signal(), Signal()
        m.d.comb += write.eq(has_address & has_word & ~bus.bvalid)
        with m.If(write):
            m.d.sync += [
                bus.bvalid.eq(1),
                bus.bresp.eq(Mux(write_okay, Response.OKAY, Response.SLVERR)),
            ]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += [bus.bvalid.eq(0), has_address.eq(0), has_word.eq(0)]

        # Read.
        read_okay, found = Signal(), Signal(WIDTH)
        m.d.comb += bus.arready.eq(~bus.rvalid)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [
                bus.rvalid.eq(1),
                bus.rdata.eq(found),
                bus.rresp.eq(Mux(read_okay, Response.OKAY, Response.SLVERR)),
            ]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)

        # Entries.
        mask = Cat(bit.replicate(8) for bit in strobe)
        with m.Switch(bus.araddr):
            for entry in self.table:
                if isinstance(entry, Register):
                    with m.Case(entry.offset):
                        m.d.comb += read_okay.eq(1)
                        for name, field in entry.parts.items():
                            if field.access != "pulse":
                                bits = found[field.bit:field.bit + field.width]
                                m.d.comb += bits.eq(getattr(self, name))
        for entry in self.table:
            if isinstance(entry, Window):
                port, is_open = (getattr(self, entry.name.lower() + end) for end in ("", "_open"))
                size = 2 + entry.address_width
                inside = address[2:size]
                m.d.comb += [port.address.eq(inside), port.data.eq(word)]
                with m.If((address[:2] == 0) & (inside < entry.words)
                          & (address[size:] == entry.offset >> size)):
                    m.d.comb += [
                        write_okay.eq(is_open & (strobe.all() | ~strobe.any())),
                        port.en.eq(write & is_open & strobe.all()),
                    ]
                continue
            hit = Signal(name=f"write_{entry.name.lower()}")
            m.d.comb += hit.eq(write & (address == entry.offset))
            if entry.writable:
                with m.If(address == entry.offset):
                    m.d.comb += write_okay.eq(1)
            for name, field in entry.parts.items():
                here = slice(field.bit, field.bit + field.width)
                value, new, written = getattr(self, name), word[here], mask[here]
                if field.access == "rw":
                    with m.If(hit):
                        m.d.sync += value.eq(value & ~written | new & written)
                elif field.access == "pulse":
                    m.d.comb += value.eq(Mux(hit, new & written, 0))
                elif field.access == "w1c":
                    clear = Mux(hit, new & written, 0)
                    m.d.sync += value.eq(value & ~clear | getattr(self, f"{name}_set"))

        return m


def c_header(table, *, prefix):
    """A table as C: offsets of registers and windows, masks and lowest bits of fields.

    Parameters
    ----------
    table : sequence of Register and Window
    prefix : str
        In upper case, before each name.

    Returns
    -------
    str
    """
    check_name("prefix", prefix)
    check_table(table)
    lines = [f"#ifndef {prefix}_H", f"#define {prefix}_H"]
    for entry in table:
        name = f"{prefix}_{entry.name}"
        lines += ["", f"/* {entry.description} */", f"#define {name} {entry.offset:#x}u"]
        if isinstance(entry, Window):
            lines.append(f"#define {name}_WORDS {entry.words}u")
            continue
        for field in entry.fields:
            lines += [f"/* {field.access}: {field.description} */",
                      f"#define {name}_{field.name} {field.mask:#010x}u",
                      f"#define {name}_{field.name}_SHIFT {field.bit}"]
    return "\n".join([*lines, "", "#endif", ""])


def markdown(table):
    """A table as Markdown: one row for each register, field and window.

    Parameters
    ----------
    table : sequence of Register and Window

    Returns
    -------
    str
    """
    check_table(table)
    rows = ["| offset | name | bits | access | reset | |", "|---|---|---|---|---|---|"]
    for entry in table:
        if isinstance(entry, Window):
            end = entry.offset + WIDTH // 8 * (entry.words - 1)
            rows.append(f"| {entry.offset:#04x} … {end:#04x} | {entry.name} | 31:0 | wo | – "
                        f"| {entry.description} |")
            continue
        if entry.fields:
            rows.append(f"| {entry.offset:#04x} | {entry.name} | | | | {entry.description} |")
        for field in entry.parts.values():
            top = field.bit + field.width - 1
            bits = f"{field.bit}" if field.width == 1 else f"{top}:{field.bit}"
            offset, name = (("", f"{entry.name}.{field.name}") if entry.fields
                            else (f"{entry.offset:#04x}", entry.name))
            rows.append(f"| {offset} | {name} | {bits} | {field.access} | {field.reset:#x} "
                        f"| {field.description} |")
    return "\n".join([*rows, ""])
