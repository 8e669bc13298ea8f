# SPDX-License-Identifier: Apache-2.0
"""Decoder of any scalar format."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Exponent, Log2, Minifloat
from ..arithmetic import check_int, check_positive
from ..pipeline import Pipeline
from .operand import check_scalar, decode, is_inf, is_nan, is_odd, ranges

__all__ = ["Decoder", "operand_layout", "operand_payload"]


def operand_layout(fmt):
    """Layout of an operand: ``sign``, ``exponent``, ``integer``, and the flags that apply.

    ``nan`` and ``inf`` where the format has such codes; ``odd`` where values may have the square
    root of two as a factor.
    """
    exponent, integer, _ = ranges(fmt)
    flags = [name for name, has in (("nan", isinstance(fmt, (Exponent, Minifloat))
                                     and fmt.nan_code is not None),
                                    ("inf", isinstance(fmt, Minifloat) and fmt.specials == "ieee"),
                                    ("odd", isinstance(fmt, Log2) and fmt.sqrt2)) if has]
    return data.StructLayout({
        "sign": 1,
        "exponent": max(exponent[1].bit_length(), 1),
        "integer": max(-integer[0], integer[1], 1).bit_length(),
        **dict.fromkeys(flags, 1),
    })


def operand_payload(fmt, code):
    """The operand of a code, as a Value of the bits of `operand_layout`."""
    layout = operand_layout(fmt)
    parts = {**decode(fmt, code)._asdict(), "nan": is_nan(fmt, code), "inf": is_inf(fmt, code),
             "odd": is_odd(fmt, code)}
    return Cat(parts[key].as_unsigned()[:field.width] for key, field in layout)


class Decoder(wiring.Component):
    """Codes of any scalar format as sign, exponent and integer.

    A code is worth ``(-1) ** sign * integer * 2 ** (exponent + lsb)``, with the lsb of the format.
    The integer is 0 for NaN and Inf, and the exponent of what has none is 0.

    :Latency: :attr:`latency` cycles, if never stalled.
    :Throughput: one transfer per cycle.
    :Backpressure: ``i.ready`` follows ``o.ready`` combinationally.

    Parameters
    ----------
    fmt : Int, Fixed, Minifloat, Exponent, Flint, AbFloat, Log2 or Codebook
    lanes : int
        Codes per transfer.
    registers : int
        0 or 1, after the decoders.

    Members
    -------
    i : In(stream)
        ``codes``, one per lane. What comes of codes beyond a codebook's table is not defined.
    o : Out(stream)
        One operand per lane: ``sign``, ``exponent``, ``integer``; ``nan``, ``inf`` where the format
        has them; ``odd`` where the value is the operand's times the square root of two.
    """

    def __init__(self, fmt, *, lanes=1, registers=0):
        check_scalar("Format", fmt)
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 1)
        self.fmt, self.lanes, self.registers = fmt, lanes, registers
        self.latency = registers
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "codes": data.ArrayLayout(fmt.bits, lanes)}))),
            "o": Out(stream.Signature(data.ArrayLayout(operand_layout(fmt), lanes))),
        })

    @property
    def formats(self):
        return {"codes": self.fmt.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: decode.
        operands = Cat(operand_payload(self.fmt, code) for code in self.i.p.codes)
        pipe.output(pipe.register(operands=operands, when=self.registers >= 1))
        return m
