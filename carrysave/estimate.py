# SPDX-License-Identifier: Apache-2.0
"""``carrysave estimate``: cycles and traffic of a network on a matrix engine, not simulated."""

import math

from .errors import BadInput
from .hw.engine.schedule import schedule
from .hw.engine.tiling import array_latency
from .matrix_config import build_engine, compile_gemms, works

__all__ = ["describe", "estimate", "traffic"]

MEMORIES = {"a": "activations", "a_scale": "activation_scales", "w": "weights",
            "w_scale": "weight_scales", "bias": "biases"}
VISITS = 1 << 24  # panels of a GEMM whose cycles are still counted


def estimate(config, *, progress=None):
    """Every cycle of a workload, as the RTL takes them where its streams never wait.

    Each GEMM is a program of its own, from ``start`` to its last result: in one program they
    overlap, and take a little less. GEMMs of one size are planned once.

    Parameters
    ----------
    config : MatrixConfig
    progress : callable, optional
        Called with a line for each size.

    Returns
    -------
    dict
        As ``estimate --json`` prints it. ``cycles``, ``macs`` and ``traffic``, in bytes, of a layer
        are those of all its repeats.

    Raises
    ------
    BadInput
        Naming the field, or the layer that does not fit.
    """
    progress = progress or (lambda line: None)
    work = works(config.workload)
    engine = build_engine(config.engine, longest=max(each.gemm.k for each in work))
    latency, known, layers = array_latency(engine), {}, []
    for gemm, repeat in work:
        size = gemm[1:]
        if size not in known:
            progress(f"{gemm.name}: {' × '.join(map(str, size))}")
            known[size] = _program(engine, latency, gemm)
        found = known[size]
        layers.append({
            **gemm._asdict(), "repeat": repeat,
            "macs": repeat * math.prod(size), "cycles": repeat * found["cycles"],
            "utilisation": found["utilisation"], "bound": found["bound"],
            "traffic": {name: repeat * count for name, count in found["traffic"].items()},
            "tiling": found["tiling"],
        })
    cycles, macs = (sum(layer[key] for layer in layers) for key in ("cycles", "macs"))
    peak = engine.rows * engine.columns * engine.kind.lanes
    return {
        "name": config.name, "layers": layers, "cycles": cycles, "macs": macs,
        "utilisation": macs / (cycles * peak),
        "traffic": {name: sum(layer["traffic"][name] for layer in layers)
                    for name in layers[0]["traffic"]},
        "config": describe(engine),
    }


def _program(engine, latency, gemm):
    """One GEMM as a program."""
    tiles = -(-gemm.m // engine.rows) * -(-gemm.n // engine.columns)
    if tiles > VISITS:
        raise BadInput(f"Layer {gemm.name}: {tiles:,} tiles; cycles are counted up to {VISITS:,}: "
                       "take a larger array, or less in a batch")
    (layer,) = compile_gemms(engine, [gemm])
    cycles = schedule(engine, latency, [layer])
    (one,) = cycles.layers
    return {
        "cycles": cycles.total, "utilisation": cycles.utilisation, "bound": one.bound,
        "traffic": traffic(engine, layer, one),
        "tiling": {
            "order": "".join(layer.order), "tiles": list(layer.counts), "steps": layer.steps,
            "kept": [name for name, kept in (("activations", layer.a_resident),
                                             ("weights", layer.w_resident)) if kept],
        },
    }


def traffic(engine, layer, cycles):
    """Bytes that cross the streams for each memory, words filled up included.

    Parameters
    ----------
    engine : GemmConfig
    layer : Layer
    cycles : LayerCycles
        Of that layer.
    """
    found = {}
    for operand in "a", "w":
        parts = {name: lines * beats for name, lines, beats in engine.segments(layer, operand)}
        panels = getattr(cycles, f"{operand}_words") // sum(parts.values())
        found |= {MEMORIES[name]: panels * words for name, words in parts.items()}
    found["results"] = cycles.results
    return {name: words * engine.bus // 8 for name, words in found.items()}


def describe(engine):
    """A `GemmConfig` as JSON."""
    kind = engine.kind
    memories = {
        "activations": (engine.a_lines, engine.a_bits), "weights": (engine.w_lines, engine.w_bits),
        "activation_scales": (engine.scale_lines, engine.a_scale_bits),
        "weight_scales": (engine.scale_lines, engine.w_scale_bits),
        "biases": (engine.scale_lines, engine.bias_bits),
        "results": (engine.result_lines, engine.chains * engine.result_bits),
    }
    return {
        "activations": kind.activations.name, "weights": kind.weights.name,
        "element": kind.unit.__name__, "lanes": kind.lanes, "rows": engine.rows,
        "columns": engine.columns, "peak_macs_per_cycle": engine.rows * engine.columns * kind.lanes,
        "chains": engine.chains, "systolic": engine.systolic, "bus": engine.bus,
        "k_max": engine.k_max, "result_bits": engine.sum_shape.width,
        "partial_tiles": engine.partial_tiles,
        "memories": {name: {"lines": lines, "bits": bits, "kib": lines * bits / 8192}
                     for name, (lines, bits) in memories.items() if bits},
    }
