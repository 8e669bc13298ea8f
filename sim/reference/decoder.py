# SPDX-License-Identifier: Apache-2.0
"""The decoder against the operands of its format."""

import numpy as np
from amaranth.hdl import Array, Const, Mux, unsigned

from ...hw.arithmetic import range_shape
from ...hw.decode.decoder import operand_layout
from ...hw.decode.operand import decode, is_inf, is_nan, is_odd, signed_operand
from ...quant.formats import Codebook, Fixed, Int, Minifloat
from ..prove import Core

__all__ = ["cores", "domain", "expected", "integer_operand", "operands", "scalar_cores", "table"]

TABLE_BITS = 10


def operands(fmt, codes):
    """Fields of the operands of codes, by the format's own decoder."""
    codes = np.asarray(codes)
    sign, exponent, integer = fmt.operands(codes)
    nan, inf = fmt.is_nan(codes), fmt.is_inf(codes)
    fields = {"sign": sign, "exponent": exponent, "integer": np.where(nan | inf, 0, integer),
              "nan": nan, "inf": inf}
    if hasattr(fmt, "is_odd"):
        fields["odd"] = fmt.is_odd(codes)
    return {key: fields[key] for key, _ in operand_layout(fmt)}


def expected(unit, inputs):
    return operands(unit.fmt, inputs["codes"])


def domain(unit):
    return {"codes": unit.fmt.codes()} if isinstance(unit.fmt, Codebook) else {}


def table(numbers, code):
    """The number at a place, as a Value."""
    numbers = [int(number) for number in numbers]
    shape = range_shape(min(*numbers, 0), max(*numbers, 1))
    return Array([Const(number, shape) for number in numbers])[code]


def integer_operand(fmt, code):
    """Exponent and signed integer of a code, by table."""
    if isinstance(fmt, (Int, Fixed)):
        return 0, code.as_signed() if fmt.signed else code
    rows = operands(fmt, fmt.codes())
    return (table(rows["exponent"], code),
            table(np.where(rows["sign"], -rows["integer"], rows["integer"]), code))


def scalar_cores(fmt, name="decode"):
    """Proofs of the functions of a format: value, sign and flags of every code.

    Codes of few bits answer to a table of what the format says of each; integers to their bits;
    wide minifloats to a choice of significands, one for each exponent.
    """
    def implementation(code):
        sign, exponent, integer = decode(fmt, code)
        found = {"sign": sign, "magnitude": integer << exponent}
        taken = signed_operand(fmt, code)
        found["value"] = taken.integer << taken.exponent
        flags = {"nan": is_nan, "inf": is_inf, "odd": is_odd}
        return found | {key: flags[key](fmt, code) for key, _ in operand_layout(fmt)
                        if key in flags}

    if isinstance(fmt, (Int, Fixed)):
        def number(code):
            value = code.as_signed() if fmt.signed else code
            return {"sign": value < 0, "magnitude": abs(value), "value": value}
        specification = number
        says = "the code's two's complement" if fmt.signed else "the code"
    elif isinstance(fmt, Minifloat) and fmt.bits > TABLE_BITS:
        def on_the_line(code):
            m, e = fmt.mantissa_bits, fmt.exponent_bits
            mantissa, exponent, sign = code[:m], code[m:m + e], code[-1]
            # By the number line: each exponent doubles the step.
            line = [mantissa, *(mantissa + (1 << m) << k for k in range((1 << e) - 1))]
            special = fmt.specials == "ieee"
            if special:
                line[-1] = Const(0)
            top = exponent == (1 << e) - 1
            magnitude = Array(line)[exponent]
            found = {"sign": sign, "magnitude": magnitude,
                     "value": Mux(sign, -magnitude, magnitude)}
            flags = {"nan": top & (mantissa != 0), "inf": top & (mantissa == 0)}
            return found | (flags if special else {})
        specification = on_the_line
        says = "mantissa and exponent of IEEE 754"
        if fmt.specials not in ("none", "ieee"):
            return
    elif fmt.bits <= TABLE_BITS:
        codes = fmt.codes()
        values = [int(value) for value in fmt.decode(codes)]
        rows = operands(fmt, codes)

        def listed(code):
            found = {"sign": table(rows["sign"], code),
                     "magnitude": table(map(abs, values), code), "value": table(values, code)}
            return found | {key: table(rows[key], code) for key in rows
                            if key not in ("sign", "exponent", "integer")}
        specification = listed
        says = "the value that the format gives each code"
    else:
        return
    count = len(fmt.codes()) if fmt.bits <= TABLE_BITS else 1 << fmt.bits
    yield Core(name, {"code": unsigned(fmt.bits)}, implementation, specification, says=says,
               assume=None if count == 1 << fmt.bits else lambda code: code < count)


def cores(unit):
    yield from scalar_cores(unit.fmt)
