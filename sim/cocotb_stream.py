# SPDX-License-Identifier: Apache-2.0
"""cocotb test: streams ``i`` and ``o`` of any design; see :func:`.cocotb_run.run_stream`."""

import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from .stalls import SINK, SOURCE, stalled

PERIOD = 10


@cocotb.test
async def stream(dut):
    """Send the job's inputs in each of its runs, collect the outputs, write them with cycles."""
    job = json.loads(Path(cocotb.plusargs["job"]).read_text())
    inputs, count = job["inputs"], job["outputs"]
    ports = {key: dut[name] for key, name in job["ports"].items()}
    i_payload, o_payload = ports["i_payload"], ports["o_payload"]
    i_valid, i_ready, o_valid, o_ready = (
        ports.get(name) for name in ("i_valid", "i_ready", "o_valid", "o_ready"))
    clock = None if job["clock"] is None else dut[job["clock"]]

    def drive(*, valid, ready):
        if i_valid is not None:
            i_valid.value = valid
        if o_ready is not None:
            o_ready.value = ready

    async def settle():
        low = clock is None or int(clock.value) == 0  # its first half period starts low
        await (Timer(1, "ns") if low else FallingEdge(clock))

    async def edge():
        await (Timer(PERIOD // 2, "ns") if clock is None else RisingEdge(clock))

    async def feed(run, cycles, *, wanted):
        """Run the stimulus from its start for some cycles, or until all wanted outputs are there.

        Starts and ends just after a rising edge.
        """
        outputs = []
        sent, busy, held = 0, False, None
        for cycle in range(cycles):
            if len(outputs) == wanted:
                break
            if not busy and sent < len(inputs):
                busy = i_valid is None or not stalled(
                    seed=run["seed"], side=SOURCE, cycle=cycle, probability=run["stall_i"])
                if busy:
                    i_payload.value = inputs[sent]
            ready = o_ready is None or not stalled(
                seed=run["seed"], side=SINK, cycle=cycle, probability=run["stall_o"])
            drive(valid=busy, ready=ready)
            await settle()
            valid = o_valid is None or int(o_valid.value) == 1
            payload = int(o_payload.value) if valid else None
            assert held is None or payload == held, f"cycle {cycle}: o changed before it was taken"
            held = payload if valid and not ready else None
            if busy and (i_ready is None or int(i_ready.value) == 1):
                busy, sent = False, sent + 1
            if valid and ready:
                outputs.append((cycle, payload))
            await edge()
        return outputs

    async def pulse():
        """Reset for one cycle."""
        drive(valid=False, ready=False)
        dut[job["reset"]].value = 1
        await edge()
        dut[job["reset"]].value = 0

    i_payload.value = 0
    drive(valid=False, ready=False)
    if clock is not None:
        clock.value = 0
        cocotb.start_soon(Clock(clock, PERIOD, "ns").start(start_high=False))
    results = []
    for run in job["runs"]:
        if job["reset"] is not None:
            await pulse()
        if run["reset_at"] is not None:
            await feed(run, run["reset_at"], wanted=None)
            await pulse()
        outputs = await feed(run, job["max_cycles"], wanted=count)
        assert len(outputs) == count, (
            f"{len(outputs)} of {count} outputs after {job['max_cycles']} cycles")
        results.append(outputs)
    Path(cocotb.plusargs["result"]).write_text(json.dumps(results))
