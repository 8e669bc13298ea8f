# SPDX-License-Identifier: Apache-2.0
"""Classifiers in few bits: after training, and trained so."""

import copy
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import brevitas.nn as qnn
import torch

from ..data import Data
from ..formats import Block, Group, get
from ..formats.rounding import choice
from ..train.cnn import _build, float_cnn, weighted
from ..train.mlp import Recipe, accuracy, fit
from ..train.quantisers import activation_quantiser, weight_quantiser
from ..train.scaling import Initialised
from ..train.train import normalisation, sample_shape
from .rounded import scales

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a kernel for GPUs that is not there
    from brevitas.graph.calibrate import calibration_mode

__all__ = ["BATCHES", "SAMPLES", "TRANSFORMS", "Task", "activations", "score", "trained"]

TRANSFORMS = ("ptq", "qat")
BATCHES = 4  # of training, by which the scales of activations are calibrated
SAMPLES = 20_000  # on which a network is trained on in a format: of some, or over and over
# Of a learned scale, times the learning rate, as a part of it. Chosen on a fifth of the training
# samples of human activity: int4 has 86.6, 91.3, 94.5, 93.7 % there with 1, 10, 30, 100.
STEP = 30
TESTED = 500  # samples at once
INSTEAD = "int8"  # format of activations where that of the weights cannot be theirs


class Task(NamedTuple):
    """Data, a convolutional network for them as `parse_layers` gives it, and how it is trained.

    ``shape`` and ``normalise`` as `train` has them.
    """

    data: Data
    layers: list
    shape: tuple | None
    normalise: str
    recipe: Recipe


class _Formats:
    """Modules of Brevitas, weights and activations in any format.

    Blocks and pairs of activations run along channels, those of weights along (ky, kx, channel);
    of a linear layer behind ``nn.Flatten`` along (channel, y, x).
    """

    def __init__(self, weights, activations):
        quantiser = weight_quantiser(weights, scale=_learned(weights))
        self.weights = {"bias": True, "weight_quant": quantiser}
        self.quantiser = activation_quantiser(activations, scale=_learned(activations), axis=1)

    def start(self):
        return [self.branches()]

    def conv(self, axes, **options):
        return [(qnn.QuantConv1d, qnn.QuantConv2d)[axes - 1](**options, **self.weights)]

    def linear(self, inputs, outputs, channels):
        return [qnn.QuantLinear(inputs, outputs, **self.weights)]

    def activation(self, relu):
        return [(qnn.QuantReLU if relu else qnn.QuantIdentity)(act_quant=self.quantiser)]

    def average(self):
        return [self.branches()]

    def branches(self):
        return qnn.QuantIdentity(act_quant=self.quantiser)


def _learned(fmt):
    """The rule of a format's scale; None for those that have none, or their own."""
    return None if isinstance(fmt, (Block, Group)) or scales(fmt) == ("none",) else "learned"


def activations(fmt):
    """Format of the activations of a network with weights in ``fmt``: int8 if it is a group."""
    return get(INSTEAD) if isinstance(fmt, Group) else fmt


def trained(task):
    """The network in float, the same one that `train` begins with."""
    x, y = _tensors(task, task.data.x_train), torch.from_numpy(task.data.y_train)
    with _alike(task.recipe.seed):
        model = floating(task)
        fit(model, x, y, recipe=task.recipe, epochs=task.recipe.epochs,
            learning_rate=task.recipe.learning_rate)
    return model


def floating(task):
    """The network in float, before it is trained."""
    return float_cnn(task.layers, **_options(task))


def score(task, model, fmt=None, transform="none"):
    """Share of the held-out samples that a network classifies as it should.

    "ptq": with weights and activations rounded. Where the format has no scales of its own there is
    one for each output channel and one for the activations of each layer, by the greatest
    magnitudes, those of activations on 4 batches of training; of pairs by the least squared error.
    "qat": then these are learned with the weights, on 20 000 samples: the first of more, or as
    often all as comes nearest.

    Parameters
    ----------
    task : Task
    model : nn.Sequential
        Of `trained`; it stays as it is.
    fmt : format, optional
        Not with "none".
    transform : {"none", "ptq", "qat"}

    Returns
    -------
    float
    """
    choice("Transform", transform, ("none", *TRANSFORMS))
    if (fmt is None) != (transform == "none"):
        raise ValueError("Fmt must be given with ptq and qat, and only then")
    with _alike(task.recipe.seed):
        if fmt is not None:
            model = _quantised(task, model, fmt)
        if transform == "qat":
            _tune(task, model)
        model.eval()
        x = _tensors(task, task.data.x_test)
        with torch.no_grad():
            logits = torch.cat([model(part) for part in x.split(TESTED)])
    return accuracy(logits, torch.from_numpy(task.data.y_test))


def _quantised(task, model, fmt):
    """The network with calibrated quantisers, and the weights of a trained one."""
    found = _build(task.layers, parts=_Formats(fmt, activations(fmt)), **_options(task))
    for source, target in zip(weighted(copy.deepcopy(model)), weighted(found), strict=True):
        target.load_state_dict(source.state_dict(), strict=False)
    x = _tensors(task, task.data.x_train[: BATCHES * task.recipe.batch])
    with torch.no_grad(), calibration_mode(found):
        for part in x.split(task.recipe.batch):
            found(part)
    return found


def _tune(task, model):
    x, rate = _tensors(task, task.data.x_train[:SAMPLES]), task.recipe.quantised_learning_rate
    learned = [module.value for module in model.modules() if isinstance(module, Initialised)]
    others = {id(value) for value in learned}
    groups = [{"params": [p for p in model.parameters() if id(p) not in others]}]
    # Adam's steps are as long as its rate, however small what it changes.
    groups += [{"params": [value], "lr": STEP * rate * float(value.detach().mean()),
                "weight_decay": 0.0} for value in learned]
    fit(model, x, torch.from_numpy(task.data.y_train[:SAMPLES]), recipe=task.recipe,
        epochs=max(1, round(SAMPLES / len(x))), learning_rate=rate, parameters=groups)


def _options(task):
    return {"shape": sample_shape(task.data, task.shape), "classes": task.data.classes}


def _tensors(task, x):
    offset, gain = normalisation(
        task.data.x_train, task.normalise, channels=_options(task)["shape"][-1])
    return torch.from_numpy((x - offset) * gain).float()


@contextmanager
def _alike(seed):
    """One thread, whose sums have one order, one seed, and no warnings of Brevitas."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
