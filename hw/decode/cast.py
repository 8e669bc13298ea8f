# SPDX-License-Identifier: Apache-2.0
"""Cast of any scalar format to a minifloat."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Log2, Minifloat
from ..arithmetic import check_int, check_positive
from ..fixed.to_minifloat import check_overflow, normalise, round_code
from ..pipeline import Pipeline
from .operand import check_scalar, decode, is_inf, is_nan

__all__ = ["Cast", "cast"]


def cast(m, code, source, target, *, shift=0, overflow="saturate"):
    """Code of ``target`` for a code of ``source`` times ``2 ** shift``, rounded half to even once.

    NaN and Inf are kept where ``target`` has them; what NaN becomes where it has none is not
    defined.

    Parameters
    ----------
    m : Module
        Gets the intermediate values.
    code : Value
    source : scalar format
    target : Minifloat
    shift : int
    overflow : {"saturate", "ieee"}
        What becomes of Inf and of values that round beyond the greatest finite one: that, or Inf
        (NaN where there is no Inf).
    """
    sign, exponent, integer = decode(source, code)
    # The significand's top bit counts 2 ** (shift of the least normal number).
    place = len(integer) - 2 + source.lsb + shift + target.bias
    significand, left = normalise(m, integer, exponent + C(place, signed(16)), target)
    result = round_code(m, sign, significand, left, target, overflow)
    special = target.max_code
    if overflow == "ieee":
        special = target.nan_code if target.inf_code is None else target.inf_code
    infinity = Cat(C(special, target.bits - 1), sign)
    if target.specials == "fnuz" and overflow == "ieee":
        infinity = C(special, target.bits)
    result = Mux(is_inf(source, code), infinity, result)
    return Mux(is_nan(source, code), target.nan_code or 0, result)[:target.bits]


class Cast(wiring.Component):
    """Cast of any scalar format to a minifloat, by a power of two: FP4 to FP8 and the like.

    ``o = target(source(i) * 2 ** shift)``, rounded once, half to even. From FP4 to FP8 it is exact
    while the exponent stays in range [1]_.

    :Latency: :attr:`latency` cycles, if never stalled.
    :Throughput: one transfer per cycle.
    :Backpressure: ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] Wu et al., ZeroQuant-FP: A leap forward in LLMs post-training W4A8 quantization using
       floating-point formats (2023), section 3; SPECS 3.

    Parameters
    ----------
    source : scalar format
        But not `Log2` with steps of the square root of two.
    target : Minifloat
    shift : int
        -1024 to 1024.
    overflow : {"saturate", "ieee"}
        To the greatest finite number; or to Inf, NaN where there is no Inf.
    lanes : int
        Codes per transfer.
    registers : int
        0 or 1, after the cast.

    Members
    -------
    i : In(stream)
        ``codes``, one per lane. NaN becomes NaN; where ``target`` has none it is not to be sent.
    o : Out(stream)
        ``codes``.
    """

    def __init__(self, source, target, *, shift=0, overflow="saturate", lanes=1, registers=0):
        check_scalar("Source", source)
        if isinstance(source, Log2) and source.sqrt2:
            raise ValueError(f"Source must have values without roots, not {source.name}")
        if not isinstance(target, Minifloat):
            raise TypeError(f"Target must be a Minifloat, not {target!r}")
        check_overflow(target, overflow)
        check_int("Shift", shift, -1024, 1024)
        check_positive("Lanes", lanes)
        check_int("Registers", registers, 0, 1)
        self.source, self.target, self.shift, self.overflow = source, target, shift, overflow
        self.lanes, self.registers, self.latency = lanes, registers, registers
        super().__init__({
            side: port(stream.Signature(data.StructLayout({
                "codes": data.ArrayLayout(fmt.bits, lanes)})))
            for side, port, fmt in (("i", In, source), ("o", Out, target))
        })

    @property
    def formats(self):
        return {"codes": self.source.name, "o": self.target.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        # Stage 1: cast.
        codes = Cat(cast(m, code, self.source, self.target, shift=self.shift,
                         overflow=self.overflow) for code in self.i.p.codes)
        pipe.output(pipe.register(codes=codes, when=self.registers >= 1))
        return m
