# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
from amaranth.hdl import Const, Shape, signed

from carrysave.hw.arithmetic import range_shape
from carrysave.hw.pe import minifloat_mac as hw_mac
from carrysave.hw.pe.minifloat_mac import MinifloatMAC
from carrysave.quant import formats
from carrysave.quant.formats import Fixed, Int, Log2, Minifloat
from carrysave.sim.prove import prove
from carrysave.sim.reference import reference
from carrysave.sim.stimulus import random, worst
from carrysave.sim.units import run_vectors

from ..units import check

get = formats.get
PAIRS = [
    (Minifloat(3, 4, bias=2), Minifloat(2, 3)), (get("e4m3"), Int(4, signed=False)),
    (get("e5m2"), get("e2m1")), (get("e4m3_fnuz"), Fixed(5, 1)), (get("flint4"), Int(6)),
    (get("abfloat_e2m1b3"), get("e3m0")), (Log2(4), get("nf4")), (get("fp16"), Int(8)),
    (get("fp32"), get("e2m1")), (Int(1, signed=False), Int(1, signed=False)),
    (get("e8m0"), get("e2m1")), (Minifloat(1, 3, specials="ieee"), Int(2)),
]
pairs = pytest.mark.parametrize("a, b", PAIRS, ids=lambda fmt: fmt.name)


def transfers(unit, *stimuli):
    """Transfers as a list, and the sums."""
    inputs, wanted = [], []
    for stimulus in stimuli:
        columns = {key: np.asarray(x).tolist() for key, x in stimulus.inputs.items()}
        inputs += [dict(zip(columns, row, strict=True))
                   for row in zip(*columns.values(), strict=True)]
        wanted += np.asarray(reference(unit).expected(unit, stimulus.inputs)).tolist()
    return inputs, wanted


@pairs
@pytest.mark.parametrize("lanes, group", [(1, 1), (3, 5)])
def test_groups(a, b, lanes, group, compared):
    unit = MinifloatMAC(a, b, group, lanes=lanes, registers=lanes)
    inputs, wanted = transfers(unit, worst(unit), random(unit, 120))
    cycles = check(unit, inputs, wanted)
    ends = [k for k, transfer in enumerate(inputs) if transfer["last"]]
    assert cycles == [end + unit.latency for end in ends] and unit.latency == lanes
    compared(len(wanted))


@pairs
def test_sum_is_as_wide_as_its_worst_case(a, b, compared):
    unit = MinifloatMAC(a, b, 7, lanes=3)
    codes = [fmt.codes() if fmt.bits <= 16 else np.array([0, fmt.max_code, fmt.max_code | 1 << 31])
             for fmt in (a, b)]
    ends = [[int(value) for value in fmt.decode(each)] for fmt, each in zip((a, b), codes,
                                                                           strict=True)]
    products = [x * y * 21 for x in (min(ends[0]), max(ends[0])) for y in (min(ends[1]),
                                                                          max(ends[1]))]
    assert unit.sum_shape == range_shape(min(*products, 0), max(products))
    compared(len(products))


@pytest.mark.parametrize("result", [get("fp16"), get("e5m2"), Minifloat(2, 2)],
                         ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("registers", [0, 4])
def test_rounded_once(result, registers, compared):
    unit = MinifloatMAC(get("e4m3"), get("e2m3"), 4, lanes=2, registers=registers, result=result)
    inputs, wanted = transfers(unit, worst(unit), random(unit, 400))
    cycles = check(unit, inputs, wanted)
    assert unit.latency == registers and unit.o.p.shape() == Shape(result.bits, False)
    first = next(k for k, transfer in enumerate(inputs) if transfer["last"])
    assert cycles[0] == first + registers
    compared(len(wanted))


def test_in_the_batch_simulator(compared):
    unit = MinifloatMAC(Minifloat(3, 4, bias=2), Minifloat(2, 3), 9, lanes=3, registers=2)
    arrows = run_vectors(unit)
    assert [arrow.mismatches for arrow in arrows] == [0, 0]
    compared(sum(arrow.compared for arrow in arrows))


def test_preshift(compared):
    """LLM-FP4: the bias of a channel shifts its products."""
    unit = MinifloatMAC(get("e2m1"), Int(4), 3, lanes=2, preshift=5)
    inputs, wanted = transfers(unit, worst(unit), random(unit, 400))
    assert max(transfer["shifts"][0] for transfer in inputs) == 5
    check(unit, inputs, wanted)
    one = {"a": [2, 0], "b": [3, 0], "shifts": [5, 0], "clear": 0, "last": 1}
    assert check(unit, [one], [2 * 3 << 5])
    assert unit.sum_shape == range_shape(-12 * 8 * 32 * 6, 12 * 8 * 32 * 6)
    compared(len(wanted))


def test_codes_of_nan_and_inf_count_as_zero(compared):
    unit = MinifloatMAC(get("e5m2"), get("e4m3"), 1)
    transfer = {"clear": 0, "last": 1}
    codes = (0x7C, 0x38), (0x7F, 0x38), (0x3C, 0xFF)
    found = [{"a": [a], "b": [b], **transfer} for a, b in codes]
    check(unit, found, [0, 0, 0])
    compared(3)


@pytest.mark.parametrize("a, b", [PAIRS[k] for k in (2, 4, 6)], ids=lambda fmt: fmt.name)
def test_proved(a, b, compared):
    unit = MinifloatMAC(a, b)
    found = {core.name: prove(core).status for core in reference(unit).cores(unit)}
    assert found == dict.fromkeys(("decode_a", "decode_b", "product"), "proved")
    compared(1 << a.bits + b.bits)


def test_known_widths(compared):
    """FP8: products of 37 bits, sums of 128 transfers of 16."""
    unit = MinifloatMAC(get("e4m3"), group=128, lanes=16)
    assert (unit.product_shape, unit.sum_shape) == (signed(37), signed(48))
    compared(2)


@pytest.mark.parametrize("wrong", [
    lambda right, a, b: right(a, b) + 1,
    lambda right, a, b: right({**a, "sign": Const(0, 1)}, b),  # a sign lost
    lambda right, a, b: right(a, b) >> 1 << 1,  # the last place lost
])
def test_a_wrong_product_is_found(wrong, monkeypatch, compared):
    right, fmt = hw_mac.product, Minifloat(2, 1)
    monkeypatch.setattr(hw_mac, "product", lambda a, b, shift=None: wrong(right, a, b))
    unit = MinifloatMAC(fmt, fmt, 3, lanes=2)
    inputs, wanted = transfers(unit, random(unit, 600))
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: .* instead of "):
        check(unit, inputs, wanted)
    compared(len(wanted))


@pytest.mark.parametrize("kwargs, error, message", [
    ({"a_format": 8}, TypeError, "A format must be a scalar format, not 8"),
    ({"b_format": "e2m1"}, TypeError, "B format must be a scalar format, not 'e2m1'"),
    ({"a_format": Log2(4, sqrt2=True)}, ValueError,
     "A format must have values without roots, not logsqrt2_4"),
    ({"result": Int(8)}, TypeError, f"Result must be a Minifloat, not {Int(8)!r}"),
    ({"group": 0}, TypeError, "Group must be a positive integer, not 0"),
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
    ({"registers": 5, "result": get("fp16")}, ValueError, "Registers must be 0 to 4, not 5"),
    ({"preshift": -1}, ValueError, "Preshift must be 0 to 64, not -1"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        MinifloatMAC(**kwargs)
