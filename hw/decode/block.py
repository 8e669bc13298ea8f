# SPDX-License-Identifier: Apache-2.0
"""Decoder of blocks that share a scale: MX, NVFP4, NVINT4, block floating point."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Block
from ..arithmetic import check_int, check_positive, range_shape
from ..pipeline import Pipeline
from .decoder import operand_layout, operand_payload
from .operand import SignedOperand, is_nan, ranges, signed_operand

__all__ = ["BlockDecoder", "block_scale", "scale_ranges"]


def block_scale(fmt, code):
    """The scale of a block, that of the elements' own unit included.

    An element ``e`` of the block is worth ``e * integer * 2 ** exponent``, for ``e`` as
    ``element.decode`` gives it.

    Returns
    -------
    SignedOperand
        ``exponent`` is signed; ``integer`` is 1 for powers of two, and 0 for NaN.
    """
    exponent, integer = signed_operand(fmt.scale, code)
    return SignedOperand(exponent + (fmt.scale.lsb + fmt.element.lsb), integer)


def scale_ranges(fmt):
    """Exponent and integer ranges of `block_scale`."""
    exponent, integer, _ = ranges(fmt.scale)
    unit = fmt.scale.lsb + fmt.element.lsb
    return (exponent[0] + unit, exponent[1] + unit), integer


class BlockDecoder(wiring.Component):
    """Elements of a block as operands, and the scale that they share.

    ``(-1) ** sign * integer * 2 ** exponent`` of an element, times ``scale.integer * 2 **
    scale.exponent``, is the element's value, or that by the scale of the tensor in two-level
    formats [1]_ [2]_.

    :Latency: :attr:`latency` cycles, if never stalled.
    :Throughput: one transfer per cycle.
    :Backpressure: ``i.ready`` follows ``o.ready`` combinationally.

    .. [1] OCP Microscaling Formats (MX) v1.0, section 5; SPECS 2.
    .. [2] NVIDIA, Pretraining large language models with NVFP4 (2025), section 3.

    Parameters
    ----------
    fmt : Block
    lanes : int, optional
        Elements per transfer, all of one block; default the block's size.
    registers : int
        0 or 1, after the decoders.

    Members
    -------
    i : In(stream)
        ``codes`` of the elements, one per lane; ``scale``.
    o : Out(stream)
        ``elements``: ``sign``, ``exponent``, ``integer``, and ``nan``, ``inf`` where the format has
        them. ``scale``: ``exponent``, ``integer``. ``nan``: the scale is NaN, and so is every
        element.
    """

    def __init__(self, fmt, *, lanes=None, registers=0):
        if not isinstance(fmt, Block):
            raise TypeError(f"Format must be a Block, not {fmt!r}")
        lanes = fmt.size if lanes is None else lanes
        check_positive("Lanes", lanes)
        if lanes > fmt.size:
            raise ValueError(f"Lanes must be at most {fmt.size}, a block, not {lanes!r}")
        check_int("Registers", registers, 0, 1)
        self.fmt, self.lanes, self.registers = fmt, lanes, registers
        self.latency = registers
        exponent, integer = scale_ranges(fmt)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "codes": data.ArrayLayout(fmt.element.bits, lanes), "scale": fmt.scale.bits}))),
            "o": Out(stream.Signature(data.StructLayout({
                "elements": data.ArrayLayout(operand_layout(fmt.element), lanes),
                "scale": data.StructLayout({
                    "exponent": range_shape(*exponent), "integer": range_shape(*integer)}),
                "nan": 1}))),
        })

    @property
    def formats(self):
        return {"codes": self.fmt.element.name, "scale": self.fmt.scale.name}

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self)
        block = Signal(self.o.p.shape(), name="block")
        # Stage 1: decode.
        exponent, integer = block_scale(self.fmt, self.i.p.scale)
        m.d.comb += [
            Value.cast(block.elements).eq(
                Cat(operand_payload(self.fmt.element, code) for code in self.i.p.codes)),
            block.scale.exponent.eq(exponent),
            block.scale.integer.eq(integer),
            block.nan.eq(is_nan(self.fmt.scale, self.i.p.scale)),
        ]
        pipe.output(pipe.register(block=block, when=self.registers >= 1))
        return m
