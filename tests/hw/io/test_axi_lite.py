# SPDX-License-Identifier: Apache-2.0
import random
import subprocess

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from carrysave.hw.io.axi_accelerator import register_table
from carrysave.hw.io.axi_lite import (
    AxiLite,
    AxiLiteRegisters,
    Field,
    Register,
    Response,
    Window,
    c_header,
    markdown,
)
from carrysave.hw.io.axi_stream import FlatPorts
from carrysave.sim.cocotb_axi import run_axi
from carrysave.sim.prove_axi import prove_axi
from carrysave.sim.verilator import find_compiler
from carrysave.sim.verilog import from_component

OKAY, SLVERR = int(Response.OKAY), int(Response.SLVERR)
MEMORY, DEPTH = 0x40, 5
TABLE = (
    Register("MODE", 0x00, "Fields across bytes", fields=(
        Field("A", "rw", 0, "Low", width=4, reset=5),
        Field("B", "rw", 12, "In two bytes", width=9, reset=0x1FF),
        Field("V", "ro", 24, "Constant", width=8, reset=0x5A),
    )),
    Register("WHOLE", 0x04, "One value", "rw", 0xDEADBEEF),
    Register("GO", 0x08, "Pulses", fields=(
        Field("SET", "pulse", 0, "Sets FLAGS", width=4), Field("COUNT", "pulse", 8, "Counts"),
    )),
    Register("FLAGS", 0x0C, "Set by GO.SET", fields=(
        Field("LOW", "w1c", 0, "Of bits 0 and 1", width=2),
        Field("HIGH", "w1c", 16, "Of bits 2 and 3", width=2, reset=2),
    )),
    Register("COUNTED", 0x14, "Pulses of GO.COUNT", "ro"),
    Register("PEEK", 0x18, "Word INDEX of MEMORY", "ro"),
    Register("INDEX", 0x1C, "For PEEK", fields=(Field("WORD", "rw", 0, "Which", width=3),)),
    Register("KEY", 0x20, "Of MEMORY", fields=(Field("OPEN", "rw", 0, "Opens it"),)),
    Window("MEMORY", MEMORY, DEPTH, "Some words"),
)


class Device(wiring.Component):
    s_axi: In(AxiLite(7))

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = AxiLiteRegisters(TABLE)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        memory = Array(Signal(32, name=f"word_{k}") for k in range(8))
        with m.If(registers.memory.en):
            m.d.sync += memory[registers.memory.address].eq(registers.memory.data)
        m.d.sync += registers.counted.eq(registers.counted + registers.go_count)
        m.d.comb += [
            Cat(registers.flags_low_set, registers.flags_high_set).eq(registers.go_set),
            registers.peek.eq(memory[registers.index_word]),
            registers.memory_open.eq(registers.key_open),
        ]
        return m


class Model:
    """What the device does, one access after the other."""

    def __init__(self):
        self.mode, self.whole, self.flags = 0x1FF005, 0xDEADBEEF, 2 << 16
        self.index = self.key = self.counted = 0
        self.memory = [0] * 8

    def write(self, address, word, strobe):
        mask = sum(0xFF << 8 * k for k in range(4) if strobe >> k & 1)
        word &= mask

        def merge(old, writable=0xFFFFFFFF):
            return old & ~(mask & writable) | word & writable

        if address == 0x00:
            self.mode = merge(self.mode, 0x1FF00F)
        elif address == 0x04:
            self.whole = merge(self.whole)
        elif address == 0x08:
            self.flags |= (word & 3) | (word >> 2 & 3) << 16
            self.counted += word >> 8 & 1
        elif address == 0x0C:
            self.flags &= ~word
        elif address == 0x1C:
            self.index = merge(self.index, 7)
        elif address == 0x20:
            self.key = merge(self.key, 1)
        elif MEMORY <= address < MEMORY + 4 * DEPTH and address % 4 == 0:
            if not self.key or strobe not in (0, 15):
                return SLVERR
            if strobe:
                self.memory[(address - MEMORY) // 4] = word
        else:
            return SLVERR
        return OKAY

    def read(self, address):
        words = {
            0x00: self.mode | 0x5A << 24, 0x04: self.whole, 0x08: 0, 0x0C: self.flags,
            0x14: self.counted, 0x18: self.memory[self.index], 0x1C: self.index, 0x20: self.key,
        }
        return [OKAY, words[address]] if address in words else [SLVERR, 0]


@pytest.fixture(scope="module")
def design():
    return from_component(FlatPorts(Device()))


def random_accesses(rng, count):
    model, steps, expected = Model(), [], []
    for _ in range(count):
        address = rng.choice([rng.randrange(0, 128), rng.randrange(0, 0x58, 4)])
        if rng.random() < 0.5:
            steps.append(("read", address))
            expected.append(model.read(address))
        else:
            word = rng.choice([rng.getrandbits(32), 0, 0xFFFFFFFF, rng.randrange(8)])
            strobe = rng.choice([15, 15, rng.randrange(16)])
            steps.append(("write", address, word, strobe))
            expected.append(model.write(address, word, strobe))
    return steps, expected


@pytest.mark.parametrize("stalls", [
    {}, {"s_axi_aw": 0.8}, {"s_axi_w": 0.8}, {"s_axi_b": 0.8, "s_axi_r": 0.8, "s_axi_ar": 0.5},
    {"s_axi_b": "patient", "s_axi_r": "patient", "s_axi_aw": 0.5, "s_axi_w": 0.5, "host": 0.5},
], ids=lambda stalls: ",".join(stalls) or "none")
def test_random_accesses(design, stalls, compared):
    """Each kind of register, address and data in any order, wrong addresses, every strobe."""
    steps, expected = random_accesses(random.Random(len(stalls)), 1000)
    stalled = [("stall", channel, probability) for channel, probability in stalls.items()]
    found, _ = run_axi(design, stalled + steps, max_cycles=60_000)
    for step, one, other in zip(steps, found[len(stalled):], expected, strict=True):
        assert one == other, step
    assert {one if isinstance(one, int) else one[0] for one in expected} == {OKAY, SLVERR}
    compared(len(steps))


def test_every_address(design, compared):
    """Every byte address: reads, and writes that change nothing."""
    steps, expected = [], []
    model = Model()
    for address in range(128):
        steps += [("read", address), ("write", address, 0xFFFFFFFF, 0)]
        expected += [model.read(address), model.write(address, 0xFFFFFFFF, 0)]
    assert run_axi(design, steps)[0] == expected
    compared(len(steps))


def test_reads_and_writes_at_the_same_time(design, compared):
    rng, steps, expected = random.Random(0), [], []
    for _ in range(100):
        word = rng.getrandbits(32)
        steps += [("together", ("write", 0x04, word), ("read", 0x00)), ("read", 0x04)]
        expected += [[OKAY, [OKAY, 0x5A1FF005]], [OKAY, word]]
    assert run_axi(design, steps, stall=0.4)[0] == expected
    compared(len(steps))


def test_latency_and_throughput(design, compared):
    steps = [("cycle",), *[("write", 4, 1)] * 10, ("cycle",), *[("read", 4)] * 10, ("cycle",)]
    found, _ = run_axi(design, steps)
    cycles = [found[0], found[11], found[22]]
    assert [b - a for a, b in zip(cycles, cycles[1:], strict=False)] == [30, 20]
    compared(20)


@pytest.mark.parametrize("seed", range(2))
def test_accesses_cut_by_reset(design, seed, compared):
    rng, steps, expected = random.Random(seed), [], []
    for _ in range(30):
        access = ("write", 4, rng.getrandbits(32)) if rng.random() < 0.5 else ("read", 4)
        reset = ("reset", rng.randrange(1, 3))
        steps += [("write", 4, 5), ("idle", rng.randrange(3)), ("together", access, reset),
                  ("read", 4), ("write", 0x1C, 3), ("read", 0x1C)]
        expected += [OKAY, None, None, [OKAY, 0xDEADBEEF], OKAY, [OKAY, 3]]
    found, _ = run_axi(design, steps, stall=0.5, seed=seed)
    assert [None if step[0] == "together" else one
            for step, one in zip(steps, found, strict=True)] == expected
    compared(len(steps))


def test_a_set_wins_over_a_clear(compared):
    """In each cycle around the one in which a write clears the flag."""
    for moment in range(5):
        dut = AxiLiteRegisters([Register("FLAG", 0, "", "w1c")])
        found = []

        async def bench(ctx, dut=dut, moment=moment, found=found):
            ctx.set(dut.bus.bready, 1)
            ctx.set(dut.bus.wdata, 1)
            ctx.set(dut.bus.wstrb, 15)
            for cycle in range(6):
                ctx.set(dut.flag_set, cycle == moment)
                ctx.set(dut.bus.awvalid, cycle == 1)
                ctx.set(dut.bus.wvalid, cycle == 1)
                await ctx.tick()
            found.append(ctx.get(dut.flag))

        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()
        assert found == [moment >= 2], moment  # the write takes effect in cycle 2
        compared(1)


def test_rules_are_proved(design, compared):
    found = prove_axi(design)
    assert set(found.values()) == {"proved"}
    assert len(found) == 8
    compared(len(found))


def test_c_header_is_what_the_table_says(tmp_path, compared):
    """A compiler reads it."""
    table = register_table(bus=32, program_width=4)
    lines = []
    for entry in (*TABLE, *table):
        prefix = "A" if entry in TABLE else "B"
        lines.append(f"{prefix}_{entry.name} == {entry.offset}")
        if isinstance(entry, Window):
            lines.append(f"{prefix}_{entry.name}_WORDS == {entry.words}")
        else:
            for field in entry.fields:
                name = f"{prefix}_{entry.name}_{field.name}"
                lines += [f"{name} == {(2**field.width - 1) * 2**field.bit}u",
                          f"{name}_SHIFT == {field.bit}"]
    (tmp_path / "a.h").write_text(c_header(TABLE, prefix="A"))
    (tmp_path / "b.h").write_text(c_header(table, prefix="B"))

    def compiles(lines):
        text = '#include "a.h"\n#include "b.h"\n#include "a.h"\n' + "".join(
            f'static_assert({line}, "");\n' for line in lines)
        (tmp_path / "check.cpp").write_text(text)
        return subprocess.run([find_compiler()[0], "-Wall", "-Werror", "-fsyntax-only",
                               "check.cpp"], cwd=tmp_path, capture_output=True).returncode == 0

    assert compiles(lines)
    assert not compiles([*lines, "B_LENGTH == 0"])
    compared(len(lines))


def test_markdown(compared):
    assert markdown(TABLE[1:2] + TABLE[3:4] + TABLE[-1:]).splitlines() == [
        "| offset | name | bits | access | reset | |",
        "|---|---|---|---|---|---|",
        "| 0x04 | WHOLE | 31:0 | rw | 0xdeadbeef | One value |",
        "| 0x0c | FLAGS | | | | Set by GO.SET |",
        "|  | FLAGS.LOW | 1:0 | w1c | 0x0 | Of bits 0 and 1 |",
        "|  | FLAGS.HIGH | 17:16 | w1c | 0x2 | Of bits 2 and 3 |",
        "| 0x40 … 0x50 | MEMORY | 31:0 | wo | – | Some words |",
    ]
    compared(7)


def rw(name, offset=0):
    return Register(name, offset, "", "rw")


@pytest.mark.parametrize("make, text", [
    (lambda: rw("low"), "Name of a register must be in upper case, as STATUS or BEATS_IN, "
                        "not 'low'"),
    (lambda: rw("A", 2), "Offset of A must be a multiple of 4, not 2"),
    (lambda: rw("A", -4), "Offset of A must be a multiple of 4, not -4"),
    (lambda: Register("A", 0, ""), "Register A must have either an access or fields"),
    (lambda: Register("A", 0, "", "wo"), "Access of A must be rw, ro, w1c, pulse, not 'wo'"),
    (lambda: Register("A", 0, "", "rw", 1 << 32),
     "Reset value of A must be 0 to 4294967295, not 4294967296"),
    (lambda: Field("A", "pulse", 0, "", reset=1), "Reset value of A must be 0 to 0, not 1"),
    (lambda: Field("A", "rw", 31, "", width=2),
     "Bits of A must be among the 32 of a register, not 2 from bit 31"),
    (lambda: Register("A", 0, "", fields=(Field("X", "rw", 0, "", 2), Field("Y", "rw", 1, ""))),
     "Fields of A must not overlap, as Y does"),
    (lambda: Window("W", 0x10, 5, ""), "Offset of W must be a multiple of 32, not 16"),
    (lambda: Window("W", 0, 0, ""), "Words of W must be a positive integer, not 0"),
    (lambda: AxiLiteRegisters([]), "The table must have an entry"),
    (lambda: AxiLiteRegisters([rw("A"), rw("A", 4)]), "Names must differ, and 'a' is there twice"),
    (lambda: AxiLiteRegisters([rw("BUS")]), "Names must differ, and 'bus' is there twice"),
    (lambda: AxiLiteRegisters([rw("A"), rw("B")]), "Addresses must differ, and B and A share 0x0"),
    (lambda: AxiLiteRegisters([Window("W", 0, 4, ""), rw("B", 8)]),
     "Addresses must differ, and B and W share 0x8"),
    (lambda: AxiLiteRegisters([rw("A", 0x100)], address_width=8),
     "Address width must be at least 9 bits for this table, not 8"),
    (lambda: AxiLite(1), "Address width must be at least 2 bits, not 1"),
    (lambda: c_header(TABLE, prefix="a b"),
     "Name of a prefix must be in upper case, as STATUS or BEATS_IN, not 'a b'"),
])
def test_parameters_wrong(make, text, compared):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == text
    compared(1)
