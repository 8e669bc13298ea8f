# SPDX-License-Identifier: Apache-2.0
"""What a build is about: data, trained model and integer network."""

import hashlib
import importlib.metadata
import json
import warnings
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save

from . import quant
from .errors import BadInput
from .hw.cache import cached, digest
from .hw.engine.choice import is_stack
from .hw.engine.program import LayerShape
from .quant.data import Data, DataError
from .quant.data import load as load_data
from .quant.network import IntegerNetwork, NetworkError
from .quant.network import load as load_network
from .quant.network import save as save_network
from .quant.train.cnn import LayersError, parse_layers, quantised_cnn
from .quant.train.freeze import UnsupportedModel
from .quant.train.mlp import Recipe, accuracy, quantised_mlp
from .quant.train.train import sample_shape, train

__all__ = ["BATCH", "Subject", "load_subject", "save_subject"]

BATCH = 500  # samples at once, where traces would fill the memory


@dataclass(frozen=True)
class Subject:
    """The software end of the chain.

    ``trained`` is the settled Brevitas model in float64, None where a network was loaded;
    ``float_accuracy`` is that of the float model it was trained from.
    """

    data: Data
    network: IntegerNetwork
    trained: torch.nn.Sequential | None
    float_accuracy: float | None

    @property
    def x(self):
        """Held-out inputs as integer activations: int64 tensor (samples, inputs)."""
        return self.network.encode(self.data.x_test)


def _sources():
    """Hash of the code that training depends on."""
    found = hashlib.sha256()
    for path in sorted(Path(quant.__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _data_digest(data):
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    return digest(b"".join(digest(np.ascontiguousarray(a).tobytes()).encode() for a in arrays))


def load_subject(config, *, fits=None, progress=None):
    """Data, and a network trained (or taken from the cache) or loaded.

    Parameters
    ----------
    config : Config
    fits : callable(shapes), optional
        Called with a list of `LayerShape` before anything is trained; may refuse.
    progress : callable(line), optional

    Returns
    -------
    Subject
    """
    report = progress or (lambda line: None)
    try:
        data = load_data(
            config.data.source, test_fraction=config.data.test_fraction, seed=config.data.seed
        )
    except DataError as error:
        raise BadInput(f"data.source: {error}") from None
    if config.model.network is not None:
        return _given(config, data, fits)

    keys = Recipe.__dataclass_fields__
    recipe = Recipe(**{key: value for key, value in config.train if key in keys})
    layers = config.model.layers
    if layers is not None:
        try:
            parse_layers(layers)
        except LayersError as error:
            raise BadInput(f"model.{error}") from None
    shape = config.data.shape and tuple(config.data.shape)
    widths = [data.features, *config.model.hidden, data.classes]
    if fits and layers is None:
        fits([
            LayerShape(f"fc{index + 1}", inputs, outputs, config.quantise.group)
            for index, (inputs, outputs) in enumerate(pairwise(widths))
        ])
    packages = ("torch", "brevitas", "numpy", "scikit-learn")
    inputs = {
        "data": _data_digest(data),
        "labels": data.labels,
        "widths": widths if layers is None else [layers, shape],
        "normalise": config.data.normalise,
        "quantise": config.quantise.model_dump(),
        "recipe": asdict(recipe),
        "name": config.name,
        "code": _sources(),
        "tools": {name: importlib.metadata.version(name) for name in packages},
    }

    def produce(folder):
        def epoch(stage, done, epochs):
            report(f"training, {stage}: epoch {done} of {epochs}")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Brevitas and torch, about themselves.
            result = train(
                data,
                name=config.name,
                hidden=config.model.hidden if layers is None else None,
                layers=layers and parse_layers(layers),
                shape=shape,
                group_size=config.quantise.group,
                recipe=recipe,
                normalise=config.data.normalise,
                multiplier_bits=config.quantise.multiplier_bits,
                progress=epoch,
            )
            with torch.no_grad():
                x = torch.from_numpy(result.network.input.normalise(data.x_test)).float()
                logits = torch.cat([result.floating(part) for part in x.split(BATCH)])
                score = accuracy(logits, torch.from_numpy(data.y_test))
        save_network(result.network, folder)
        _save_model(result.quantised, folder)
        (folder / "training.json").write_text(json.dumps({"float_accuracy": score}))

    try:
        folder, _ = cached("training", inputs, produce)
    except LayersError as error:
        raise BadInput(f"model.layers or data.shape: {error}") from None
    except UnsupportedModel as error:
        raise BadInput(f"train: the trained model cannot be frozen: {error}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if layers is None:
            trained = quantised_mlp(widths, group_size=config.quantise.group)
        else:
            trained = quantised_cnn(
                parse_layers(layers), shape=sample_shape(data, shape), classes=data.classes,
                group_size=config.quantise.group)
        trained = trained.double().eval()
        # Brevitas makes its quantisers anew here, in float32: assign, so that none is rounded.
        trained.load_state_dict(load((folder / "model.safetensors").read_bytes()), assign=True)
    score = json.loads((folder / "training.json").read_text())["float_accuracy"]
    return Subject(data, load_network(folder), trained, score)


def _given(config, data, fits):
    """The network that the configuration names."""
    path = config.model.network
    try:
        network = _qonnx(path) if path.endswith(".onnx") else load_network(path)
    except NetworkError as error:
        raise BadInput(f"model.network: {error}") from None
    if (network.inputs, network.outputs) != (data.features, data.classes):
        raise BadInput(
            f"model.network: {config.model.network} maps {network.inputs} inputs to "
            f"{network.outputs} classes; the data have {data.features} and {data.classes}"
        )
    if fits and is_stack(network):
        fits([LayerShape(la.name, la.inputs, la.outputs, la.group.size) for la in network.layers])
    return Subject(data, network, None, None)


def _qonnx(path):
    from .quant.network.qonnx import load_qonnx  # onnx is only needed here

    return load_qonnx(path)


def save_subject(subject, folder):
    """Write ``network/`` and, where there is one, ``model.safetensors`` into a folder."""
    folder = Path(folder)
    save_network(subject.network, folder / "network")
    if subject.trained is not None:
        _save_model(subject.trained, folder)


def _save_model(model, folder):
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(state))
