# SPDX-License-Identifier: Apache-2.0
"""The evidence of a build: everything that its report shows, as plain data."""

from math import prod

import numpy as np
import torch

from . import arrows
from .hw.engine.sequencer import Phase
from .quant.golden.argmax import argmax
from .quant.train.mlp import accuracy
from .schematic import schematic
from .sim.batch import SimulationError
from .subject import BATCH

__all__ = ["gather"]

WAVE = 5000  # cycles of the waveform in the report


def gather(prepared, ledger, run, built):
    """Everything that the report shows; see `carrysave.report`."""
    subject, program, network = prepared.subject, prepared.program, prepared.subject.network
    data, config = subject.data, prepared.config
    y = torch.from_numpy(data.y_test)
    logits = network.logits(subject.x, batch=BATCH)
    classes = argmax(logits)
    confusion = np.zeros((len(network.labels),) * 2, int)
    np.add.at(confusion, (data.y_test, classes.numpy()), 1)
    scores = {"float": subject.float_accuracy, "trained": None}
    if subject.trained is not None:
        with torch.no_grad():
            x = torch.from_numpy(network.input.normalise(data.x_test))
            found = torch.cat([subject.trained(part) for part in x.split(BATCH)])
            scores["trained"] = accuracy(found, y)
    scores["integer"] = float((classes == y).double().mean())
    formula, rows = program.cycles(), program.config.rows
    latency, load = program.latency(rows), rows * program.inputs
    peak = program.peak
    useful = rows * sum(entry.useful for entry in formula)
    exact = {arrow.method: arrow.status == "exact" for arrow in ledger.arrows}
    return {
        "name": config.name,
        "identity": network.identity.hex(),
        "tools": ledger.tools,
        "config": config.model_dump(),
        "accuracy": {**scores, "samples": len(y)},
        "labels": list(network.labels),
        "confusion": confusion.tolist(),
        "samples": _samples(data, logits, classes),
        "network": [
            _layer(layer, network.shapes[places[0]], shape)
            for layer, places, shape in zip(
                network.layers, network.places, network.shapes[1:], strict=True)
        ],
        "engine": {
            "rows": rows,
            "columns": program.config.columns,
            "lanes": getattr(program.config, "lanes", 1),
            "element": getattr(program.config, "element", "mixpe"),
            "drains": program.drains,
            "chain": program.chain,
            "accumulator_bits": program.sum_shape.width,
            "memory_bits": program.memory_bits,
        },
        "cycles": {
            "vectors": rows,
            "load": load,
            "read": program.readout + rows * program.outputs,
            "total": load + latency,
            "peak_macs_per_cycle": peak,
            "macs_per_cycle": useful / (load + latency),
            "layers": [
                {**vars(entry), "utilisation": entry.utilisation,
                 "measured_equal": exact["cycle formula"]}
                for entry in formula
            ],
        },
        "boards": [_board(prepared, result, latency + load) for result in built],
        "wave": _wave(run, program),
        "schematic": schematic(prepared.engine),
        "ledger": ledger.to_json(),
    }


def _layer(layer, before, after):
    """What the report says of a layer."""
    group, requantiser = getattr(layer, "group", None), layer.requantiser
    channels = getattr(requantiser, "channels", ())
    low, high = getattr(layer, "bounds", (-128, 127))
    return {
        "name": layer.name,
        "kind": layer.kind.replace("_", " "),
        "inputs": prod(before),
        "outputs": prod(after),
        "input": list(before),
        "output": list(after),
        "group": group and group.size,
        "weight_bits": group and group.bits,
        "bounds": [low, high] if requantiser else None,
        "relu": low == 0 and requantiser is not None,
        "accumulator_range": (
            list(layer.accumulator_range) if hasattr(layer, "accumulator_range") else None),
        "channels": len(channels),
        "multiplier": None if channels else getattr(requantiser, "multiplier", None),
        "shift": None if channels else getattr(requantiser, "shift", None),
        "reachable": getattr(requantiser, "reachable", None),
        "differing": getattr(requantiser, "differing", None),
    }


def _samples(data, logits, classes, count=12):
    """Some test samples, wrong ones first."""
    wrong = np.flatnonzero(classes.numpy() != data.y_test)[: count // 2]
    right = np.setdiff1d(np.arange(len(data.y_test)), wrong)[: count - len(wrong)]
    return [
        {
            "shape": list(data.shape),
            "values": data.x_test[i].tolist(),
            "label": data.labels[data.y_test[i]],
            "prediction": data.labels[int(classes[i])],
            "logits": logits[i].tolist(),
        }
        for i in [*wrong.tolist(), *right.tolist()]
    ]


def _board(prepared, result, cycles):
    board, manifest = result.synthesis.board, result.manifest
    program, config = prepared.program, prepared.config
    rows, clock = program.config.rows, board.clock_hz
    requests, lengths = arrows.uart_frames(program, prepared.subject.x[:rows])
    on_wire = 10 * (len(requests[0]) + lengths[0]) * prepared.divisor(board)
    titles = {"lut4": "LUT4", "ff": "FF", "bram": "BRAM", "dsp": "DSP"}
    return {
        "name": board.name,
        "title": board.title,
        "family": board.family.name,
        "clock_mhz": manifest["clock_mhz"],
        "fmax_mhz": manifest["fmax_mhz"],
        "slack_ns": manifest["slack_ns"],
        "seed": manifest["seed"],
        "resources": {
            titles.get(key, key): value for key, value in manifest["resources"].items()
        },
        "bitstream": f"{board.name}/{result.bitstream.name}",
        "sha256": manifest["outputs"][result.bitstream.name],
        "inferences_per_second": rows * clock / cycles,
        "uart_inferences_per_second": rows * clock / (on_wire + cycles),
        "baud": config.uart.baud,
    }


def _wave(run, program):
    """Monitor of the first batch, one value per cycle, of so many cycles as one would look at."""
    if isinstance(run, SimulationError):
        return None
    first = max(int(run.starts[0]) - program.config.rows * program.inputs + 1, 0)
    span = slice(first, min(int(run.ends[0]) + 2, first + WAVE))
    names = {phase.value: phase.name for phase in Phase}
    signals = [
        {"name": "phase", "kind": "bus",
         "values": [names[int(v)] for v in run.records["phase"][span]]},
        {"name": "layer", "kind": "bus",
         "values": [program.layers[int(v)].name for v in run.records["layer"][span]]},
    ]
    for name in ("step", "write", "final"):
        signals.append(
            {"name": name, "kind": "bit", "values": run.records[name][span].astype(int).tolist()}
        )
    for name in ("row" if "row" in run.records else "rows", "index"):
        signals.append(
            {"name": name, "kind": "bus",
             "values": [str(int(v)) for v in run.records[name][span]]}
        )
    lanes = np.asarray(run.records["values"][span]).reshape(span.stop - span.start, -1)
    signals.append(
        {"name": "value", "kind": "bus", "values": [str(int(v)) for v in lanes[:, 0]]}
    )
    return {"clock": "cycle", "first": first, "signals": signals}
