# SPDX-License-Identifier: Apache-2.0
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from carrysave import characterise as table
from carrysave.characterise import COLUMNS, Job, characterise, measure, names, read, write
from carrysave.characterise_view import show
from carrysave.errors import BadInput, Failure
from carrysave.hw import catalogue
from carrysave.hw.yosys import YosysError
from carrysave.main import app

SMALL = ("decode-int8", "decode-e8m0", "fixed-add")
COMMITTED = Path(__file__).parents[2] / "reports" / "resources.csv"


def carrysave(*args, cwd):
    return subprocess.run([sys.executable, "-m", "carrysave.main", *map(str, args)], cwd=cwd,
                          capture_output=True, text=True, timeout=300)


def small(out, **options):
    """Gates and iCE40 cells of three small units."""
    return characterise(SMALL, families=("ice40", "gates"), timing=False, jobs=1, out=out,
                        **options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A table made in one go."""
    path = tmp_path_factory.mktemp("whole") / "resources.csv"
    lines = []
    return path, small(path, cache=cache, progress=lines.append), lines


def test_rows(whole, compared):
    path, found, lines = whole
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert rows == found["rows"] and tuple(rows[0]) == COLUMNS
    assert [(row["unit"], row["family"]) for row in rows] == [
        (unit, family) for unit in SMALL for family in ("ice40", "gates")]
    assert (found["measured"], found["known"], found["errors"]) == (6, 0, [])
    for row in rows:
        gates = row["family"] == "gates"
        assert bool(row["nand2"]) == bool(row["transistors"]) == gates
        assert bool(row["lut4"]) == bool(row["seeds"]) == (not gates)
        assert row["tools"].startswith("pyosys ") and len(row["hash"]) == 16
        assert row["command"].startswith(f"carrysave characterise {row['unit']} --family ")
    assert len({row["hash"] for row in rows}) == 6
    assert lines[1] == "6 rows, 0 known" and "about" in lines[2] and lines[-1].startswith("6 of 6")
    assert json.loads(json.dumps(found)) == found
    compared(len(rows))


def test_known_rows_are_not_measured_again(whole, tmp_path, monkeypatch, compared):
    path, first, _ = whole
    again = tmp_path / "again.csv"
    again.write_bytes(path.read_bytes())
    # An empty cache: had anything been synthesised, it would be there.
    found = small(again, cache=tmp_path / "cache")
    assert (found["measured"], found["known"]) == (0, 6) and found["rows"] == first["rows"]
    assert again.read_bytes() == path.read_bytes() and not (tmp_path / "cache").exists()
    # Another tool or another unit, which shows in the hash, is measured.
    again.write_text(path.read_text().replace(first["rows"][0]["hash"], "0" * 16))
    found = small(again, cache=tmp_path / "cache")
    assert (found["measured"], found["known"]) == (1, 5)
    assert again.read_bytes() == path.read_bytes() and (tmp_path / "cache").exists()
    compared(12)


def test_more_seeds_are_known_and_fewer_are_not(compared):
    def hashed(seeds):
        return f"hash {seeds}"

    def known(row, seeds):
        job = Job("x", 1, None, "ecp5", False, seeds, 1, hashed(seeds))
        return table._known(row, job, hashed)

    row = {"seeds": "3", "hash": "hash 3"}
    assert [known(row, seeds) for seeds in (0, 2, 3, 5)] == [True, True, True, False]
    assert not known(None, 0) and not known({"seeds": "3", "hash": ""}, 0)
    assert not known({"seeds": "3", "hash": "hash 2"}, 0)
    compared(7)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_and_repeated(how, whole, tmp_path, compared):
    """Ended in the middle, every finished row is there; the rest makes the same table."""
    path, found, _ = whole
    out = tmp_path / "resources.csv"
    with subprocess.Popen(
        [sys.executable, "-m", "carrysave.main", "characterise", *SMALL, "--family", "ice40",
         "--family", "gates", "--no-timing", "--jobs", "1", "--out", out.name],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A test run in the background may have been told to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    ) as process:
        stderr = process.stderr
        assert stderr is not None
        for line in stderr:
            if " 2 of 6" in line:
                break
        process.send_signal(how)
        rest = stderr.read()
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert how == signal.SIGKILL or "interrupted" in rest and "Traceback" not in rest
    before = read(out)
    assert 2 <= len(before) < 6 and all(row in found["rows"] for row in before)
    again = small(out, cache=tmp_path / "cache" / "carrysave")
    assert again["known"] == len(before) and again["measured"] == 6 - len(before)
    assert out.read_bytes() == path.read_bytes()
    assert {each.name for each in tmp_path.iterdir()} <= {
        "cache", out.name, *(each.name for each in tmp_path.glob(f".{out.name}.*"))}
    compared(len(again["rows"]))


def test_other_rows_stay(whole, tmp_path, compared):
    """Those of other units and families; an older table lacks columns."""
    out = tmp_path / "resources.csv"
    out.write_text("unit,lanes,family,dsp,lut4,ff,bram,carry,mapping,fmax_mhz\n"
                   "multiplier-w8a8,16,ecp5,16,623,286,0,14,merged,83.6\n"
                   "gone,16,ecp5,0,1,1,0,0,merged,1.0\n"
                   "fixed-add,4,gates,,1,1,0,0,merged,\n")
    found = characterise(["fixed-add"], families=["gates"], out=out, jobs=1)
    assert found["measured"] == 1
    old, new = read(out)
    assert (old["unit"], old["dsp_allowed"], old["fmax_mhz"], old["hash"]) == (
        "multiplier-w8a8", "1", "83.6", "")
    assert new == next(row for row in whole[1]["rows"] if row["command"] == new["command"])
    compared(2)


def test_lanes(tmp_path, compared):
    found = characterise(["decode-int8", "decode-olive4", "khot-2"], families=["gates"],
                         lanes=[1, 2], out=tmp_path / "t.csv", jobs=2)
    assert [(row["unit"], row["lanes"]) for row in found["rows"]] == [
        ("decode-int8", "1"), ("decode-int8", "2"), ("decode-olive4", "2"),
        ("khot-2", str(catalogue.get("khot-2").build().lanes))]
    assert found["rows"][0]["command"].endswith("--family gates --lanes 1")
    (line,) = found["left_out"]
    assert line.startswith("decode-olive4 with --lanes 1: Lanes must be even")
    assert found["errors"] == []
    compared(4)


def test_dsp_rows_of_what_multiplies(tmp_path, compared):
    found = characterise(["fixed-add", "fixed-mul-rnd-inf-sat"], families=["ice40"], timing=False,
                         out=tmp_path / "t.csv", jobs=2)
    assert [(row["unit"], row["dsp_allowed"], row["dsp"] != "0") for row in found["rows"]] == [
        ("fixed-add", "0", False), ("fixed-mul-rnd-inf-sat", "0", False),
        ("fixed-mul-rnd-inf-sat", "1", True)]
    with pytest.raises(BadInput, match=r"^fixed-add has no multiplications for DSP blocks$"):
        characterise(["fixed-add"], families=["ice40"], dsp=True, out=tmp_path / "t.csv", jobs=1)
    compared(3)


def test_an_error_does_not_stop_the_others(monkeypatch, compared):
    """A row that fails is a line, whatever tool said so."""
    def fail(*_, **__):
        raise YosysError("Yosys failed: no luck")

    monkeypatch.setattr(table.fpga, "gates", fail)
    job = Job("fixed-add", 4, None, "gates", False, 0, 1, "0")
    assert measure(job) == "Yosys failed: no luck"
    assert job.title == "fixed-add: gates"
    compared(1)


def test_errors_at_the_end(monkeypatch):
    found = {"out": "t", "measured": 0, "known": 0, "rows": [], "left_out": [],
             "errors": ["fixed-add: gates: Yosys failed: no luck"]}
    monkeypatch.setattr(table, "characterise", lambda *_, **__: found)
    result = CliRunner().invoke(app, ["characterise", "fixed-add"])
    assert result.exit_code == 1
    assert "error: fixed-add: gates: Yosys failed: no luck" in result.output


def test_a_missing_tool(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise table.MissingTool("nextpnr was not found: install it")

    monkeypatch.setattr(table, "row_hash", missing)
    with pytest.raises(Failure, match=r"^nextpnr was not found: install it$"):
        characterise(["fixed-add"], out=tmp_path / "t.csv", jobs=1)


@pytest.mark.parametrize("arguments, message", [
    (["mixpe-w4a9"], "not 'mixpe-w4a9'; did you mean 'mixpe-w4a8'?"),
    ([], "UNIT must be given, or --all for every unit and array"),
    (["fixed-add", "--all"], "UNIT must be given, or --all for every unit and array, not both"),
    (["fixed-add", "--family", "xilinx"],
     "--family must be one of ecp5, ice40, gowin, gates, not 'xilinx'"),
    (["decode-int8", "--lanes", "0"], "--lanes must be a positive integer, not 0"),
    (["fixed-add", "--seeds", "-1"], "--seeds must be a positive integer, not -1"),
    (["fixed-add", "--jobs", "0"], "--jobs must be a positive integer, not 0"),
    (["fixed-add", "--out", "other.csv"], "must be a table whose columns start unit,lanes,family"),
    (["fixed-add", "--out", "missing/t.csv"], "cannot be written: No such file or directory"),
    (["fixed-add", "--out", "."], "cannot be read: Is a directory"),
])
def test_mistakes(arguments, message, tmp_path):
    (tmp_path / "other.csv").write_text("format,error\ne2m1,1\n")
    result = carrysave("characterise", *arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1 and message in result.stderr
    assert (tmp_path / "other.csv").read_text() == "format,error\ne2m1,1\n"


def test_order_and_names(tmp_path, compared):
    rows = [dict.fromkeys(COLUMNS, "") | {"unit": unit, "lanes": lanes, "family": family,
                                          "dsp_allowed": "0"}
            for unit in reversed(names()) for lanes in ("16", "4") for family in ("gates", "ice40")]
    write(tmp_path / "t.csv", rows)
    found = read(tmp_path / "t.csv")
    assert [(row["unit"], row["lanes"], row["family"]) for row in found] == [
        (unit, lanes, family) for unit in names() for lanes in ("4", "16")
        for family in ("ice40", "gates")]
    compared(len(found))


def test_every_array_is_built(compared):
    for name in table.ARRAYS:
        unit, lanes = table.build(name)
        assert lanes == 16 * unit.kind.lanes and "i" in unit.signature.members
    compared(len(table.ARRAYS))


def test_table_for_the_terminal(whole):
    console = Console(width=100, record=True)
    console.print(show(whole[1] | {"left_out": ["x with --lanes 1: no"]}))
    text = console.export_text()
    assert "left out: x with --lanes 1: no" in text and "6 measured, 0 known" in text
    assert all(name in text for name in SMALL)


# The committed table.

def test_committed_rows_are_complete(compared):
    """Every unit and array, on every family, each row with what it came from."""
    rows = read(COMMITTED)
    keys = [tuple(row[name] for name in table.KEY) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {(row["unit"], row["family"]) for row in rows if row["dsp_allowed"] == "0"} == {
        (unit, family) for unit in names() for family in table.FAMILIES}
    for row in rows:
        assert row["hash"] and row["command"] and row["tools"]
    compared(len(rows))
