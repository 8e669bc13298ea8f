# SPDX-License-Identifier: Apache-2.0
"""cocotb test: the AXI ports of any design, driven by a script; see :func:`run_axi`."""

import collections
import json
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer, gather

from .prove_axi import ANSWERS, DRIVEN
from .stalls import stalled

__all__ = ["run_axi"]

PERIOD = 10  # ns; inputs are set after the rising edge, outputs looked at from the falling one on

CHANNELS = {  # prefix of the names: what goes with valid
    "s_axis_t": DRIVEN["m_axis_t"], "s_axi_aw": ("addr", "prot"), "s_axi_w": ("data", "strb"),
    "s_axi_ar": ("addr", "prot"), **DRIVEN,
}
SIDES = (*CHANNELS, "host")
PATIENT = "patient"


def run_axi(design, script, *, stall=0.0, seed=0, max_cycles=20_000, build_dir=None, timeout=600):
    """Run a script against the ports ``s_axis_…``, ``m_axis_…`` and ``s_axi_…`` of a design.

    All the while a monitor looks for breaches of the protocol: valid or payload that changes before
    it is taken, valid during or right after reset, valid or payload that follows ready, an
    answer without a request, null bytes where none may be. A watchdog ends the run.

    Parameters
    ----------
    design : Design or wiring.Component
    script : list of tuple
        One after the other:

        - ``("send", packet)``: queue a packet, a list of words or ``(word, keep, last)``; no wait.
        - ``("sent",)``: wait until the queue is empty.
        - ``("take", n)``: wait for n packets; lists of words.
        - ``("write", address, word[, strobe])``: ``bresp``.
        - ``("read", address)``: ``[rresp, word]``.
        - ``("poll", address, mask, value)``: read until the masked word is the value; the word.
        - ``("reset", cycles)``: words and packets that are queued or came out are lost.
        - ``("stall", channel, probability)``: a prefix such as ``s_axis_t`` or ``s_axi_b``, or
          ``host``, the time between steps. ``"patient"``: ready only after valid.
        - ``("idle", cycles)``; ``("pin", name)``: value of an output; ``("cycle",)``: the present.
        - ``("together", step, step, …)``: at the same time; the list of their results.
    stall : float
        Probability that a channel or the host pauses for a cycle.
    seed : int
        Seed of the pauses.
    max_cycles : int
        Cycles until the watchdog ends the run.
    build_dir : path, optional
        Keeps job, result and log; a temporary folder otherwise.
    timeout : float
        Seconds.

    Returns
    -------
    (list, list)
        Results of the steps, None where a step has none or a reset ended it; packets and words that
        came out and no step has taken.

    Raises
    ------
    CocotbError
        If the protocol is broken, or the script does not end.
    ValueError
        For a design without clock or reset.
    """
    from .cocotb_run import as_design, run_module  # the simulator needs neither

    design = as_design(design)
    if design.clock is None or design.reset is None:
        raise ValueError(f"A design with AXI ports must have a clock and a reset, and {design.top} "
                         f"has no {'clock' if design.clock is None else 'reset'}")
    result = run_module(__name__, design, {
        "clock": design.clock, "reset": design.reset, "script": script, "stall": stall,
        "seed": seed, "max_cycles": max_cycles, "ports": [port.name for port in design.ports],
    }, build_dir=build_dir, timeout=timeout, seed=0)
    return result["results"], result["left"]


class Bench:
    """Source, sink, host, monitor and watchdog around a design."""

    def __init__(self, dut, job):
        self.job, self.clock, self.reset_pin = job, dut[job["clock"]], dut[job["reset"]]
        self.ports = {name: dut[name] for name in job["ports"]}
        self.channels = [name for name in CHANNELS if f"{name}valid" in self.ports]
        self.stall = dict.fromkeys(SIDES, job["stall"])
        self.rng = random.Random(job["seed"])
        self.cycle = 0
        self.resetting = False
        self.queue, self.offering = collections.deque(), False
        self.words, self.packets = [], []
        self.step = None

    def get(self, name):
        return int(self.ports[name].value)

    def set(self, **values):
        for name, value in values.items():
            self.ports[name].value = int(value)

    def pauses(self, side):
        probability = self.stall[side]
        if probability == PATIENT:
            return not self.get(f"{side}valid") if side in DRIVEN else False
        return stalled(seed=self.job["seed"], side=SIDES.index(side), cycle=self.cycle,
                       probability=probability)

    async def next(self):
        """To just after the next rising edge; whether that was one of a reset."""
        await FallingEdge(self.clock)
        cut = self.resetting
        await RisingEdge(self.clock)
        return cut

    # One transfer, from a rising edge to one; None if a reset cut it.

    async def offer(self, channel, **payload):
        noise = {name: self.rng.getrandbits(len(self.ports[f"{channel}{name}"]))
                 for name in CHANNELS[channel]}
        self.set(**{f"{channel}{name}": value for name, value in noise.items()})
        while self.pauses(channel):
            if await self.next():
                return None
        self.set(**{f"{channel}{name}": value for name, value in {**noise, **payload}.items()},
                 **{f"{channel}valid": 1})
        done = cut = False
        while not (done or cut):
            await FallingEdge(self.clock)
            cut = self.resetting
            done = self.get(f"{channel}ready") == 1 and not cut
            await RisingEdge(self.clock)
        self.set(**{f"{channel}valid": 0})
        return done or None

    async def accept(self, channel):
        found, cut = None, False
        while found is None and not cut:
            ready = not self.pauses(channel)
            self.set(**{f"{channel}ready": ready})
            await FallingEdge(self.clock)
            cut = self.resetting
            if ready and self.get(f"{channel}valid") and not cut:
                found = [self.get(f"{channel}{name}") for name in CHANNELS[channel]]
            await RisingEdge(self.clock)
        self.set(**{f"{channel}ready": 0})
        return found

    # In the background.

    async def source(self):
        while True:
            if not self.queue:
                await self.next()
                continue
            word, keep, last = self.queue.popleft()
            self.offering = True
            await self.offer("s_axis_t", data=word, keep=keep, last=last)
            self.offering = False

    async def sink(self):
        while True:
            found = await self.accept("m_axis_t")
            if found is None:  # reset
                continue
            word, keep, last = found
            full = (1 << len(self.ports["m_axis_tkeep"])) - 1
            assert keep == full or (last and keep and keep & keep + 1 == 0), (
                f"cycle {self.cycle}: m_axis_tkeep is {keep:#b} with tlast {last}")
            self.words.append(word)
            if last:
                self.packets.append(self.words)
                self.words = []

    async def monitor(self):
        """Looks after the falling edge, when nothing changes any more."""
        waiting = {}  # payload that was offered and not taken
        done = collections.Counter()  # transfers before this cycle
        was_reset = True
        while True:
            await FallingEdge(self.clock)
            await Timer(1, "ns")
            await self.probe()
            here, moved = {}, collections.Counter()
            for channel in self.channels:
                valid, ready = self.get(f"{channel}valid"), self.get(f"{channel}ready")
                offered = self.payload(channel) if valid else None
                if channel in waiting and not self.resetting:
                    self.must(valid, channel, "valid fell before it was taken")
                    self.must(offered == waiting[channel], channel, "payload changed before taken")
                if channel in DRIVEN:
                    self.must(not (valid and was_reset), channel, "valid in or right after reset")
                for request in ANSWERS.get(channel, ()) if valid else ():
                    self.must(done[request] > done[channel], channel, "an answer without a request")
                if valid and not ready:
                    here[channel] = offered
                moved[channel] += valid and ready
            done.update(moved)
            waiting = {} if self.resetting else here
            if self.resetting:
                done.clear()
            was_reset = self.resetting
            await RisingEdge(self.clock)

    def payload(self, channel):
        return [self.get(f"{channel}{name}") for name in CHANNELS[channel]]

    def must(self, holds, channel, text):
        assert holds, f"cycle {self.cycle}: {channel}: {text}"

    async def probe(self):
        """What the design offers must not follow ready within the cycle."""
        driven = [channel for channel in DRIVEN if channel in self.channels]
        before = {channel: (self.get(f"{channel}valid"), self.payload(channel))
                  for channel in driven}
        ready = {f"{channel}ready": self.get(f"{channel}ready") for channel in driven}
        self.set(**{name: not value for name, value in ready.items()})
        await Timer(1, "ns")
        for channel in driven:
            self.must(before[channel] == (self.get(f"{channel}valid"), self.payload(channel)),
                      channel, "valid or payload follows ready")
        self.set(**ready)
        await Timer(1, "ns")

    async def watchdog(self):
        while True:
            await RisingEdge(self.clock)
            self.cycle += 1
            assert self.cycle < self.job["max_cycles"], (
                f"The script did not end within {self.cycle} cycles: step {self.step}")

    # Steps of the script.

    async def run(self, step):
        name, *arguments = step
        return await getattr(self, f"do_{name}")(*arguments)

    async def do_send(self, packet):
        full = (1 << len(self.ports["s_axis_tkeep"])) - 1
        for k, word in enumerate(packet):
            whole = [word, full, k == len(packet) - 1]
            self.queue.append(word if isinstance(word, list) else whole)

    async def do_sent(self):
        while self.queue or self.offering:
            await self.next()

    async def do_take(self, count):
        while len(self.packets) < count:
            await self.next()
        taken, self.packets = self.packets[:count], self.packets[count:]
        return taken

    async def do_write(self, address, word, strobe=15):
        _, _, found = await gather(
            self.offer("s_axi_aw", addr=address), self.offer("s_axi_w", data=word, strb=strobe),
            self.accept("s_axi_b"))
        return None if found is None else found[0]

    async def do_read(self, address):
        _, found = await gather(self.offer("s_axi_ar", addr=address), self.accept("s_axi_r"))
        return None if found is None else [found[1], found[0]]

    async def do_poll(self, address, mask, value):
        while True:
            found = await self.do_read(address)
            if found is None or found[1] & mask == value:
                return None if found is None else found[1]

    async def do_reset(self, cycles):
        self.resetting, self.reset_pin.value = True, 1
        self.queue.clear()
        for _ in range(cycles):
            await self.next()
        self.resetting, self.reset_pin.value = False, 0
        self.words, self.packets = [], []

    async def do_stall(self, channel, probability):
        self.stall[channel] = probability

    async def do_idle(self, cycles):
        for _ in range(cycles):
            await self.next()

    async def do_pin(self, name):
        return self.get(name)

    async def do_cycle(self):
        return self.cycle

    async def do_together(self, *steps):
        return list(await gather(*(self.run(step) for step in steps)))


@cocotb.test
async def axi(dut):
    """Run the job's script, write its results."""
    job = json.loads(Path(cocotb.plusargs["job"]).read_text())
    bench = Bench(dut, job)
    for channel in bench.channels:
        bench.set(**{f"{channel}ready" if channel in DRIVEN else f"{channel}valid": 0})
    bench.clock.value = 0
    bench.reset_pin.value = 1
    bench.resetting = True
    cocotb.start_soon(Clock(bench.clock, PERIOD, "ns").start(start_high=False))
    await RisingEdge(bench.clock)
    background = [bench.watchdog(), bench.monitor()]
    if "s_axis_t" in bench.channels:
        background.append(bench.source())
    if "m_axis_t" in bench.channels:
        background.append(bench.sink())
    for each in background:
        cocotb.start_soon(each)
    await bench.do_reset(2)
    results = []
    for k, step in enumerate(job["script"]):
        while bench.pauses("host"):
            await bench.next()
        bench.step = f"{k}, {step}"
        results.append(await bench.run(step))
    await bench.do_idle(20)
    left = bench.packets + ([bench.words] if bench.words else [])
    Path(cocotb.plusargs["result"]).write_text(json.dumps({"results": results, "left": left}))
