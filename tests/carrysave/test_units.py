# SPDX-License-Identifier: Apache-2.0
"""The catalogue and the ledgers of units on the command line."""

import json
import re
import subprocess
import sys

import pytest

from carrysave import units
from carrysave.hw import catalogue
from carrysave.hw.pe import mixpe as hw_mixpe
from carrysave.sim.verilog import from_component

NAME = "mixpe-w4a8"


def carrysave(*args, cwd, status):
    result = subprocess.run(
        [sys.executable, "-m", "carrysave.main", *map(str, args)],
        cwd=cwd, capture_output=True, text=True, timeout=570, env=None,
    )
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def error(*args, cwd):
    result = carrysave(*args, cwd=cwd, status=2)
    assert not result.stdout
    return " ".join(result.stderr.split())


def test_units_lists_every_preset(tmp_path, compared):
    found = json.loads(carrysave("units", "--json", cwd=tmp_path, status=0).stdout)
    assert [unit["name"] for unit in found] == catalogue.names() and len(found) >= 30
    for unit in found:
        assert unit["formats"] and unit["lanes"] >= 1 and unit["latency"] >= 0
        assert {"induction", "cocotb"} <= set(unit["verified"])
        assert unit["room"] in ("decode", "pe", "fixed", "post")
    mixpe = next(unit for unit in found if unit["name"] == NAME)
    assert mixpe["formats"] == {"activations": "int8", "weights": "int4"}
    assert (mixpe["lanes"], mixpe["latency"], mixpe["room"]) == (16, 1, "pe")
    assert {"exhaustive", "sat"} <= set(mixpe["verified"])
    shown = carrysave("units", cwd=tmp_path, status=0).stdout
    assert all(name in shown for name in catalogue.names())
    compared(len(found))


def test_verify_a_unit(tmp_path, compared):
    ledger = json.loads(carrysave("verify", NAME, "--json", cwd=tmp_path, status=0).stdout)
    assert (ledger["format"], ledger["subject"]) == (1, NAME)
    assert {arrow["status"] for arrow in ledger["arrows"]} == {"exact"}
    by = {arrow["method"]: arrow for arrow in ledger["arrows"]}
    assert by["exhaustive"]["compared"] == 4096
    assert all(arrow["compared"] > 0 and arrow["first"] is None for arrow in ledger["arrows"])
    shown = carrysave("verify", NAME, cwd=tmp_path, status=0).stdout
    assert "known" in shown and "nothing lost" in shown
    compared(sum(arrow["compared"] for arrow in ledger["arrows"]))


def test_a_planted_fault_is_not_taken_from_the_cache(monkeypatch, compared):
    """The same process, so that the fault is in it."""
    (good, _), = units.verify_units([NAME], kinds=("vectors",))
    monkeypatch.setattr(hw_mixpe, "shift_add", lambda w, a: w * a ^ ((w == 3) & (a == 5)))
    (bad, known), = units.verify_units([NAME], kinds=("vectors",))
    assert {arrow["status"] for arrow in good["arrows"]} == {"exact"}
    assert {arrow["status"] for arrow in bad["arrows"]} == {"differs"} and not known
    assert bad["arrows"][0]["first"]["expected"] - 1 == bad["arrows"][0]["first"]["found"]
    compared(2)


@pytest.fixture(scope="module")
def verilog(tmp_path_factory):
    """The unit as if somebody else had written it."""
    unit = catalogue.get(NAME).build()
    path = tmp_path_factory.mktemp("foreign") / "foreign.v"
    path.write_text("".join(from_component(unit, name="foreign").sources.values()))
    return path


def test_foreign_rtl(verilog, tmp_path, compared):
    ledger = json.loads(
        carrysave("verify", NAME, "--rtl", verilog, "--json", cwd=tmp_path, status=0).stdout)
    assert {arrow["status"] for arrow in ledger["arrows"]} == {"exact"}
    text, count = re.subn(r"(assign .* = clear_1 \? )", r"\1 1 + ", verilog.read_text(), count=1)
    assert count == 1
    wrong = tmp_path / "wrong.v"
    wrong.write_text(text)
    shown = carrysave("verify", NAME, "--rtl", wrong, "--top", "foreign", cwd=tmp_path, status=1)
    assert "first at output" in " ".join(shown.stdout.split())
    compared(sum(arrow["compared"] for arrow in ledger["arrows"]))


def test_foreign_rtl_that_ends_the_simulation(verilog, tmp_path):
    ends = tmp_path / "ends.v"
    ends.write_text(verilog.read_text().replace(
        "endmodule", "always @(posedge clk) if (i__valid) $stop;\nendmodule", 1))
    result = carrysave("verify", NAME, "--rtl", ends, "--top", "foreign", cwd=tmp_path, status=1)
    assert "has ended the simulation" in " ".join(result.stderr.split())


def test_mistakes(verilog, tmp_path):
    assert error("verify", "nope", cwd=tmp_path).startswith("error: Unit must be one of ")
    assert error("verify", cwd=tmp_path) == (
        "error: Subject must be a UNIT or a CONFIG.toml, or else --all-units: not neither")
    assert error("verify", NAME, "--all-units", cwd=tmp_path).endswith("not both")
    assert "must come with the UNIT" in error(
        "verify", "--all-units", "--rtl", verilog, cwd=tmp_path)
    assert "cannot be read" in error("verify", NAME, "--rtl", "missing.v", cwd=tmp_path)
    assert "a module 'other' that has the ports clk, rst, i__payload" in error(
        "verify", NAME, "--rtl", verilog, "--top", "other", cwd=tmp_path)
