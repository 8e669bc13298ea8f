# SPDX-License-Identifier: Apache-2.0
"""Run a component with streams ``i`` and ``o`` in Amaranth's simulator."""

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.sim import Simulator

from .payload import plain
from .stalls import SINK, SOURCE, stalled

__all__ = ["run_stream", "run_streams"]


def run_stream(dut, inputs, *, outputs=None, stall=0.0, stall_i=None, stall_o=None, seed=0,
               reset_at=None, max_cycles=None):
    """Send payloads to ``dut.i`` and collect those on ``dut.o``.

    Parameters
    ----------
    dut : wiring.Component
        In the ``sync`` domain.
    inputs : list
        Payloads for ``dut.i``, each as its shape's ``const`` takes it.
    outputs : int, optional
        Transfers to wait for on ``dut.o``; as many as there are inputs otherwise.
    stall, stall_i, stall_o : float
        Probability that a side pauses for a cycle: both, source, sink.
    seed : int
        Seed of the pauses.
    reset_at : int, optional
        Cycle in which the design is reset; the stimulus then starts afresh.
    max_cycles : int, optional
        Cycles to wait after the start of the stimulus.

    Returns
    -------
    list of (int, payload)
        Cycle since the stimulus started, and payload in plain ints, dicts and lists.

    Raises
    ------
    AssertionError
        If a valid payload on ``dut.o`` changes before it is taken.
    TimeoutError
        If outputs are missing.
    """
    run = {"stall_i": stall if stall_i is None else stall_i,
           "stall_o": stall if stall_o is None else stall_o, "seed": seed, "reset_at": reset_at}
    return run_streams(dut, inputs, [run], outputs=outputs, max_cycles=max_cycles)[0]


def run_streams(dut, inputs, runs, *, outputs=None, max_cycles=None):
    """The same inputs in several runs of one simulation, each from a reset.

    Parameters
    ----------
    dut, inputs, outputs, max_cycles
        As of :func:`run_stream`.
    runs : list of dict
        ``stall_i``, ``stall_o``, ``seed`` and ``reset_at`` of each.

    Returns
    -------
    list
        What :func:`run_stream` returns, for each run.
    """
    inputs = list(inputs)
    count = len(inputs) if outputs is None else outputs
    limit = 1000 + 100 * max(count, len(inputs)) if max_cycles is None else max_cycles
    always_valid, always_ready = dut.i.signature.always_valid, dut.o.signature.always_ready
    every = []
    sync = ClockDomain()

    def drive(ctx, *, valid, ready):
        if not always_valid:
            ctx.set(dut.i.valid, valid)
        if not always_ready:
            ctx.set(dut.o.ready, ready)

    async def feed(ctx, run, cycles, *, wanted):
        """Run the stimulus from its start for some cycles, or until all outputs are there."""
        results = []
        sent, busy, held = 0, False, None
        for cycle in range(cycles):
            if len(results) == wanted:
                break
            if not busy and sent < len(inputs):
                busy = always_valid or not stalled(
                    seed=run["seed"], side=SOURCE, cycle=cycle, probability=run["stall_i"])
                if busy:
                    ctx.set(dut.i.payload, inputs[sent])
            ready = always_ready or not stalled(
                seed=run["seed"], side=SINK, cycle=cycle, probability=run["stall_o"])
            drive(ctx, valid=busy, ready=ready)
            _, _, taken, valid, payload = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, Value.cast(dut.o.payload))
            if held is not None and not (valid and payload == held):
                raise AssertionError(f"cycle {cycle}: output changed before it was taken")
            held = payload if valid and not ready else None
            if busy and taken:
                busy, sent = False, sent + 1
            if valid and ready:
                results.append((cycle, plain(dut.o.payload.shape(), payload)))
        return results

    async def pulse(ctx):
        """Reset for one cycle."""
        drive(ctx, valid=False, ready=False)
        ctx.set(sync.rst, 1)
        await ctx.tick()
        ctx.set(sync.rst, 0)

    async def bench(ctx):
        for number, run in enumerate(runs):
            run = {"stall_i": 0.0, "stall_o": 0.0, "seed": 0, "reset_at": None, **run}
            if number:
                await pulse(ctx)
            if run["reset_at"] is not None:
                await feed(ctx, run, run["reset_at"], wanted=None)
                await pulse(ctx)
            results = await feed(ctx, run, limit, wanted=count)
            if len(results) < count:
                raise TimeoutError(f"{len(results)} of {count} outputs after {limit} cycles")
            every.append(results)

    m = Module()
    m.domains.sync = sync
    m.submodules.dut = dut
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return every
