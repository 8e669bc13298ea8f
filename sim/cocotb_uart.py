# SPDX-License-Identifier: Apache-2.0
"""cocotb test: the UART pins of any design; see :func:`.cocotb_run.run_uart`."""

import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, FallingEdge, First, RisingEdge, Timer
from cocotb.utils import get_sim_time

PERIOD = 8  # ns; a cycle's inputs are set at the falling edge before its rising edge


@cocotb.test
async def uart(dut):
    """Send the job's requests, collect the answers, write them with their cycles."""
    job = json.loads(Path(cocotb.plusargs["job"]).read_text())
    divisor = job["divisor"]
    clock, rx, tx = (dut[job[key]] for key in ("clock", "rx", "tx"))
    received, arrived = [], Event()
    zero = 0  # time at which cycle 0 began

    async def send(data):
        """Bits back to back, from a falling edge of the clock to one."""
        bit = Timer(divisor * PERIOD, "ns")
        for value in data:
            for level in (0, *(value >> k & 1 for k in range(8)), 1):
                rx.value = level
                await bit

    async def receive():
        half = Timer(divisor // 2 * PERIOD + PERIOD * 3 // 4, "ns")
        bit = Timer(divisor * PERIOD, "ns")
        while True:
            await FallingEdge(tx)
            cycle = int(get_sim_time("ns") - zero) // PERIOD + 1
            await half
            assert int(tx.value) == 0, f"cycle {cycle}: start bit shorter than half of {divisor}"
            value = 0
            for k in range(8):
                await bit
                value |= int(tx.value) << k
            await bit
            assert int(tx.value) == 1, f"cycle {cycle}: no stop bit"
            received.append((value, cycle))
            arrived.set()

    rx.value = 1
    clock.value = 0
    if job["reset"] is not None:
        dut[job["reset"]].value = 1
    await Timer(PERIOD, "ns")
    cocotb.start_soon(Clock(clock, PERIOD, "ns").start(start_high=False))
    if job["reset"] is not None:
        await RisingEdge(clock)
        dut[job["reset"]].value = 0
        await FallingEdge(clock)
    zero = get_sim_time("ns")
    cocotb.start_soon(receive())
    if job["idle"]:
        await Timer(job["idle"] * PERIOD, "ns")

    answers = []
    for request, expect, limit in zip(job["requests"], job["expect"], job["limits"], strict=True):
        await send(request)
        deadline = Timer(limit * PERIOD, "ns")
        while len(received) < expect:
            arrived.clear()
            ended = await First(arrived.wait(), deadline)
            assert ended is not deadline, f"{len(received)} of {expect} bytes after {limit} cycles"
        answers.append(received[:])
        received.clear()
        if (get_sim_time("ns") - zero) % PERIOD:
            await FallingEdge(clock)
    Path(cocotb.plusargs["result"]).write_text(json.dumps(answers))
