# SPDX-License-Identifier: Apache-2.0
"""Multilayer perceptrons: float, and quantisation-aware with Brevitas."""

from dataclasses import dataclass
from itertools import pairwise

import brevitas.nn as qnn
import torch
from torch import nn

from .cnn import check_widths
from .quantisers import Int4GroupWeight, Int8Act

__all__ = ["Recipe", "accuracy", "float_mlp", "fit", "quantised_mlp"]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    epochs, quantised_epochs : int
        Of the float model, and of quantisation-aware training from it.
    noise : float
        Gaussian noise added to each training input, in standard deviations of the inputs.
    """

    epochs: int = 100
    quantised_epochs: int = 40
    batch: int = 64
    learning_rate: float = 1e-2
    quantised_learning_rate: float = 1e-3
    weight_decay: float = 0.05
    noise: float = 0.4
    label_smoothing: float = 0.1
    seed: int = 0


def float_mlp(widths):
    """``widths[0]``-…-``widths[-1]`` perceptron with ReLU between the layers."""
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def quantised_mlp(widths, *, group_size, scale_bits=8, bits=4):
    """The same in Brevitas: 8-bit activations, weights in groups with integer scales.

    ``bits`` is the width of all weights, or that of each layer.
    """
    layers = [qnn.QuantIdentity(act_quant=Int8Act)]
    check_widths(bits, len(widths) - 1)
    each = [bits] * (len(widths) - 1) if isinstance(bits, int) else bits
    for (inputs, outputs), width in zip(pairwise(widths), each, strict=True):
        linear = qnn.QuantLinear(
            inputs,
            outputs,
            bias=True,
            weight_quant=Int4GroupWeight,
            weight_bit_width=width,
            weight_group_size=group_size,
            weight_scale_bits=scale_bits,
        )
        layers += [linear, qnn.QuantReLU(act_quant=Int8Act)]
    return nn.Sequential(*layers[:-1])


def fit(model, x, y, *, recipe, epochs, learning_rate, parameters=None, progress=None):
    """Train a classifier in place with AdamW and a cosine schedule, reproducibly.

    Parameters
    ----------
    x : float32 tensor, shape (samples, features)
    y : int64 tensor, shape (samples,)
    parameters : iterable, optional
        What is trained, as an optimiser takes it: all of the model, or groups with their options.
    progress : callable(epoch, epochs), optional
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    if parameters is None:
        parameters = model.parameters()
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=recipe.weight_decay)
    steps = max(epochs * -(-len(x) // recipe.batch), 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    spread = recipe.noise * float(x.std())
    model.train()
    for epoch in range(epochs):
        for index in torch.randperm(len(x), generator=generator).split(recipe.batch):
            noisy = x[index] + spread * torch.randn(x[index].shape, generator=generator)
            optimiser.zero_grad()
            nn.functional.cross_entropy(
                model(noisy), y[index], label_smoothing=recipe.label_smoothing
            ).backward()
            optimiser.step()
            schedule.step()
        if progress:
            progress(epoch + 1, epochs)
    model.eval()


def accuracy(logits, y):
    """Share of samples whose greatest logit is the label's."""
    return float((logits.argmax(dim=-1) == y).double().mean())
