# SPDX-License-Identifier: Apache-2.0
"""ABQ-LLM: products of bit planes by AND and population count."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import product_range, sum_shape, tree_sum
from .mac import check_integers, check_mac, mac_ports, multiply_accumulate, shape_of, span

__all__ = ["BitSerialMAC", "popcount"]


def popcount(bits):
    """How many bits of a list are 1.

    Four bits at a time are counted without carry chains, two of them by two LUTs of four inputs,
    which have room for what makes each bit of two others.
    """
    counts = []
    for k in range(0, len(bits), 4):
        a, b, c, d = [*bits[k:k + 4], *[Const(0, 1)] * 3][:4]
        (s, carry), (t, other) = (a ^ b, a & b), (c ^ d, c & d)
        both = s & t
        counts.append(Cat(s ^ t, carry ^ other ^ both, carry & other)[:len(bits[k:k + 4]) // 2 + 1])
    return tree_sum(counts)


def plane_sums(activations, weights):
    """``sum(a[k] * w[k])`` as terms: counts of the pairs of planes of each worth, and a constant.

    The pairs whose worth is negative, those with one sign bit, count where the AND is 0 instead:
    ``-popcount(x) = popcount(~x) - len(x)``.
    """
    pairs, constant = {}, 0
    x, w = activations[0].shape(), weights[0].shape()
    for i in range(x.width):
        for j in range(w.width):
            negative = (x.signed and i == x.width - 1) != (w.signed and j == w.width - 1)
            for a, b in zip(activations, weights, strict=True):
                both = a[i] & b[j]
                pairs.setdefault(i + j, []).append(~both if negative else both)
            constant -= negative * len(activations) << i + j
    terms = [popcount(bits) << place for place, bits in pairs.items()]
    return [*terms, constant] if constant else terms


class BitSerialMAC(wiring.Component):
    """Multiply-accumulate of integers of any widths by bit planes, without a multiplier.

    ``o = sum(c[i] * d[j] * popcount(X[i] & W[j]))``, where X and W are the bit planes of the
    activations and weights of a transfer, c and d powers of two, that of a signed operand's top
    plane negative [1]_. All pairs of planes are counted at once, those of equal ``i + j`` together.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] Zeng et al., ABQ-LLM: Arbitrary-bit quantized inference acceleration for large language
       models (AAAI 2025), section 3.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sum.
    lanes : int
        Length of the planes.
    activation, weight : Int
        Formats.
    registers : int
        0 to 3: after the counts, the tree, and the accumulator's adder.

    Members
    -------
    i : In(stream)
        ``activations`` and ``weights``, one per lane; ``clear``, ``last``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, group=16, *, lanes=1, activation=Int(8), weight=Int(2), registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        check_integers(activation=activation, weight=weight)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight = activation, weight
        self.latency = registers
        self.sum_shape = sum_shape(*product_range(span(weight), span(activation)), group * lanes)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(shape_of(weight), lanes),
        }, self.sum_shape))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        multiply_accumulate(m, self, plane_sums(list(self.i.p.activations), list(self.i.p.weights)))
        return m
