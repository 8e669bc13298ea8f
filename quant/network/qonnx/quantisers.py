# SPDX-License-Identifier: Apache-2.0
"""``Quant``, ``Relu`` and ``Clip``: scales and limits of what came before."""

import math
from fractions import Fraction
from math import inf

import numpy as np

from ..layers import ACTIVATION, Rescale
from .reader import Reader
from .values import Value
from .weights import SCALES, Codes

__all__ = ["Quantisers"]

class Quantisers(Reader):
    """Operations that quantise or clip."""

    def _do_Quant(self, x, scale, zero, bits):
        attributes = self.node.attributes
        rounding = str(attributes.get("rounding_mode", "ROUND"))
        if rounding.upper() not in ("ROUND", "HALF_EVEN"):
            self._refuse(f"rounding_mode must be ROUND, not {rounding[:40]!r}")
        scale = self._constant(scale, "scale").astype(np.float64)
        if not ((scale >= SCALES[0]) & (scale <= SCALES[1])).all():
            wrong = scale[~((scale >= SCALES[0]) & (scale <= SCALES[1]))].flat[0]
            self._refuse(f"scale must be positive, 2 ** -100 to 2 ** 100, not {wrong:g}")
        if np.any(self._constant(zero, "zero point")):
            self._refuse("zero point must be 0; nearest: a symmetric Quant")
        bits = self._number(bits, "bit width")
        signed = bool(attributes.get("signed", 1))
        narrow = bool(attributes.get("narrow", 1))
        constant = not isinstance(x, Value)
        if bits != int(bits) or not 2 - (not signed) <= bits <= (32 if constant else 8):
            self._refuse(f"bit width must be 2 to 8, not {bits:g}")
        bits = int(bits)
        low = -(1 << (bits - 1)) + narrow if signed else 0
        high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
        if constant:
            x = self._constant(x, "its input").astype(np.float64)
            try:
                scale = np.broadcast_to(scale, x.shape)
            except ValueError:
                self._refuse(
                    f"scale must fit its input, {list(x.shape)}, not {list(scale.shape)}"
                )
            codes = np.clip(np.rint(x / scale), low, high).astype(np.int64)
            return Codes(codes, scale, bits + (not signed))
        if high > ACTIVATION.max:
            self._refuse(
                "an activation must have at most 8 bits signed or 7 unsigned, not 8 unsigned; "
                "nearest: signed, or 7 bits"
            )
        unit = self._number(scale, "scale of an activation")
        if x.result.scale is not None:
            build = self._rescale(x)
            x = self._put("rescale", x.shape, x.axes, build=build, source=x)
        else:
            self._alone(x)
        x.result.scale, x.result.codes = unit, (low, high)
        return x

    _do_IntQuant = _do_Quant

    def _rescale(self, x):
        scale, name, source = x.result.scale, self._name(), x.name

        def build(low, high):
            return Rescale(
                name=name, sources=(source,), input_scale=scale, output_scale=None,
                requantiser=None, low=low, high=high,
            )

        return build

    def _do_Relu(self, x):
        return self._clipped(x, 0.0, inf)

    def _do_Clip(self, x, least=None, most=None):
        least, most = (
            self.node.attributes.get(name, default) if value is None else self._number(value, name)
            for name, value, default in (("min", least, -inf), ("max", most, inf))
        )
        if not least <= most:
            self._refuse(f"min must be at most max, {most:g}, not {least:g}")
        return self._clipped(x, float(least), float(most))

    def _clipped(self, x, least, most):
        """A ReLU or Clip commutes with the Quant behind it, and with one before it if on codes."""
        x = self._activation(x)
        if x.result.scale is None:
            self._alone(x)
        else:
            for end in least, most:
                if math.isfinite(end) and Fraction(end) % Fraction(x.result.scale):
                    self._refuse(
                        f"its limit {end:g} must be a multiple of its input's scale, "
                        f"{x.result.scale:g}; nearest: Clip before the Quant"
                    )
            if x.name != x.result.name or self.readers[self.node.inputs[0]] > 1:
                before = x.result
                x = self._put("rescale", x.shape, x.axes, build=self._rescale(x), source=x)
                x.result.scale, x.result.codes = before.scale, before.codes
        result = x.result
        result.least = min(max(result.least, least), most)
        result.most = max(min(result.most, most), least)
        return x
