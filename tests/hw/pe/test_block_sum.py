# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from amaranth.hdl import Module, Shape, Signal, signed, unsigned
from amaranth.sim import Simulator

from carrysave.hw.pe import block_sum as hw_block_sum
from carrysave.hw.pe.block_sum import block_sum, block_sum_shape, significand_product
from carrysave.hw.pe.booth import booth_product, booth_rows
from carrysave.hw.pe.rows import Row
from carrysave.quant.formats import Fixed, Int, Minifloat, get
from carrysave.sim.prove import Core, prove

PAIRS = [
    (get("e2m1"), get("e2m1")), (get("e4m3"), get("e4m3")), (get("e5m2"), get("e3m2")),
    (Int(8), Int(8)), (Int(3), Int(5, signed=False)), (Fixed(6, 2), get("e4m3")),
    (Minifloat(1, 2), Minifloat(3, 0)), (Int(1, signed=False), Minifloat(4, 3, 8, "fnuz")),
]


def finite(fmt):
    codes = fmt.codes()
    return codes[~(fmt.is_nan(codes) | fmt.is_inf(codes))]


def vectors(a_format, b_format, lanes, count=60):
    """Random codes, and the greatest products of either sign in all lanes."""
    rng = np.random.default_rng(1)
    found = []
    for fmt in (a_format, b_format):
        codes = finite(fmt)
        ends = [codes[np.argmax(fmt.decode(codes))], codes[np.argmin(fmt.decode(codes))]]
        found.append((codes[rng.integers(len(codes), size=(count, lanes))], ends))
    (a, a_ends), (b, b_ends) = found
    corners = [(x, y) for x in a_ends for y in b_ends]
    a = np.concatenate([a, [[x] * lanes for x, _ in corners]])
    b = np.concatenate([b, [[y] * lanes for _, y in corners]])
    return a, b


def run(a_format, b_format, a, b):
    """What the function gives for rows of codes, and the shape of it."""
    m = Module()
    x = [Signal(a_format.bits) for _ in range(a.shape[1])]
    y = [Signal(b_format.bits) for _ in range(b.shape[1])]
    total = block_sum(m, x, y, a_format, b_format)
    found = []

    async def bench(ctx):
        for row_a, row_b in zip(a.tolist(), b.tolist(), strict=True):
            for signal, code in zip(x + y, row_a + row_b, strict=True):
                ctx.set(signal, code)
            found.append(ctx.get(total))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return found, total.shape()


def exact(a_format, b_format, a, b):
    return [sum(int(x) * int(y) for x, y in zip(p, q, strict=True))
            for p, q in zip(a_format.decode(a).tolist(), b_format.decode(b).tolist(), strict=True)]


@pytest.mark.parametrize("a_format, b_format", PAIRS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_sums(a_format, b_format, lanes, compared):
    a, b = vectors(a_format, b_format, lanes)
    wanted = exact(a_format, b_format, a, b)
    found, shape = run(a_format, b_format, a, b)
    assert found == wanted
    assert shape == block_sum_shape(a_format, b_format, lanes)
    compared(len(found))


def test_shape_of_the_published_widths():
    """SPECS 3: 32 products of E2M1 in 14 bits; products of E5M2 of 64 bits and a sign."""
    assert block_sum_shape(get("e2m1"), get("e2m1"), 32) == Shape(14, True)
    assert block_sum_shape(get("e5m2"), get("e5m2"), 1) == Shape(65, True)


@pytest.mark.parametrize("name, wrong", [
    ("_shift", lambda m, value, amount, low, high, *, below, above: value),
    ("significand_product", lambda m, a, b: a),
    ("Row", lambda place, value, carry: Row(place, value)),
])
def test_a_wrong_part_is_found(name, wrong, monkeypatch, compared):
    fmt = get("e4m3")
    a, b = vectors(fmt, fmt, 3)
    monkeypatch.setattr(hw_block_sum, name, wrong)
    found, _ = run(fmt, fmt, a, b)
    assert found != exact(fmt, fmt, a, b)
    compared(len(found))


@pytest.mark.parametrize("a, b", [(1, 1), (1, 4), (2, 2), (2, 3), (3, 3), (3, 5), (4, 4), (5, 6)])
def test_products_of_significands_are_proved(a, b):
    def product(x, y):
        m = Module()
        return {"parts": m}, significand_product(m, x, y)

    core = Core("product", {"x": a, "y": b}, product, lambda x, y: x * y)
    assert prove(core).status == "proved"


@pytest.mark.parametrize("weight, activation", [
    (unsigned(1), signed(3)), (signed(2), signed(4)), (unsigned(2), unsigned(3)),
    (signed(3), unsigned(4)), (unsigned(3), signed(4)), (signed(4), signed(8)),
    (unsigned(4), signed(5)), (signed(5), unsigned(1)), (unsigned(5), unsigned(5)),
    (signed(6), signed(6)), (unsigned(6), signed(4)),
], ids=str)
def test_booth_products_are_proved(weight, activation):
    core = Core("product", {"w": weight, "a": activation},
                lambda w, a: booth_product(w, a), lambda w, a: w * a)
    assert prove(core).status == "proved"


def test_half_as_many_rows_as_bits():
    counts = {shape: len(booth_rows(Signal(shape), Signal(signed(8))))
              for shape in (signed(4), signed(5), signed(8), unsigned(3), unsigned(4))}
    assert list(counts.values()) == [2, 3, 4, 2, 3]
