# SPDX-License-Identifier: Apache-2.0
"""Where the scale of a quantised tensor comes from."""

import numpy as np
import torch
from torch import nn

from ..formats import Block

__all__ = ["RULES", "Calibrated", "Given", "Initialised", "Running", "array", "statistic"]

RULES = ("max", "power_of_two", "search")
LEAST = 2.0**-1022


def array(tensor):
    """NumPy array of a tensor's numbers; float32 stays, other kinds become float64."""
    tensor = tensor.detach()
    if tensor.dtype != torch.float32:
        tensor = tensor.double()
    return tensor.cpu().numpy()


def statistic(fmt, x, *, rule, channel):
    """Scale of values by a rule, 0 where all of them are 0.

    Parameters
    ----------
    fmt : format
        With two levels of scales, the tensor's is meant.
    x : float array, shape (…, K)
    rule : {"max", "power_of_two", "search"}
        The greatest magnitude becomes the greatest value of the format; the least power of two
        under which it does not exceed that value; or the least squared error of a `Pair`.
    channel : bool
        One scale for each row along K, or one for all.

    Returns
    -------
    float64 array, shape (…, 1) or ()
    """
    x = x.astype(np.float64)
    amax = np.asarray(np.abs(x).max(axis=-1 if channel else None, keepdims=channel))
    if isinstance(fmt, Block):
        return np.where(amax == 0, 0.0, fmt.encode(amax.reshape(1)).tensor_scale)
    if rule == "search":
        return np.where(amax == 0, 0.0, fmt.scale(x, axis="channel" if channel else None))
    if rule == "max":
        return np.where(amax == 0, 0.0, np.maximum(amax / float(fmt.max), LEAST))
    significand, exponent = np.frexp(amax)
    most, top = np.frexp(float(fmt.max))
    exponent = exponent - top + (significand > most)
    return np.where(amax == 0, 0.0, np.ldexp(1.0, np.maximum(exponent, -1022)))


def positive(scale):
    """Scales as they are used: positive; 1 where no number but 0 was seen."""
    scale = scale.double()
    return torch.where(scale == 0, 1.0, scale.abs())


class Given(nn.Module):
    """A fixed scale."""

    def __init__(self, value):
        super().__init__()
        self.register_buffer("value", torch.tensor(value, dtype=torch.float64), persistent=False)

    def observe(self, rows):
        pass

    def forward(self, rows):
        return positive(self.value)


class Running(nn.Module):
    """The scale of each tensor by a rule; a constant to the gradient."""

    def __init__(self, fmt, *, rule, channel):
        super().__init__()
        self.fmt, self.rule, self.channel = fmt, rule, channel

    def observe(self, rows):
        pass

    def forward(self, rows):
        scale = statistic(self.fmt, array(rows), rule=self.rule, channel=self.channel)
        return positive(torch.from_numpy(scale)).to(rows.device)


class Initialised(nn.Module):
    """The scale of the first tensor by a rule, kept from then on, in float64.

    ``value`` is NaN until then. It is kept in state dictionaries.

    Parameters
    ----------
    shape : tuple
        Of the scale.
    learned : bool
        Whether it is a parameter.
    """

    def __init__(self, fmt, *, rule, shape, learned):
        super().__init__()
        self.fmt, self.rule, self.channel = fmt, rule, bool(shape)
        value = torch.full(shape, torch.nan, dtype=torch.float64)
        if learned:
            self.value = nn.Parameter(value)
        else:
            self.register_buffer("value", value)

    def observe(self, rows):
        if bool(self.value.isnan().any()):
            self._put(self._statistic(rows))

    def forward(self, rows):
        self.observe(rows)
        return positive(self.value)

    def _statistic(self, rows):
        scale = statistic(self.fmt, array(rows), rule=self.rule, channel=self.channel)
        return torch.from_numpy(scale).to(self.value)

    @torch.no_grad()
    def _put(self, scale):
        self.value.copy_(scale)


class Calibrated(Initialised):
    """The greatest scale over the first batches of training, or over those of a calibration.

    Brevitas' ``calibration_mode`` prolongs ``collect_stats_steps`` while it lasts and calls
    `init_scale` at its end. A parameter is learned only after the last of these batches.

    Members
    -------
    batches : int64 buffer
        How many have been seen, or a greater number once nothing is collected any more.
    """

    def __init__(self, fmt, *, rule, learned, collect_stats_steps):
        super().__init__(fmt, rule=rule, shape=(), learned=learned)
        self.collect_stats_steps = collect_stats_steps
        self.register_buffer("batches", torch.tensor(0))

    @property
    def _collecting(self):
        return self.training and int(self.batches) < self.collect_stats_steps

    def observe(self, rows):
        if self._collecting and rows.numel():
            scale = self._statistic(rows)
            self._put(torch.fmax(self.value, scale))
            self.batches += 1
            if int(self.batches) >= self.collect_stats_steps:
                self.init_scale()

    def forward(self, rows):
        if bool(self.value.isnan()):
            raise RuntimeError(
                "Activations must be calibrated first: run brevitas.graph.calibrate's "
                "calibration_mode, or a batch in training mode"
            )
        return positive(self.value.detach() if self._collecting else self.value)

    def init_scale(self):
        """End the collection, if there was one."""
        if int(self.batches):
            self.batches.fill_(torch.iinfo(torch.int64).max)
