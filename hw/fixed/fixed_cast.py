# SPDX-License-Identifier: Apache-2.0
"""Casts between fixed-point formats."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Fixed
from ..arithmetic import check_int, check_positive, wire
from ..pipeline import Pipeline
from .rounding import round_up, split

__all__ = ["FixedCast", "binary_ports", "check_fixed", "fixed_cast", "fixed_shape",
           "result_format"]


def check_fixed(name, fmt):
    """Check that a parameter is a fixed-point format."""
    if not isinstance(fmt, Fixed):
        raise TypeError(f"{name} must be a Fixed, not {fmt!r}")


def result_format(rule, a, b):
    """Format of an exact result, by the method of `Fixed` that is named."""
    check_fixed("A", a)
    check_fixed("B", b)
    try:
        return getattr(a, rule)(b)
    except ValueError as error:
        raise ValueError(f"No format holds the {rule} of {a.name} and {b.name}: {error}") from None


def fixed_shape(fmt):
    """Shape of the integers of a format, in units of ``2 ** fmt.lsb``."""
    return Shape(fmt.width, fmt.signed)


def binary_ports(a, b, result, lanes):
    """Members of a unit with two operands: ``a`` and ``b`` on ``i``, ``results`` on ``o``."""
    def by_lane(fmt):
        return data.ArrayLayout(fixed_shape(fmt), lanes)

    return {
        "i": In(stream.Signature(data.StructLayout({"a": by_lane(a), "b": by_lane(b)}))),
        "o": Out(stream.Signature(data.StructLayout({"results": by_lane(result)}))),
    }


def fixed_cast(m, value, source, target):
    """An integer of one format as the integer of another.

    Parameters
    ----------
    m : Module
        Gets the intermediate values.
    value : Value
        In units of ``2 ** source.lsb``.
    source, target : Fixed
        Rounding and overflow are the target's.

    Returns
    -------
    Value
        Of the target's shape.
    """
    return bring_into_range(round_to(m, value, source, target), target)


def round_to(m, value, source, target):
    """The integer in units of ``2 ** target.lsb``, as wide as it gets."""
    value = Value.cast(value)
    shift = target.lsb - source.lsb
    if shift <= 0:
        # What would leave the result at the top altogether may as well leave it by one bit.
        shifted = value << min(-shift, target.width + 1)
        return wire(m, shifted, "shifted")
    floor, half, less = split(value, shift)
    negative = value[-1] if value.shape().signed else C(0, 1)
    up = round_up(target.rounding, odd=floor[0], half=half, less=less, negative=negative)
    return wire(m, floor if isinstance(up, Const) else floor + up, "rounded")


def bring_into_range(number, target):
    """An integer in the range of a format, by its kind of overflow."""
    width, shape = target.width, number.shape()
    wanted = fixed_shape(target)
    missing = width + 1 - len(number)
    sign = number[-1] if shape.signed else C(0, 1)
    bits = Cat(number, sign.replicate(missing)) if missing > 0 else number
    kept, above = bits[:width], bits[width:]
    if target.overflow == "WRAP_SM":
        kept = kept ^ (above[0] ^ kept[-1]).replicate(width)
    elif target.overflow != "WRAP":
        if target.signed:
            beyond = Mux(sign, ~(above.all() & kept[-1]), above.any() | kept[-1])
            limit = Cat((~sign).replicate(width - 1), sign)
        else:
            beyond = sign | above.any()
            limit = (~sign).replicate(width)
        if target.overflow == "SAT_SYM" and target.signed:
            beyond |= sign & ~kept[:-1].any()  # the exact minimum
            limit = Cat(~sign | (width > 1), limit[1:]) if width > 1 else C(0, 1)
        if target.overflow == "SAT_ZERO":
            limit = C(0, width)
        kept = Mux(beyond, limit, kept)
    return kept.as_signed() if wanted.signed else kept


class FixedCast(wiring.Component):
    """Fixed-point numbers in another format: rounded, then brought into range.

    ``o.results[k]`` is ``values[k]`` as ``ap_fixed`` casts it: one bit is added to the integer that
    is cut off, by one of seven rules; then what is too great wraps or saturates, by one of
    five [1]_.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] AMD UG1399, Vitis HLS User Guide, quantization and overflow modes of ``ap_fixed``;
       SPECS 1.

    Parameters
    ----------
    source, target : Fixed
        Rounding and overflow are the target's.
    lanes : int
    registers : int
        0 to 2: after the overflow, after the rounding.

    Members
    -------
    i : In(stream)
        ``values`` by lane, integers in units of ``2 ** source.lsb``.
    o : Out(stream)
        ``results`` by lane, in units of ``2 ** target.lsb``.
    """

    def __init__(self, source=Fixed(16, 8), target=Fixed(8, 4, True, "RND_CONV", "SAT"), *,
                 lanes=1, registers=1):
        check_fixed("Source", source)
        check_fixed("Target", target)
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 2)
        self.source, self.target = source, target
        self.lanes, self.registers, self.latency = lanes, registers, registers
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "values": data.ArrayLayout(fixed_shape(source), lanes)}))),
            "o": Out(stream.Signature(data.StructLayout({
                "results": data.ArrayLayout(fixed_shape(target), lanes)}))),
        })

    @property
    def formats(self):
        return {"values": self.source.name, "results": self.target.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: round.
        numbers = pipe.register(
            number=[round_to(m, value, self.source, self.target) for value in self.i.p.values],
            when=self.registers >= 2)
        # Stage 2: bring into range.
        results = pipe.register(
            result=[bring_into_range(number, self.target) for number in numbers],
            when=self.registers >= 1)
        pipe.output(Cat(*results))
        return m
