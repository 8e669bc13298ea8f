# SPDX-License-Identifier: Apache-2.0
"""Registers between the streams ``i`` and ``o`` of a unit, which stall as one."""

from typing import Any

from amaranth.hdl import Mux, Signal, Value

__all__ = ["Pipeline"]


class Pipeline:
    """The stages of a unit, built from its input to its output.

    All registers stop while an output waits to be taken: ``i.ready`` follows ``o.ready``
    combinationally, ``o.valid`` never does.

    Parameters
    ----------
    m : Module
    unit : wiring.Component
        With streams ``i`` and ``o``.

    Attributes
    ----------
    advance : Value
        1 where the registers take new values at the next edge.
    valid : Value
        1 where what the last stage so far gives belongs to a transfer.
    """

    def __init__(self, m, unit):
        self.m, self.unit = m, unit
        self.valid = unit.i.valid
        self.advance = Signal(name="advance")
        self.stages = 0
        m.d.comb += self.advance.eq(unit.o.ready | ~unit.o.valid)
        m.d.comb += unit.i.ready.eq(self.advance)

    def register(self, *, when=True, **values) -> Any:
        """The values one cycle later: a tuple in their order, or the one.

        Parameters
        ----------
        when : bool
            Whether there is a register at all; otherwise the values are handed through.
        **values : Value, data.View, or list of them
            By the name that their registers get. Numbers and None among them stay as they are.
        """
        if when:
            self.stages += 1
            valid = Signal(name=f"valid_{self.stages}")
            with self.m.If(self.advance):
                self.m.d.sync += valid.eq(self.valid)
            self.valid = valid
            values = {name: self._register(name, value) for name, value in values.items()}
        return tuple(values.values()) if len(values) != 1 else next(iter(values.values()))

    def _register(self, name, value):
        if isinstance(value, (list, tuple)):
            return [self._register(f"{name}_{k}", each) for k, each in enumerate(value)]
        if value is None or isinstance(value, int):
            return value
        # Without reset: nobody looks at what is not valid.
        register = Signal(value.shape(), reset_less=True, name=f"{name}_{self.stages}")
        with self.m.If(self.advance):
            self.m.d.sync += Value.cast(register).eq(Value.cast(value))
        return register

    def accumulate(self, term, *, shape, clear, last):
        """Sum of the terms of a group up to the present one.

        Parameters
        ----------
        term : Value
        shape : Shape
            Of the sum; it wraps where that is too narrow.
        clear : Value
            1 forgets what came before: the group starts with this term.
        last : Value
            1 ends the group: the next term starts another.
        """
        accumulator, total = Signal(shape, name="accumulator"), Signal(shape, name="total")
        self.m.d.comb += total.eq(Mux(clear, 0, accumulator) + term)
        with self.m.If(self.advance & self.valid):
            self.m.d.sync += accumulator.eq(Mux(last, 0, total))
        return total

    def output(self, payload, *, last=None):
        """Drive ``o``: for every transfer, or for those with ``last`` only."""
        o = self.unit.o
        self.m.d.comb += Value.cast(o.p).eq(Value.cast(payload))
        self.m.d.comb += o.valid.eq(self.valid if last is None else self.valid & last)

    def keep(self, last):
        """From here on only transfers with ``last`` count."""
        self.valid = self.valid & last
