# SPDX-License-Identifier: Apache-2.0
"""Fixed point with a learned binary point (QFX)."""

from math import frexp, isfinite, log

import numpy as np
import torch
from torch import nn

from ..formats import Fixed
from ..formats.scalar import integer_parameter
from ..golden.khot import khot as nearest_khot

__all__ = ["FixedPoint", "fixed_integers"]


def fixed_integers(x, fmt, khot=None):
    """Integers of real values in a `Fixed`, with at most ``khot`` ones if given.

    Parameters
    ----------
    x : float tensor
    fmt : Fixed
    khot : int, optional
        See `khot`; results stay within the symmetric range of ``fmt``.

    Returns
    -------
    int64 tensor of the shape of ``x``
        In units of ``2 ** fmt.lsb``.
    """
    integers = torch.from_numpy(np.asarray(fmt.decode(fmt.encode(x.detach().cpu().numpy()))))
    return integers if khot is None else nearest_khot(integers, khot, limit=fmt.limits[1])


class Quantise(torch.autograd.Function):
    """Values of a `Fixed` nearest to ``x``; gradients to ``x`` and to the binary point [1]_.

    Within the range of the format the gradient passes to ``x``, and the result ``y`` moves with
    the real binary point f as ``round(x * 2 ** f) / 2 ** f`` does where the rounding is taken for
    the identity: ``dy / df = (x - y) * ln 2``. Outside both are those of saturation, whatever the
    overflow does, since a small step cannot mend that: 0 and ``-limit * ln 2``.

    .. [1] Dai et al., Trainable fixed-point quantization for deep learning acceleration on FPGAs
       (QFX, 2024); the gradient of a step size as in Esser et al., Learned step size quantization
       (ICLR 2020), equation 3, with the step ``2 ** -f``.
    """

    @staticmethod
    def forward(ctx, x, f, fmt, khot):
        unit, (low, high) = 2.0**fmt.lsb, fmt.limits
        y = (fixed_integers(x, fmt, khot).double() * unit).to(x)
        if fmt.signed and (fmt.overflow == "SAT_SYM" or khot is not None):
            low = -high
        limited = x.clamp(low * unit, high * unit)
        ctx.save_for_backward(x == limited, x, y, limited)
        return y

    @staticmethod
    def backward(ctx, grad):
        inside, x, y, limited = ctx.saved_tensors
        slope = torch.where(inside, x - y, -limited) * log(2)
        return grad * inside, (grad * slope).sum(), None, None


class FixedPoint(nn.Module):
    """Quantises to ``width`` bits whose binary point is learned [1]_.

    ``forward(x)`` is ``fmt.values(fmt.encode(x))`` bit for bit (in float32 up to 24 bits), where
    ``fmt`` is `format`: ``Fixed(width, width - round(f), …)``. The first batch sets f to the binary
    point with the least squared error, unless ``fraction`` is given.

    .. [1] Dai et al., Trainable fixed-point quantization for deep learning acceleration on FPGAs
       (QFX, 2024).

    Parameters
    ----------
    width : int
    signed : bool
    rounding, overflow : str
        Of `Fixed`.
    khot : int, optional
        Greatest number of ones in a magnitude, see `khot`.
    fraction : int or float, optional
        Where f starts: bits right of the binary point.
    """

    initialised: torch.Tensor

    def __init__(self, width, *, signed=True, rounding="half_even", overflow="SAT", khot=None,
                 fraction=None):
        super().__init__()
        self.kind = Fixed(width, 0, signed, rounding, overflow)
        if fraction is not None and not isfinite(fraction):
            raise ValueError(f"Fraction must be a number, not {fraction!r}")
        if khot is not None:
            integer_parameter("Khot", khot, low=1, high=62)
        self.khot = khot
        self.f = nn.Parameter(torch.tensor(float(fraction or 0)))
        self.register_buffer("initialised", torch.tensor(fraction is not None))

    @property
    def format(self):
        """The `Fixed` of the present binary point; ValueError where there is none yet."""
        if not self.initialised:
            raise ValueError("Binary point must be set first: call the module on data")
        f = float(self.f.detach())
        if not isfinite(f):
            raise ValueError(f"Binary point must be a number, not {f!r}: did the training diverge?")
        return self._format(round(f))

    def forward(self, x):
        if not self.initialised:
            self.initialise(x)
        return Quantise.apply(x, self.f, self.format, self.khot)

    def integers(self, x):
        """What `forward` gives, as int64 in units of ``2 ** format.lsb``."""
        return fixed_integers(x, self.format, self.khot)

    @torch.no_grad()
    def initialise(self, x):
        """Set f to the binary point with the least squared error on ``x``."""
        exact = x.detach().double()
        # With this many fraction bits nothing overflows but by rounding; the best have a few more.
        greatest = float(exact.abs().max()) if x.numel() else 0.0
        start = self.kind.width - self.kind.signed - frexp(greatest)[1]
        errors = {}
        for fraction in range(start - 1, start + 6):
            fmt = self._format(fraction)
            values = fixed_integers(exact, fmt, self.khot).double() * 2.0**fmt.lsb
            errors[fraction] = float((values - exact).square().sum())
        self.f.fill_(min(errors, key=errors.__getitem__))
        self.initialised.fill_(True)

    def extra_repr(self):
        return f"{self.format.name if self.initialised else self.kind.width}"

    def _format(self, fraction):
        kind = self.kind
        return Fixed(kind.width, kind.width - fraction, kind.signed, kind.rounding, kind.overflow)
