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
from .hw.engine.choice import STACK_BITS, is_stack
from .hw.engine.program import LayerShape
from .quant.data import Data, DataError
from .quant.data import load as load_data
from .quant.network import IntegerNetwork, NetworkError
from .quant.network import load as load_network
from .quant.network import save as save_network
from .quant.train.cnn import LayersError, parse_layers
from .quant.train.freeze import UnsupportedModel
from .quant.train.mlp import Recipe, accuracy
from .quant.train.train import (
    float_network,
    inputs,
    quantised_network,
    train_float,
    train_quantised,
)

__all__ = ["BATCH", "Subject", "Training", "load_data_of", "load_subject", "save_subject"]

PARTS = ("data", "formats", "golden", "network", "train")  # of `quant`
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
    found, root = hashlib.sha256(), Path(quant.__file__).parent
    for path in sorted(path for part in PARTS for path in (root / part).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _data_digest(data):
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    return digest(b"".join(digest(np.ascontiguousarray(a).tobytes()).encode() for a in arrays))


def load_data_of(config):
    """The `Data` that a configuration names; BadInput."""
    try:
        return load_data(config.data.source, test_fraction=config.data.test_fraction,
                         seed=config.data.seed)
    except DataError as error:
        raise BadInput(f"data.source: {error}") from None


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
    data = load_data_of(config)
    if config.model.network is not None:
        return _given(config, data, fits)

    training = Training(config, data, report)
    if fits and training.layers is None and max(training.widest) <= STACK_BITS:
        fits([
            LayerShape(f"fc{index + 1}", inputs, outputs, config.quantise.group)
            for index, (inputs, outputs) in enumerate(pairwise(training.widths))
        ])
    return training.subject()


class Training:
    """The networks of a configuration: in float, and quantised; each trained once, then cached.

    Parameters
    ----------
    config : Config
        Of a network that is trained.
    data : Data
    report : callable(line)

    Raises
    ------
    BadInput
    """

    def __init__(self, config, data, report):
        self.config, self.data, self.report = config, data, report
        keys = Recipe.__dataclass_fields__
        self.recipe = Recipe(**{key: value for key, value in config.train if key in keys})
        self.layers = config.model.layers
        self.widths = [data.features, *config.model.hidden, data.classes]
        bits = self.bits = config.quantise.bits
        self.widest = [bits] if isinstance(bits, int) else bits
        try:
            self.parsed = self.layers and parse_layers(self.layers)
        except LayersError as error:
            raise BadInput(f"model.{error}") from None
        shape = config.data.shape and tuple(config.data.shape)
        self.network = {
            "hidden": config.model.hidden if self.layers is None else None,
            "layers": self.parsed, "shape": shape,
        }
        try:
            float_network(data, **self.network)
        except LayersError as error:
            raise BadInput(f"model.layers or data.shape: {error}") from None
        try:
            self.quantised()
        except LayersError as error:
            raise BadInput(f"quantise.{error}") from None
        self.options = {**self.network, "normalise": config.data.normalise}
        packages = ("torch", "brevitas", "numpy", "scikit-learn")
        self.inputs = {
            "data": _data_digest(data),
            "widths": self.widths if self.layers is None else [self.layers, shape],
            "normalise": config.data.normalise,
            "recipe": {key: value for key, value in asdict(self.recipe).items()
                       if not key.startswith("quantised")},
            "code": _sources(),
            "tools": {name: importlib.metadata.version(name) for name in packages},
        }

    def _epoch(self, stage, done, epochs):
        self.report(f"training, {stage}: epoch {done} of {epochs}")

    def quantised(self):
        """The network of Brevitas, not trained."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Brevitas and torch, about themselves.
            return quantised_network(self.data, **self.network, bits=self.bits,
                                     group_size=self.config.quantise.group)

    def floating(self):
        """The network in float, and its accuracy on what is held out."""

        def produce(folder):
            model = train_float(self.data, recipe=self.recipe, progress=self._epoch,
                                **self.options)
            _, _, offset, gain = inputs(self.data, layers=self.layers, normalise=self.config.data.
                                        normalise, shape=self.network["shape"])
            with torch.no_grad():
                x = torch.from_numpy((self.data.x_test - offset) * gain).float()
                logits = torch.cat([model(part) for part in x.split(BATCH)])
                score = accuracy(logits, torch.from_numpy(self.data.y_test))
            _save_model(model, folder)
            (folder / "training.json").write_text(json.dumps({"float_accuracy": score}))

        folder, _ = cached("training", {"stage": "float", **self.inputs}, produce)
        model = float_network(self.data, **self.network)
        model.load_state_dict(load((folder / "model.safetensors").read_bytes()))
        score = json.loads((folder / "training.json").read_text())["float_accuracy"]
        return model.eval(), score

    def subject(self):
        """The quantised network, frozen: a `Subject`."""
        model, score = self.floating()
        config = self.config

        def produce(folder):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = train_quantised(
                    model, self.data, name=config.name, recipe=self.recipe,
                    group_size=config.quantise.group, bits=self.bits,
                    multiplier_bits=config.quantise.multiplier_bits, progress=self._epoch,
                    **self.options)
            save_network(result.network, folder)
            _save_model(result.quantised, folder)

        key = {**self.inputs, "stage": "quantised", "labels": self.data.labels,
               "name": config.name, "quantise": config.quantise.model_dump(),
               "recipe": asdict(self.recipe)}
        try:
            folder, _ = cached("training", key, produce)
        except UnsupportedModel as error:
            raise BadInput(f"train: the trained model cannot be frozen: {error}") from None
        trained = self.quantised().double().eval()
        # Brevitas makes its quantisers anew here, in float32: assign, so that none is rounded.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained.load_state_dict(load((folder / "model.safetensors").read_bytes()), assign=True)
        return Subject(self.data, load_network(folder), trained, score)


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
