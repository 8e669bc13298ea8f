# SPDX-License-Identifier: Apache-2.0
"""Several narrow products that share an activation, in one wide multiplier."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Int
from ..arithmetic import check_positive, product_range, range_shape, sum_shape, tree_sum
from .mac import check_integers, check_mac, column_sums, mac_ports, shape_of, span

__all__ = ["Packed"]


def pack(weights, spacing):
    """``sum(w[j] << spacing * j)``, one factor of a wide multiplier."""
    return tree_sum([w << spacing * j for j, w in enumerate(weights)])


def unpack(product, spacing, count):
    """The products that one wide product holds: ``(field, borrow)``, whose sum each is.

    A field is short by 1 where what lies below it is negative, which the bit below it says.
    """
    signed = product.shape().signed
    fields = []
    for j in range(count):
        field = product[spacing * j:spacing * (j + 1)]
        fields.append((field.as_signed() if signed else field,
                       product[spacing * j - 1] if signed and j else None))
    return fields


def repeated(ends, spacing, count):
    """Least and greatest number whose fields lie between two ends."""
    ones = sum(1 << spacing * j for j in range(count))
    return ends[0] * ones, ends[1] * ones


def spacing_of(products, count):
    """Least distance of fields at which the sign of all that lies below a field can be told."""
    spacing = range_shape(*products).width
    if products[0] < 0:
        while any(range_shape(*repeated(products, spacing, j)).width > spacing * j
                  for j in range(1, count)):
            spacing += 1
    return spacing


class Packed(wiring.Component):
    """Multiply-accumulate of several columns of weights, one multiplier per activation.

    ``(sum(w[j] << s * j)) * a = sum((w[j] * a) << s * j)``: one multiplier holds the products of
    all columns, s bits apart, and ``o[j] = sum(w[k][j] * a[k])`` over the transfers of a group
    [1]_. A negative product borrows 1 from the next field, which is given back. With int4 weights
    and int8 activations s is 12, and two columns fit 18 by 18 bits.

    :Latency: :attr:`latency` cycles from the last transfer of a group, if never stalled.
    :Throughput: one transfer per cycle; the next group follows without a gap.
    :Backpressure: the pipeline stalls while sums wait; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] Fu et al., Deep learning with INT8 optimization on Xilinx devices (WP486, 2017); SPECS 3.

    Parameters
    ----------
    group : int
        Most transfers of a group, which sets the width of the sums.
    lanes : int
        Multipliers: activations per transfer.
    columns : int, optional
        Weights per activation; otherwise as many as fit.
    activation, weight : Int
        Formats.
    multiplier : (int, int)
        Widths of the signed factors of the multiplier.
    registers : int
        0 to 3: after the products, the tree, and the accumulator's adder.

    Attributes
    ----------
    spacing : int
        Bits from one field to the next.

    Members
    -------
    i : In(stream)
        ``activations`` by lane, ``weights`` by lane and column; ``clear``, ``last``.
    o : Out(stream)
        Sums of the group by column.
    """

    def __init__(self, group=16, *, lanes=1, columns=None, activation=Int(8), weight=Int(4),
                 multiplier=(18, 18), registers=1):
        check_mac(group=group, lanes=lanes, registers=registers)
        if columns is not None:
            check_positive("Columns", columns)
        check_integers(activation=activation, weight=weight)
        if not isinstance(multiplier, tuple) or len(multiplier) != 2:
            raise TypeError(f"Multiplier must be a pair of widths, not {multiplier!r}")
        for width in multiplier:
            check_positive("Width of the multiplier", width)
        self.group, self.lanes, self.registers = group, lanes, registers
        self.activation, self.weight, self.multiplier = activation, weight, multiplier
        self.latency = registers
        products = product_range(span(weight), span(activation))
        most = 0
        while self._fits(products, most + 1):
            most += 1
        size = " x ".join(map(str, multiplier))
        if not most:
            raise ValueError(f"Activation and weight must fit a multiplier of {size} bits, "
                             f"not {activation.name} and {weight.name}")
        if columns is not None and columns > most:
            raise ValueError(f"Columns must be at most {most} for {weight.name} x "
                             f"{activation.name} in a multiplier of {size} bits, not {columns!r}")
        self.columns = columns or most
        self.spacing = spacing_of(products, self.columns)
        self.word_shape = range_shape(*repeated(span(weight), self.spacing, self.columns))
        self.product_shape = range_shape(*repeated(products, self.spacing, self.columns))
        self.sum_shape = sum_shape(*products, group * lanes)
        super().__init__(mac_ports({
            "activations": data.ArrayLayout(shape_of(activation), lanes),
            "weights": data.ArrayLayout(data.ArrayLayout(shape_of(weight), self.columns), lanes),
        }, data.ArrayLayout(self.sum_shape, self.columns)))

    def _fits(self, products, columns):
        word = range_shape(*repeated(span(self.weight), spacing_of(products, columns), columns))
        factors = [word, shape_of(self.activation)]
        # An unsigned factor needs a sign bit where the other is signed.
        signed = any(shape.signed for shape in factors)
        widths = [shape.width + (signed and not shape.signed) for shape in factors]
        return all(width <= limit for width, limit in
                   zip(sorted(widths), sorted(self.multiplier), strict=True))

    @property
    def formats(self):
        return {"activations": self.activation.name, "weights": self.weight.name}

    def elaborate(self, platform):
        m = Module()
        columns = [[] for _ in range(self.columns)]
        for k, (weights, a) in enumerate(zip(self.i.p.weights, self.i.p.activations, strict=True)):
            word = Signal(self.word_shape, name=f"word_{k}")
            product = Signal(self.product_shape, name=f"product_{k}")
            m.d.comb += [word.eq(pack(list(weights), self.spacing)), product.eq(word * a)]
            for column, field in zip(columns, unpack(product, self.spacing, self.columns),
                                     strict=True):
                column.append(field)
        column_sums(m, self, columns, add=_add)
        return m


def _add(fields):
    """Sum of fields, the borrows given back in the adders of the tree."""
    values, borrows = zip(*fields, strict=True)
    return tree_sum(values, [borrow for borrow in borrows if borrow is not None])
