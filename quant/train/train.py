# SPDX-License-Identifier: Apache-2.0
"""Train, settle and freeze: from data to an integer network."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..network import IntegerNetwork
from .freeze import freeze, settle
from .mlp import fit, float_mlp, quantised_mlp

__all__ = ["NORMALISATIONS", "Trained", "normalisation", "train"]

NORMALISATIONS = ("max", "standard", "none")


@dataclass(frozen=True)
class Trained:
    """The models of one run; ``quantised`` is settled, in float64."""

    floating: nn.Sequential
    quantised: nn.Sequential
    network: IntegerNetwork


def normalisation(x, kind):
    """Offset and gain of the inputs for one of `NORMALISATIONS`."""
    if kind == "max":
        return np.zeros(1), np.array([1 / max(np.abs(x).max(), 1e-30)])
    if kind == "standard":
        spread = x.std(axis=0)
        # A feature that is constant but for rounding is left as it is.
        varies = spread > 1e-9 * np.abs(x).max(axis=0)
        return x.mean(axis=0), 1 / np.where(varies, spread, 1)
    if kind == "none":
        return np.zeros(1), np.ones(1)
    raise ValueError(f"Normalisation must be one of {', '.join(NORMALISATIONS)}, not {kind!r}")


def train(
    data, *, name, hidden, group_size, recipe, normalise="max", multiplier_bits=8, progress=None
):
    """Train a perceptron in float, then quantisation-aware, and freeze it.

    Parameters
    ----------
    data : Data
    hidden : sequence of int
        Widths of the hidden layers.
    group_size : int
        Weights that share one scale.
    multiplier_bits : int
        Width of the requantisation multipliers.
    progress : callable(stage, epoch, epochs), optional

    Returns
    -------
    Trained
    """
    torch.manual_seed(recipe.seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # The order of float sums, and so the result, follows the threads.
    try:
        offset, gain = normalisation(data.x_train, normalise)
        x = torch.from_numpy((data.x_train - offset) * gain).float()
        y = torch.from_numpy(data.y_train)
        widths = [data.features, *hidden, data.classes]
        floating = float_mlp(widths)
        quantised = quantised_mlp(widths, group_size=group_size)
        for stage, model, epochs, rate in (
            ("float", floating, recipe.epochs, recipe.learning_rate),
            ("quantised", quantised, recipe.quantised_epochs, recipe.quantised_learning_rate),
        ):
            if model is quantised:
                for source, target in zip(_linears(floating), _linears(quantised), strict=True):
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


def _linears(model):
    return [module for module in model if isinstance(module, nn.Linear)]
