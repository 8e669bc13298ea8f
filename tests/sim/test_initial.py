# SPDX-License-Identifier: Apache-2.0
"""Units forget what they held before a reset, and each arrow finds what does not."""

import dataclasses
import re
import shutil

import pytest

from carrysave.hw.pe.mixpe import MixPE
from carrysave.quant.formats import Int
from carrysave.sim.initial import run_initial
from carrysave.sim.scramble import randomised, unknown
from carrysave.sim.units import METHODS
from carrysave.sim.verilog import from_component

from .units import Double, Echo

METHODS_OF = ("initial state", "x propagation", "reset")


def unit():
    return MixPE(6, lanes=2, activation=Int(5), registers=2)


def edited(pattern, replacement):
    """The unit's Verilog with one place changed."""
    design = from_component(unit())
    (name, text), = design.sources.items()
    text, count = re.subn(pattern, replacement, text, flags=re.S)
    assert count == 1
    return dataclasses.replace(design, sources={name: text})


def without_reset(register):
    """The next value of a register, which starts from the present one, without its reset."""
    return edited(
        rf"(\n    \S+  = {register};\n(?:(?!\n  end\n).)*?)    if \(rst\) begin\n.*?    end\n",
        r"\1")


def arrows_of(design):
    found = dict(zip(METHODS_OF, run_initial(unit(), design), strict=True))
    assert all(arrow.method == method for method, arrow in found.items())
    return found


def test_exact(compared):
    assert "initial" in METHODS
    arrows = run_initial(unit())
    assert [(arrow.method, arrow.status) for arrow in arrows] == [
        (method, "exact") for method in METHODS_OF]
    states, unknowns, resets = arrows
    assert states.detail == {"states": 8 * 9, "registers": 10}
    assert unknowns.detail["runs"] == 9 and resets.detail["resets"] > 4 * 24
    compared(sum(arrow.compared for arrow in arrows))


# During a reset, valid_2 takes over valid_1: that is whose value comes out.
@pytest.mark.parametrize("register, guilty, signal", [
    ("valid_1", "valid_1", "o__valid"), ("valid_2", "valid_1", "o__valid"),
    ("accumulator", "accumulator", "o__payload")])
def test_a_register_that_should_reset(register, guilty, signal, compared):
    found = arrows_of(without_reset(register))
    assert {arrow.status for arrow in found.values()} == {"differs"}
    assert guilty in found["initial state"].first["registers"]
    first = found["x propagation"].first
    assert (first["signal"], first["element"], first["expected"]) == (signal, 0, "no X")
    assert "reset_at" in found["reset"].first and found["reset"].first["element"] in (0, None)
    compared(sum(arrow.compared for arrow in found.values()))


def test_a_payload_that_is_read_before_it_is_written(compared):
    # `if` takes X for 0: Icarus would see nothing in the Verilog as it is.
    found = arrows_of(edited(r"  assign o__payload = (\S+ \[11:0\]);", r"""
        reg [4:0] stale = 0;
        reg hidden;
        always @(posedge clk) if (o__valid & o__ready) stale <= 0;
        always @* begin hidden = 0; if (stale != 0) hidden = 1; end
        assign o__payload = \1 ^ hidden;"""))
    # Power-on gives it 0, and a reset leaves the 0 that it holds since the first transfer.
    assert [arrow.status for arrow in found.values()] == ["differs", "differs", "exact"]
    first = found["initial state"].first
    assert (first["element"], first["registers"]) == (0, ["stale"])
    assert first["expected"] == first["found"] ^ 1 and first["seed"] == 1
    first = found["x propagation"].first
    assert (first["signal"], first["element"]) == ("o__payload", 0)
    assert first["found"].count("x") == 1
    compared(sum(arrow.compared for arrow in found.values()))


def test_what_does_not_work_at_all(compared):
    arrows = run_initial(unit(), edited(r"assign o__valid = [^;]*;", "assign o__valid = 1'b0;"))
    assert {arrow.status for arrow in arrows} == {"differs"}
    assert "0 of 19 outputs" in arrows[0].first["found"]
    compared(sum(arrow.compared for arrow in arrows))


def test_without_icarus(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    arrow = run_initial(unit(), seeds=1)[1]
    assert (arrow.status, arrow.why) == ("not run", "install iverilog (Icarus Verilog)")


def test_without_a_reset():
    arrows = run_initial(Double())
    assert {arrow.status for arrow in arrows} == {"not run"}
    assert "no reset" in arrows[0].why


def test_registers_and_their_widths():
    scrambled = randomised(from_component(Echo(4)))
    assert sorted(scrambled.registers) == [
        "bits", "count", "last", "received", "sending", "shift", "timer"]
    assert scrambled.memories == ()
    assert [port.name for port in unknown(from_component(Echo(4))).design.ports] == [
        "rx", "tx", "busy", "unknown"]
