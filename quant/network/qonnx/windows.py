# SPDX-License-Identifier: Apache-2.0
"""Pools, and the windows that they share with convolutions."""

from ..layers import ACTIVATION, AveragePool, MaxPool
from .file import SIZE
from .shapes import Shapes
from .values import channels_first

__all__ = ["Windows"]

class Windows(Shapes):
    """Operations that slide over positions."""

    def _channels_first(self, x):
        if len(x.shape) < 2 or x.axes != channels_first(len(x.shape)):
            self._refuse(
                "its input must be (samples, channels, …), with axes of positions; nearest: "
                "Transpose before it"
            )

    def _window(self, x, kernel=None):
        """Kernel, stride and padding of the node, for each axis."""
        attributes, axes = self.node.attributes, len(x.shape) - 1

        def axes_of(name, default, count=axes):
            found = tuple(attributes.get(name) or default)
            if len(found) != count or not all(0 <= n <= SIZE for n in found):
                self._refuse(f"{name} must have {count} sizes, not {list(found)[:8]}")
            return found

        found = axes_of("kernel_shape", kernel or ())
        if kernel is not None and found != tuple(kernel):
            self._refuse(f"kernel_shape must be {list(kernel)} as the weights, not {list(found)}")
        stride = axes_of("strides", (1,) * axes)
        if 0 in (*found, *stride):
            self._refuse("kernel_shape and strides must be 1 or more")
        self._must("dilations", [1] * axes, default=[1] * axes)
        self._must("ceil_mode", 0, default=0)
        pads = axes_of("pads", (0,) * (2 * axes), 2 * axes)
        padding = tuple(zip(pads[:axes], pads[axes:], strict=True))
        auto = attributes.get("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            padding = tuple(
                _same(size, k, s, upper=auto == "SAME_UPPER")
                for size, k, s in zip(x.shape, found, stride, strict=False)
            )
        elif auto not in ("NOTSET", "VALID"):
            self._refuse(f"auto_pad must be NOTSET, VALID or SAME_UPPER, not {str(auto)[:40]!r}")
        return {"kernel": found, "stride": stride, "padding": padding}

    def _do_MaxPool(self, x):
        self._channels_first(self._activation(x))
        window = self._window(x)
        if len(self.node.outputs) > 1 and self.node.outputs[1]:
            self._refuse("its indices must not be used")
        return self._kept(MaxPool(name=self._name(), sources=(x.name,), **window), x)

    def _do_AveragePool(self, x):
        self._channels_first(self._quantised(x))
        window = self._window(x)
        if any(map(any, window["padding"])):
            self._must("count_include_pad", 1, default=0)
        return self._average(x, window)

    def _do_GlobalAveragePool(self, x):
        self._channels_first(self._quantised(x))
        return self._average(x, _whole(x))

    def _do_ReduceMean(self, x, axes=None):
        self._channels_first(self._quantised(x))
        found = self.node.attributes.get("axes", []) if axes is None else list(
            self._constant(axes, "axes").ravel()
        )
        rank = len(x.shape) + 1
        if sorted(int(axis) % rank for axis in found) != list(range(2, rank)):
            self._refuse("its axes must be all of positions; nearest: GlobalAveragePool")
        value = self._average(x, _whole(x))
        if not self.node.attributes.get("keepdims", 1):
            value = self._flat(value)
        return value

    def _average(self, x, window):
        name, scale, source = self._name(), x.result.scale, x.name

        def build(low, high):
            return AveragePool(
                name=name, sources=(source,), **window, input_scale=scale, output_scale=None,
                requantiser=None, low=low, high=high,
            )

        shape = self._shape(build(ACTIVATION.min, ACTIVATION.max), x.shape)
        return self._put("average_pool", shape, x.axes, build=build, source=x)


def _whole(x):
    kernel = x.shape[:-1]
    return {"kernel": kernel, "stride": kernel, "padding": ((0, 0),) * len(kernel)}


def _same(size, kernel, stride, *, upper):
    """Padding with which there are ``ceil(size / stride)`` positions."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)
