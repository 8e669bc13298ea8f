# SPDX-License-Identifier: Apache-2.0
"""The example networks as classifiers in any format, for ``carrysave accuracy``."""

import functools
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.torch import load, save

from .config import load_config
from .hw.cache import cached, digest
from .quant import train as code
from .quant.accuracy import fingerprint, scales, tasks
from .quant.accuracy.tasks import TRANSFORMS
from .quant.data import load as load_data
from .quant.train.cnn import parse_layers
from .quant.train.mlp import Recipe

__all__ = ["TRANSFORMS", "Example", "example", "rounds"]

SAMPLES = {"fashion": "images", "har": "windows"}


class Example(NamedTuple):
    """A network and held-out ``samples``; ``data`` is a hash of both and of how it is trained.

    ``score(fmt, transform)`` as `quant.accuracy.tasks.score`.
    """

    subject: str
    samples: int
    data: str
    score: Callable[..., float]


def rounds(fmt):
    """What a row says of a format's scales, and a hash of how it rounds."""
    scale, other = scales(fmt)[-1], tasks.activations(fmt)
    found = fingerprint(fmt, scale)
    if other is fmt:
        return scale, found
    return f"{scale}, {other.name} activations", found + fingerprint(other, scales(other)[-1])


def example(name, report):
    """`Example` of a configuration that comes with the kit.

    Raises
    ------
    DataError
    """
    config = load_config(Path(str(files("carrysave.examples") / f"{name}.toml")))
    data = load_data(
        config.data.source, test_fraction=config.data.test_fraction, seed=config.data.seed)
    keys = Recipe.__dataclass_fields__
    task = tasks.Task(
        data, parse_layers(config.model.layers), config.data.shape and tuple(config.data.shape),
        config.data.normalise, Recipe(**{key: value for key, value in config.train if key in keys}))
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    content = digest(json.dumps([
        [digest(np.ascontiguousarray(a).tobytes()) for a in arrays], data.labels,
        config.model.layers, task.shape, task.normalise, asdict(task.recipe)]))
    count = len(data.x_test)

    @functools.cache
    def model():
        return _trained(task, content, lambda: report(f"{name}: training in float"))

    return Example(f"{name} accuracy {count} {SAMPLES[name]}", count, content,
                   lambda fmt, transform: tasks.score(task, model(), fmt, transform))


def _trained(task, content, begin):
    """The network in float, from the cache where it is there."""
    def produce(folder):
        begin()
        state = tasks.trained(task).state_dict()
        (folder / "model.safetensors").write_bytes(
            save({key: value.contiguous() for key, value in state.items()}))

    inputs = {
        "task": content,
        "code": digest(b"".join(path.read_bytes() for path in sorted(
            [*Path(code.__path__[0]).glob("*.py"), Path(tasks.__file__)]))),
        "tools": {name: importlib.metadata.version(name) for name in ("numpy", "torch")},
    }
    folder, _ = cached("classifiers", inputs, produce)
    model = tasks.floating(task)
    model.load_state_dict(load((folder / "model.safetensors").read_bytes()))
    return model.eval()
