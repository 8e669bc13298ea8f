# SPDX-License-Identifier: Apache-2.0
import csv
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from carrysave import energy as table
from carrysave import workers
from carrysave.characterise import names
from carrysave.energy import COLUMNS, Task, energy, measure, read
from carrysave.energy_traces import operands
from carrysave.energy_view import show
from carrysave.errors import BadInput, Failure
from carrysave.hw import catalogue
from carrysave.hw.yosys import YosysError
from carrysave.main import app
from carrysave.sim.trace import Operands, has_operands

COMMITTED = Path(__file__).parents[2] / "reports" / "energy.csv"
UNITS = ("decode-int8", "multiplier-w4a4")
RNG = np.random.default_rng(0)
MATRICES = [Operands(RNG.normal(size=(8, 64)), RNG.normal(size=(8, 64)))]


@pytest.fixture
def small(monkeypatch):
    """One lane, 500 cycles, operands out of the air: measures `UNITS` into a table."""
    monkeypatch.setattr(table, "REFERENCE", ("multiplier-w8a8", 1))
    monkeypatch.setattr(table, "operands",
                        lambda trace, progress: [] if trace == "uniform" else MATRICES)

    def run(out, **options):
        return energy(**{"units": UNITS, "lanes": [1], "traces": ["digits", "uniform"], "jobs": 1,
                         "out": out, **options})

    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_rows(small, cache, tmp_path, monkeypatch, compared):
    out, lines = tmp_path / "energy.csv", []
    found = small(out, cache=cache, progress=lines.append)
    assert (found["measured"], found["known"], found["errors"]) == (3, 0, [])
    assert found["left_out"] == ["decode-int8 with --lanes 1: digits: it does not multiply "
                                 "activations by weights"]
    assert [(row["unit"], row["trace"]) for row in found["rows"]] == [
        ("decode-int8", "uniform"), ("multiplier-w4a4", "uniform"), ("multiplier-w4a4", "digits")]
    # The reference is in the table too; it is not among the rows that were asked for.
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert rows == read(out) and tuple(rows[0]) == COLUMNS
    reference = {row["trace"]: row for row in rows if row["unit"] == "multiplier-w8a8"}
    assert [row for row in rows if row["unit"] != "multiplier-w8a8"] == found["rows"]
    assert {row["relative"] for row in reference.values()} == {"1"} and len(reference) == 2
    for row in found["rows"]:
        cycles, macs, toggles = (int(row[name]) for name in ("cycles", "macs", "toggles"))
        assert macs == cycles >= 4096 and row["lanes"] == "1"
        assert row["toggles_per_mac"] == f"{toggles / macs:.6g}"
        weighted = float(row["weighted_per_mac"])
        assert weighted > toggles / macs > 0
        whole = float(reference[row["trace"]]["weighted_per_mac"])
        assert row["relative"] == f"{weighted / whole:.4g}" and weighted < whole
        assert row["command"] == f"carrysave energy {row['unit']} --lanes 1 --trace {row['trace']}"
        assert row["tools"].startswith("pyosys ") and len(row["hash"]) == 16
    assert len({row["hash"] for row in rows}) == len(rows)
    assert lines[0] == "2 units, 2 traces; multiplier-w8a8 first" and lines[1].startswith("1 of 2")
    assert json.loads(json.dumps(found)) == found

    # Processes take seconds to start.
    monkeypatch.setattr(workers, "ProcessPoolExecutor",
                        lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    # Again: nothing is synthesised, or it would be in the empty cache.
    before = out.read_bytes()
    again = small(out, cache=tmp_path / "empty")
    assert (again["measured"], again["known"]) == (0, 3) and again["rows"] == found["rows"]
    assert out.read_bytes() == before and not (tmp_path / "empty").exists()
    # Other operands are another row; a damaged one is measured again.
    out.write_text(before.decode().replace(found["rows"][0]["hash"], "0" * 16))
    again = small(out, cache=cache)
    assert (again["measured"], again["known"]) == (1, 2) and out.read_bytes() == before
    MATRICES.append(MATRICES[0]._replace(weights=MATRICES[0].weights[::-1]))
    try:
        again = small(out, cache=cache, units=["multiplier-w4a4"])
    finally:
        MATRICES.pop()
    assert (again["measured"], again["known"]) == (1, 1)
    assert again["rows"][0] == found["rows"][1] and again["rows"][1] != found["rows"][2]
    compared(len(rows))


def test_interrupted_and_repeated(small, cache, tmp_path, monkeypatch, compared):
    """What was measured is in the table; the same call does the rest."""
    monkeypatch.setattr(workers, "ProcessPoolExecutor",
                        lambda jobs, *_, **__: ThreadPoolExecutor(jobs))

    def stop(line):
        if line.startswith("1 of 2"):
            raise KeyboardInterrupt

    out = tmp_path / "energy.csv"
    with pytest.raises(KeyboardInterrupt):
        small(out, cache=cache, progress=stop)
    before = read(out)
    assert [row["unit"] for row in before] == ["decode-int8"] + 2 * ["multiplier-w8a8"]
    found = small(out, cache=cache)
    assert (found["measured"], found["known"]) == (2, 1)
    assert [row for row in read(out) if row in before] == before
    compared(len(before))


def test_a_netlist_that_computes_something_else(cache, monkeypatch, compared):
    """The golden function watches."""
    task = Task("multiplier-w4a4", 1, {"digits": MATRICES}, {}, {}, cache)
    assert measure(task)[1] == []

    def wrong(*args, **options):
        found = netlist(*args, **options)
        k = next(k for k, (kind, _) in enumerate(found["cells"]) if kind == "$_XOR_")
        found["cells"][k][0] = "$_XNOR_"
        return found

    netlist = table.netlist
    monkeypatch.setattr(table, "netlist", wrong)
    rows, (line,), _ = measure(task)
    assert rows == [] and line.startswith("multiplier-w4a4 with --lanes 1: digits: ")
    assert "results of the netlist are not the golden function's, the first {" in line
    compared(1)


def test_an_error_is_a_line(monkeypatch, compared):
    def fail(*_, **__):
        raise YosysError("Yosys failed: no luck")

    monkeypatch.setattr(table, "netlist", fail)
    assert measure(Task("decode-int8", None, {"uniform": []}, {}, {}))[1] == [
        "decode-int8: Yosys failed: no luck"]
    rows, errors, left_out = measure(Task("decode-olive4", 1, {"uniform": []}, {}, {}))
    assert (rows, errors) == ([], []) and left_out[0].startswith(
        "decode-olive4 with --lanes 1: Lanes must be even")
    compared(2)


def test_errors_at_the_end(monkeypatch):
    found = {"out": "t", "measured": 0, "known": 0, "rows": [], "left_out": ["x: [y]"],
             "errors": ["decode-int8: no luck"]}
    monkeypatch.setattr(table, "energy", lambda *_, **__: found)
    result = CliRunner().invoke(app, ["energy", "decode-int8"])
    assert result.exit_code == 1 and "error: decode-int8: no luck" in result.output
    assert "left out: x: [y]" in result.output


@pytest.mark.parametrize("units, options, message", [
    (["mixpe-w4a9"], {}, "not 'mixpe-w4a9'; did you mean 'mixpe-w4a8'?"),
    ([], {}, "UNIT must be given, or --all for every unit and array"),
    (["fixed-add"], {"every": True},
     "UNIT must be given, or --all for every unit and array, not both"),
    (["fixed-add"], {"traces": ["cifar"]},
     "--trace must be one of uniform, digits, smollm2, not 'cifar'"),
    (["fixed-add"], {"lanes": [0]}, "--lanes must be a positive integer, not 0"),
    (["fixed-add"], {"jobs": 0}, "--jobs must be a positive integer, not 0"),
    (["fixed-add"], {"out": "other.csv/t.csv"}, "cannot be"),
    (["fixed-add"], {"out": "."}, "cannot be read: Is a directory"),
])
def test_mistakes(units, options, message, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    options["out"] = tmp_path / options.get("out", "t.csv")
    with pytest.raises(BadInput) as raised:
        energy(units, **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_another_table_stays(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    result = subprocess.run(
        [sys.executable, "-m", "carrysave.main", "energy", "fixed-add", "--out", "other.csv"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "--out: other.csv must be a table with the columns unit,lanes,trace," in \
        result.stderr.replace("\n", " ")
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"


def test_nothing_to_measure(small, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "ProcessPoolExecutor",
                        lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    with pytest.raises(BadInput, match=r"^decode-olive4 with --lanes 3: Lanes must be even"):
        small(tmp_path / "t.csv", units=["decode-olive4"], lanes=[3], traces=["uniform"],
              cache=cache)


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "carrysave.quant.language", None)
    with pytest.raises(Failure, match=r"is needed: pip install carrysave\[language\]$"):
        operands("smollm2", lambda line: None)


def test_view():
    row = read(COMMITTED)[0]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(show({"rows": [row], "left_out": [], "measured": 1, "known": 0, "out": "t.csv"}))
    text = console.export_text()
    assert row["unit"] in text and row["relative"] in text and "no joules" in text
    assert "1 measured, 0 known; table: t.csv" in text


@pytest.mark.parametrize("unit", ["decode-int8", "mixpe-w2a8", "bitserial-w4a4"])
def test_the_committed_table_comes_out_again(unit, compared):
    """To the last digit, hash and versions included."""
    rows = read(COMMITTED)
    (reference,) = [row for row in rows
                    if (row["unit"], row["trace"]) == (table.REFERENCE[0], "uniform")]
    task = Task(unit, None, {"uniform": []},
                {"uniform": (reference["hash"], reference["weighted_per_mac"])}, {})
    ((found, new),), errors, left_out = measure(task)
    assert new and not errors and not left_out
    assert found == next(row for row in rows if (row["unit"], row["trace"]) == (unit, "uniform"))
    compared(1)


def test_the_committed_table(compared):
    """Units under traces that they can have; what must be so about them."""
    rows = {(row["unit"], row["trace"]): row for row in read(COMMITTED)
            if row["command"].count("--lanes") == 0}
    expected = {(name, trace) for name in names() for trace in table.TRACES
                if trace == "uniform" or name not in catalogue.names()
                or has_operands(catalogue.get(name).build())}
    assert set(rows) == expected
    for trace in table.TRACES:
        def weighted(unit, trace=trace):
            return float(rows[unit, trace]["weighted_per_mac"])

        for wide, narrow in (("multiplier-w8a8", "multiplier-w4a8"),
                             ("multiplier-w4a8", "multiplier-w4a4"),
                             ("dequantise-first-w4a8", "mixpe-w4a8"),
                             ("mac-e5m2-e5m2", "mac-e2m1-e2m1"), ("mxint8-dot", "mxfp4-dot"),
                             ("array-int8", "array-w4a8")):
            assert weighted(narrow) < weighted(wide)
            compared(1)
    # Real operands are small most of the time.
    for unit in ("multiplier-w8a8", "mixpe-w4a8", "dequantise-first-w4a8", "array-int8"):
        assert all(float(rows[unit, trace]["relative"]) > 0 for trace in table.TRACES)
        uniform, *real = (float(rows[unit, trace]["weighted_per_mac"]) for trace in table.TRACES)
        assert uniform > max(real)
        compared(2)
