# SPDX-License-Identifier: Apache-2.0
"""The arrows of the chain: each compares or proves two of its models."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .hw.cache import cached, digest
from .hw.engine.sequencer import Phase
from .hw.io.protocol import Command, ProtocolError, pack_request, parse_predictions, parse_response
from .quant.train.freeze import trained_trace
from .sim import verilator
from .sim.batch import BatchSimulator, SimulationError, UartSession
from .sim.cocotb_run import CocotbError, run_uart
from .sim.ledger import Arrow, Comparison
from .sim.verilog import Design
from .subject import BATCH
from .writes import elements, monitored, written

__all__ = [
    "EngineRun",
    "Level",
    "affordable",
    "cocotb_arrow",
    "cycle_arrow",
    "engine_arrow",
    "exchange",
    "pins_arrow",
    "proof_arrow",
    "run_engine",
    "trained_arrow",
    "uart_frames",
]

IDLE = 64  # cycles of an idle line before the first frame


def _finish(arrow, comparison, started, **detail):
    arrow.compared, arrow.mismatches = comparison.compared, comparison.mismatches
    arrow.first = comparison.first
    arrow.seconds = round(time.monotonic() - started, 2)
    arrow.detail.update(detail)
    return arrow


def _failed(arrow, started, compared, why):
    """A model that did not answer: everything that was to be compared is missing."""
    arrow.compared = arrow.mismatches = compared
    arrow.seconds, arrow.why = round(time.monotonic() - started, 2), why
    return arrow


def trained_arrow(subject):
    """Brevitas in float64 against the integer network: every activation and logit."""
    arrow = Arrow(
        "trained", "golden", "whole data set", what="quantised inputs, hidden activations, logits"
    )
    if subject.trained is None:
        arrow.ran, arrow.why = False, "the network was loaded; the model it came from is not here"
        return arrow
    started, network, comparison = time.monotonic(), subject.network, Comparison()
    x, total = torch.from_numpy(network.input.normalise(subject.data.x_test)), 0
    names = ["input", *(layer.name for layer in network.layers)]
    for start in range(0, len(x), BATCH):
        results, ties = trained_trace(subject.trained, x[start : start + BATCH])
        activations = network.run(subject.x[start : start + BATCH]).activations
        total += ties
        for name, integers, unit in zip(names, activations, network.units, strict=True):
            if name not in results:  # the trained model computes it in another order
                continue
            comparison.add(
                results[name].flatten(1).numpy(),
                integers.double().flatten(1).numpy() * unit,
                lambda at, name=name, start=start: {
                    "layer": name, "element": at[1], "sample": start + at[0]},
            )
    return _finish(arrow, comparison, started, ties=total)


def proof_arrow(subject):
    """Each requantiser against its real multiplier, for every reachable accumulator."""
    arrow = Arrow(
        "trained", "golden", "proof", what="requantisation, every reachable accumulator"
    )
    started, comparison = time.monotonic(), Comparison()
    for layer in subject.network.layers:
        found = layer.requantiser
        if found is None:
            continue
        comparison.compared += found.reachable
        comparison.mismatches += found.differing
        if found.differing and not comparison.first:
            comparison.first = {"layer": layer.name, "element": None, "cycle": None}
            arrow.why = (
                f"{layer.name}: no multiplier of the allowed width equals the trained scale for "
                f"every accumulator; {found.differing} of {found.reachable} differ"
            )
    if not comparison.compared:
        arrow.ran, arrow.why = False, "a network of one layer requantises nothing"
    return _finish(arrow, comparison, started)


@dataclass(frozen=True)
class EngineRun:
    """What the engine did, cycle by cycle, over a set of vectors.

    Attributes
    ----------
    logits, classes : int64 arrays, (samples, outputs) and (samples,)
    values : list of int64 arrays, (samples, outputs of the layer)
        As each layer wrote them.
    cycles : list of int64 arrays
        Cycle of each write.
    records : dict of arrays
        Monitor of every cycle.
    starts, ends : int64 arrays, one per batch
        Cycle of the last input, and of the last output.
    """

    logits: np.ndarray
    classes: np.ndarray
    values: list
    cycles: list
    records: dict
    starts: np.ndarray
    ends: np.ndarray
    seconds: float = 0.0


def run_engine(engine, x, *, simulator=None):
    """Send vectors through the engine's streams in the batch simulator.

    Parameters
    ----------
    engine : Engine
    x : int64 tensor, shape (samples, inputs)
    simulator : BatchSimulator, optional
        Of the engine, or of something with its ports.

    Returns
    -------
    EngineRun
    """
    started = time.monotonic()
    program, samples = engine.program, len(x)
    rows = program.config.rows
    ends = np.unique(np.append(np.arange(rows, samples, rows), samples))
    last = np.zeros(samples * program.inputs, np.int64)
    last[ends * program.inputs - 1] = 1
    monitor = monitored(program)
    run = (simulator or BatchSimulator(engine)).run(
        {"value": x.reshape(-1).numpy(), "last": last},
        outputs=samples * program.outputs,
        record=[f"monitor__{name}" for name in monitor],
    )
    records = {name: np.asarray(run.records[f"monitor__{name}"]) for name in monitor}
    values, cycles = written(program, records, len(ends), samples)
    shape = (samples, program.outputs)
    return EngineRun(
        logits=np.asarray(run.outputs["value"]).reshape(shape),
        classes=np.asarray(run.outputs["best"]).reshape(shape)[:, -1],
        values=values,
        cycles=cycles,
        records=records,
        starts=run.input_cycles[ends * program.inputs - 1],
        ends=run.cycles[ends * program.outputs - 1],
        seconds=time.monotonic() - started,
    )


def engine_arrow(subject, program, run):
    """Integer network against the RTL's streams: every activation, logit and class."""
    arrow = Arrow("golden", "rtl", "batch", what="hidden activations, logits, classes")
    started, comparison = time.monotonic() - getattr(run, "seconds", 0), Comparison()
    if isinstance(run, SimulationError):
        values = sum(elements(program))
        return _failed(arrow, started, values + 1, f"{run}")
    samples = len(run.logits)
    if samples < len(subject.x):
        arrow.what += f", first {samples} of {len(subject.x)} samples"
    trace = subject.network.run(subject.x[:samples])
    results = dict(zip((layer.name for layer in subject.network.layers), trace.activations[1:],
                       strict=True))
    for layer, found, cycles in zip(program.layers, run.values, run.cycles, strict=True):
        comparison.add(
            results[layer.name].flatten(1).numpy(),
            found,
            lambda at, layer=layer, cycles=cycles: {
                "layer": layer.name,
                "element": at[1],
                "sample": at[0],
                "cycle": int(cycles[at]),
            },
            order=cycles,
        )
    # The logits once more, as they leave the output stream, and their arg-max.
    last = program.layers[-1].name
    streamed = Comparison()
    streamed.add(
        trace.logits.numpy(), run.logits,
        lambda at: {"layer": last, "element": at[1], "sample": at[0]},
    )
    comparison.add(
        trace.classes.numpy(), run.classes,
        lambda at: {"layer": "argmax", "element": 0, "sample": at[0]},
    )
    if streamed.mismatches and not comparison.mismatches:
        comparison.mismatches, comparison.first = streamed.mismatches, streamed.first
    return _finish(arrow, comparison, started, samples=samples)


def cycle_arrow(program, run):
    """Cycles of every phase of every batch in the RTL against the sequencer's formula."""
    arrow = Arrow("golden", "rtl", "cycle formula", what="cycles of every layer of every batch")
    started, comparison = time.monotonic(), Comparison()
    if isinstance(run, SimulationError):
        return _failed(arrow, started, len(program.layers), f"{run}")
    rows, outputs = program.config.rows, len(run.logits)
    formula = program.cycles()
    step = run.records["step"] != 0
    phase, layer = run.records["phase"], run.records["layer"]
    for batch, (start, end) in enumerate(zip(run.starts, run.ends, strict=True)):
        vectors = min(rows, outputs - batch * rows)
        expected, found = [], []
        for index, entry in enumerate(formula):
            span = slice(start + 1, end + 1)
            mine = layer[span] == index
            steps = np.flatnonzero(mine & step[span])
            prepare = int((mine & (phase[span] == Phase.PREPARE.value)).sum())
            busy = int((mine & (phase[span] == Phase.RUN.value)).sum())
            drain = int((mine & (phase[span] == Phase.DRAIN.value)).sum())
            between = int(steps[-1] - steps[0] + 1 - len(steps)) if len(steps) else -1
            expected += [entry.prepare, entry.macs, entry.stalls, entry.macs + entry.stalls,
                         entry.drain]
            found += [prepare, len(steps), between, busy, drain]
        expected.append(program.latency(vectors))
        found.append(int(end - start))
        comparison.add(
            expected, found,
            lambda at, batch=batch, start=start: {
                "layer": program.layers[min(at[0] // 5, len(formula) - 1)].name,
                "element": at[0],
                "cycle": int(start),
                "batch": batch,
            },
        )
    return _finish(arrow, comparison, started)


def uart_frames(program, x):
    """Requests that carry vectors, and the length of each answer."""
    rows = program.config.rows
    requests, lengths = [], []
    for start in range(0, len(x), rows):
        part = x[start : start + rows].numpy().astype(np.int8)
        requests.append(pack_request(Command.INFER, part.tobytes()))
        lengths.append(6 + len(part) * (4 * program.outputs + 2))
    return requests, lengths


def _answers(program, answers, samples):
    """Logits and classes from the answers of a board; raises ProtocolError for a bad one."""
    rows, predictions = program.config.rows, []
    for start, answer in zip(range(0, samples, rows), answers, strict=True):
        predictions += parse_predictions(
            parse_response(answer),
            vectors=min(rows, samples - start),
            outputs=program.outputs,
        )
    logits = np.array([prediction.logits for prediction in predictions])
    return np.column_stack([logits, [prediction.index for prediction in predictions]])


def _place(program):
    def place(at):
        last = at[1] == program.outputs
        return {
            "layer": "argmax" if last else program.layers[-1].name,
            "element": 0 if last else at[1],
            "sample": at[0],
        }

    return place


def cocotb_arrow(subject, program, design, *, divisor, samples):
    """Integer network against the RTL over its UART pins, in cocotb on Verilator."""
    arrow = Arrow("golden", "rtl", "cocotb", what="logits and classes over the UART pins")
    started, comparison = time.monotonic(), Comparison()
    x = subject.x[:samples]
    requests, lengths = uart_frames(program, x)
    expected = _expected(subject, len(x))
    try:
        answers = run_uart(design, requests, divisor=divisor, expect=lengths, idle=IDLE)
        found = _answers(program, answers, len(x))
    except (CocotbError, ProtocolError) as error:
        return _failed(arrow, started, expected.size, f"{error}")
    comparison.add(expected, found, _place(program))
    return _finish(arrow, comparison, started, samples=len(x))


def _expected(subject, samples):
    trace = subject.network.run(subject.x[:samples])
    return np.column_stack([trace.logits.numpy(), trace.classes.numpy()])


def exchange(design, requests, lengths, *, divisor, startup):
    """Answers of a design, and the cycles in which its transmit pin changes; cached.

    Returns
    -------
    list of bytes, int64 array, bool
        The last says whether they were in the cache.
    """
    def produce(folder):
        with UartSession(design, divisor=divisor) as session:
            session.idle(startup + IDLE)
            answers = [
                session.exchange(request, expect=length)[0]
                for request, length in zip(requests, lengths, strict=True)
            ]
            np.savez(
                folder / "exchange.npz",
                answers=np.frombuffer(b"".join(answers), np.uint8),
                lengths=[len(answer) for answer in answers],
                edges=session.tx_edges - startup,
            )

    inputs = {
        "sources": {name: digest(text) for name, text in design.sources.items()},
        "top": design.top,
        "defines": list(design.defines),
        "requests": digest(b"".join(requests)),
        "lengths": lengths,
        "divisor": divisor,
        "idle": startup + IDLE,
        "verilator": verilator.version(),
        "code": digest("".join(
            path.read_text() for path in sorted(Path(verilator.__file__).parent.iterdir())
            if path.suffix in (".py", ".cpp", ".h")
        )),
    }
    folder, reused = cached("exchanges", inputs, produce)
    with np.load(folder / "exchange.npz", allow_pickle=False) as found:
        ends = np.cumsum(found["lengths"])
        answers = [part.tobytes() for part in np.split(found["answers"], ends[:-1])]
        return answers, found["edges"], reused


def affordable(program, *, divisor=None, cycles=20_000_000):
    """Samples that an engine computes in so many cycles, a batch at least.

    With the ``divisor`` of a UART, those that it carries with their answers.
    """
    rows = program.config.rows
    taken = program.latency(rows) + rows * program.inputs
    if divisor is not None:
        size = 12 + rows * (program.inputs + 4 * program.outputs + 2)
        taken = program.latency(rows) + 10 * size * divisor
    return rows * max(cycles // taken, 1)


@dataclass(frozen=True)
class Level:
    """A model of the chain that lives on the pins of a board.

    Attributes
    ----------
    name : str
        Of `sim.ledger.MODELS`.
    design : Design
        With pins ``rx`` and ``tx``.
    startup : int
        Cycles until it leaves its power-on reset.
    unverified : tuple of str
        Files of its cells' models that were never compared with silicon.
    """

    name: str
    design: Design
    startup: int = 0
    unverified: tuple = ()


def pins_arrow(subject, program, source, target, *, board, divisor, samples):
    """Two levels of a board: bytes on the UART pins and the cycle of every edge.

    Parameters
    ----------
    source, target : Level
    board : str
    divisor : int
        Clock cycles per bit.
    samples : int
        Only the first so many of the test set.

    Returns
    -------
    Arrow
    """
    arrow = Arrow(
        source.name, target.name, "batch", on=board,
        what="logits, classes and every edge on the UART pins",
    )
    started, comparison = time.monotonic(), Comparison()
    x = subject.x[:samples]
    requests, lengths = uart_frames(program, x)
    if len(x) < len(subject.x):
        arrow.what += f", first {len(x)} of {len(subject.x)} samples"
    samples = len(x)
    found = []
    for level in source, target:
        try:
            answers, edges, reused = exchange(
                level.design, requests, lengths, divisor=divisor, startup=level.startup
            )
            found.append((_answers(program, answers, samples), edges))
        except (SimulationError, ProtocolError) as error:
            return _failed(
                arrow, started, samples * (program.outputs + 1), f"{level.name}: {error}")
    (expected, edges), (answered, found_edges) = found
    comparison.add(expected, answered, _place(program))
    count = min(len(edges), len(found_edges))
    comparison.add(
        edges[:count], found_edges[:count],
        lambda at: {"layer": "tx", "element": at[0], "cycle": int(edges[at])},
    )
    if len(edges) != len(found_edges):
        missing = max(len(edges), len(found_edges)) - count
        comparison.compared += missing
        comparison.mismatches += missing
        arrow.why = f"{len(edges)} edges of tx expected, {len(found_edges)} found"
    return _finish(arrow, comparison, started, samples=samples, edges=count, reused=reused)
