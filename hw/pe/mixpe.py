# SPDX-License-Identifier: Apache-2.0
"""MixPE: shift-and-add multiply-accumulate of 4-bit weights and integer activations."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Int

__all__ = ["MixPE", "shift_add_product"]


def shift_add_product(weight, activation):
    """``weight * activation`` of a signed 4-bit weight, from four shifted terms."""
    b, a = weight, activation
    terms = [Mux(b[k], a, 0) << k for k in range(4)]
    return (terms[0] + terms[1]) + (terms[2] - terms[3])


class MixPE(wiring.Component):
    """Multiply-accumulate of int4 weights and integer activations, without a multiplier.

    ``w * a = ((b0 ? a : 0) + (b1 ? a << 1 : 0)) + ((b2 ? a << 2 : 0) - (b3 ? a << 3 : 0))``, and
    ``o = sum(w[k] * a[k])`` over the transfers of a group [1]_.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] MixPE (Zhang et al., 2024), shift-and-add processing element; SPECS 3.

    Parameters
    ----------
    group : int
        Most weights of a group and lane, which sets the width of the sum.
    lanes : int
        Products per transfer.
    activation : Int
        Format of the activations.

    Members
    -------
    i : In(stream)
        ``activations`` and ``weights``, one per lane; ``last`` ends the group.
    o : Out(stream)
        Sum of the group.
    """

    weight = Int(4)
    latency = 1

    def __init__(self, group=16, *, lanes=1, activation=Int(8)):
        for name, value in ("Group", group), ("Lanes", lanes):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        if not isinstance(activation, Int):
            raise TypeError(f"Activation must be an Int, not {activation!r}")
        self.group, self.lanes, self.activation = group, lanes, activation
        ends = [
            w * a
            for w in (self.weight.min, self.weight.max)
            for a in (activation.min, activation.max)
        ]
        self.product_shape = Shape.cast(range(min(ends), max(ends) + 1))
        terms = group * lanes
        self.sum_shape = Shape.cast(range(min(ends) * terms, max(ends) * terms + 1))
        activation_shape = Shape(activation.bits, activation.signed)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "activations": data.ArrayLayout(activation_shape, lanes),
                "weights": data.ArrayLayout(signed(4), lanes),
                "last": 1,
            }))),
            "o": Out(stream.Signature(self.sum_shape)),
        })

    def elaborate(self, platform):
        m = Module()

        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        valid = Signal()
        last = Signal()
        accumulator = Signal(self.sum_shape)

        advance = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            # Stage 1: multiply.
            m.d.sync += valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += last.eq(self.i.p.last)
                for k, product in enumerate(products):
                    m.d.sync += product.eq(
                        shift_add_product(self.i.p.weights[k], self.i.p.activations[k])
                    )
            # Stage 2: accumulate; a group ends in the output, and the next starts from zero.
            with m.If(valid):
                m.d.sync += accumulator.eq(Mux(last, 0, self.o.p))
        m.d.comb += self.o.valid.eq(valid & last)
        m.d.comb += self.o.p.eq(accumulator + tree_sum(products))

        return m


def tree_sum(terms):
    """Sum of a list of values as a balanced tree."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return tree_sum(terms[:half]) + tree_sum(terms[half:])
