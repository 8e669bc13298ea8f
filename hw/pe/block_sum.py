# SPDX-License-Identifier: Apache-2.0
"""Exact dot products of short vectors of codes: the inside of a block."""

from amaranth.hdl import Cat, Const, Mux, Signal

from ...quant.formats import Fixed, Int, Minifloat
from ..arithmetic import product_range, sum_shape, wire
from ..decode import ranges, signed_operand
from .booth import booth_product, booth_rows
from .rows import Row, add_rows

__all__ = [
    "block_product", "block_sum", "block_sum_shape", "check_element", "product_rows",
    "significand_product",
]


def check_element(name, fmt):
    """Check the format of elements; TypeError for what is none."""
    if not isinstance(fmt, (Minifloat, Int, Fixed)):
        raise TypeError(f"{name} must be a Minifloat, an Int or a Fixed, not {fmt!r}")


def block_sum_shape(a_format, b_format, size):
    """Shape of `block_sum`, wide enough for the worst case."""
    return sum_shape(*product_range(ranges(a_format).value, ranges(b_format).value), size)


def block_sum(m, a, b, a_format, b_format):
    """``sum(a[k] * b[k])``, exact, in units of ``2 ** (a_format.lsb + b_format.lsb)``.

    No product is completed on its own: signs, shifts and Booth digits leave `Row` s, and what their
    complements lack enters the adders' carries.

    Parameters
    ----------
    m : Module
        Gets the intermediate values.
    a, b : list of Value
        Codes. What those of NaN and Inf count for is not defined.
    a_format, b_format : Minifloat, Int or Fixed

    Returns
    -------
    Value
        Of the shape `block_sum_shape`.
    """
    rows = [row for pair in zip(a, b, strict=True)
            for row in product_rows(m, *pair, a_format, b_format)]
    total = Signal(block_sum_shape(a_format, b_format, len(a)), name="block_sum")
    m.d.comb += total.eq(add_rows(rows))
    return total


def block_product(m, a, b, a_format, b_format):
    """The product of two codes, see `block_sum`."""
    return block_sum(m, [a], [b], a_format, b_format)


def product_rows(m, a, b, a_format, b_format):
    """The product of two codes as a list of `Row`.

    The rows of two integers are those of their Booth digits. Otherwise there is one row: the
    product of the significands, complemented where the signs differ, then shifted by the sum of the
    exponents, the sign coming in at both ends.
    """
    floats = [isinstance(fmt, Minifloat) for fmt in (a_format, b_format)]
    if not any(floats):
        a, b = (signed_operand(fmt, code).integer for fmt, code in ((a_format, a), (b_format, b)))
        return booth_rows(a, b) if len(a) < len(b) else booth_rows(b, a)
    if all(floats):
        a_sign, a_exponent, a = _fields(a_format, a)
        b_sign, b_exponent, b = _fields(b_format, b)
        sign = wire(m, a_sign ^ b_sign, "sign")
        exponent = wire(m, a_exponent + b_exponent, "exponent")
        product = significand_product(m, a, b)
        above = sign
    else:
        if floats[1]:
            a, b, a_format, b_format = b, a, b_format, a_format
        sign, exponent, a = _fields(a_format, a)
        number = signed_operand(b_format, b).integer
        product = booth_product(wire(m, a, "significand"), wire(m, number, "integer"))
        width = len(a) + len(number)
        product = wire(m, product[:width], "product")
        negative = product[-1] if number.shape().signed else Const(0, 1)
        above = wire(m, sign ^ negative, "above")
    product = wire(m, product ^ sign.replicate(len(product)), "product")
    # An exponent field of 0 counts as 1: the least exponent is 1 for each float.
    low = sum(floats)
    high = sum(_greatest_exponent(fmt) for fmt in (a_format, b_format)
               if isinstance(fmt, Minifloat))
    shifted = _shift(m, product, exponent, low, high, below=sign, above=above)
    return [Row(0, Cat(shifted, above).as_signed(), sign)]


def significand_product(m, a, b):
    """Product of two unsigned values by LUTs of their halves, down to two bits by two."""
    width = len(a) + len(b)
    if len(a) == 1 or len(b) == 1:
        return Mux(a, b, 0)[:len(b)] if len(a) == 1 else Mux(b, a, 0)[:len(a)]
    if width == 4:
        both = a[0] & b[0]
        return Cat(both, (a[0] & b[1]) ^ (a[1] & b[0]), a[1] & b[1] & ~both, both & a[1] & b[1])
    half = (max(len(a), len(b)) + 1) // 2
    low = significand_product(m, a[:half], b[:half])
    cross = []
    if len(a) > half:
        cross.append(significand_product(m, a[half:], b[:half]))
    if len(b) > half:
        cross.append(significand_product(m, a[:half], b[half:]))
    high = []
    if len(cross) == 2:
        high.append(significand_product(m, a[half:], b[half:]))
    low = wire(m, low, "low")
    low = Cat(low, Const(0, max(0, 2 * half - len(low)))) if high else low
    total = Cat(low[half:], *high) + sum(cross)
    return wire(m, Cat(low[:half], total)[:width], "significands")


def _fields(fmt, code):
    """Sign, exponent field, 1 where it is 0, and significand of a minifloat."""
    mantissa, exponent = code[:fmt.mantissa_bits], code[fmt.mantissa_bits:fmt.bits - 1]
    normal = exponent.any()
    return code[fmt.bits - 1], Cat(exponent[0] | ~normal, exponent[1:]), Cat(mantissa, normal)


def _greatest_exponent(fmt):
    """Greatest exponent field of a finite number, at least 1."""
    return max(fmt.max_code >> fmt.mantissa_bits, 1)


def _shift(m, value, amount, low, high, *, below, above):
    """``value << amount >> low``, with the bit ``below`` coming in below and ``above`` above.

    Parameters
    ----------
    amount : Value
        From ``low`` to ``high``.
    """
    if low == high:
        return value
    # Fine: by less than a step, bit after bit of the amount. A step is as long as leaves each bit
    # of the result but two sources, which with two bits of control fit a LUT.
    width, fine = len(value), 0
    while width - 1 > 1 << fine and 1 << fine <= high:
        value = wire(m, Mux(amount[fine], Cat(below.replicate(1 << fine), value),
                            Cat(value, above.replicate(1 << fine))), f"fine_{1 << fine}")
        fine += 1
    step, coarse, steps = 1 << fine, amount[fine:], high >> fine
    if not steps:
        return value[low:]
    # Coarse: by whole steps.
    result = []
    for part in range(-(-(width + high) // step)):
        first = coarse == part if part <= steps else Const(0, 1)
        second = coarse == part - 1 if 0 < part <= steps + 1 else Const(0, 1)
        outside = above if above is below else Mux(coarse > part, below, above)
        shifted = wire(m, first | second, f"shifted_{part}")
        choice = wire(m, Mux(shifted, second, outside), f"choice_{part}")
        for k in range(step):
            bits = [value[j] if j < len(value) else above for j in (k, k + step)]
            result.append(Mux(shifted, Mux(choice, bits[1], bits[0]), choice))
    return Cat(*result[low:width + high])
