# SPDX-License-Identifier: Apache-2.0
import random
import re

import pytest
from amaranth.hdl import Mux, Shape

from carrysave.hw.pe import mixpe as hw_mixpe
from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.post.group_scale import GroupScale
from carrysave.quant.formats import Int
from carrysave.quant.golden.mixpe import mixpe

from ..units import cells, check, check_everywhere
from .elements import proved, simulate, vectors

PARAMETERS = [
    (1, 1, Int(8)), (5, 2, Int(8)), (128, 1, Int(8)), (16, 3, Int(8)),
    (5, 3, Int(8, signed=False)), (128, 1, Int(8, signed=False)), (4, 2, Int(16)), (7, 1, Int(2)),
    (3, 1, Int(1, signed=False)), (9, 2, Int(8, narrow=True)),
]


def stimulus(groups):
    """Transfers and sums of groups, each a list of transfers of (activation, weight) by lane."""
    inputs = [
        {"activations": [a for a, _ in lanes], "weights": [w for _, w in lanes],
         "clear": 0, "last": int(k == len(group) - 1)}
        for group in groups for k, lanes in enumerate(group)
    ]
    expected = [
        int(mixpe(*zip(*(pair for lanes in group for pair in lanes), strict=True)))
        for group in groups
    ]
    return inputs, expected


def corners(unit):
    """Groups as long as the unit allows, of the same extreme pair."""
    return [
        [[(a, w)] * unit.lanes] * unit.group
        for a in (unit.activation.min, unit.activation.max) for w in (-8, 7)
    ]


def random_groups(unit, count, seed=0):
    rng, activation = random.Random(seed), unit.activation
    return [
        [[(rng.randint(activation.min, activation.max), rng.randrange(-8, 8))
          for _ in range(unit.lanes)] for _ in range(rng.randint(1, unit.group))]
        for _ in range(count)
    ]


def every_pair(activation):
    values = range(activation.min, activation.max + 1)
    return [[[(a, w)]] for a in values for w in range(-8, 8)]


@pytest.mark.parametrize("activation", [Int(8), Int(8, signed=False)], ids=lambda f: f.name)
def test_every_weight_and_activation(activation, compared):
    inputs, expected = stimulus(every_pair(activation))
    assert len(expected) == 16 * 256
    cycles = check(MixPE(1, activation=activation), inputs, expected)
    assert cycles == list(range(1, 4097))
    compared(4096)


@pytest.mark.parametrize("group, lanes, activation", PARAMETERS,
                         ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_groups(group, lanes, activation, stall, compared):
    unit = MixPE(group, lanes=lanes, activation=activation)
    groups = corners(unit) + random_groups(unit, 15) + corners(unit)
    inputs, expected = stimulus(groups)
    cycles = check(unit, inputs, expected, stall=stall)
    if not stall:  # one transfer per cycle, groups without a gap, `latency` after each last one
        ends = [k for k, transfer in enumerate(inputs) if transfer["last"]]
        assert cycles == [end + unit.latency for end in ends]
    compared(len(expected))


def test_every_simulator(compared):
    unit = MixPE(6, lanes=3)
    inputs, expected = stimulus(corners(unit) + random_groups(unit, 60))
    cycles = check_everywhere(unit, inputs, expected)
    assert cycles[0] == 6 - 1 + unit.latency
    compared(len(expected))


@pytest.mark.parametrize("group, lanes, activation", PARAMETERS,
                         ids=lambda value: getattr(value, "name", str(value)))
def test_sum_is_as_wide_as_its_worst_case(group, lanes, activation, compared):
    unit = MixPE(group, lanes=lanes, activation=activation)
    ends = stimulus(corners(unit))[1]
    assert unit.sum_shape == Shape.cast(range(min(ends), max(ends) + 1))
    compared(len(ends))


def test_published_widths(compared):
    """SPECS 3: product 12 bits signed, sum of a group of 128 19 bits."""
    unit = MixPE(128)
    assert (unit.product_shape, unit.sum_shape) == (Shape(12, True), Shape(19, True))
    compared(2)


@pytest.mark.parametrize("lanes", [1, 4])
def test_no_multiplier(lanes, compared):
    found = cells(MixPE(16, lanes=lanes))
    assert "$mul" not in found
    assert found["$add"] + found["$sub"] >= 4 * lanes  # cells were found at all
    assert cells(GroupScale(Shape(12, True)))["$mul"] == 1  # and a multiplier would have been
    compared(found.total())


@pytest.mark.parametrize("wrong", [
    lambda b, a: (a * b)[:12].as_signed() + 1,
    # The weight's top bit as if it were unsigned.
    lambda b, a: sum(Mux(b[k], a, 0) << k for k in range(4)),
    # The sign of the activation lost in one term.
    lambda b, a: b * a - Mux(b[0] & (a < 0), 1, 0),
])
def test_a_wrong_product_is_found(wrong, monkeypatch):
    inputs, expected = stimulus(every_pair(Int(8))[::7])
    monkeypatch.setattr(hw_mixpe, "shift_add", wrong)
    with pytest.raises(AssertionError, match=r"^\d+ of 586 differ; output \d+: .* instead of "):
        check(MixPE(1), inputs, expected)


def test_sums_that_run_into_each_other_are_found(compared):
    """Without its `last` a group adds to the next."""
    inputs, expected = stimulus([[[(100, 7)]], [[(1, 1)]]])
    assert check(MixPE(2), inputs, expected) == [1, 2]
    inputs[0]["last"] = 0
    with pytest.raises(AssertionError, match=r"output 0: 701 instead of 1$"):
        check(MixPE(2), inputs, expected[1:])
    compared(2)


UINT4 = Int(4, signed=False)
UNITS = {
    "uint4": {"group": 5, "lanes": 3, "weight": UINT4, "registers": 2},
    "int2 x uint8": {"group": 3, "lanes": 1, "activation": Int(8, signed=False), "weight": Int(2)},
    "int8 x int8": {"group": 4, "lanes": 2, "weight": Int(8), "registers": 3},
    "narrow": {"group": 7, "lanes": 1, "activation": Int(5, narrow=True),
               "weight": Int(4, narrow=True), "registers": 0},
    "uint1 x uint3": {"group": 2, "lanes": 5, "activation": Int(3, signed=False),
                      "weight": Int(1, signed=False)},
}
VARIANTS = {
    "terms": {}, "booth": {"recoding": "booth"}, "zero points": {"zero_points": True},
    "booth, zero points": {"recoding": "booth", "zero_points": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("unit", UNITS)
def test_formats_and_variants(unit, variant, compared):
    compared(simulate(MixPE(**UNITS[unit], **VARIANTS[variant])))


@pytest.mark.parametrize("kwargs", [
    {"lanes": 3, "activation": Int(6), "weight": Int(7), "recoding": "booth", "registers": 2},
    {"lanes": 2, "activation": Int(8, signed=False), "weight": Int(3, signed=False),
     "zero_points": True, "recoding": "booth", "registers": 3},
])
def test_vectors(kwargs, compared):
    compared(vectors(MixPE(6, **kwargs)))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(variant, registers, stall, compared):
    unit = MixPE(4, lanes=2, weight=UINT4, registers=registers, **VARIANTS[variant])
    assert unit.latency == registers
    compared(simulate(unit, 30, stall=stall))


@pytest.mark.parametrize("weight", [
    *(Int(bits) for bits in range(2, 9)), *(Int(bits, signed=False) for bits in range(1, 9)),
], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("recoding", ["terms", "booth"])
def test_every_width_is_proved(weight, recoding, compared):
    for activation in Int(3), Int(4, signed=False):
        compared(proved(MixPE(weight=weight, activation=activation, recoding=recoding)))


def test_clear_forgets(compared):
    inputs, expected = stimulus([[[(100, 7)], [(3, 2)], [(1, 1)]], [[(5, 5)]]])
    inputs[1]["clear"] = 1
    check(MixPE(3), inputs, [7, 25])
    inputs[3]["clear"] = 1  # where a group starts anyway
    check(MixPE(3), inputs, [7, 25])
    assert expected == [707, 25]
    compared(4)


def test_zero_points(compared):
    """Only the zero point of the last transfer counts."""
    inputs, _ = stimulus([[[(-128, 0)], [(-128, 15)]], [[(127, 15)], [(127, 0)]]])
    for transfer, zero in zip(inputs, (3, 15, 15, 0), strict=True):
        transfer["zero"] = zero
    unit = MixPE(2, weight=UINT4, zero_points=True)
    check(unit, inputs, [-128 * 15 + 15 * 256, 127 * 15])
    # The result needs no more bits than the worst weight less the worst zero point.
    assert unit.o.p.shape() == Shape.cast(range(-15 * 256, 15 * 256 + 1))
    compared(2)


def test_widths_of_unsigned(compared):
    """With G = 128 the sum of activations has 15 bits (SPECS 3)."""
    unit = MixPE(128, weight=UINT4, zero_points=True)
    assert (unit.product_shape, unit.activation_shape) == (Shape(12, True), Shape(15, True))
    both = MixPE(4, weight=UINT4, activation=Int(8, signed=False))
    assert both.sum_shape == Shape((4 * 15 * 255).bit_length(), False)
    compared(3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_multiplier_in_any_variant(variant, compared):
    found = cells(MixPE(16, lanes=2, weight=UINT4, **VARIANTS[variant]))
    assert "$mul" not in found
    assert found["$add"] + found["$sub"] >= 4
    compared(found.total())


def test_a_wrong_digit_is_found(monkeypatch):
    rows = hw_mixpe.booth_rows
    monkeypatch.setattr(hw_mixpe, "booth_rows",
                        lambda w, a: [row._replace(carry=None) for row in rows(w, a)])
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(MixPE(4, lanes=2, recoding="booth"))


@pytest.mark.parametrize("kwargs, message", [
    ({"group": 0}, "Group must be a positive integer, not 0"),
    ({"group": True}, "Group must be a positive integer, not True"),
    ({"group": 2.0}, "Group must be a positive integer, not 2.0"),
    ({"lanes": -1}, "Lanes must be a positive integer, not -1"),
    ({"lanes": "2"}, "Lanes must be a positive integer, not '2'"),
    ({"activation": 8}, "Activation must be an Int, not 8"),
    ({"weight": "int4"}, "Weight must be an Int, not 'int4'"),
    ({"registers": 1.0}, "Registers must be an integer, not 1.0"),
])
def test_parameters_wrong(kwargs, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        MixPE(**kwargs)


@pytest.mark.parametrize("kwargs, message", [
    ({"registers": 4}, "Registers must be 0 to 3, not 4"),
    ({"recoding": "radix-4"}, "Recoding must be one of terms, booth, not 'radix-4'"),
])
def test_choices_wrong(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MixPE(**kwargs)
