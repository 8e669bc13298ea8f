# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.hw.io.axi_accelerator import (
    ERRORS,
    IDENTITY,
    VERSION,
    AxiAccelerator,
    register_table,
)
from carrysave.hw.io.axi_lite import Register, Response, WordWriter
from carrysave.hw.io.axi_stream import FlatPorts
from carrysave.sim.cocotb_axi import run_axi
from carrysave.sim.prove_axi import prove_axi
from carrysave.sim.verilog import from_component

PROGRAM_WIDTH = 3
INPUTS, STRIDE, DELAY = range(3)  # program words


class RunningSum(wiring.Component):
    """The smallest core: the sum of the words so far, after every few of them.

    It stays busy for a while after a run.

    ``fault`` makes it forget less than it should on an abort.
    """

    def __init__(self, bus, *, fault=False):
        self.bus, self.fault = bus, fault
        word = stream.Signature(data.StructLayout({"data": bus, "last": 1}))
        super().__init__({
            "start": In(1), "busy": Out(1), "done": Out(1), "abort": In(1),
            "i": In(word), "o": Out(word), "program": In(WordWriter(PROGRAM_WIDTH)),
        })

    def elaborate(self, platform):
        m = Module()
        inputs, stride, delay = words = [Signal(16, name=f"word_{k}") for k in range(3)]
        left, until, pause, total = Signal(16), Signal(16), Signal(16), Signal(self.bus)
        for k, word in enumerate(words):
            with m.If(self.program.en & (self.program.address == k)):
                m.d.sync += word.eq(self.program.data)
        m.d.comb += [self.busy.eq(1), self.o.p.data.eq(total), self.o.p.last.eq(left == 0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [left.eq(inputs), until.eq(stride)]
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [total.eq(total + self.i.p.data), left.eq(left - 1),
                                 until.eq(until - 1), pause.eq(delay)]
                    with m.If(until == 1):
                        m.next = "GIVE"
                with m.If(self.abort):
                    m.next = "IDLE"
            with m.State("GIVE"):
                m.d.sync += pause.eq(Mux(pause == 0, 0, pause - 1))
                m.d.comb += self.o.valid.eq(pause == 0)
                m.d.sync += until.eq(stride)
                with m.If(self.o.valid & self.o.ready):
                    m.next = "TAKE"
                    with m.If(left == 0):
                        m.next = "DONE"
                with m.If(self.abort):
                    m.next = "IDLE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.d.sync += [total.eq(0), pause.eq(40)]
                m.next = "REST"
            with m.State("REST"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.next = "IDLE"
        if not self.fault:
            with m.If(self.abort):
                m.d.sync += total.eq(0)
        return m


def running_sums(packet, stride, bus):
    return [sum(packet[:k]) % 2**bus for k in range(stride, len(packet) + 1, stride)]


def device(bus=32, **kwargs):
    return AxiAccelerator(RunningSum(bus, **kwargs))


@pytest.fixture(scope="module")
def design():
    return from_component(FlatPorts(device()))


TABLE = register_table(bus=32, program_width=PROGRAM_WIDTH)
ADDRESS = {entry.name: entry.offset for entry in TABLE}
MASK = {name: field.mask for entry in TABLE if isinstance(entry, Register)
        for name, field in entry.parts.items()}
IDLE, BUSY, DRAINING, DONE = (
    MASK[f"status_{name}"] for name in ("idle", "busy", "draining", "done"))
ERROR = {name: MASK[f"status_{name.lower()}"] for name in ERRORS}
FLAGS = DONE | sum(ERROR.values())
START, ABORT = MASK["control_start"], MASK["control_abort"]


def write(name, word, *, index=0):
    return ("write", ADDRESS[name] + 4 * index, word)


def read(name):
    return ("read", ADDRESS[name])


def wait_idle():
    return ("poll", ADDRESS["STATUS"], BUSY, 0)


def words(rng, count, bus=32):
    return [rng.getrandbits(bus) for _ in range(count)]


class Script:
    """Steps and what they must give.

    ``None``: anything; a function: of what was found, and of the result before.
    """

    def __init__(self):
        self.steps, self.expected = [], []

    def add(self, step, expected=None):
        self.steps.append(step)
        self.expected.append(expected)

    def program(self, inputs, stride=1, delay=0):
        for k, word in enumerate((inputs, stride, delay)):
            self.add(write("PROGRAM", word, index=k), 0)

    def start(self, length, *, watchdog=0):
        self.add(write("LENGTH", length), 0)
        self.add(write("WATCHDOG", watchdog), 0)
        self.add(write("CONTROL", START), 0)

    def flags(self, expected):
        """Wait for the end of the run, look at the flags and clear them."""
        self.add(wait_idle(), expected | IDLE)
        self.add(write("STATUS", FLAGS), 0)
        self.add(read("STATUS"), [0, IDLE])

    def cut(self, flags, sums):
        """A run that must end with flags: its results up to somewhere, and the closing word."""
        self.flags(flags)
        self.add(read("BEATS_OUT"))
        self.add(("take", 1), lambda found, before: found == [sums[:before[1]] + [0]])

    def good_run(self, packet, stride=1, *, bus=32):
        """A run that must end well, whatever came before."""
        self.program(len(packet), stride)
        self.start(len(packet))
        self.add(("send", packet))
        self.add(("take", 1), [running_sums(packet, stride, bus)])
        self.flags(DONE)
        self.add(read("BEATS_IN"), [0, len(packet)])
        self.add(read("BEATS_OUT"), [0, len(packet) // stride])

    def check(self, design, compared, **kwargs):
        results, left = run_axi(design, self.steps, **kwargs)
        count = 0
        for k, (step, found, expected) in enumerate(
                zip(self.steps, results, self.expected, strict=True)):
            if callable(expected):
                assert expected(found, results[k - 1]), f"step {k}, {step}: {found!r}"
            elif expected is not None:
                assert found == expected, f"step {k}, {step}: {found!r} instead of {expected!r}"
            count += expected is not None
        assert left == []
        compared(count)
        return results


@pytest.mark.parametrize("stall, seed", [(0.0, 0), (0.5, 1), (0.8, 2)])
def test_runs(design, stall, seed, compared):
    rng, script = random.Random(seed), Script()
    script.add(read("IDENTITY"), [0, IDENTITY])
    script.add(read("VERSION"), [0, VERSION])
    script.add(read("PORTS"), [0, 4 | PROGRAM_WIDTH << 16])
    script.add(read("STATUS"), [0, IDLE])
    for length, stride in [(1, 1), (2, 2), (12, 3), (40, 1), (40, 40)]:
        script.good_run(words(rng, length), stride)
    script.check(design, compared, stall=stall, seed=seed)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_packets_ahead_of_their_runs(design, stall, compared):
    """Each run takes one, the next waits."""
    rng, script = random.Random(0), Script()
    packets = [words(rng, length) for length in (3, 1, 7, 2)]
    for packet in packets:
        script.add(("send", packet))
    for packet in packets:
        script.program(len(packet))
        script.start(len(packet))
        script.flags(DONE)
        script.add(read("BEATS_IN"), [0, len(packet)])
    script.add(("take", 4), [running_sums(packet, 1, 32) for packet in packets])
    script.check(design, compared, stall=stall)


def wrong_packet(rng, length, at, *, bus=32):
    """A packet with ``tlast`` at word ``at`` for a LENGTH of ``length``, and its flag."""
    return words(rng, at, bus), ERROR["EARLY" if at < length else "LATE"]


@pytest.mark.parametrize("stall, seed", [(0.0, 0), (0.5, 1)])
@pytest.mark.parametrize("stride", [1, 8])
def test_wrong_lengths(design, stride, stall, seed, compared):
    """``tlast`` at each word around the one where it belongs; a good run after each."""
    rng, script = random.Random(seed), Script()
    length = 8
    for at in (*range(1, length), *range(length + 1, length + 4), 30):
        packet, flag = wrong_packet(rng, length, at)
        script.program(length, stride)
        script.start(length)
        script.add(("send", packet))
        script.cut(flag, running_sums(packet, stride, 32))
        script.good_run(words(rng, length), stride)
    script.check(design, compared, stall=stall, seed=seed, max_cycles=60_000)


def test_packet_longer_than_the_program(design, compared):
    """The results are whole and so is their packet; what is left of the input is swallowed."""
    rng, script = random.Random(0), Script()
    for inputs, length in [(4, 5), (4, 40), (1, 2)]:
        packet = words(rng, length)
        script.program(inputs)
        script.start(length)
        script.add(("send", packet))
        script.add(("take", 1), [running_sums(packet[:inputs], 1, 32)])
        script.flags(ERROR["LATE"])
        script.add(read("BEATS_IN"), [0, inputs])
        script.good_run(words(rng, 5))
    script.check(design, compared, stall=0.3)


def test_packet_shorter_than_the_program(design, compared):
    """Nothing tells the device so: the watchdog ends it. The next packet waits all the same."""
    rng, script = random.Random(0), Script()
    packet, ahead = words(rng, 5), words(rng, 4)
    script.program(9)
    script.start(5, watchdog=30)
    script.add(("send", packet))
    script.add(("send", ahead))
    script.cut(ERROR["WATCHDOG"], running_sums(packet, 1, 32))
    script.program(4)
    script.start(4)
    script.add(("take", 1), [running_sums(ahead, 1, 32)])
    script.flags(DONE)
    script.good_run(words(rng, 5))
    script.check(design, compared, stall=0.3)


def test_null_bytes(design, compared):
    """Each ``tkeep``, in the last word and before it."""
    script = Script()
    whole = {1: 0xFF, 3: 0xFFFF, 7: 0xFFFFFF, 15: 0xFFFFFFFF}
    for last in (1, 0):
        for keep in range(16):
            packet = [[5, 15, 0], [0xFFFFFFFF, keep, last]] + ([] if last else [[6, 15, 1]])
            script.program(len(packet))
            script.start(len(packet))
            script.add(("send", packet))
            if last and keep in whole:
                script.add(("take", 1), [[5, (5 + whole[keep]) % 2**32]])
                script.flags(DONE)
            elif keep == 15:
                script.add(("take", 1), [[5, 4, 10]])
                script.flags(DONE)
            else:
                script.cut(ERROR["KEEP"], [5])
            script.good_run([1, 2, 3])
    script.check(design, compared)


def test_starts_that_are_refused(design, compared):
    """While busy, with LENGTH 0, together with ABORT: a flag, and the run is as if it were not."""
    rng, script = random.Random(0), Script()
    packet = words(rng, 6)
    script.program(6)
    script.add(write("CONTROL", START), 0)  # LENGTH is 0
    script.flags(ERROR["REFUSED"])
    script.start(6)
    script.add(write("CONTROL", START), 0)
    script.add(read("STATUS"), [0, BUSY | ERROR["REFUSED"]])
    script.add(("send", [[word, 15, 0] for word in packet[:3]]))
    script.add(("sent",))
    script.add(write("CONTROL", START), 0)
    script.add(("send", packet[3:]))
    script.add(("take", 1), [running_sums(packet, 1, 32)])
    script.flags(DONE | ERROR["REFUSED"])
    script.add(write("CONTROL", START | ABORT), 0)
    script.flags(ERROR["REFUSED"])
    script.add(write("CONTROL", ABORT), 0)  # idle: nothing to end
    script.flags(0)
    script.good_run(words(rng, 6))
    script.check(design, compared)


def test_abort_by_the_host(design, compared):
    """Before the packet, in it, with results that wait, and when all is in."""
    rng, script = random.Random(0), Script()
    packet = words(rng, 10)
    sums = running_sums(packet, 1, 32)
    for begun in (0, 1, 4):
        script.program(10)
        script.start(10)
        script.add(("send", [[word, 15, 0] for word in packet[:begun]]))
        script.add(("sent",))
        script.add(("idle", 20))
        script.add(write("CONTROL", ABORT), 0)
        if begun:
            script.add(read("STATUS"), [0, BUSY | DRAINING | ERROR["ABORTED"]])
            script.add(("send", packet[begun:]))
        script.cut(ERROR["ABORTED"], sums)
        script.good_run(words(rng, 3))
    # The sink is dead: BUSY stays until it takes the closing word.
    script.program(10)
    script.start(10)
    script.add(("stall", "m_axis_t", 1.0))
    script.add(("send", packet))
    script.add(("idle", 50))
    script.add(read("BEATS_OUT"), [0, 2])
    script.add(write("CONTROL", ABORT), 0)
    script.add(("sent",))
    script.add(("idle", 50))
    script.add(read("STATUS"), [0, BUSY | ERROR["ABORTED"]])
    script.add(("send", [8, 9]))  # waits
    script.add(("idle", 50))
    script.add(("stall", "m_axis_t", 0.0))
    script.cut(ERROR["ABORTED"], sums)
    script.program(2)
    script.start(2)
    script.add(("take", 1), [[8, 17]])
    script.flags(DONE)
    script.good_run(words(rng, 3))
    # All is in, the core still works.
    script.program(10, 10, 1000)
    script.start(10)
    script.add(("send", packet))
    script.add(("sent",))
    script.add(("idle", 20))
    script.add(write("CONTROL", ABORT), 0)
    script.cut(ERROR["ABORTED"], [])
    script.good_run(words(rng, 3))
    script.check(design, compared)


def test_abort_in_every_cycle_of_a_run(design, compared):
    """Either the run had ended, or it is cut; one packet comes out in any case."""
    script, packet, flags = Script(), [3, 4, 5, 6], []
    sums = running_sums(packet, 1, 32)
    for delay in range(40):
        script.program(4, 1, 3)
        script.start(4)
        script.add(("send", packet))
        script.add(("idle", delay + 1))
        script.add(write("CONTROL", ABORT), 0)
        script.add(wait_idle(), lambda found, _: flags.append(found & ~IDLE) or True)
        script.add(read("BEATS_OUT"))
        script.add(("take", 1), lambda found, before: found == [
            sums if flags[-1] & DONE else sums[:before[1]] + [0] * (before[1] < 4)])
        script.add(write("STATUS", FLAGS), 0)
        script.good_run([1, 2])
    script.check(design, compared, max_cycles=60_000)
    change = flags.index(DONE)
    assert 5 < change < 35
    assert flags == [ERROR["ABORTED"]] * change + [DONE] * (40 - change)


def test_source_that_never_ends_its_packet(design, compared):
    """A second abort, or the watchdog, gives up waiting for ``tlast``."""
    rng, script = random.Random(0), Script()
    for watchdog in (0, 40):
        script.program(10)
        script.start(10, watchdog=watchdog)
        script.add(("send", [[7, 15, 0], [8, 15, 0]]))
        script.add(("sent",))
        script.add(("idle", 10))
        if watchdog == 0:
            script.add(write("CONTROL", ABORT), 0)
            script.add(("idle", 300))
            script.add(read("STATUS"), [0, BUSY | DRAINING | ERROR["ABORTED"]])
            script.add(write("CONTROL", ABORT), 0)
        script.cut(ERROR["WATCHDOG" if watchdog else "ABORTED"], [7, 15])
        script.good_run(words(rng, 4))
    script.check(design, compared)


def test_source_that_pauses_after_the_watchdog(design, compared):
    """It has WATCHDOG cycles again to end its packet, whether the closing word moves or not."""
    rng, script = random.Random(0), Script()
    for sink in (0.0, 1.0):
        packet = words(rng, 6)
        script.program(6)
        script.start(6, watchdog=100)
        script.add(("stall", "m_axis_t", sink))
        script.add(("send", [[word, 15, 0] for word in packet[:3]]))
        script.add(("idle", 150))
        script.add(read("STATUS"), [0, BUSY | DRAINING | ERROR["WATCHDOG"]])
        script.add(("send", packet[3:]))
        script.add(("sent",))
        script.add(("stall", "m_axis_t", 0.0))
        script.cut(ERROR["WATCHDOG"], running_sums(packet, 1, 32))
        script.good_run(words(rng, 4))
    script.check(design, compared)


def test_watchdog_to_the_cycle(design, compared):
    """Each result comes ``delay`` cycles in which nothing moves after its word."""
    script = Script()
    packet = [1, 2, 3, 4]
    for delay, watchdog, good in [(30, 29, False), (30, 30, True), (300, 0, True), (0, 1, False)]:
        script.program(4, 1, delay)
        script.start(4, watchdog=watchdog)
        script.add(("send", packet))
        if good:
            script.add(("take", 1), [[1, 3, 6, 10]])
            script.flags(DONE)
        else:
            script.cut(ERROR["WATCHDOG"], [1, 3, 6, 10])
    script.check(design, compared)


def test_cycles(design, compared):
    """Counted from the start to the end, and kept until the next start; a word moves in each."""
    script = Script()
    script.program(4, 4, 100)
    script.start(4, watchdog=50)
    script.cut(ERROR["WATCHDOG"], [])
    script.add(read("CYCLES"), [0, 51])
    script.add(("idle", 30))
    script.add(read("CYCLES"), [0, 51])
    script.add(("send", [1, 2, 3, 4]))  # waits in front of the device
    script.add(("idle", 30))
    script.start(4)
    script.add(read("CYCLES"), lambda found, _: found[0] == 0 and 0 < found[1] < 10)
    script.add(("take", 1), [[10]])
    script.flags(DONE)
    # The start, 4 words in, 100 cycles, 1 word out, done.
    script.add(read("CYCLES"), [0, 1 + 4 + 100 + 1 + 1])
    script.program(200, 200)
    script.add(("send", list(range(200))))
    script.start(200)
    script.add(("take", 1), [[199 * 100]])
    script.flags(DONE)
    script.add(read("CYCLES"), [0, 1 + 200 + 1 + 1])
    script.check(design, compared)


def test_irq(design, compared):
    script = Script()
    for enable, good in [(0, True), (1, True), (2, True), (0, False), (1, False), (2, False)]:
        script.add(write("IRQ_ENABLE", enable), 0)
        script.program(2)
        script.start(2)
        script.add(("pin", "irq"), 0)
        script.add(("send", [1, 2] if good else [1]))
        script.add(wait_idle(), (DONE if good else ERROR["EARLY"]) | IDLE)
        script.add(("take", 1))
        script.add(("pin", "irq"), int(enable == (1 if good else 2)))
        script.add(write("STATUS", FLAGS), 0)
        script.add(("pin", "irq"), 0)
    script.check(design, compared)


@pytest.mark.parametrize("seed", range(3))
def test_registers_during_a_run(design, seed, compared):
    """Whatever the host reads and writes meanwhile, the run is the same."""
    rng, script = random.Random(seed), Script()
    for _ in range(4):
        packet = words(rng, 40)
        script.program(40, 4, 5)
        script.start(40)
        accesses = []
        for _ in range(60):
            k = rng.randrange(4)
            accesses.append([
                (write("PROGRAM", rng.getrandbits(32), index=rng.randrange(3)), Response.SLVERR),
                (write("LENGTH", rng.getrandbits(32)), 0),
                (read(rng.choice(["CYCLES", "BEATS_IN", "BEATS_OUT", "STATUS"])), None),
                (read("PROGRAM"), [Response.SLVERR, 0]),
            ][k])
        most = [[word, 15, 0] for word in packet[:-1]]
        script.add(("send", most))
        for step, expected in accesses:
            script.add(step, expected)
        script.add(read("BEATS_IN"), lambda found, _: found[0] == 0 and found[1] < 40)
        script.add(("send", packet[-1:]))
        script.add(("take", 1), [running_sums(packet, 4, 32)])
        script.flags(DONE)
    script.check(design, compared, stall=0.4, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_bursts_cut_by_reset(design, seed, compared):
    """In a packet, a drain, a register access: afterwards everything is as from power-on."""
    rng, script = random.Random(seed), Script()
    for k in range(12):
        script.program(20, 2)
        script.start(20)
        script.add(("send", words(rng, rng.choice([10, 20, 30]))))
        script.add(("idle", rng.randrange(60)))
        cut = ("reset", rng.randrange(1, 4))
        script.add([cut, ("together", ("write", ADDRESS["LENGTH"], 5), cut),
                    ("together", ("read", ADDRESS["STATUS"]), ("idle", 2), cut)][k % 3])
        for name, word in [("STATUS", IDLE), ("LENGTH", 0), ("BEATS_IN", 0), ("BEATS_OUT", 0)]:
            script.add(read(name), [0, word])
        script.add(("take", 0), [])
        if k % 4 == 3:
            script.good_run(words(rng, 4))
    script.check(design, compared, stall=0.3, seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_anything_in_any_order(design, seed, compared):
    rng, script = random.Random(100 + seed), Script()
    for channel in ("s_axis_t", "m_axis_t", "s_axi_aw", "s_axi_w", "s_axi_b", "s_axi_r"):
        script.add(("stall", channel, rng.choice([0.0, 0.2, 0.7])))
    script.add(("stall", "m_axis_t", rng.choice([0.5, "patient"])))
    for _ in range(15):
        length, stride = rng.randrange(1, 20), 1
        packet = words(rng, length)
        fault = rng.choice(["", "early", "late", "keep", "abort", "watchdog"])
        if fault in ("", "early") and length == 1 or not fault:
            script.good_run(packet, stride)
            continue
        script.program(length, stride, 300 if fault == "watchdog" else 0)
        script.start(length, watchdog=200 if fault == "watchdog" else 0)
        sums = running_sums(packet, stride, 32)
        if fault == "early":
            packet = packet[:rng.randrange(1, length)]
        if fault == "late":
            packet += words(rng, rng.randrange(1, 10))
        if fault == "keep":
            bad = rng.randrange(length)
            packet = [[word, 0b0101 if k == bad else 15, k == length - 1]
                      for k, word in enumerate(packet)]
        if fault == "abort":
            half = rng.randrange(length)
            script.add(("send", [[word, 15, 0] for word in packet[:half]]))
            script.add(("idle", rng.randrange(30)))
            script.add(write("CONTROL", ABORT), 0)
            packet = packet[half:] if half else []
            script.add(("sent",))
        script.add(("send", packet))
        name = {"abort": "ABORTED"}.get(fault, fault.upper())
        script.cut(ERROR[name], sums)
    script.good_run(words(rng, 10))
    script.check(design, compared, seed=seed, max_cycles=60_000)


def test_other_width(compared):
    rng, script = random.Random(0), Script()
    script.add(read("PORTS"), [0, 8 | PROGRAM_WIDTH << 16])
    for stride in (1, 3):
        packet = words(rng, 9, 64)
        script.program(9, stride)
        script.start(9)
        script.add(("send", packet))
        script.add(("take", 1), [running_sums(packet, stride, 64)])
        script.flags(DONE)
    script.check(FlatPorts(device(64)), compared, stall=0.3)


def test_rules_are_proved(compared):
    """For all time and whatever the other side does, with a narrow core."""
    found = prove_axi(from_component(FlatPorts(device(8))))
    assert set(found.values()) == {"proved"}
    assert len(found) == 10
    compared(len(found))


def test_core_that_remembers_is_caught(compared):
    """The good run after each fault is what would show it."""
    script = Script()
    script.program(3)
    script.start(3)
    script.add(("send", [5, 6]))
    script.cut(ERROR["EARLY"], [5, 11])
    script.good_run([1, 2, 3])
    with pytest.raises(AssertionError, match=r"\('take', 1\): \[\[6, 8, 11\]\] instead of"):
        script.check(FlatPorts(device(fault=True)), compared)
    compared(1)


class Halfway(wiring.Component):
    start: In(1)
    busy: Out(1)


def test_core_wrong(compared):
    with pytest.raises(TypeError, match="^Core must have the members start, busy, done, i, o, "
                                        "abort, program, and Halfway has no done$"):
        AxiAccelerator(Halfway())
    core = RunningSum(24)
    core.bus = 32
    with pytest.raises(TypeError, match="^Payload of the core's i must be StructLayout.*, not "):
        AxiAccelerator(core)
    core.bus = 12
    with pytest.raises(ValueError, match="^Bus must be a positive multiple of 8 bits, not 12$"):
        AxiAccelerator(core)
    compared(3)
