# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Shape, Signal
from amaranth.sim import Simulator

from carrysave.hw.decode import decoder as hw_decoder
from carrysave.hw.decode import ranges, signed_operand
from carrysave.hw.decode.decoder import Decoder
from carrysave.quant import formats
from carrysave.quant.formats import (
    AbFloat,
    Codebook,
    Exponent,
    Fixed,
    Flint,
    Int,
    Log2,
    Minifloat,
)
from carrysave.sim.prove import prove
from carrysave.sim.reference.decoder import expected, scalar_cores
from carrysave.sim.units import run_vectors

from ..units import check

SMALL = [
    Int(2), Int(8), Int(5, narrow=True), Int(1, signed=False), Int(6, signed=False),
    Fixed(1, 1), Fixed(7, -3), Fixed(5, 9, False),
    Minifloat(2, 1), Minifloat(3, 4, bias=2), Minifloat(1, 0), Minifloat(1, 3), Minifloat(3, 0),
    Minifloat(4, 3, specials="ocp"), Minifloat(5, 2, specials="ieee"),
    Minifloat(4, 3, 8, "fnuz"), Minifloat(2, 0, specials="fnuz"), Minifloat(1, 3, specials="ieee"),
    Minifloat(3, 0, specials="ieee"), Minifloat(3, 0, specials="ocp"),
    Exponent(), Exponent(2), Exponent(4, 3), Flint(),
    AbFloat(2, 1, 2), AbFloat(4, 3, 4, 1 << 15), AbFloat(1, 0), AbFloat(2, 2, 0, 40),
    AbFloat(2, 3, 16), Log2(2), Log2(4), Log2(8), Log2(2, True), Log2(4, True),
    formats.get("nf4"), Codebook((1.0, 2.5, -3.0)), Codebook((0.0, 0.0)),
]
named = {"ids": lambda fmt: fmt.name}


def every_code(fmt, unit):
    codes = fmt.codes()
    inputs = [{"codes": [int(code)] * unit.lanes} for code in codes]
    fields = expected(unit, {"codes": codes[:, None]})
    rows = zip(*(np.asarray(field)[:, 0].tolist() for field in fields.values()), strict=True)
    return inputs, [[dict(zip(fields, map(int, row), strict=True))] * unit.lanes for row in rows]


@pytest.mark.parametrize("fmt", SMALL, **named)
def test_every_code(fmt, compared):
    unit = Decoder(fmt)
    inputs, wanted = every_code(fmt, unit)
    assert check(unit, inputs, wanted) == list(range(len(wanted)))
    compared(len(wanted))


@pytest.mark.parametrize("fmt", SMALL, **named)
def test_operands_fill_their_ranges(fmt, compared):
    """No width is more than the numbers need."""
    m, code = Module(), Signal(fmt.bits)
    operand = signed_operand(fmt, code)
    parts = [Signal(part.shape(), name=f"part_{k}") for k, part in enumerate(operand)]
    m.d.comb += [signal.eq(part) for signal, part in zip(parts, operand, strict=True)]
    rows = []

    async def bench(ctx):
        for each in fmt.codes():
            ctx.set(code, int(each))
            rows.append([ctx.get(part) for part in parts])

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
    values = [integer << exponent for exponent, integer in rows]
    assert values == fmt.decode(fmt.codes()).tolist()
    columns = [*map(list, zip(*rows, strict=True)), values]
    assert [(min(column), max(column)) for column in columns] == list(ranges(fmt))
    for part, (low, high) in zip(operand, ranges(fmt), strict=False):
        assert part.shape().width <= max(Shape.cast(range(low, high + 1)).width, 1) + (low < 0)
    compared(len(rows))


@pytest.mark.parametrize("fmt", [Minifloat(5, 10, specials="ieee"), Fixed(16, 8)], **named)
def test_wide_codes(fmt, compared):
    arrows = run_vectors(Decoder(fmt, lanes=3, registers=1))
    assert [arrow.mismatches for arrow in arrows] == [0] * len(arrows)
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("fmt", [
    Minifloat(3, 4, bias=2), Minifloat(6, 5), AbFloat(2, 2, 0, 40), Log2(3, True), Int(16),
    Codebook((1.0, 2.5, -3.0)), Exponent(4, 3)], **named)
def test_proved(fmt, compared):
    found = [prove(core) for core in scalar_cores(fmt)]
    assert [proof.status for proof in found] == ["proved"]
    compared(1 << fmt.bits)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_latency_and_stalls(stall, compared):
    fmt = Minifloat(5, 2, specials="ieee")
    unit = Decoder(fmt, lanes=3, registers=1)
    inputs, wanted = every_code(fmt, unit)
    cycles = check(unit, inputs, wanted, stall_i=stall, stall_o=stall)
    assert stall or cycles == list(range(unit.latency, unit.latency + 256))
    assert unit.latency == 1
    compared(len(wanted))


def test_a_wrong_decoder_is_found(monkeypatch, compared):
    """The hidden bit of subnormals, once left in."""
    right = hw_decoder.decode

    def wrong(fmt, code):
        operand = right(fmt, code)
        return operand._replace(integer=operand.integer | Const(1 << fmt.mantissa_bits))

    monkeypatch.setattr(hw_decoder, "decode", wrong)
    found = run_vectors(Decoder(Minifloat(2, 3), lanes=3))
    assert found[0].mismatches >= 16 and found[0].first["element"] == 0
    compared(found[0].compared)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"fmt": "e2m1"}, TypeError, "Format must be a scalar format, not 'e2m1'"),
    ({"fmt": formats.get("olive4")}, TypeError,
     f"Format must be a scalar format, not {formats.get('olive4')!r}"),
    ({"fmt": Int(4), "lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"fmt": Int(4), "registers": 2}, ValueError, "Registers must be 0 to 1, not 2"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Decoder(**kwargs)
