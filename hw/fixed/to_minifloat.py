# SPDX-License-Identifier: Apache-2.0
"""Exact integers to floating point of any small width, rounded once."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Minifloat
from ..arithmetic import check_choice, check_int, check_positive, shift_right_jam, wire
from ..pipeline import Pipeline

__all__ = ["ToMinifloat", "magnitude_of", "normalise", "round_code", "to_minifloat"]

OVERFLOWS = ("saturate", "ieee")


def to_minifloat(m, integer, exponent, fmt, overflow="saturate", *, sticky=0, exponents=None):
    """Code of ``integer * 2 ** exponent``, rounded half to even once.

    Parameters
    ----------
    m : Module
        Gets the intermediate values.
    integer : Value
        0 becomes +0.
    exponent : int or Value
    fmt : Minifloat
    overflow : {"saturate", "ieee"}
        What becomes of values that round beyond the greatest finite one: that, or Inf (NaN where
        there is no Inf).
    sticky : Value
        1 where the magnitude is a little more than that of ``integer``, by less than one.
    exponents : (int, int), optional
        Least and greatest ``exponent``, if that is known better than by its shape.

    Returns
    -------
    Value
        Of ``fmt.bits`` bits.
    """
    check_overflow(fmt, overflow)
    sign, magnitude = magnitude_of(m, integer)
    shift = _shift(exponent, len(magnitude), fmt, exponents)
    significand, shift = normalise(m, magnitude, shift, fmt)
    return round_code(m, sign, significand, shift, fmt, overflow, sticky=sticky)


def magnitude_of(m, integer):
    """Sign and unsigned magnitude of a Value."""
    if not integer.shape().signed:
        return C(0, 1), integer
    sign = integer[-1]
    return sign, wire(m, Mux(sign, -integer, integer)[:len(integer)], "magnitude")


def normalise(m, significand, shift, fmt, *, limit=True):
    """Shift a significand left until its top bit is one, but no further than ``shift`` allows.

    The point of a significand follows its top bit: a number is ``significand * 2 ** shift`` times
    the least normal number of ``fmt``.

    Parameters
    ----------
    m : Module
    significand : Value
        Unsigned.
    shift : int or Value
    limit : bool
        False where no number is subnormal: ``shift`` always allows what is needed.

    Returns
    -------
    significand, shift : Value
        ``shift`` is 0 or less where the number is subnormal, else the top bit is one; or the number
        is 0.
    """
    width = len(significand)
    if isinstance(shift, int) and shift < 0:
        # Subnormal whatever the significand is: zeros above it.
        zeros = min(-shift, fmt.mantissa_bits + 2)
        return Cat(significand, C(0, zeros)), C(0, 1)
    shift = C(shift) if isinstance(shift, int) else wire(m, shift, "shift")
    negative = shift[-1] if shift.shape().signed else C(0, 1)
    left = shift[:-1] & ~negative.replicate(len(shift) - 1) if shift.shape().signed else shift
    stages = (min(width - 1, shift.value) if isinstance(shift, Const) else width - 1).bit_length()
    # Stage k shifts by 2 ** k; `more` where `shift` allows at least 2 ** (k + 1).
    more, taken = left[stages:].any(), []
    for k in reversed(range(stages)):
        step, bit = 1 << k, left[k] if k < len(left) else C(0, 1)
        allowed = more | bit if limit else C(1, 1)
        take = wire(m, ~significand[width - step:].any() & allowed, f"left_{step}")
        significand = wire(m, Mux(take, significand << step, significand)[:width], "significand")
        more = more | (bit & ~take)
        taken.insert(0, take)
    rest = (shift - Cat(*taken))[:len(shift)]
    return significand, wire(m, rest.as_signed() if shift.shape().signed else rest, "shift")


def round_code(m, sign, significand, shift, fmt, overflow="saturate", *, sticky=0):
    """Code of a normalised number, see `normalise`, rounded half to even.

    Exponent field and mantissa are rounded as one integer: a carry out of the mantissa increments
    the exponent, and an even code is even. ``overflow`` is None where there can be none.
    """
    mantissa_bits = fmt.mantissa_bits
    # Significand of mantissa_bits + 1 bits, half of its last bit, and whether there is less.
    kept_bits = mantissa_bits + 2
    if len(significand) < kept_bits:
        significand = Cat(C(0, kept_bits - len(significand)), significand)
    kept, less = significand[-kept_bits:], significand[:-kept_bits].any() | sticky
    if shift.shape().signed:
        # Below the least normal number: to the right.
        right = wire(m, Mux(shift < 0, -shift, 0)[:len(shift)], "right")
        kept = wire(m, shift_right_jam(m, Cat(less, kept), right), "jammed")
        kept, less, shift = kept[1:], kept[0], shift[:-1]
    kept = wire(m, kept, "kept")
    exponent = Mux(kept[-1], shift + 1, 0)
    code = wire(m, Cat(kept[1:-1], exponent), "code")
    rounded = wire(m, code + (kept[0] & (less | code[0])), "rounded")
    # Beyond the greatest number.
    special = fmt.max_code
    if overflow == "ieee":
        special = fmt.nan_code if fmt.inf_code is None else fmt.inf_code
    if overflow is not None and (1 << len(shift)) + 1 << mantissa_bits > fmt.max_code:
        rounded = wire(m, Mux(rounded > fmt.max_code, special, rounded), "rounded")
    rounded = Cat(rounded, C(0, fmt.bits))[:fmt.bits]
    if fmt.specials == "fnuz":  # no -0, and NaN in its place
        return Cat(rounded[:-1], (sign & rounded[:-1].any()) | rounded[-1])
    return Cat(rounded[:-1], sign)


def check_overflow(fmt, overflow):
    """Check a format and its overflow; ValueError where it has nothing to overflow to."""
    if not isinstance(fmt, Minifloat):
        raise TypeError(f"Format must be a Minifloat, not {fmt!r}")
    check_choice("Overflow", overflow, OVERFLOWS)
    if overflow == "ieee" and fmt.inf_code is None and fmt.nan_code is None:
        raise ValueError(
            f"Overflow must be 'saturate', not 'ieee': {fmt.name} has neither Inf nor NaN")


def _shift(exponent, width, fmt, exponents=None):
    """What `normalise` calls the shift of an integer of ``width`` bits times ``2 ** exponent``."""
    offset = width - 2 + fmt.bias
    shift = exponent + offset
    if exponents is None or isinstance(shift, int):
        return shift
    low, high = (end + offset for end in exponents)
    shape = Shape.cast(range(low, high + 1))
    shift = shift[:shape.width]
    return shift.as_signed() if shape.signed else shift


class ToMinifloat(wiring.Component):
    """Exact sums to floating point, rounded once.

    ``o.codes[k]`` is the code nearest to ``integers[k] * 2 ** exponent``, or
    ``… * 2 ** exponents[k]``; ties go to the even code. Subnormal results are kept.

    The leading zeros are shifted out in as many stages as their count has bits; one rounding of
    exponent and mantissa together follows, as in HardFloat [1]_.

    :Latency: :attr:`latency`, the number of registers.
    :Throughput: one transfer per cycle.
    :Backpressure: the pipeline stalls as one; ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] Hauser, Berkeley HardFloat, release 1 (RoundAnyRawFNToRecFN); SPECS 1 and 3.

    Parameters
    ----------
    fmt : Minifloat
    integer : Shape
        Of the integers.
    exponent : int or (int, int)
        Of all integers; or least and greatest of what comes with each.
    overflow : {"saturate", "ieee"}
        To the greatest finite number; or to Inf, NaN where there is no Inf.
    lanes : int
    registers : int
        0 to 3: after the normalisation, after the rounding, after the magnitudes.

    Members
    -------
    i : In(stream)
        ``integers`` by lane, and ``exponents`` unless there is but one.
    o : Out(stream)
        ``codes`` by lane.
    """

    def __init__(self, fmt=Minifloat(4, 3, specials="ocp"), *, integer=signed(32), exponent=0,
                 overflow="saturate", lanes=1, registers=1):
        check_overflow(fmt, overflow)
        integer = Shape.cast(integer)
        check_int("Width of integers", integer.width, 1, 512)
        ends = exponent if isinstance(exponent, tuple) else (exponent,)
        for end in ends:
            check_int("Exponent", end, -2048, 2048)
        if isinstance(exponent, tuple) and (len(ends) != 2 or ends[0] > ends[1]):
            raise ValueError(f"Exponent must be one, or the least and the greatest, "
                             f"not {exponent!r}")
        self.exponents = exponent if isinstance(exponent, tuple) else None
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 3)
        self.fmt, self.integer, self.exponent, self.overflow = fmt, integer, exponent, overflow
        self.lanes, self.registers, self.latency = lanes, registers, registers
        fields = {"integers": data.ArrayLayout(integer, lanes)}
        if self.exponents:
            low, high = self.exponents
            fields["exponents"] = data.ArrayLayout(Shape.cast(range(low, high + 1)), lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(fields))),
            "o": Out(stream.Signature(data.StructLayout({
                "codes": data.ArrayLayout(fmt.bits, lanes)}))),
        })

    @property
    def formats(self):
        return {"codes": self.fmt.name}

    def elaborate(self, platform):
        m = Module()
        fmt, width, i = self.fmt, self.integer.width, self.i.p
        pipe = Pipeline(m, self)
        # Stage 1: sign and magnitude.
        signs, magnitudes = zip(*(magnitude_of(m, x) for x in i.integers), strict=True)
        exponents = list(i.exponents) if self.exponents else [self.exponent] * self.lanes
        shifts = [_shift(e, width, fmt, self.exponents) for e in exponents]
        values = {"sign": list(signs), "magnitude": list(magnitudes)}
        if self.exponents:
            signs, magnitudes, shifts = pipe.register(
                **values, shift=shifts, when=self.registers >= 3)
        else:
            signs, magnitudes = pipe.register(**values, when=self.registers >= 3)
        # Stage 2: normalise.
        pairs = [normalise(m, x, shift, fmt) for x, shift in zip(magnitudes, shifts, strict=True)]
        significands, shifts = map(list, zip(*pairs, strict=True))
        signs, significands, shifts = pipe.register(
            sign=signs, significand=significands, shift=shifts, when=self.registers >= 1)
        # Stage 3: round.
        codes = [round_code(m, *parts, fmt, self.overflow)
                 for parts in zip(signs, significands, shifts, strict=True)]
        pipe.output(Cat(*pipe.register(code=codes, when=self.registers >= 2)))
        return m
