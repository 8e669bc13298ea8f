# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re

import pytest

from carrysave.hw.pe import mixpe as hw_mixpe
from carrysave.hw.pe.mixpe import MixPE
from carrysave.quant.formats import Int
from carrysave.sim import units
from carrysave.sim.reference import mixpe as reference_mixpe
from carrysave.sim.units import METHODS, verify
from carrysave.sim.verilog import from_component

INITIAL = ("initial state", "x propagation", "reset")  # of test_initial.py


def unit():
    return MixPE(6, lanes=2, activation=Int(5), registers=2)


def test_every_method_agrees(compared):
    arrows = verify(unit(), kinds=METHODS)
    assert {arrow.status for arrow in arrows} == {"exact"}
    assert [arrow.method for arrow in arrows] == [
        "exhaustive", "random", "sat", "induction", "induction", "induction", "batch", "cocotb",
        "amaranth", "mutation", *INITIAL]
    methods = dict.fromkeys(arrow.method for arrow in arrows)
    assert set(units.methods(unit())) == set(methods) - {"batch", *INITIAL}
    by = {arrow.method: arrow for arrow in arrows}
    assert by["exhaustive"].compared == 32 * 16 and by["mutation"].compared == 200
    assert by["random"].detail["terms"] >= 1_000_000
    # Stalls of both sides, without a reset and with one in each cycle of the latency and the first.
    assert by["cocotb"].detail["runs"] == 3 * 3 * (1 + 3)
    assert by["cocotb"].compared == by["batch"].compared
    compared(sum(arrow.compared for arrow in arrows))


def wrong(weight, activation):
    """One wrong product of 512."""
    return weight * activation + ((weight == -8) & (activation == 15))


def test_a_planted_fault_is_found_by_every_method(monkeypatch, compared):
    monkeypatch.setattr(hw_mixpe, "shift_add", wrong)
    monkeypatch.setattr(reference_mixpe, "shift_add", wrong)
    arrows = verify(unit(), kinds=("vectors", "proofs"))
    assert [arrow.status for arrow in arrows] == ["differs"] * 3
    swept, drawn, proof = arrows
    assert swept.mismatches == 2  # once in each lane
    assert swept.first["found"] == swept.first["expected"] + 1
    assert drawn.mismatches > 1000 and proof.first["found"]["w"] == -8
    with pytest.raises(ValueError, match="^top is wrong without any mutant$"):
        units.mutation(unit())
    compared(swept.compared + drawn.compared)


def test_a_fault_in_the_control_is_found_with_stalls(compared):
    design = from_component(unit())
    (name, text), = design.sources.items()
    broken, count = re.subn(r"assign i__ready = .*;", "assign i__ready = 1'b1;", text)
    assert count == 1
    broken = dataclasses.replace(design, sources={name: broken})
    arrows = units.run_simulators(unit(), broken)
    assert arrows[0].status == "differs"
    states = {arrow.what: arrow.status for arrow in units.run_contract(unit(), broken)}
    assert states["payload held"] == "differs"
    compared(1)


def test_a_proof_that_is_not_found_is_not_run(compared):
    arrow = units.Arrow("specification", "rtl", "sat")
    units._settle(arrow, "not proved", "within 60 s", None)
    assert (arrow.status, arrow.why) == ("not run", "not proved within 60 s")
    compared(1)
