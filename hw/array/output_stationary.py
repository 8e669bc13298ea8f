# SPDX-License-Identifier: Apache-2.0
"""Output-stationary array of processing elements."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..pe.mixpe import MixPE

__all__ = ["OutputStationaryArray"]


class OutputStationaryArray(wiring.Component):
    """``rows`` by ``columns`` elements, each computing one dot product over a group.

    Activations enter by row and weights by column. At the end of a group all sums move to a shadow
    register at once and leave it by ``drains`` chains, one sum of each per cycle, while the next
    group is computed: ``sums[d]`` of transfer ``t`` is that of row ``d * rows / drains + t //
    columns``, column ``t % columns``.

    :Latency: :attr:`latency` cycles from the last transfer of a group to its first sums.
    :Throughput: one transfer per cycle, as long as groups are at least ``chain`` long.
    :Backpressure: a group that ends while the shadow register is in use waits, ``i.ready`` with it.

    Parameters
    ----------
    rows, columns : int
    group : int
        Longest group.
    drains : int
        Chains; must divide ``rows``.

    Members
    -------
    i : In(stream)
        ``activations`` by row, ``weights`` by column; ``last`` ends the group, whose ``tag`` it is.
    o : Out(stream)
        ``sums`` by chain, and the ``tag`` of their group.
    """

    def __init__(self, rows, columns, *, group=16, drains=1, tag=2):
        for name, value in ("Rows", rows), ("Columns", columns), ("Drains", drains):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        if rows % drains:
            raise ValueError(f"Drains must divide the {rows} rows, not {drains!r}")
        self.rows, self.columns, self.drains = rows, columns, drains
        self.chain = rows // drains * columns
        self.elements = [[MixPE(group) for _ in range(columns)] for _ in range(rows)]
        self.sum_shape = self.elements[0][0].sum_shape
        self.latency = self.elements[0][0].latency + 1
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "activations": data.ArrayLayout(signed(8), rows),
                "weights": data.ArrayLayout(signed(4), columns),
                "last": 1,
                "tag": tag,
            }))),
            "o": Out(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(self.sum_shape, drains),
                "tag": tag,
            }))),
        })

    def elaborate(self, platform):
        m = Module()

        # Elements, all in step.
        first = self.elements[0][0]
        m.d.comb += self.i.ready.eq(first.i.ready)
        for r, row in enumerate(self.elements):
            for c, element in enumerate(row):
                m.submodules[f"element_{r}_{c}"] = element
                m.d.comb += [
                    element.i.valid.eq(self.i.valid),
                    element.i.p.activations[0].eq(self.i.p.activations[r]),
                    element.i.p.weights[0].eq(self.i.p.weights[c]),
                    element.i.p.last.eq(self.i.p.last),
                ]
        tag = Signal.like(self.i.p.tag)
        with m.If(self.i.valid & self.i.ready & self.i.p.last):
            m.d.sync += tag.eq(self.i.p.tag)

        # Shadow register: load all sums, then shift them out.
        shadow = [
            [Signal(self.sum_shape, name=f"shadow_{d}_{t}") for t in range(self.chain)]
            for d in range(self.drains)
        ]
        left = Signal(range(self.chain + 1))
        taken = self.o.valid & self.o.ready
        free = (left == 0) | ((left == 1) & self.o.ready)
        load = first.o.valid & free
        m.d.comb += [element.o.ready.eq(free) for row in self.elements for element in row]
        m.d.comb += self.o.valid.eq(left != 0)
        sums = [element.o.p for row in self.elements for element in row]
        for d, chain in enumerate(shadow):
            m.d.comb += self.o.p.sums[d].eq(chain[0])
            for t, register in enumerate(chain):
                with m.If(load):
                    m.d.sync += register.eq(sums[d * self.chain + t])
                if t + 1 < self.chain:
                    with m.Elif(taken):
                        m.d.sync += register.eq(chain[t + 1])
        with m.If(load):
            m.d.sync += [left.eq(self.chain), self.o.p.tag.eq(tag)]
        with m.Elif(taken):
            m.d.sync += left.eq(left - 1)

        return m
