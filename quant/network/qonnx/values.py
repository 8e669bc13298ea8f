# SPDX-License-Identifier: Apache-2.0
"""What the tensors of a QONNX file are while it is read."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf

import numpy as np

from ..layers import ACTIVATION
from .weights import Codes

__all__ = ["Result", "Value", "channels_first"]

@dataclass(eq=False)
class Result:
    """What has a scale of its own: the input, or a layer whose result a Quant follows.

    Attributes
    ----------
    build : callable, optional
        The layer from its ``low`` and ``high``, without its requantiser.
    scale : float or None
        None until its Quant.
    codes : (int, int)
        Limits of the Quant.
    least, most : float
        Limits of a ReLU or Clip.
    weights, factor, bias
        Of a weighted layer: codes (outputs, K), and what its channels are multiplied by, then
        added.
    """

    where: str
    name: str
    kind: str
    build: Callable | None = None
    scale: float | None = None
    codes: tuple = (ACTIVATION.min, ACTIVATION.max)
    least: float = -inf
    most: float = inf
    weights: Codes | None = None
    factor: np.ndarray = field(default_factory=lambda: np.ones(1))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(1))

    @property
    def limits(self):
        """Limits of the codes."""
        low, high = self.codes
        if self.scale is None:
            return low, high
        ends = (round(Fraction(end) / Fraction(self.scale)) if math.isfinite(end) else None
                for end in (self.least, self.most))
        least, most = ends
        low = low if least is None else min(max(low, least), high)
        return low, (high if most is None else max(min(high, most), low))


@dataclass(eq=False)
class Value:
    """An activation of the file.

    Attributes
    ----------
    name : str
        Of the layer whose output it is, or "input".
    shape : tuple
        Of a sample, channel-last.
    axes : tuple of int
        Where each axis of the file's tensor, without the samples, is in ``shape``.
    result : Result
        Has its scale.
    channels : int or None
        Channels of what has been flattened with the channels outermost.
    """

    name: str
    shape: tuple
    axes: tuple
    result: Result
    channels: int | None = None

    @property
    def file_shape(self):
        return tuple(self.shape[axis] for axis in self.axes)


def channels_first(axes):
    """Channels first: where each of the file's axes is in a channel-last shape."""
    return (axes - 1, *range(axes - 1))
