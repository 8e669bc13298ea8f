# SPDX-License-Identifier: Apache-2.0
"""Operations that move values, and shapes that a file computes."""

from math import prod

import numpy as np

from ..layers import Flatten
from ..network import INPUT
from .reader import Reader
from .values import Value, channels_first
from .weights import Codes

__all__ = ["Shapes"]

class Shapes(Reader):
    """Operations on axes."""

    def _flat(self, x):
        """All axes but the samples in one."""
        if len(x.shape) == 1:
            return x
        last = tuple(range(len(x.shape)))
        if x.axes not in (last, channels_first(len(x.shape))):
            self._refuse("its input must have its channels first or last")
        channels = x.shape[-1] if x.axes != last else None
        layer = Flatten(name=self._name(), sources=(x.name,))
        self.layers[layer.name] = layer
        shape = (prod(x.shape),)
        return Value(layer.name, shape, (0,), x.result, channels)

    def _do_Flatten(self, x):
        x = self._activation(x)
        axis = self.node.attributes.get("axis", 1)
        if axis not in (1, -len(x.shape)):
            self._refuse(f"axis must be 1, not {axis}")
        return self._flattened(x)

    def _flattened(self, x):
        if x.result.scale is None:
            if x.result.kind == "input":
                self._quantised(x)
            self._alone(x)
        return self._flat(x)

    def _do_Reshape(self, x, shape):
        target = [int(n) for n in self._constant(shape, "shape").ravel()]
        if not isinstance(x, Value):
            return self._moved_constant(x, lambda a: a.reshape(target))
        sizes = target[1:]
        if not target or target[0] > 1 or min(sizes, default=-2) < -1 or 0 in sizes:
            self._refuse(f"its shape must be [samples, sizes …], not {target[:8]}")
        count = prod(x.shape)
        if sizes.count(-1) == 1 and not count % prod(n for n in sizes if n > 0):
            sizes = [count // prod(n for n in sizes if n > 0) if n < 0 else n for n in sizes]
        if prod(sizes) != count or -1 in sizes:
            sample = list(x.file_shape)
            self._refuse(f"its shape must hold {sample} for each sample, not {target[:8]}")
        if tuple(sizes) == x.file_shape:
            return x
        if len(sizes) == 1:
            return self._flattened(x)
        if x.name == INPUT and len(x.shape) == 1 and len(sizes) <= 3:
            return self._picture(x, sizes)
        self._refuse("must flatten, or give a flat input its axes; nearest: Flatten")

    def _picture(self, x, sizes):
        """A flat input with axes: the network's own is channel-last."""
        self._alone(x)
        if sizes[0] > 1 and max(len(self.offset), len(self.gain)) > 1:
            self._refuse("must come before what is done to each element of the input")
        x.shape, x.axes = (*sizes[1:], sizes[0]), channels_first(len(sizes))
        return x

    def _do_Transpose(self, x):
        perm = self.node.attributes.get("perm")
        if not isinstance(x, Value):
            if perm is not None and sorted(perm) != list(range(len(perm))):
                self._refuse("perm must name each axis once")
            return self._moved_constant(x, lambda a: a.transpose(perm))
        rank = len(x.shape) + 1
        perm = list(range(rank))[::-1] if perm is None else perm
        if sorted(perm) != list(range(rank)) or perm[0]:
            self._refuse(f"perm must leave the samples first of {rank} axes, not {perm[:8]}")
        if x.result.scale is None:
            self._alone(x)
        axes = tuple(x.axes[axis - 1] for axis in perm[1:])
        if axes == x.axes:
            return x
        return Value(x.name, x.shape, axes, x.result, x.channels)

    def _moved_constant(self, x, function):
        try:
            if isinstance(x, Codes):
                return x.map(function)
            return function(self._constant(x, "its input"))
        except ValueError as error:
            self._refuse(str(error).splitlines()[0])

    def _do_Identity(self, x, *_):
        return x

    _do_Dropout = _do_Identity

    # Shapes that a file computes: the samples count as 0, which Reshape leaves as they are.

    def _do_Shape(self, x):
        return np.array([0, *self._activation(x).file_shape])

    def _do_Gather(self, x, indices):
        index = self._integers(indices)
        values = self._integers(x)
        if (index >= len(values)).any() or (index < -len(values)).any() or values.ndim != 1:
            self._refuse("its indices must be within its input")
        return values[index]

    def _do_Unsqueeze(self, x, axes=None):
        return self._integers(x).reshape(-1)

    def _do_Concat(self, *parts):
        if any(isinstance(part, Value) for part in parts):
            self._refuse("of activations is not supported; nearest: Add")
        return np.concatenate([self._integers(part).reshape(-1) for part in parts])

    def _integers(self, value):
        value = self._constant(value, "its input")
        if value.dtype != np.int64 or value.size > 16:
            self._refuse("its input must be the sizes of a shape")
        return value
