# SPDX-License-Identifier: Apache-2.0
"""Numbers that depend on the layer that runs."""

from amaranth.hdl import Signal

__all__ = ["by_layer"]


def by_layer(m, index, layers, name, shape, value):
    """A signal with what ``value(layer)`` is for the layer of a number; 0 for others.

    Parameters
    ----------
    m : Module
    index : Value
        Number of the layer.
    layers : list of (int, layer)
    name : str
    shape : Shape
    value : callable
    """
    signal = Signal(shape, name=name)
    with m.Switch(index):
        for number, layer in layers:
            with m.Case(number):
                m.d.comb += signal.eq(value(layer))
    return signal
