# SPDX-License-Identifier: Apache-2.0
"""What fewer bits of a layer's weights cost a network, before any is trained for them.

References
----------
.. [1] Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization", NeurIPS 2020.
.. [2] Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021.
.. [3] Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989.
"""

import contextlib
import copy

import numpy as np
import torch
from torch import nn

from ..formats import Group, Int
from ..train.cnn import weighted

__all__ = ["calibration_loss", "hessian_trace", "monotone"]

BATCH = 250
PROBES = 16  # of Hutchinson's estimate; its error falls with their root


def calibration_loss(quantised, floating, x, y, *, widths):
    """Cross-entropy on calibration samples that each layer adds at each width, alone.

    All other layers have the greatest width; activations are quantised throughout.

    Parameters
    ----------
    quantised : nn.Module
        Of `quant.train.train.quantised_network`; its weights and scales are overwritten.
    floating : nn.Module
        Trained.
    x : float32 tensor, shape (samples, features)
    y : int64 tensor, shape (samples,)
    widths : sequence of int
        Bits.

    Returns
    -------
    float64 array, shape (layers, widths)
        In nats.
    """
    layers = _calibrated(quantised, floating, x)
    top = max(widths)
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_width(layer, top))
        least = _loss(quantised, x, y)
        found = np.zeros((len(layers), len(widths)))
        for row, layer in zip(found, layers, strict=True):
            for place, bits in enumerate(widths):
                with _width(layer, bits):
                    row[place] = _loss(quantised, x, y) - least
    return found


def hessian_trace(quantised, floating, x, y, *, widths, seed=0):
    """Half the mean trace of each layer's Hessian times the squared error of its weights [1]_.

    The trace is Hutchinson's estimate [3]_, on the network in float with batch normalisations
    merged into the weights. Parameters and result as of `calibration_loss`.
    """
    layers = _calibrated(quantised, floating, x)
    model = copy.deepcopy(floating).eval()
    found = np.zeros((len(layers), len(widths)))
    parts = [(m, f) for m, f in _factors(model)]
    means = _mean_traces(model, parts, x, y, seed=seed)
    for row, layer, mean in zip(found, layers, means, strict=True):
        for place, bits in enumerate(widths):
            with _width(layer, bits), torch.no_grad():
                error = layer.quant_weight().value - layer.weight
            row[place] = 0.5 * mean * float(error.double().square().sum())
    return found


def monotone(costs):
    """Costs made so that more bits of a layer never cost more; the least are 0.

    Parameters
    ----------
    costs : array, shape (layers, widths)
        Widths in rising order. A calibration set is finite: a little noise may speak for fewer.
    """
    return np.maximum.accumulate(np.maximum(costs, 0)[:, ::-1], axis=1)[:, ::-1]


def _calibrated(quantised, floating, x):
    """Layers with weights of a network that has the float one's weights, and scales of ``x``."""
    layers = weighted(quantised)
    for source, target in zip(weighted(copy.deepcopy(floating)), layers, strict=True):
        target.load_state_dict(source.state_dict(), strict=False)
    parts = x.split(-(-len(x) // 32))
    with torch.no_grad():
        # Brevitas collects scales over the first 30 batches of training.
        quantised.train()
        for k in range(32):
            quantised(parts[k % len(parts)])
    quantised.eval()
    return layers


@contextlib.contextmanager
def _width(layer, bits):
    """A layer's weights in so many bits, for a while."""
    quantiser = layer.weight_quant.tensor_quant
    before = quantiser.group
    quantiser.group = Group(Int(bits), before.size, before.scale_bits)
    try:
        yield
    finally:
        quantiser.group = before


def _loss(model, x, y):
    with torch.no_grad():
        return sum(float(nn.functional.cross_entropy(model(part), labels, reduction="sum").double())
                   for part, labels in zip(x.split(BATCH), y.split(BATCH), strict=True)) / len(x)


def _factors(model):
    """Layers with weights, and by what batch normalisation multiplies each output's: a tensor."""
    found = []
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_var is not None
            gain = 1 if module.weight is None else module.weight.detach()
            found[-1] = found[-1][0], gain / torch.sqrt(module.running_var + module.eps)
        elif isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            found.append((module, torch.ones(len(module.weight))))
    return found


def _mean_traces(model, parts, x, y, *, seed):
    """Mean of each layer's diagonal, in units of the merged weights: a list of float."""
    generator = torch.Generator().manual_seed(seed)
    weights = [module.weight for module, _ in parts]
    traces = [0.0] * len(weights)
    for part, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        loss = nn.functional.cross_entropy(model(part), labels, reduction="sum") / len(x)
        slopes = torch.autograd.grad(loss, weights, create_graph=True)
        for probe in range(PROBES):
            signs = [torch.randint(0, 2, w.shape, generator=generator) * 2.0 - 1 for w in weights]
            products = torch.autograd.grad(
                slopes, weights, grad_outputs=signs, retain_graph=probe < PROBES - 1)
            for place, (product, sign, (_, factor)) in enumerate(
                    zip(products, signs, parts, strict=True)):
                diagonal = (product * sign).flatten(1).sum(1) / factor.square()
                traces[place] += float(diagonal.double().sum()) / PROBES
    return [trace / w.numel() for trace, w in zip(traces, weights, strict=True)]
