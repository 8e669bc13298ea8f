# SPDX-License-Identifier: Apache-2.0
"""MixPE with half-precision activations: exact, or aligned to the largest exponent."""

from dataclasses import replace

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Int, get
from ..arithmetic import (
    check_choice,
    check_int,
    product_range,
    shift_add,
    sum_shape,
    tree_sum,
    wire,
)
from ..decode import ranges, signed_operand
from ..pipeline import Pipeline
from .mac import check_integers, check_mac, mac_ports, multiply_accumulate, shape_of, span

__all__ = ["MixPEW4A16"]

FP16 = get("fp16")
FINITE = replace(FP16, specials="none")  # so that no logic looks for codes outside the domain


def product(weight, code):
    """Shift of a finite activation, and weight times signed significand by shifted terms."""
    shift, significand = signed_operand(FINITE, code)
    return shift, shift_add(weight, significand)


def largest(m, values):
    """Greatest of a list of values, by a balanced tree."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    a, b = largest(m, values[:half]), largest(m, values[half:])
    return wire(m, Mux(a > b, a, b), "larger")


def align(value, guard, distance):
    """``(value << guard) >> distance``, rounded down."""
    return (value << guard) >> distance


class MixPEW4A16(wiring.Component):
    """Multiply-accumulate of int4 weights and fp16 activations, without a multiplier.

    The four terms of `MixPE` on the 11-bit significand give ``p = w * significand`` [1]_.

    ``exact``: ``o = sum(p[k] << e[k])`` over the transfers of a group, in units of ``2 ** -24``: e
    is the shift of an activation, and the sum has a window that holds every one (Kulisch).

    ``aligned``: ``o.sum = sum((p[k] << guard) >> (e - e[k]))``, e the largest shift of the
    transfer, and ``o.exponent = e - guard``: the result is ``sum * 2 ** (exponent - 24)``. What is
    cut off below the guard bits rounds down. The largest shift must be known before the first
    product is aligned: so each transfer is a group, with a result of its own.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while a sum waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] MixPE (Zhang et al., 2024), W4A16; both variants are SPECS 3.

    Parameters
    ----------
    group : int
        Most transfers of a group; 1 if aligned.
    lanes : int
        Products per transfer.
    weight : Int
        Format, up to 15 bits.
    variant : {"exact", "aligned"}
    guard : int
        Bits kept below the last bit of the largest significand, 0 to 32; aligned only.
    registers : int
        0 to 3: after the products, their tree, and the accumulator's adder; if aligned, after the
        products, the alignment, and the tree.

    Members
    -------
    i : In(stream)
        ``activations``, finite codes of fp16, and ``weights``, one per lane; ``clear`` and ``last``
        if exact.
    o : Out(stream)
        Sum of the group; if aligned ``sum`` and ``exponent``.
    """

    def __init__(self, group=None, *, lanes=1, weight=Int(4), variant="exact", guard=None,
                 registers=1):
        check_choice("Variant", variant, ("exact", "aligned"))
        exact = variant == "exact"
        group = (16 if exact else 1) if group is None else group
        check_mac(group=group, lanes=lanes, registers=registers)
        check_integers(weight=weight)
        if weight.bits > 15:
            raise ValueError(f"Weight must have at most 15 bits, not {weight.name}")
        if exact and guard is not None:
            raise ValueError(f"Guard must be None in the exact variant, not {guard!r}")
        if not exact and group != 1:
            raise ValueError(f"Group must be 1 in the aligned variant, not {group!r}")
        guard = 4 if guard is None else guard
        check_int("Guard", guard, 0, 32)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.weight, self.variant, self.guard = weight, variant, None if exact else guard
        self.activation = FP16
        self.latency = registers
        numbers = ranges(FP16)
        # Of finite codes only.
        self.shifts = 0, (FP16.max_code >> FP16.mantissa_bits) - 1
        products = product_range(span(weight), numbers.integer)
        self.product_shape = sum_shape(*products, 1)
        window = product_range(span(weight), numbers.value) if exact else (
            products[0] << guard, products[1] << guard)
        self.term_shape = sum_shape(*window, 1)
        self.sum_shape = sum_shape(*window, group * lanes)
        fields = {
            "activations": data.ArrayLayout(FP16.bits, lanes),
            "weights": data.ArrayLayout(shape_of(weight), lanes),
        }
        super().__init__(mac_ports(fields, self.sum_shape) if exact else {
            "i": In(stream.Signature(data.StructLayout(fields))),
            "o": Out(stream.Signature(data.StructLayout({
                "sum": self.sum_shape,
                "exponent": range(self.shifts[0] - guard, self.shifts[1] - guard + 1),
            }))),
        })

    @property
    def formats(self):
        return {"activations": FP16.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        shifts, products = [], []
        for k, (w, a) in enumerate(zip(self.i.p.weights, self.i.p.activations, strict=True)):
            shifts.append(Signal(range(self.shifts[1] + 1), name=f"shift_{k}"))
            products.append(Signal(self.product_shape, name=f"product_{k}"))
            shift, value = product(w, a)
            m.d.comb += [shifts[-1].eq(shift), products[-1].eq(value)]

        if self.variant == "exact":
            terms = [Signal(self.term_shape, name=f"term_{k}") for k in range(self.lanes)]
            m.d.comb += [term.eq(value << shift) for term, value, shift
                         in zip(terms, products, shifts, strict=True)]
            multiply_accumulate(m, self, terms)
            return m

        pipe = Pipeline(m, self)
        # Stage 1: multiply; find the largest shift.
        products, shifts, top = pipe.register(
            product=products, shift=shifts, top=largest(m, shifts), when=self.registers >= 1)
        # Stage 2: align.
        aligned = [align(value, self.guard, (top - shift)[:len(top)])
                   for value, shift in zip(products, shifts, strict=True)]
        aligned, top = pipe.register(aligned=aligned, top=top, when=self.registers >= 2)
        # Stage 3: add up.
        total, top = pipe.register(sum=tree_sum(aligned), top=top, when=self.registers >= 3)
        result = Signal(self.o.p.shape())
        m.d.comb += [result.sum.eq(total), result.exponent.eq(top - self.guard)]
        pipe.output(result)
        return m
