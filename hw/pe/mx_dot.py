# SPDX-License-Identifier: Apache-2.0
"""Dot product of block formats (MX, NVFP4): exact in a block, blocks combined in FP32."""

from amaranth import *
from amaranth.lib import data, wiring

from ...quant.formats import Block, Minifloat
from ..arithmetic import check_int, wire
from ..decode import is_inf, is_nan
from ..fixed.fp32_add import fp32_sum
from ..fixed.fp32_multiply import fp32_product
from ..fixed.ieee import FP32
from ..fixed.to_minifloat import to_minifloat
from ..pipeline import Pipeline
from .block_sum import block_sum_shape, product_rows, significand_product
from .booth import booth_product
from .mac import mac_ports
from .rows import add_rows

__all__ = ["MXDot", "product_of_scales", "scaled_block", "special_products"]

# Most of an element: its codes can be listed, and a sum has some 2 ** 9 bits.
BITS, EXPONENT_BITS = 16, 8


class MXDot(wiring.Component):
    """Dot product of two vectors in a block format, such as MXFP8 or NVFP4.

    ``o = sum(round(sum(a[k] * b[k]) * a_scale * b_scale))``: the inner sum over a block, which is
    one transfer, and exact; the outer over the blocks up to ``last``, ascending from +0, each sum
    in FP32 [1]_. All rounding is half to even, subnormals are kept, every NaN is 0x7fc00000.
    Formats whose tensors have a scale of their own multiply the result by ``tensor_scale`` at last,
    in FP32.

    :Latency: :attr:`latency` cycles from the last block of a vector, if never stalled.
    :Throughput: one block per cycle; the next vector follows without a gap.
    :Backpressure: the pipeline stalls while a result waits; ``i.ready`` follows ``o.ready``
        combinationally.

    .. [1] OCP Microscaling Formats (MX) v1.0, section 6.2; the order and FP32 are SPECS 3.

    Parameters
    ----------
    a_format, b_format : Block
        Of the same block size; the second is the first if it is not given.
    registers : int
        0 to 4: after the products, the exact sum, its rounding, and the FP32 sum; 5: after the
        product with ``tensor_scale``, where there is one.

    Members
    -------
    i : In(stream)
        ``a`` and ``b``, codes of the elements; ``a_scale`` and ``b_scale``, of the block's scales;
        ``clear``, ``last``. With the last block of a vector ``tensor_scale``, the product of both
        tensors' scales as an FP32 code, where the scales are minifloats.
    o : Out(stream)
        FP32 code.
    """

    group = 32  # blocks of the vectors that it is tried with; there may be more

    def __init__(self, a_format, b_format=None, *, registers=3):
        b_format = a_format if b_format is None else b_format
        for name, fmt in ("A format", a_format), ("B format", b_format):
            _check_block(name, fmt)
        if a_format.size != b_format.size:
            raise ValueError("Both formats must have the same block size, "
                             f"not {a_format.size} and {b_format.size}")
        self.two_level = a_format.two_level or b_format.two_level
        check_int("Registers", registers, 0, 5 if self.two_level else 4)
        self.a_format, self.b_format = a_format, b_format
        self.lanes, self.registers, self.latency = a_format.size, registers, registers
        self.sum_shape = block_sum_shape(a_format.element, b_format.element, a_format.size)
        # Every term is a multiple of 2 ** low, and less than 2 ** top. A sum that has grown by 25
        # bits takes no more of them, however many there are.
        low, high = exponents_of(a_format, b_format)
        top = high + self.sum_shape.width
        for fmt in a_format, b_format:
            top += 1 + fmt.scale.mantissa_bits if isinstance(fmt.scale, Minifloat) else 0
        infinite = any(getattr(fmt.element, "inf_code", None) for fmt in (a_format, b_format))
        self.ordinary = (not infinite and low >= FP32.lsb + FP32.mantissa_bits
                         and top + FP32.mantissa_bits + 2 < FP32.bias)
        super().__init__(mac_ports({
            "a": data.ArrayLayout(a_format.element.bits, a_format.size),
            "b": data.ArrayLayout(b_format.element.bits, b_format.size),
            "a_scale": a_format.scale.bits, "b_scale": b_format.scale.bits,
            **({"tensor_scale": FP32.bits} if self.two_level else {}),
        }, FP32.bits))

    @property
    def formats(self):
        a, b = self.a_format, self.b_format
        return {"a": a.name, "b": b.name, "a_scale": a.scale.name, "b_scale": b.scale.name,
                **({"tensor_scale": FP32.name} if self.two_level else {}), "o": FP32.name}

    @property
    def exponents(self):
        """Least and greatest exponent of a block's sum, an integer, with its scales."""
        return exponents_of(self.a_format, self.b_format)

    def elaborate(self, platform):
        m = Module()
        i, registers = self.i.p, self.registers
        elements = self.a_format.element, self.b_format.element
        pipe = Pipeline(m, self)
        control = {"clear": i.clear, "last": i.last}
        if self.two_level:
            control["tensor_scale"] = i.tensor_scale

        # Stage 1: multiply elements, and scales.
        pairs = list(zip(i.a, i.b, strict=True))
        scale = product_of_scales(m, i.a_scale, i.b_scale, self.a_format.scale, self.b_format.scale)
        rows, specials, scale, *values = pipe.register(
            row=[row for pair in pairs for row in product_rows(m, *pair, *elements)],
            special=special_products(m, pairs, *elements), scale=scale, **control,
            when=registers >= 1)
        control = dict(zip(control, values, strict=True))
        # Stage 2: add up the block.
        total = Signal(self.sum_shape, name="block_sum")
        m.d.comb += total.eq(add_rows(rows))
        total, specials, scale, *values = pipe.register(
            total=total, special=specials, scale=scale, **control, when=registers >= 2)
        control = dict(zip(control, values, strict=True))
        # Stage 3: times the scales, rounded.
        term = wire(m, scaled_block(m, total, scale, self.a_format, self.b_format,
                                    specials=specials), "term")
        term, *values = pipe.register(term=term, **control, when=registers >= 3)
        control = dict(zip(control, values, strict=True))
        # Stage 4: accumulate.
        accumulator = Signal(FP32.bits)
        before = wire(m, Mux(control["clear"], 0, accumulator), "before")
        result = wire(m, fp32_sum(m, before, term, ordinary=self.ordinary), "sum")
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += accumulator.eq(Mux(control["last"], 0, result))
        pipe.keep(control["last"])
        if self.two_level:
            # Stage 5: times the tensors' scales.
            result, tensor_scale = pipe.register(
                sum=result, tensor_scale=control["tensor_scale"], when=registers >= 4)
            result = pipe.register(
                product=wire(m, fp32_product(m, result, tensor_scale, ordinary=self.ordinary),
                             "product"),
                when=registers >= 5)
        else:
            result = pipe.register(sum=result, when=registers >= 4)
        pipe.output(result)
        return m


def scaled_block(m, total, scale, a_format, b_format, *, specials=(0, 0, 0)):
    """FP32 code of a block's exact sum times its scales, rounded once.

    Parameters
    ----------
    m : Module
        Gets the intermediate values.
    total : Value
        In units of ``2 ** (a_format.element.lsb + b_format.element.lsb)``.
    scale : list
        From `product_of_scales`.
    a_format, b_format : Block
    specials : sequence of Value
        From `special_products`.
    """
    exponent, significand, negative, scale_nan = scale
    nan, plus, minus = (Value.cast(flag) for flag in specials)
    if significand is not None:
        product = wire(m, booth_product(significand, total), "scaled")
        total = wire(m, Mux(negative, -product, product), "signed")
    exponents = exponents_of(a_format, b_format)
    code = to_minifloat(m, total, exponent + exponents[0], FP32, "ieee", exponents=exponents)
    zero = Const(0, 1) if significand is None else ~significand.any()
    nan = scale_nan | nan | (plus & minus) | ((plus | minus) & zero)
    sign = Const(0, 1) if negative is None else negative
    infinity = Cat(Const(FP32.inf_code, FP32.bits - 1), minus ^ sign)
    return Mux(nan, FP32.nan_code, Mux(plus | minus, infinity, code))


def exponents_of(a_format, b_format):
    """Least and greatest exponent of a block's sum, an integer, with its scales."""
    lsb = a_format.element.lsb + b_format.element.lsb
    bounds = [_exponents(fmt.scale) for fmt in (a_format, b_format)]
    return tuple(sum(ends) + lsb for ends in zip(*bounds, strict=True))


def product_of_scales(m, a, b, a_format, b_format):
    """Product of two scales: exponent from 0, significand, sign, and whether it is NaN.

    Significand and sign are None where all scales are powers of two.
    """
    exponents, significands, signs = [], [], []
    for fmt, code in (a_format, a), (b_format, b):
        if isinstance(fmt, Minifloat):
            fields = code[fmt.mantissa_bits:-1]
            normal = fields.any()
            exponents.append((fields - normal)[:fmt.exponent_bits])
            significands.append(Cat(code[:fmt.mantissa_bits], normal))
            signs.append(code[-1])
        else:
            exponents.append(code)
    significand = negative = None
    if len(significands) == 2:
        significand = significand_product(m, *significands)
        negative = signs[0] ^ signs[1]
    elif significands:
        (significand,), (negative,) = significands, signs
    nan = is_nan(a_format, a) | is_nan(b_format, b)
    return [exponents[0] + exponents[1], significand, negative, nan]


def special_products(m, pairs, a_format, b_format):
    """Whether any product of codes is a NaN, plus infinity, minus infinity."""
    found = []
    for a, b in pairs:
        nans = [is_nan(a_format, a), is_nan(b_format, b)]
        infs = [is_inf(a_format, a), is_inf(b_format, b)]
        zeros = [_is_zero(a_format, a), _is_zero(b_format, b)]
        inf = wire(m, infs[0] | infs[1], "inf")
        nan = nans[0] | nans[1] | (infs[0] & zeros[1]) | (infs[1] & zeros[0])
        negative = _is_negative(a_format, a) ^ _is_negative(b_format, b)
        found.append((nan, inf & ~negative, inf & negative))
    return [wire(m, Cat(flags).any(), name)
            for flags, name in zip(zip(*found, strict=True), ("nan", "plus", "minus"), strict=True)]


def _is_zero(fmt, code):
    return ~(code[:-1] if isinstance(fmt, Minifloat) else code).any()


def _is_negative(fmt, code):
    return code[-1] if isinstance(fmt, Minifloat) or fmt.signed else Const(0, 1)


def _exponents(fmt):
    """Least and greatest exponent of a scale: of its last bit, where it has a significand."""
    if isinstance(fmt, Minifloat):
        return fmt.lsb, fmt.lsb + (1 << fmt.exponent_bits) - 2
    return -fmt.bias, (1 << fmt.bits) - 1 - fmt.bias


def _check_block(name, fmt):
    if not isinstance(fmt, Block):
        raise TypeError(f"{name} must be a Block, not {fmt!r}")
    element = fmt.element
    if element.bits > BITS:
        raise ValueError(f"{name} must have elements of at most {BITS} bits, not {element.bits}")
    if isinstance(element, Minifloat) and element.exponent_bits > EXPONENT_BITS:
        raise ValueError(f"{name} must have elements of at most {EXPONENT_BITS} exponent bits, "
                         f"not {element.exponent_bits}")
    if fmt.scale.inf_code is not None:
        raise ValueError(f"{name} must have scales without infinities, not {fmt.scale.name}")
