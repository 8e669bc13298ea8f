# SPDX-License-Identifier: Apache-2.0
"""MixPE: shift-and-add multiply-accumulate of low-bit weights and integer activations."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import check_choice, product_range, shift_add, sum_shape, tree_sum
from ..pipeline import Pipeline
from .booth import booth_product
from .mac import check_mac, mac_ports, multiply_accumulate

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
        for name, fmt in ("Activation", activation), ("Weight", weight):
            if not isinstance(fmt, Int):
                raise TypeError(f"{name} must be an Int, not {fmt!r}")
        check_choice("Recoding", recoding, PRODUCTS)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight = activation, weight
        self.zero_points, self.recoding = bool(zero_points), recoding
        self.latency = registers
        span, terms = (activation.min, activation.max), group * lanes
        self.product_shape = Shape.cast(_range(product_range((weight.min, weight.max), span)))
        self.sum_shape = sum_shape(*product_range((weight.min, weight.max), span), terms)
        difference = weight.max - weight.min
        result = sum_shape(*product_range((-difference, difference), span), terms)
        activations = Shape(activation.bits, activation.signed)
        weights = Shape(weight.bits, weight.signed)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(activations, lanes),
            "weights": data.ArrayLayout(weights, lanes),
            **({"zero": weights} if self.zero_points else {}),
        }, result if self.zero_points else self.sum_shape))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        multiply = PRODUCTS[self.recoding]
        products = [Signal(self.product_shape, name=f"product_{k}") for k in range(self.lanes)]
        i = self.i.p
        for product, w, a in zip(products, i.weights, i.activations, strict=True):
            m.d.comb += product.eq(multiply(w, a))
        if not self.zero_points:
            multiply_accumulate(m, self, products)
            return m

        pipe = Pipeline(m, self)
        control = {"clear": i.clear, "last": i.last, "zero": i.zero}
        # Stage 1: multiply.
        products, activations, *control = pipe.register(
            product=products, activation=list(i.activations), **control,
            when=self.registers >= 1)
        # Stage 2: add up products and activations.
        term, activation, clear, last, zero = pipe.register(
            term=tree_sum(products), activation=tree_sum(activations),
            **dict(zip(("clear", "last", "zero"), control, strict=True)),
            when=self.registers >= 2)
        # Stage 3: accumulate both, subtract.
        low, high = self.activation.min, self.activation.max
        shape = sum_shape(low, high, self.group * self.lanes)
        total = pipe.accumulate(term, shape=self.sum_shape, clear=clear, last=last)
        sum_a = pipe.accumulate(activation, shape=shape, clear=clear, last=last)
        pipe.keep(last)
        result = Signal(self.o.p.shape(), name="result")
        m.d.comb += result.eq(total - multiply(zero, sum_a))
        pipe.output(pipe.register(sum=result, when=self.registers >= 3))
        return m


def _range(ends):
    return range(ends[0], ends[1] + 1)
