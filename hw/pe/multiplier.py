# SPDX-License-Identifier: Apache-2.0
"""Plain multiply-accumulate of integers: what the other elements are measured against."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import product_range, sum_shape
from .mac import check_integers, check_mac, mac_ports, multiply_accumulate, shape_of, span

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """Multiply-accumulate of integers by a multiplier.

    ``o = sum(w[k] * a[k])`` over the transfers of a group.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sum.
    lanes : int
        Products per transfer.
    activation, weight : Int
        Formats.
    registers : int
        0 to 3: after the products, the tree, and the accumulator's adder.

    Members
    -------
    i : In(stream)
        ``activations`` and ``weights``, one per lane; ``clear``, ``last``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, group=16, *, lanes=1, activation=Int(8), weight=Int(8), registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        check_integers(activation=activation, weight=weight)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight = activation, weight
        self.latency = registers
        products = product_range(span(weight), span(activation))
        self.product_shape = sum_shape(*products, 1)
        self.sum_shape = sum_shape(*products, group * lanes)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(shape_of(weight), lanes),
        }, self.sum_shape))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        for product, w, a in zip(products, self.i.p.weights, self.i.p.activations, strict=True):
            m.d.comb += product.eq(w * a)
        multiply_accumulate(m, self, products)
        return m
