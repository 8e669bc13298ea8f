# SPDX-License-Identifier: Apache-2.0
"""What is measured of a point of a sweep, and all that it depends on."""

import dataclasses
import functools
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any

from .config import check
from .errors import BadInput, Failure
from .hw.cache import digest
from .sweep_config import KINDS, UnitPoint

__all__ = ["COLUMNS", "failed", "perform", "stamp", "task_of"]

#: What comes out.
COLUMNS = {
    "estimate": ("cycles", "macs", "utilisation", "traffic", "memory_kib"),
    "synth": ("lut4", "carry", "ff", "dsp", "bram", "mapping", "fmax_mhz"),
    "train": ("float_accuracy", "accuracy", "correct", "samples", "memory_bits"),
}
MODULES = {
    "estimate": ("estimate",),
    "synth": ("fpga.characterise", "hw.catalogue", "matrix_config", "unit_choice"),
    "train": ("flow",),
}
PACKAGES = {
    "estimate": ("amaranth",),
    "synth": ("amaranth", "pyosys"),
    "train": ("amaranth", "brevitas", "numpy", "scikit-learn", "torch"),
}


@functools.cache
def stamp(measure):
    """Versions of tools, and a hash of our own code, that a measure depends on.

    Raises
    ------
    BadInput
        A package is not installed.
    """
    from .units import sources

    tools = {}
    for name in PACKAGES[measure]:
        try:
            tools[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise BadInput(f"measure: {measure} needs the package {name}, which is not "
                           "installed") from None
    code = sources(*(f"{__package__}.{name}" for name in MODULES[measure]))
    return {"tools": tools, "code": digest(code + digest(Path(__file__).read_bytes()))}


def task_of(measure, kind, point):
    """What a worker needs, as JSON; ``key`` is a hash of all that the result depends on.

    Points with the same key have the same result, whatever else is different in them.

    Parameters
    ----------
    measure, kind : str
        Of `KINDS`.
    point : Point
        A possible one.

    Raises
    ------
    BadInput
        It is not possible.
    """
    inputs = {"measure": measure, **INPUTS[measure](point.config), **stamp(measure)}
    return {"key": digest(json.dumps(inputs, sort_keys=True))[:32], "measure": measure,
            "kind": kind, "content": point.content, "stamp": stamp(measure), "inputs": inputs}


def perform(task) -> dict[str, Any]:
    """Measure; every error becomes a reason.

    Returns
    -------
    dict
        ``status`` is ``done``, ``impossible``, or ``failed``, which is worth another try;
        ``reason``; ``result``, of `COLUMNS`; ``seconds``.
    """
    begun = time.perf_counter()
    try:
        outcome = _measured(task)
    except BadInput as error:
        outcome = failed(str(error), status="impossible")
    except Failure as error:
        outcome = failed(str(error))
    except Exception as error:  # whatever it is, the other points go on
        outcome = failed(f"{type(error).__name__}: {error}")
    return outcome | {"seconds": time.perf_counter() - begun}


def failed(reason, *, status="failed") -> dict[str, Any]:
    """Outcome of a point without a result; of the reason its first line."""
    return {"status": status, "reason": (reason.splitlines() or [""])[0], "result": {},
            "seconds": 0.0}


def _measured(task):
    measure = task["measure"]
    if stamp(measure) != task["stamp"]:
        raise Failure("its worker has other tools or another carrysave: "
                      f"{json.dumps(stamp(measure), sort_keys=True)}")
    model, _ = KINDS[task["kind"]]
    result = MEASURES[measure](check(task["content"], model, prefix=""))
    return {"status": "done", "reason": "", "result": result}


def _estimate_inputs(config):
    return config.model_dump(mode="json", include={"engine", "workload"})


def _estimate(config):
    from .estimate import estimate

    found = estimate(config)
    memories = found["config"]["memories"].values()
    return {"cycles": found["cycles"], "macs": found["macs"],
            "utilisation": found["utilisation"], "traffic": sum(found["traffic"].values()),
            "memory_kib": sum(memory["kib"] for memory in memories)}


def _element(config):
    """``(build, description)`` of the unit that is synthesised: for an engine, its element."""
    if isinstance(config, UnitPoint):
        choice = config.choose()
        kind, parameters = type(choice.unit), choice.parameters
        return functools.partial(kind, **parameters), _description(kind, parameters)
    from .matrix_config import build_engine, works

    longest = max(work.gemm.k for work in works(config.workload))
    engine = build_engine(config.engine, longest=longest)
    steps, kind = engine.longest_group, engine.kind
    return (functools.partial(kind.build, steps),
            {**_description(kind.unit, kind.parameters), "steps": steps})


def _description(kind, parameters):
    return {"unit": f"{kind.__module__}.{kind.__name__}",
            "parameters": {key: repr(value) for key, value in parameters.items()}}


def _synth_inputs(config):
    return {**_element(config)[1], "synth": config.synth.model_dump()}


def _synth(config):
    from .fpga import characterise
    from .fpga.tools import ToolError
    from .hw.yosys import YosysError

    (build, _), options, speed = _element(config), config.synth, None
    try:
        area = characterise.area(build(), options.family, dsp=options.dsp)
        if options.timing:
            speed = characterise.speed(build(), options.family, mapping=area.mapping,
                                       dsp=options.dsp)
    except (ToolError, YosysError) as error:
        raise Failure(str(error)) from None
    found = dataclasses.asdict(area)
    return {**{name: found[name] for name in COLUMNS["synth"] if name in found},
            "fmax_mhz": speed and speed.median}


def _train_inputs(config):
    files = {}
    for name in filter(None, (config.data.source, config.model.network)):
        path = Path(name)
        parts = sorted(path.rglob("*")) if path.is_dir() else [path]
        files |= {str(part): digest(part.read_bytes()) for part in parts if part.is_file()}
    return {"config": config.model_dump(mode="json", exclude={"verify"}), "files": files}


def _train(config):
    import torch

    from .flow import prepare
    from .quant.golden.argmax import argmax
    from .subject import BATCH

    prepared = prepare(config)
    subject = prepared.subject
    expected = torch.from_numpy(subject.data.y_test)
    classes = argmax(subject.network.logits(subject.x, batch=BATCH))
    correct = int((classes == expected).sum())
    return {"float_accuracy": subject.float_accuracy, "accuracy": correct / len(expected),
            "correct": correct, "samples": len(expected),
            "memory_bits": sum(prepared.program.memory_bits.values())}


INPUTS = {"estimate": _estimate_inputs, "synth": _synth_inputs, "train": _train_inputs}
MEASURES = {"estimate": _estimate, "synth": _synth, "train": _train}
