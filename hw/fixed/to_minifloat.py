# SPDX-License-Identifier: Apache-2.0
"""Exact integers to floating point of any small width, rounded once."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Minifloat
from ..arithmetic import check_choice, check_int, check_positive
from ..pipeline import Pipeline

__all__ = ["ToMinifloat", "magnitude_of", "normalise", "round_code", "to_minifloat"]

OVERFLOWS = ("saturate", "ieee")


def to_minifloat(integer, exponent, fmt, overflow="saturate", *, sticky=0, exponents=None):
    """Code of ``integer * 2 ** exponent``, rounded half to even once.

    Parameters
    ----------
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
    sign, magnitude = magnitude_of(integer)
    shift = _shift(exponent, len(magnitude), fmt, exponents)
    significand, shift = normalise(magnitude, shift, fmt)
    return round_code(sign, significand, shift, fmt, overflow, sticky=sticky)


def magnitude_of(integer):
    """Sign and unsigned magnitude of a Value."""
    if not integer.shape().signed:
        return C(0, 1), integer
    sign = integer[-1]
    return sign, Mux(sign, -integer, integer)[:len(integer)]


def normalise(significand, shift, fmt):
    """Shift a significand left until its top bit is one, but no further than ``shift`` allows.

    A significand's point follows its top bit: the number is worth ``significand * 2 ** shift``
    times the least normal number of ``fmt``.

    Parameters
    ----------
    significand : Value
        Unsigned.
    shift : int or Value

    Returns
    -------
    significand : Value
        As wide, or as rounding needs. Its top bit is one unless the number is 0 or subnormal.
    shift : Value
        0 or less for subnormal numbers.
    """
    width = len(significand)
    if isinstance(shift, int) and shift < 0:
        # Subnormal whatever the significand: the zeros above it are known.
        zeros = min(-shift, fmt.mantissa_bits + 2)
        return Cat(significand, C(0, zeros)), C(0, 1)
    shift = C(shift) if isinstance(shift, int) else shift
    signed_shift = shift.shape().signed
    left = shift[:-1] & ~shift[-1].replicate(len(shift) - 1) if signed_shift else shift
    most = width - 1
    if isinstance(shift, Const):
        most = min(most, shift.value)
    stages = most.bit_length()
    # One stage per bit of the count. `more`: at least the shifts of all later stages are left.
    more, taken = left[stages:].any() if len(left) > stages else C(0, 1), []
    for k in reversed(range(stages)):
        step, bit = 1 << k, left[k] if k < len(left) else C(0, 1)
        take = ~significand[width - step:].any() & (more | bit)
        significand = Mux(take, Cat(C(0, step), significand[:width - step]), significand)
        more = more | (bit & ~take)
        taken.insert(0, take)
    rest = (shift - Cat(*taken))[:len(shift)]
    return significand, rest.as_signed() if signed_shift else rest


def round_code(sign, significand, shift, fmt, overflow="saturate", *, sticky=0):
    """Code of a normalised number, see `normalise`, rounded half to even.

    Exponent field and mantissa are rounded as one integer: a carry out of the mantissa increments
    the exponent, and even is an even code.
    """
    m = fmt.mantissa_bits
    # Significand of m + 1 bits, the bit below, and whether there is more.
    width = len(significand)
    if width < m + 2:
        significand = Cat(C(0, m + 2 - width), significand)
    kept, rest = significand[-(m + 2):], significand[:-(m + 2)]
    sticky = (rest.any() if len(rest) else C(0, 1)) | sticky
    if shift.shape().signed:
        # Below the least normal number.
        right, far = (-shift)[:len(shift)], m + 2
        right = Mux(shift[-1], right, 0)
        if right.shape().width > far.bit_length():
            right = Mux(right > far, far, right)[:far.bit_length()]
        lost = Cat(*((right > k) & kept[k] for k in range(m + 2)))
        sticky = sticky | lost.any()
        kept = (kept >> right)[:m + 2]
        shift = shift[:-1]
    half, mantissa, hidden = kept[0], kept[1:m + 1], kept[m + 1]
    code = Cat(mantissa, Mux(hidden, shift + 1, 0))
    rounded = code + (half & (sticky | code[0]))
    return finish_code(sign, rounded, fmt, overflow, most=1 << len(shift) << m)


def finish_code(sign, magnitude, fmt, overflow, *, most):
    """Code of a sign and a magnitude code of unbounded exponent, up to ``most``."""
    if most > fmt.max_code:
        beyond = magnitude > fmt.max_code
        special = fmt.max_code
        if overflow == "ieee":
            special = fmt.nan_code if fmt.inf_code is None else fmt.inf_code
        magnitude = Mux(beyond, special, magnitude)
    if len(magnitude) < fmt.bits:
        magnitude = Cat(magnitude, C(0, fmt.bits - len(magnitude)))
    top = magnitude[fmt.bits - 1]
    magnitude = magnitude[:fmt.bits - 1]
    if fmt.specials == "fnuz":
        return Cat(magnitude, (sign & magnitude.any()) | (top if overflow == "ieee" else 0))
    return Cat(magnitude, sign)


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
        self.exponents = None if isinstance(exponent, int) else tuple(exponent)
        for end in self.exponents or (exponent,):
            check_int("Exponent", end, -2048, 2048)
        if self.exponents and (len(self.exponents) != 2 or self.exponents[0] > self.exponents[1]):
            raise ValueError(f"Exponent must be a number, or the least and the greatest, "
                             f"not {exponent!r}")
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
        signs, magnitudes = zip(*map(magnitude_of, i.integers), strict=True)
        exponents = list(i.exponents) if self.exponents else [self.exponent] * self.lanes
        shifts = [_shift(e, width, fmt, self.exponents) for e in exponents]
        values = {"sign": list(signs), "magnitude": list(magnitudes)}
        if self.exponents:
            signs, magnitudes, shifts = pipe.register(
                **values, shift=shifts, when=self.registers >= 3)
        else:
            signs, magnitudes = pipe.register(**values, when=self.registers >= 3)
        # Stage 2: normalise.
        pairs = [normalise(x, shift, fmt) for x, shift in zip(magnitudes, shifts, strict=True)]
        significands, shifts = map(list, zip(*pairs, strict=True))
        signs, significands, shifts = pipe.register(
            sign=signs, significand=significands, shift=shifts, when=self.registers >= 1)
        # Stage 3: round.
        codes = [round_code(*parts, fmt, self.overflow)
                 for parts in zip(signs, significands, shifts, strict=True)]
        pipe.output(Cat(*pipe.register(code=codes, when=self.registers >= 2)))
        return m
