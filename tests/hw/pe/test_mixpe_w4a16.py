# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Shape

from carrysave.hw.pe import mixpe_w4a16 as hw_mixpe_w4a16
from carrysave.hw.pe.mixpe_w4a16 import MixPEW4A16
from carrysave.quant.formats import Int

from ..units import cells, check
from .elements import proved, simulate, vectors

ALIGNED = {"variant": "aligned"}
UNITS = {
    "unsigned": {"group": 5, "lanes": 3, "weight": Int(4, signed=False)},
    "one lane": {"group": 1, "lanes": 1, "weight": Int(2), "registers": 0},
    "no guard": {**ALIGNED, "lanes": 3, "guard": 0},
    "much guard": {**ALIGNED, "lanes": 5, "guard": 32, "weight": Int(3, signed=False),
                   "registers": 2},
    "narrow": {**ALIGNED, "lanes": 1, "guard": 3, "weight": Int(8, narrow=True), "registers": 0},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(MixPEW4A16(**UNITS[name])))


@pytest.mark.parametrize("variant", ["exact", "aligned"])
@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(variant, registers, stall, compared):
    unit = MixPEW4A16(lanes=3, variant=variant, registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, 30, stall=stall))


def test_widths(compared):
    """The greatest product is -8 * (2047 << 29); its negative is one bit shorter."""
    unit = MixPEW4A16(128)
    assert (unit.product_shape, unit.sum_shape) == (Shape(15, True), Shape(51, True))
    aligned = MixPEW4A16(lanes=16, guard=4, **ALIGNED)
    assert aligned.sum_shape == Shape(15 + 4 + 4, True)
    compared(3)


def test_aligned_by_hand(compared):
    """1 * 1024 + 1 * 1: the second product lies 10 bits lower, and -1 of it rounds down."""
    one, thousand, minus = 0x3C00, 0x6400, 0xBC01
    inputs = [{"activations": [thousand, one], "weights": [1, 1]},
              {"activations": [thousand, minus], "weights": [1, 1]},
              {"activations": [0, 1], "weights": [3, -8]}]
    expected = [{"sum": (1024 << 2) + 4, "exponent": 24 - 2},
                {"sum": (1024 << 2) - 5, "exponent": 24 - 2}, {"sum": -8 << 2, "exponent": -2}]
    compared(len(check(MixPEW4A16(lanes=2, guard=2, **ALIGNED), inputs, expected)))


def test_exact_by_hand(compared):
    inputs = [{"activations": [0x7BFF, 0x0001], "weights": [-8, 1], "clear": 0, "last": 1}]
    compared(len(check(MixPEW4A16(1, lanes=2), inputs, [-8 * (2047 << 29) + 1])))


@pytest.mark.parametrize("variant", ["exact", "aligned"])
def test_no_multiplier(variant, compared):
    found = cells(MixPEW4A16(lanes=4, variant=variant))
    assert "$mul" not in found
    assert found["$add"] + found["$sub"] >= 4 * 4
    compared(found.total())


@pytest.mark.parametrize("kwargs", [
    {"weight": Int(5, signed=False)}, {**ALIGNED, "lanes": 3, "guard": 7, "weight": Int(3)},
])
def test_proofs(kwargs, compared):
    compared(proved(MixPEW4A16(**kwargs)))


@pytest.mark.parametrize("name, wrong", [
    ("largest", lambda m, values: values[0]),
    ("align", lambda value, guard, distance: value << guard),
    ("shift_add", lambda weight, activation: weight * activation + 1),
])
def test_a_wrong_step_is_found(name, wrong, monkeypatch):
    monkeypatch.setattr(hw_mixpe_w4a16, name, wrong)
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(MixPEW4A16(lanes=2, **ALIGNED))


@pytest.mark.parametrize("kwargs, error, message", [
    ({"variant": "Exact"}, ValueError, "Variant must be one of exact, aligned, not 'Exact'"),
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"group": 0}, TypeError, "Group must be a positive integer, not 0"),
    ({"weight": 4}, TypeError, "Weight must be an Int, not 4"),
    ({"weight": Int(16)}, ValueError, "Weight must have at most 15 bits, not int16"),
    ({"guard": 3}, ValueError, "Guard must be None in the exact variant, not 3"),
    ({"group": 4, **ALIGNED}, ValueError, "Group must be 1 in the aligned variant, not 4"),
    ({"guard": 33, **ALIGNED}, ValueError, "Guard must be 0 to 32, not 33"),
    ({"guard": 1.0, **ALIGNED}, TypeError, "Guard must be an integer, not 1.0"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        MixPEW4A16(**kwargs)
