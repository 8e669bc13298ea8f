# SPDX-License-Identifier: Apache-2.0
import pytest
from amaranth import *
from amaranth.lib import data

from carrysave.hw.arithmetic import shift_add
from carrysave.hw.pe.booth import booth_product
from carrysave.sim.prove import Core, prove


def product(multiply, w, a):
    return Core("product", {"w": w, "a": a}, lambda w, a: multiply(w, a), lambda w, a: w * a)


@pytest.mark.parametrize("multiply", [shift_add, booth_product])
@pytest.mark.parametrize("w, a", [
    (signed(4), signed(8)), (unsigned(4), unsigned(8)), (signed(4), unsigned(8)),
    (unsigned(3), signed(5)), (signed(2), signed(7)), (unsigned(1), signed(8)),
    (signed(1), signed(6)), (signed(7), unsigned(2)), (unsigned(6), unsigned(6)),
])
def test_products_are_proved(multiply, w, a, compared):
    assert prove(product(multiply, w, a)).status == "proved"
    compared(1)


def test_a_wrong_product_is_refuted_by_a_counterexample(compared):
    def wrong(w, a):
        return w * a + ((w == -3) & (a == 77))

    proof = prove(product(wrong, signed(4), signed(8)))
    assert proof.status == "refuted"
    assert proof.counterexample == {
        "w": -3, "a": 77, "found_found": (-230) % (1 << 13), "wanted_found": (-231) % (1 << 12)}
    compared(1)


def test_assumptions_and_several_results(compared):
    def quotient(x, y):
        return {"sum": x + y, "half": x >> 1}

    def other(x, y):
        return {"sum": y + x, "half": Mux(x[0], x - 1, x) // 2 + (x == 9)}

    inputs = {"x": 4, "y": range(3)}
    assert prove(Core("two", inputs, quotient, other)).status == "refuted"
    core = Core("two", inputs, quotient, other, assume=lambda x, y: x != 9)
    assert prove(core).status == "proved"
    compared(2)


def test_what_is_never_assumed_proves_nothing():
    core = Core("none", {"x": 4}, lambda x: x, lambda x: 0, assume=lambda x: x > 20)
    with pytest.raises(ValueError, match="^No input of none satisfies its assumption$"):
        prove(core)


def test_widths_do_not_hide_a_lost_carry(compared):
    core = Core("sum", {"x": 4, "y": 4}, lambda x, y: (x + y)[:4], lambda x, y: x + y)
    proof = prove(core)
    assert proof.status == "refuted" and proof.counterexample["x"] + proof.counterexample["y"] > 15
    compared(1)


def test_layouts_are_views(compared):
    layout = data.StructLayout({"low": 3, "high": signed(3)})
    core = Core("view", {"p": layout}, lambda p: p.low + p.high, lambda p: p.high + p.low)
    assert prove(core).status == "proved"
    compared(1)


def test_results_that_lack_a_name():
    core = Core("lacks", {"x": 1}, lambda x: {"a": x}, lambda x: {"b": x})
    with pytest.raises(ValueError, match="^Results of lacks must be b, not a$"):
        prove(core)


def test_time_that_runs_out_is_no_proof(compared):
    core = Core("wide", {"x": 20, "y": 20}, lambda x, y: shift_add(x, y), lambda x, y: x * y)
    assert prove(core, timeout=1).status == "not proved"
    compared(1)
