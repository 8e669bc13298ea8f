# SPDX-License-Identifier: Apache-2.0
"""Train, settle and freeze: from data to an integer network."""

import contextlib
import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..network import IntegerNetwork
from .cnn import LayersError, float_cnn, quantised_cnn, weighted
from .freeze import freeze, settle
from .mlp import fit, float_mlp, quantised_mlp

__all__ = [
    "NORMALISATIONS", "Trained", "float_network", "inputs", "normalisation", "quantised_network",
    "sample_shape", "train", "train_float", "train_quantised",
]

NORMALISATIONS = ("max", "standard", "channel", "none")


@dataclass(frozen=True)
class Trained:
    """The models of one run; ``quantised`` is settled, in float64."""

    floating: nn.Sequential
    quantised: nn.Sequential
    network: IntegerNetwork


def normalisation(x, kind, *, channels=1):
    """Offset and gain of the inputs for one of `NORMALISATIONS`.

    "channel" is "standard" over samples and positions; ``channels`` are the innermost axis.
    """
    if kind == "max":
        return np.zeros(1), np.array([1 / max(np.abs(x).max(), 1e-30)])
    if kind == "channel":
        parts = normalisation(x.reshape(-1, channels), "standard")
        return tuple(np.tile(part, x.shape[1] // channels) for part in parts)
    if kind == "standard":
        spread = x.std(axis=0)
        # A feature that is constant but for rounding is left as it is.
        varies = spread > 1e-9 * np.abs(x).max(axis=0)
        return x.mean(axis=0), 1 / np.where(varies, spread, 1)
    if kind == "none":
        return np.zeros(1), np.ones(1)
    raise ValueError(f"Normalisation must be one of {', '.join(NORMALISATIONS)}, not {kind!r}")


def train(data, *, name, recipe, progress=None, **options):
    """Train a network in float, then quantisation-aware, and freeze it: both of the following."""
    network = {key: options.pop(key) for key in ("hidden", "layers", "shape", "normalise")
               if key in options}
    floating = train_float(data, recipe=recipe, progress=progress, **network)
    return train_quantised(floating, data, name=name, recipe=recipe, progress=progress,
                           **network, **options)


def train_float(
    data, *, recipe, hidden=None, layers=None, shape=None, normalise="max", progress=None,
):
    """Train a network in float.

    Parameters
    ----------
    data : Data
    recipe : Recipe
    hidden : sequence of int, optional
        Widths of the hidden layers of a perceptron.
    layers : list, optional
        Of a convolutional network instead, see `parse_layers`.
    shape : tuple of int, optional
        Of a sample, channels last; default: that of the data, two axes are a picture of one
        channel.
    normalise : str
        One of `NORMALISATIONS`.
    progress : callable(stage, epoch, epochs), optional

    Returns
    -------
    nn.Sequential
    """
    with _reproducible(recipe):
        floating = float_network(data, hidden=hidden, layers=layers, shape=shape)
        x, y, _, _ = inputs(data, layers=layers, shape=shape, normalise=normalise)
        fit(floating, x, y, recipe=recipe, epochs=recipe.epochs,
            learning_rate=recipe.learning_rate, progress=_stage(progress, "float"))
    return floating


def train_quantised(
    floating, data, *, name, group_size, recipe, hidden=None, layers=None, shape=None,
    normalise="max", multiplier_bits=8, bits=4, progress=None,
):
    """Go on from a network in float, quantisation-aware, and freeze it.

    Parameters
    ----------
    floating : nn.Sequential
        Of `train_float` with the same arguments; it is left as it is.
    group_size : int
        Weights that share one scale.
    multiplier_bits : int
        Width of the requantisation multipliers.
    bits : int or sequence of int
        Width of weights, of all or of each layer with weights.

    Returns
    -------
    Trained
    """
    with _reproducible(recipe):
        x, y, offset, gain = inputs(data, layers=layers, shape=shape, normalise=normalise)
        quantised = quantised_network(data, hidden=hidden, layers=layers, shape=shape,
                                      group_size=group_size, bits=bits)
        sources = weighted(copy.deepcopy(floating))
        for source, target in zip(sources, weighted(quantised), strict=True):
            target.load_state_dict(source.state_dict(), strict=False)
        fit(quantised, x, y, recipe=recipe, epochs=recipe.quantised_epochs,
            learning_rate=recipe.quantised_learning_rate, progress=_stage(progress, "quantised"))
        settle(quantised, multiplier_bits=multiplier_bits)
        network = freeze(quantised, name=name, offset=offset, gain=gain, labels=data.labels)
    return Trained(floating, quantised, network)


def float_network(data, *, hidden=None, layers=None, shape=None):
    """The network in float, not trained."""
    if (hidden is None) == (layers is None):
        raise ValueError("One of hidden and layers must be given")
    if hidden is not None:
        return float_mlp([data.features, *hidden, data.classes])
    return float_cnn(layers, shape=sample_shape(data, shape), classes=data.classes)


def quantised_network(data, *, hidden=None, layers=None, shape=None, **options):
    """The same of Brevitas; ``options`` are ``group_size`` and ``bits``."""
    if hidden is not None:
        return quantised_mlp([data.features, *hidden, data.classes], **options)
    return quantised_cnn(layers, shape=sample_shape(data, shape), classes=data.classes, **options)


def inputs(data, *, layers, shape, normalise):
    """Training samples as tensors, normalised, their labels, and offset and gain."""
    channels = data.features if layers is None else sample_shape(data, shape)[-1]
    offset, gain = normalisation(data.x_train, normalise, channels=channels)
    x = torch.from_numpy((data.x_train - offset) * gain).float()
    return x, torch.from_numpy(data.y_train), offset, gain


@contextlib.contextmanager
def _reproducible(recipe):
    """Seeded, and on one thread: the order of float sums, and so the result, follows them."""
    threads = torch.get_num_threads()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _stage(progress, stage):
    return progress and (lambda *at: progress(stage, *at))


def sample_shape(data, shape):
    """Shape of a sample, channels last; LayersError where the data have another size."""
    if shape is None:
        shape = (*data.shape, 1) if len(data.shape) < 3 else data.shape
    shape = tuple(shape)
    if len(shape) not in (2, 3) or np.prod(shape) != data.features:
        raise LayersError(
            f"Shape must be (length, channels) or (height, width, channels) of {data.features} "
            f"elements, not {list(shape)}"
        )
    return shape
