# SPDX-License-Identifier: Apache-2.0
"""AFPQ: a scale for positive weights and another for negative ones."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import check_int, product_range, shift_add, sum_shape
from ..pipeline import Pipeline
from .mac import check_integers, check_mac, group_sums, mac_ports, shape_of, span

__all__ = ["TwoScale"]


class TwoScale(wiring.Component):
    """Multiply-accumulate whose groups have two scales, one for each sign of the weights.

    ``o = P+ * positive + P- * negative``, where P+ is the sum of ``w[k] * a[k]`` of the weights
    that are not negative, P- that of the negative ones, over the transfers of a group [1]_. The
    products are shifted and added; each scale has one multiplier.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] Zhang et al., AFPQ: Asymmetric floating point quantization for LLMs (ACL Findings 2024),
       section 3.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sums.
    lanes : int
        Products per transfer.
    activation, weight : Int
        Formats; weights must be signed.
    scale_bits : int
        Width of the unsigned scales.
    registers : int
        0 to 3: after the products, their trees, and the scaled sum.

    Members
    -------
    i : In(stream)
        ``activations`` and ``weights``, one per lane; ``clear``, ``last``; ``positive`` and
        ``negative``, the scales of the group, with its last transfer.
    o : Out(stream)
        Scaled sum of the group.
    """

    def __init__(self, group=16, *, lanes=1, activation=Int(8), weight=Int(4), scale_bits=8,
                 registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        check_integers(activation=activation, weight=weight)
        if not weight.signed:
            raise ValueError(f"Weight must be signed, not {weight.name}")
        check_int("Scale bits", scale_bits, 1, 16)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight, self.scale_bits = activation, weight, scale_bits
        self.latency = registers
        terms, a = group * lanes, span(activation)
        products = product_range(span(weight), a)
        self.product_shape = sum_shape(*products, 1)
        self.part_shapes = [sum_shape(*product_range(half, a), terms)
                            for half in ((0, weight.max), (weight.min, 0))]
        scaled = product_range(products, (0, (1 << scale_bits) - 1))
        self.sum_shape = sum_shape(*scaled, terms)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(shape_of(weight), lanes),
            "positive": unsigned(scale_bits), "negative": unsigned(scale_bits),
        }, self.sum_shape))

    @property
    def formats(self):
        scale = f"uint{self.scale_bits}"
        return {"activations": self.activation.name, "weights": self.weight.name,
                "positive": scale, "negative": scale}

    def elaborate(self, platform):
        m = Module()
        i, plus, minus = self.i.p, [], []
        for k, (w, a) in enumerate(zip(i.weights, i.activations, strict=True)):
            product = Signal(self.product_shape, name=f"product_{k}")
            m.d.comb += product.eq(shift_add(w, a))
            plus.append(Mux(w[-1], 0, product))
            minus.append(Mux(w[-1], product, 0))
        pipe = Pipeline(m, self)
        # Stages 1 to 3: the products of each sign, added up and accumulated.
        sums, scales = group_sums(
            pipe, [plus, minus], shapes=self.part_shapes, registers=self.registers,
            clear=i.clear, last=i.last, positive=i.positive, negative=i.negative)
        # Stage 4: scale, within the cycle of the accumulators' adders.
        result = Signal(self.sum_shape, name="result")
        m.d.comb += result.eq(sums[0] * scales[0] + sums[1] * scales[1])
        pipe.output(pipe.register(sum=result, when=self.registers >= 3))
        return m
