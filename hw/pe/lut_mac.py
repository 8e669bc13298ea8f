# SPDX-License-Identifier: Apache-2.0
"""T-MAC: products of bit planes by table look-up."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import as_signed, check_positive, product_range, sum_shape, tree_sum
from .mac import check_integers, check_mac, column_sums, mac_ports, shape_of, span

__all__ = ["LUTMAC"]

GROUP = 4


def table(a):
    """The eight sums ``±a[0] ± a[1] ± a[2] + a[3]``; bit j of the index is 1 for ``+a[j]``."""
    a = [as_signed(value) for value in a]
    low = [-a[0] - a[1], a[0] - a[1], a[1] - a[0], a[0] + a[1]]
    high = [a[3] - a[2], a[3] + a[2]]
    return [high[k >> 2] + low[k & 3] for k in range(8)]


def look_up(entries, signs):
    """``sum(signs[j] ? a[j] : -a[j])``, as ``entry + negative``.

    The sums with ``-a[3]`` are those of the inverted signs, negated: the entry is then the
    complement of one of the table, and ``negative`` the 1 that it lacks.
    """
    negative = ~signs[3]
    for sign in signs[:3]:
        pairs = zip(entries[::2], entries[1::2], strict=True)
        entries = [Mux(sign ^ negative, odd, even) for even, odd in pairs]
    return entries[0] ^ negative.replicate(len(entries[0])).as_signed(), negative


def planes(weights):
    """The signs of each plane of four weights, so that all planes count positive.

    The top plane of signed weights has its bits inverted: what it finds is then negated.
    """
    *lower, top = [[w[b] for w in weights] for b in range(len(weights[0]))]
    return [*lower, [~bit for bit in top] if weights[0].shape().signed else top]


def add_planes(found):
    """``sum((entry + negative) << b)`` over planes: the single bits are a number of their own."""
    entries, negatives = zip(*found, strict=True)
    return tree_sum([*[entry << b for b, entry in enumerate(entries)], Cat(negatives)])


class LUTMAC(wiring.Component):
    """Multiply-accumulate of columns of low-bit weights by look-up in tables of the activations.

    A bit b of a weight is read as the sign ``2 * b - 1``: the table of four activations holds
    ``±a[0] ± a[1] ± a[2] ± a[3]``, of which only the eight with ``+a[3]`` are computed, and each
    plane of four weights looks one up. ``o[j] = sum(c[b] * (T[b, j] + A) / 2)``, T the sum of what
    plane b of column j finds, A that of the activations, c[b] the worth of the plane [1]_. The
    tables are computed once for all columns.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while sums wait; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] Wei et al., T-MAC: CPU renaissance via table lookup for low-bit LLM deployment on edge
       (EuroSys 2025), section 3.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sums.
    lanes : int
        Activations per transfer; zeros fill the last table.
    columns : int
        Weights per activation.
    activation, weight : Int
        Formats.
    registers : int
        0 to 3: after the look-up, the tree, and the accumulators' adders.

    Members
    -------
    i : In(stream)
        ``activations`` by lane, ``weights`` by lane and column; ``clear``, ``last``.
    o : Out(stream)
        Sums of the group by column.
    """

    def __init__(self, group=16, *, lanes=4, columns=4, activation=Int(8), weight=Int(2),
                 registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        check_positive("Columns", columns)
        check_integers(activation=activation, weight=weight)
        self.group, self.lanes, self.columns, self.registers = group, lanes, columns, registers
        self.activation, self.weight = activation, weight
        self.latency = registers
        low, high = span(activation)
        greatest = GROUP * max(abs(low), high)
        self.entry_shape = sum_shape(-greatest, greatest, 1)
        self.sum_shape = sum_shape(*product_range(span(weight), span(activation)), group * lanes)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(data.ArrayLayout(shape_of(weight), columns), lanes),
        }, data.ArrayLayout(self.sum_shape, columns)))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        zeros = [Const(0, shape_of(self.activation))] * (-self.lanes % GROUP)
        activations = [*i.activations, *zeros]
        # The worths of all planes of a weight add up to that of all ones.
        ones = -1 if self.weight.signed else (1 << self.weight.bits) - 1
        total = tree_sum(list(i.activations))
        shared = Signal(sum_shape(*product_range(span(self.activation), (ones, ones)), self.lanes))
        m.d.comb += shared.eq(-total if ones < 0 else (total << self.weight.bits) - total)
        columns = [[shared] for _ in range(self.columns)]
        for g in range(0, len(activations), GROUP):
            entries = [Signal(self.entry_shape, name=f"entry_{g // GROUP}_{k}") for k in range(8)]
            m.d.comb += [entry.eq(value) for entry, value
                         in zip(entries, table(activations[g:g + GROUP]), strict=True)]
            for j, column in enumerate(columns):
                weights = [w[j] for w in list(i.weights)[g:g + GROUP]]
                weights += [Const(0, weights[0].shape())] * (GROUP - len(weights))
                column.append(add_planes([look_up(entries, signs) for signs in planes(weights)]))
        column_sums(m, self, columns, add=lambda parts: tree_sum(parts) >> 1)
        return m
