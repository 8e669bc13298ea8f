# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch

from carrysave.hw.pe import mx_dot as hw_mx_dot
from carrysave.hw.pe.block_sum import check_element
from carrysave.hw.pe.mx_dot import MXDot
from carrysave.hw.pe.rows import Row
from carrysave.quant.formats import Block, BlockCodes, Exponent, Fixed, Int, Minifloat, get
from carrysave.quant.golden.mx_dot import mx_dot
from carrysave.sim.prove import prove
from carrysave.sim.reference.mx_dot import cores, expected, stimulus
from carrysave.sim.stimulus import random
from carrysave.sim.units import run_vectors

from ..units import cells, check

E4M3, E5M2 = get("e4m3"), get("e5m2")


def block(element, size=4, **kwargs):
    return Block(element if not isinstance(element, str) else get(element), size=size, **kwargs)


UNITS = {
    "mixed": (block("e4m3"), block("e2m1")),
    "integer times float": (block(Int(4)), block("e5m2")),
    "float times unsigned": (block("e3m2", 3), block(Int(3, signed=False), 3)),
    "one lane, no register": (block("e5m2", 1), None, 0),
    "odd bias": (block(Minifloat(3, 4, 2, "ieee"), 3), None, 4),
    "fnuz": (block(Minifloat(4, 3, 8, "fnuz")), block(Fixed(5, 2, overflow="SAT"))),
    "no mantissa": (block("e3m0"), block(Minifloat(1, 2))),
    "narrow scales": (block(Int(6), scale=Exponent(4)), block(Int(3), scale=Exponent(5, 20))),
    "two levels": (Block(get("e2m1"), E4M3, 4), None, 5),
    "one and two levels": (block("e2m3"), Block(Int(4, narrow=True), E4M3, 4), 1),
}


def build(name):
    a, b, *registers = UNITS[name]
    return MXDot(a, b, **({"registers": registers[0]} if registers else {}))


def transfers(unit, count, seed=0):
    """Random blocks in vectors of 1 to 5, and what must come out."""
    rng = np.random.default_rng(seed)
    inputs = stimulus(unit, rng, count)
    inputs["clear"] = (rng.random(count) < 0.05).astype(int)
    inputs["last"] = (rng.random(count) < 0.4).astype(int)
    inputs["last"][-1] = 1
    wanted = expected(unit, inputs).tolist()
    columns = {name: values.tolist() for name, values in inputs.items()}
    return [dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)], wanted


@pytest.mark.parametrize("name, stall", [
    *((name, 0.0) for name in UNITS), ("two levels", 0.5), ("one lane, no register", 0.5)])
def test_vectors(name, stall, compared):
    unit = build(name)
    inputs, wanted = transfers(unit, 40)
    cycles = check(unit, inputs, wanted, stall=stall)
    if not stall:
        ends = [k for k, transfer in enumerate(inputs) if transfer["last"]]
        assert cycles == [end + unit.latency for end in ends]
    compared(len(wanted))


def test_many_vectors(compared):
    unit = build("two levels")
    (arrow,) = run_vectors(unit, [random(unit, terms=40_000)])
    assert arrow.mismatches == 0, arrow.first
    compared(arrow.compared)


@pytest.mark.parametrize("name", [
    "mixed", "integer times float", "float times unsigned", "odd bias", "no mantissa",
    "narrow scales"])
def test_parts_are_proved(name, compared):
    found = [core for core in cores(build(name)) if not core.name.startswith("sum")]
    for core in found:
        assert prove(core).status == "proved", core.name
    compared(len(found))


@pytest.mark.parametrize("name", ["mxfp8_e5m2", "nvfp4", "nvint4", "mxint8"])
def test_what_is_expected_is_what_the_golden_function_gives(name, compared):
    fmt = get(name)
    unit = MXDot(fmt)
    inputs, wanted = transfers(unit, 30)
    start, found = 0, []
    for k, transfer in enumerate(inputs):
        start = k if transfer["clear"] else start
        if not transfer["last"]:
            continue
        vector = inputs[start:k + 1]
        scale = np.array(transfer.get("tensor_scale", 0x3F800000), np.uint32).view(np.float32)
        a, b = (BlockCodes(np.array([t[side] for t in vector], np.uint8).reshape(-1),
                           np.array([t[f"{side}_scale"] for t in vector], np.uint8),
                           fmt.size * len(vector), tensor)
                for side, tensor in (("a", 1.0), ("b", float(scale))))
        result = mx_dot(fmt, a, fmt, b)
        found.append(0x7FC00000 if result.isnan() else result.view(torch.int32).item() & 0xFFFFFFFF)
        start = k + 1
    assert found == wanted
    compared(len(found))


def test_subnormal_blocks_and_overflow(compared):
    """1 * 2 ** -149, which is the least; half of it, to even; infinity; 0 stays +0."""
    unit = MXDot(block(Int(4), 1))
    one = {"a": [1], "b": [1], "clear": 0, "last": 1}
    cases = [((0, 105), 1), ((0, 104), 0), ((254, 254), 0x7F800000), ((127, 127), 0x3F800000),
             ((255, 0), 0x7FC00000)]
    inputs = [{**one, "a_scale": a, "b_scale": b} for (a, b), _ in cases]
    inputs.append({**one, "a": [15], "a_scale": 0, "b_scale": 0})
    check(unit, inputs, [wanted for _, wanted in cases] + [0])
    compared(len(inputs))


def test_latency():
    assert [MXDot(block("e2m1"), registers=n).latency for n in range(5)] == [0, 1, 2, 3, 4]
    assert MXDot(get("nvfp4"), registers=5).latency == 5


def test_no_multiplier(compared):
    found = cells(MXDot(block("e4m3")))
    assert "$mul" not in found
    compared(found.total())


@pytest.mark.parametrize("fmt, ordinary", [
    (get("nvfp4"), True), (get("nvint4"), True), (get("mxfp4"), False), (get("mxint8"), False),
    # Least term 2 ** -126 and 2 ** -127; a greatest sum of 2 ** 127; Inf.
    (Block(Int(4, narrow=True), Minifloat(5, 2, bias=62, specials="fnuz"), 4), True),
    (Block(Int(4, narrow=True), Minifloat(5, 2, bias=63, specials="fnuz"), 4), False),
    (Block(Int(4, narrow=True), Minifloat(5, 2, bias=-16, specials="fnuz"), 4), False),
    (Block(get("e5m2"), E4M3, 4), False),
], ids=str)
def test_sums_that_are_never_subnormal_nor_infinite(fmt, ordinary, compared):
    unit = MXDot(fmt, registers=0)
    assert unit.ordinary == ordinary
    low, _ = unit.exponents
    assert not ordinary or np.float32(2.0 ** low).view(np.uint32) >> 23
    compared(1)


def without_carry(m, a, b, *formats):
    return [Row(row.place, row.value) for row in product_rows(m, a, b, *formats)]


product_rows, fp32_sum = hw_mx_dot.product_rows, hw_mx_dot.fp32_sum


@pytest.mark.parametrize("name, wrong", [
    ("product_rows", without_carry),
    ("fp32_sum", lambda m, a, b, **kwargs: fp32_sum(m, b, b)),
    ("special_products", lambda m, pairs, a, b: [~pairs[0][0][0] & pairs[0][0][0]] * 3),
])
def test_a_wrong_part_is_found(name, wrong, monkeypatch):
    unit = MXDot(block("e5m2", 2))
    inputs, wanted = transfers(unit, 100)
    monkeypatch.setattr(hw_mx_dot, name, wrong)
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        check(unit, inputs, wanted)


@pytest.mark.parametrize("arguments, error, message", [
    (("mxfp4",), TypeError, "A format must be a Block, not 'mxfp4'"),
    ((block("e2m1"), 4), TypeError, "B format must be a Block, not 4"),
    ((block("e2m1", 8), block("e2m1", 4)), ValueError,
     "Both formats must have the same block size, not 8 and 4"),
    ((block(Minifloat(9, 2)),), ValueError,
     "A format must have elements of at most 8 exponent bits, not 9"),
    ((block(Int(17)),), ValueError, "A format must have elements of at most 16 bits, not 17"),
    ((Block(get("e2m1"), E5M2, 4),), ValueError,
     "A format must have scales without infinities, not e5m2"),
    ((block("e2m1"), None, 5), ValueError, "Registers must be 0 to 4, not 5"),
    ((block("e2m1"), None, True), TypeError, "Registers must be an integer, not True"),
    ((get("nvfp4"), None, 6), ValueError, "Registers must be 0 to 5, not 6"),
])
def test_parameters_wrong(arguments, error, message):
    a, b, registers = (*arguments, None, None)[:3] if len(arguments) < 3 else arguments
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        MXDot(a, b, **({} if registers is None else {"registers": registers}))


def test_element_wrong():
    with pytest.raises(TypeError, match=r"^Element must be a Minifloat, an Int or a Fixed, not 3$"):
        check_element("Element", 3)
