# SPDX-License-Identifier: Apache-2.0
"""Train, settle and freeze: from data to an integer network."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..network import IntegerNetwork
from .cnn import LayersError, float_cnn, quantised_cnn, weighted
from .freeze import freeze, settle
from .mlp import fit, float_mlp, quantised_mlp

__all__ = ["NORMALISATIONS", "Trained", "normalisation", "sample_shape", "train"]

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


def train(
    data, *, name, group_size, recipe, hidden=None, layers=None, shape=None, normalise="max",
    multiplier_bits=8, progress=None,
):
    """Train a network in float, then quantisation-aware, and freeze it.

    Parameters
    ----------
    data : Data
    hidden : sequence of int, optional
        Widths of the hidden layers of a perceptron.
    layers : list, optional
        Of a convolutional network instead, see `parse_layers`.
    shape : tuple of int, optional
        Of a sample, channels last; default: that of the data, two axes are a picture of one
        channel.
    group_size : int
        Weights that share one scale.
    normalise : str
        One of `NORMALISATIONS`.
    multiplier_bits : int
        Width of the requantisation multipliers.
    progress : callable(stage, epoch, epochs), optional

    Returns
    -------
    Trained
    """
    if (hidden is None) == (layers is None):
        raise ValueError("One of hidden and layers must be given")
    shape = (data.features,) if layers is None else sample_shape(data, shape)
    torch.manual_seed(recipe.seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # The order of float sums, and so the result, follows the threads.
    try:
        offset, gain = normalisation(data.x_train, normalise, channels=shape[-1])
        x = torch.from_numpy((data.x_train - offset) * gain).float()
        y = torch.from_numpy(data.y_train)
        if hidden is not None:
            widths = [data.features, *hidden, data.classes]
            floating = float_mlp(widths)
            quantised = quantised_mlp(widths, group_size=group_size)
        else:
            options = {"shape": shape, "classes": data.classes}
            floating = float_cnn(layers, **options)
            quantised = quantised_cnn(layers, **options, group_size=group_size)
        for stage, model, epochs, rate in (
            ("float", floating, recipe.epochs, recipe.learning_rate),
            ("quantised", quantised, recipe.quantised_epochs, recipe.quantised_learning_rate),
        ):
            if model is quantised:
                sources = weighted(copy.deepcopy(floating))
                for source, target in zip(sources, weighted(quantised), strict=True):
                    target.load_state_dict(source.state_dict(), strict=False)
            report = progress and (lambda *at, stage=stage: progress(stage, *at))
            fit(model, x, y, recipe=recipe, epochs=epochs, learning_rate=rate, progress=report)
        settle(quantised, multiplier_bits=multiplier_bits)
        network = freeze(
            quantised,
            name=name,
            offset=offset,
            gain=gain,
            labels=data.labels,
        )
    finally:
        torch.set_num_threads(threads)
    return Trained(floating, quantised, network)


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
