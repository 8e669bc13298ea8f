# SPDX-License-Identifier: Apache-2.0
"""MixPE: shift-and-add multiply-accumulate of low-bit weights and integer activations."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import check_choice, product_range, shift_add, sum_shape, tree_sum
from ..pipeline import Pipeline
from .booth import booth_product, booth_rows
from .mac import (
    check_integers,
    check_mac,
    group_sums,
    mac_ports,
    multiply_accumulate,
    shape_of,
    span,
)
from .rows import add_rows

__all__ = ["MixPE"]

PRODUCTS = {"terms": shift_add, "booth": booth_product}


class MixPE(wiring.Component):
    """Multiply-accumulate of int4 weights and integer activations, without a multiplier.

    ``w * a = ((b0 ? a : 0) + (b1 ? a << 1 : 0)) + ((b2 ? a << 2 : 0) - (b3 ? a << 3 : 0))``, and
    ``o = sum(w[k] * a[k])`` over the transfers of a group, or ``o = P - z * A`` with zero points:
    P that sum, A the sum of the activations, z the zero point of the group [1]_. Unsigned weights
    add the last term. The Booth variant, ours, recodes the weight into radix-4 digits from -2 to 2:
    half as many terms.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] MixPE (Zhang et al., 2024), shift-and-add processing element; SPECS 3.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sum.
    lanes : int
        Products per transfer.
    activation, weight : Int
        Formats; weights of any width.
    zero_points : bool
        Whether ``zero``, a number of the weights' format, comes with the last transfer of a group.
    recoding : {"terms", "booth"}
    registers : int
        0 to 3: after the products, the tree, and the accumulator's adder.

    Members
    -------
    i : In(stream)
        ``activations`` and ``weights``, one per lane; ``clear``, ``last``; ``zero``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, group=16, *, lanes=1, activation=Int(8), weight=Int(4), zero_points=False,
                 recoding="terms", registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        check_integers(activation=activation, weight=weight)
        check_choice("Recoding", recoding, PRODUCTS)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight = activation, weight
        self.zero_points, self.recoding = bool(zero_points), recoding
        self.latency = registers
        products, terms = product_range(span(weight), span(activation)), group * lanes
        self.product_shape = sum_shape(*products, 1)
        self.sum_shape = sum_shape(*products, terms)
        self.activation_shape = sum_shape(*span(activation), terms)
        difference = weight.max - weight.min
        result = sum_shape(*product_range((-difference, difference), span(activation)), terms)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(shape_of(weight), lanes),
            **({"zero": shape_of(weight)} if self.zero_points else {}),
        }, result if self.zero_points else self.sum_shape))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        i, add = self.i.p, tree_sum
        pairs = list(zip(i.weights, i.activations, strict=True))
        if self.recoding == "booth":
            # Not added up in each lane: the rows of all lanes are.
            products, add = [row for pair in pairs for row in booth_rows(*pair)], add_rows
        else:
            products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
            m.d.comb += [product.eq(shift_add(*pair))
                         for product, pair in zip(products, pairs, strict=True)]
        if not self.zero_points:
            multiply_accumulate(m, self, products, add=add)
            return m

        pipe = Pipeline(m, self)
        # Stages 1 to 3: products and activations, each added up and accumulated.
        (total, sum_a), (zero,) = group_sums(
            pipe, [products, list(i.activations)], shapes=[self.sum_shape, self.activation_shape],
            add=[add, tree_sum], registers=self.registers, clear=i.clear, last=i.last, zero=i.zero)
        # Stage 4: subtract, within the cycle of the accumulator's adder.
        result = Signal(self.o.p.shape(), name="result")
        m.d.comb += result.eq(total - PRODUCTS[self.recoding](zero, sum_a))
        pipe.output(pipe.register(sum=result, when=self.registers >= 3))
        return m
