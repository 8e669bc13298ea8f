# SPDX-License-Identifier: Apache-2.0
"""Dequantisation before the product: what hardware without mixed-precision support does."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import check_int, product_range, sum_shape
from .mac import check_integers, check_mac, mac_ports, multiply_accumulate, shape_of, span

__all__ = ["DequantiseFirst"]

WIDENED = Int(16)


class DequantiseFirst(wiring.Component):
    """Multiply-accumulate of int4 weights that are scaled to int16 before they are multiplied.

    ``o = sum(a[k] * (w[k] * scale))`` over the transfers of a group: per lane a small multiplier
    for the scale and a wide one for the product, where dequantisation after the group needs one
    multiplier per sum [1]_.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] MixPE (Zhang et al., 2024), section III, the method that it replaces; SPECS 3.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sum.
    lanes : int
        Products per transfer.
    activation, weight : Int
        Formats.
    scale_bits : int
        Width of the unsigned scale; every weight times every scale must fit int16.
    registers : int
        0 to 3: after the products, the tree, and the accumulator's adder.

    Members
    -------
    i : In(stream)
        ``activations`` and ``weights``, one per lane; ``scale``, shared by the lanes; ``clear``,
        ``last``.
    o : Out(stream)
        Sum of the group.
    """

    def __init__(self, group=16, *, lanes=1, activation=Int(8), weight=Int(4), scale_bits=8,
                 registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        check_integers(activation=activation, weight=weight)
        check_int("Scale bits", scale_bits, 1, 16)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight, self.scale_bits = activation, weight, scale_bits
        self.latency = registers
        widened = product_range(span(weight), (0, (1 << scale_bits) - 1))
        greatest = max(-widened[0], widened[1])
        if greatest > WIDENED.max:
            raise ValueError(f"Weights times scales must fit int16, not reach {greatest}")
        products = product_range(widened, span(activation))
        self.widened_shape, self.product_shape = sum_shape(*widened, 1), sum_shape(*products, 1)
        self.sum_shape = sum_shape(*products, group * lanes)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(shape_of(weight), lanes),
            "scale": unsigned(scale_bits),
        }, self.sum_shape))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name,
                "scale": f"uint{self.scale_bits}"}

    def elaborate(self, platform):
        m = Module()
        i, products = self.i.p, []
        for k, (w, a) in enumerate(zip(i.weights, i.activations, strict=True)):
            widened = Signal(self.widened_shape, name=f"widened_{k}")
            product = Signal(self.product_shape, name=f"product_{k}")
            m.d.comb += [widened.eq(w * i.scale), product.eq(widened * a)]
            products.append(product)
        multiply_accumulate(m, self, products)
        return m
