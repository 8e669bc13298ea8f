# SPDX-License-Identifier: Apache-2.0
"""A network in integer arithmetic: a graph of exact layers."""

import hashlib
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from ..golden.argmax import argmax
from .layers import ACTIVATION, Linear

__all__ = ["InputScaling", "IntegerNetwork", "Trace"]

INPUT = "input"


@dataclass(frozen=True)
class InputScaling:
    """Real inputs to codes: ``clamp(round_half_even((x - offset) * gain / scale))``, in float64.

    ``offset`` and ``gain`` have one element, or one per feature; codes are ``low`` to ``high``.
    """

    scale: float
    offset: np.ndarray
    gain: np.ndarray
    low: int = ACTIVATION.min
    high: int = ACTIVATION.max

    def normalise(self, x):
        """Inputs as the trained model sees them: float64, shape (samples, features)."""
        return (np.asarray(x, np.float64) - self.offset) * self.gain

    def encode(self, x):
        """Integer activations, int64 tensor (samples, features)."""
        codes = ACTIVATION.encode(self.normalise(x) / self.scale)
        return torch.from_numpy(ACTIVATION.decode(codes)).clamp(self.low, self.high)


@dataclass(frozen=True)
class Trace:
    """Everything a batch computes.

    Attributes
    ----------
    activations : list of int64 tensors
        The input, then the output of each layer; the last are the logits.
    accumulators : list of int64 tensors
        Of each layer, before requantisation.
    """

    activations: list
    accumulators: list

    @property
    def logits(self):
        return self.activations[-1]

    @property
    def classes(self):
        return argmax(self.logits)


@dataclass(frozen=True)
class IntegerNetwork:
    """Layers in topological order, from integer activations to integer logits.

    Attributes
    ----------
    layers : list
        See `carrysave.quant.network.layers`. Each reads the one before it, or its ``sources``.
    input_shape : tuple of int, optional
        Shape of a sample, channel-last; default: the inputs of the first layer, a `Linear`.
    """

    name: str
    input: InputScaling
    layers: list
    labels: list
    input_shape: tuple | None = None

    @property
    def inputs(self):
        """Elements of an input sample."""
        return prod(self.shapes[0])

    @property
    def outputs(self):
        """Number of logits."""
        return prod(self.shapes[-1])

    @property
    def places(self):
        """For each layer, where in `Trace.activations` its inputs are: tuples of int.

        Raises ValueError, which names the layer, for a source that is no layer before it.
        """
        known, places = {INPUT: 0}, []
        for index, layer in enumerate(self.layers):
            for source in layer.sources:
                if source not in known:
                    raise ValueError(
                        f"Layer {layer.name}: source {source!r} is no layer before it; "
                        f"there are {', '.join(known)}"
                    )
            places.append(tuple(known[source] for source in layer.sources) or (index,))
            known[layer.name] = index + 1
        return places

    @property
    def shapes(self):
        """Shape of a sample of each of `Trace.activations`.

        Raises ValueError, which names the layer, where shapes do not fit.
        """
        shape = self.input_shape
        if shape is None:
            first = self.layers[0]
            if type(first) is not Linear:
                raise ValueError(f"Layer {first.name}: input_shape must be given for {first.kind}")
            shape = (first.inputs,)
        shapes = [tuple(shape)]
        for layer, places in zip(self.layers, self.places, strict=True):
            try:
                shapes.append(layer.shape(*(shapes[place] for place in places)))
            except ValueError as error:
                raise ValueError(f"Layer {layer.name}: {error}") from None
        return shapes

    @property
    def units(self):
        """What one unit of each of `Trace.activations` is worth: floats."""
        units = [self.input.scale]
        for layer, places in zip(self.layers, self.places, strict=True):
            if layer.output_scale is not None:
                units.append(layer.output_scale)
            elif layer.input_scales:
                units.append(float(layer.accumulator_scale))
            else:
                units.append(units[places[0]])
        return units

    def encode(self, x):
        """Real inputs (samples, features) to integer activations of the input's shape."""
        return self.input.encode(x).reshape(-1, *self.shapes[0])

    def run(self, activations):
        """Run a batch of integer activations (samples, *input shape), or flat (samples, inputs).

        Returns
        -------
        Trace
        """
        x, shape = torch.as_tensor(activations).long(), self.shapes[0]
        if tuple(x.shape[1:]) not in (shape, (prod(shape),)):
            raise ValueError(
                f"Activations must have shape (samples, {', '.join(map(str, shape))}), "
                f"not {tuple(x.shape)}"
            )
        results, accumulators = [x.reshape(-1, *shape)], []
        for layer, places in zip(self.layers, self.places, strict=True):
            accumulators.append(layer.accumulators(*(results[place] for place in places)))
            results.append(layer.finish(accumulators[-1]))
        return Trace(results, accumulators)

    def logits(self, activations, *, batch=500):
        """Logits alone, by batches, for more samples than a `Trace` has room for."""
        parts = torch.as_tensor(activations).split(batch)
        return torch.cat([self.run(part).logits for part in parts])

    @property
    def identity(self):
        """Eight bytes that differ for networks that compute differently."""
        digest = hashlib.sha256()
        # What is usual is left out, so that the identities of stacks of layers stay.
        limits = self.input.low, self.input.high
        if self.input_shape is not None or limits != (ACTIVATION.min, ACTIVATION.max):
            digest.update(repr((*(self.input_shape or ()), *limits)).encode())
        for index, (layer, places) in enumerate(zip(self.layers, self.places, strict=True)):
            if places != (index,):
                digest.update(repr(places).encode())
            for part in layer.signature:
                if isinstance(part, torch.Tensor):
                    digest.update(part.long().contiguous().numpy().astype("<i8").tobytes())
                else:
                    digest.update(repr(part).encode())
        return digest.digest()[:8]
