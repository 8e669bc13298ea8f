# SPDX-License-Identifier: Apache-2.0
"""Layers without weights: the greatest of a window, the sum of two branches."""

from functools import partial

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..fixed.requantise import Requantise
from .by_layer import by_layer
from .graph_post import clamped
from .graph_program import Unit

__all__ = ["Addition", "Greatest"]


class Greatest(wiring.Component):
    """Greatest values of a window, of all rows and lanes at once.

    Members
    -------
    valid, inside, last : In(1)
        ``values`` are a word of the window; those that are not ``inside`` do not count; the
        ``last`` ends it.
    done : Out(1)
        ``results`` are those of a window, two cycles after its last step.
    """

    def __init__(self, rows, lanes):
        words = data.ArrayLayout(data.ArrayLayout(signed(8), lanes), rows)
        super().__init__({
            "valid": In(1), "inside": In(1), "last": In(1), "values": In(words),
            "done": Out(1), "results": Out(words),
        })

    def elaborate(self, platform):
        m = Module()
        first = Signal(init=1)
        m.d.sync += self.done.eq(self.valid & self.last)
        with m.If(self.valid):
            m.d.sync += first.eq(self.last)
        for values, results in zip(self.values, self.results, strict=True):
            for value, result in zip(values, results, strict=True):
                before = Mux(first, -128, result)
                with m.If(self.valid):
                    m.d.sync += result.eq(Mux(self.inside & (value > before), value, before))
        return m


class Addition(wiring.Component):
    """``clamp(round((round(a * b_a / 2 ** c_a) + round(b * b_b / 2 ** c_b)) * b / 2 ** c))``.

    Rows one after the other, the last first.

    Parameters
    ----------
    program : GraphProgram

    Members
    -------
    layer : In
    valid, last : In(1)
        ``values`` are words of the first branch, or with ``last`` of the second.
    done : Out(1)
        ``results`` are those of a row.
    """

    def __init__(self, program):
        self.program = program
        rows, lanes = program.config.rows, program.config.lanes
        word = data.ArrayLayout(signed(8), lanes)
        super().__init__({
            "layer": In(range(max(len(program.layers), 2))),
            "valid": In(1), "last": In(1), "values": In(data.ArrayLayout(word, rows)),
            "done": Out(1), "results": Out(word),
        })

    def elaborate(self, platform):
        m = Module()
        rows, lanes = self.program.config.rows, self.program.config.lanes
        layers = [(k, la) for k, la in enumerate(self.program.layers) if la.unit is Unit.ADD]

        number = partial(by_layer, m, self.layer, layers)

        # Both words of all rows, then row by row.
        words = self.values.shape()
        earlier, a, b = (Signal(words, name=name, reset_less=True)
                         for name in ("earlier", "a", "b"))
        left = Signal(range(rows + 1))
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(self.valid & ~self.last):
            m.d.sync += earlier.eq(self.values)
        with m.If(self.valid & self.last):
            m.d.sync += [a.eq(earlier), b.eq(self.values), left.eq(rows)]
        place = Signal(range(rows))
        m.d.comb += place.eq(left - 1)

        # Each branch to the common scale, the sum to the output's.
        def requantise(name, shape, number_of, bits):
            factors = [layer.branches[number_of] for _, layer in layers]
            shifts = sorted({shift for _, shift in factors})
            unit = Requantise(shape, lanes=lanes, shifts=shifts, bits=bits, multiplier_bits=max(
                1, *(multiplier.bit_length() for multiplier, _ in factors)))
            m.submodules[name] = unit
            m.d.comb += [
                unit.i.p.multiplier.eq(number(f"{name}_multiplier", unit.multiplier_bits,
                                              lambda la: la.branches[number_of][0])),
                unit.i.p.select.eq(number(f"{name}_select", range(len(shifts)),
                                          lambda la: shifts.index(la.branches[number_of][1]))),
                unit.o.ready.eq(1),
            ]
            return unit

        widest = max(128 * b >> max(c - 1, 0) for _, la in layers for b, c in la.branches[:2]) + 1
        bits = max(widest.bit_length() + 1, 2)
        branches = []
        for n, (name, values) in enumerate((("branch_a", a), ("branch_b", b))):
            unit = requantise(name, signed(8), n, bits)
            m.d.comb += [unit.i.valid.eq(left != 0),
                         Value.cast(unit.i.p.sums).eq(Value.cast(Array(values)[place]))]
            branches.append(unit)
        total = requantise("total", signed(bits + 1), 2, 8)
        low, high = number("low", signed(8), lambda la: la.low), number(
            "high", signed(8), lambda la: la.high)
        m.d.comb += [total.i.valid.eq(branches[0].o.valid), self.done.eq(total.o.valid)]
        for k in range(lanes):
            m.d.comb += [
                total.i.p.sums[k].eq(branches[0].o.p.values[k] + branches[1].o.p.values[k]),
                self.results[k].eq(clamped(total.o.p.values[k], low, high)),
            ]
        return m
