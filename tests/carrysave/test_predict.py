# SPDX-License-Identifier: Apache-2.0
"""Predictions of units, and how wrong those of the committed table are."""

import csv
import json
import math
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from carrysave import characterise, estimator, main, predict_fit
from carrysave.errors import BadInput
from carrysave.estimator import COLUMNS, errors
from carrysave.predict import group, predict, read
from carrysave.predict_view import show, show_errors
from carrysave.tables import write_csv

REPORTS = Path(__file__).parents[2] / "reports"
TABLE = REPORTS / "estimator.csv"
SMALL = ("decode-e2m1", "decode-e3m2", "decode-flint4", "decode-int8", "decode-log2", "fixed-add",
         "khot-2")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small(cache, tmp_path_factory):
    """A table made of small measured units, and what its making says."""
    folder = tmp_path_factory.mktemp("small")
    rows = [row for row in characterise.read(REPORTS / "resources.csv")
            if row["unit"] in SMALL and "--lanes" not in row["command"]]
    characterise.write(folder / "resources.csv", rows)
    lines = []
    found = estimator.estimator(resources=folder / "resources.csv", table=folder / "estimator.csv",
                                jobs=1, cache=cache, progress=lines.append)
    return folder, found, lines


def command(monkeypatch, capsys, *arguments):
    """Exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["carrysave", "predict", *map(str, arguments)])
    monkeypatch.setattr(main.err, "soft_wrap", True)
    with pytest.raises(SystemExit) as done:
        main.main()
    return done.value.code or 0, *capsys.readouterr()


def synthetic(numbers, unit="fixed-add", **columns):
    return {"unit": unit, **dict.fromkeys((*predict_fit.COUNTS, *predict_fit.PATH), 0), **numbers,
            **columns}


# The fit.

def test_an_exact_sum_is_found(compared):
    """Rows that are a sum of counts, of classes that cost no more than others."""
    names = [name for name in characterise.names() if name.startswith("decode")][:12]
    rows = [synthetic({"lut": 40 + 9 * k, "full": 7 * k % 50, "site": 11 * k % 40}, unit)
            for k, unit in enumerate(names)]
    for row in rows:
        row["lut4"] = str(4 * row["lut"] + 3 * row["full"] + 2 * row["site"])
    fitted = predict_fit.fit_lut4(rows)
    for row in rows:
        assert abs(fitted(row, "Decoder") / int(row["lut4"]) - 1) < 0.1
    # Twenty of one kind, unlike any row: by its coefficient.
    assert 40 < fitted(synthetic({"full": 20}), "Decoder") < 80
    compared(len(rows) + 1)


def test_a_class_that_costs_more(compared):
    """Half of the excess with one unit, more with more units; other classes do not change."""
    plain = [synthetic({"lut": 100 + k}, f"decode-{name}", lut4=str(100 + k)) for k, name in
             enumerate(("int8", "e2m1", "e4m3", "e5m2", "e2m3", "e3m2"))]
    dear = [synthetic({"lut": 100}, name, lut4="200") for name in ("fixed-add", "fixed-sub-sat")]
    factors = [predict_fit.fit_lut4([*plain, *dear[:count]])(synthetic({"lut": 100}), "FixedAdd")
               for count in range(3)]
    assert factors == sorted(factors) and 95 < factors[0] < 105
    assert abs(factors[1] / factors[0] - math.sqrt(2)) < 0.1
    assert abs(factors[2] / factors[0] - 2 ** (2 / 3)) < 0.1
    assert 95 < predict_fit.fit_lut4([*plain, *dear])(synthetic({"lut": 100}), "Decoder") < 105
    compared(5)


def test_longer_paths_are_slower(compared):
    rows = [synthetic({"path_lut": k, "lut": 50}, unit, fmax_mhz=str(1000 / (2 + 1.5 * k)))
            for k, unit in enumerate(SMALL, 1)]
    fitted = predict_fit.fit_fmax(rows)
    found = [fitted(synthetic({"path_lut": k, "lut": 50}), "") for k in range(1, 9)]
    assert found == sorted(found, reverse=True) and len(set(found)) == 8
    assert all(abs(mhz * (2 + 1.5 * k) / 1000 - 1) < 0.15 for k, mhz in enumerate(found, 1))
    compared(len(found))


# The table.

def test_rows(small, compared):
    folder, found, lines = small
    rows = read(folder / "estimator.csv")
    assert tuple(rows[0]) == COLUMNS and {row["unit"] for row in rows} == set(SMALL)
    assert (found["counted"], found["known"], found["left_out"]) == (len(SMALL), 0, [])
    assert len(rows) == found["rows"] and lines[-1].startswith(f"{len(SMALL)} of {len(SMALL)}: ")
    for row in rows:
        assert row["ff"] == row["predicted_ff"]
        error = float(row["predicted_lut4"]) / int(row["lut4"]) - 1
        assert row["lut4_error"] == f"{error:.4f}"
    compared(len(rows))


def test_known_units_are_not_counted_again(small, tmp_path, compared):
    folder, first, _ = small
    again = tmp_path / "estimator.csv"
    again.write_bytes((folder / "estimator.csv").read_bytes())
    found = estimator.estimator(resources=folder / "resources.csv", table=again,
                                jobs=1, cache=tmp_path / "cache")
    assert (found["counted"], found["known"]) == (0, len(SMALL))
    assert again.read_bytes() == (folder / "estimator.csv").read_bytes()
    assert not (tmp_path / "cache").exists() and found["errors"] == first["errors"]
    compared(found["rows"])


def test_the_command_of_a_row_predicts_it(small, cache, compared):
    """A preset's own rows have no part in what is said of it."""
    folder, _, _ = small
    for row in read(folder / "estimator.csv"):
        if row["unit"] in SMALL[::3]:
            words = row["command"].split()
            assert words[:2] == ["carrysave", "predict"] and words[-1] == "--no-dsp"
            (found,) = predict(words[2], families=[row["family"]], dsp=False, cache=cache,
                               table=folder / "estimator.csv")["rows"]
            assert abs(found["lut4"]["predicted"] - float(row["predicted_lut4"])) < 0.6
            assert found["lut4"]["measured"] == int(row["lut4"])
            assert found["lut4"]["low"] <= found["lut4"]["predicted"] <= found["lut4"]["high"]
            compared(1)


def test_as_many_clocks_as_a_fit_needs_say_nothing_of_its_error(small, cache, tmp_path, compared):
    """None of five is predicted from the other four, so that a sixth has no range."""
    rows = read(small[0] / "estimator.csv")
    for row in rows:
        known = row["unit"] in SMALL[:predict_fit.LEAST]
        row |= {"fmax_mhz": "100.0" if known else "", "predicted_fmax_mhz": ""}
    write_csv(tmp_path / "t.csv", COLUMNS, rows)
    (found,) = predict("fixed-sub-sat", families=["ecp5"], cache=cache,
                       table=tmp_path / "t.csv")["rows"]
    assert found["fmax_mhz"] is None and found["lut4"]["predicted"] > 0
    compared(1)


def test_nothing_of_a_unit_goes_into_its_prediction(small, compared):
    """With its measurements multiplied, the same is predicted of it, and another of others."""
    folder, _, _ = small
    rows = group(read(folder / "estimator.csv"), "ecp5", dsp=False)
    changed = [{**row, "lut4": str(9 * int(row["lut4"]))} if row["unit"] == "fixed-add" else
               dict(row) for row in rows]
    estimator._leave_out(changed, "lut4", predict_fit.fit_lut4)
    same = {old["unit"]: old["predicted_lut4"] == new["predicted_lut4"]
            for old, new in zip(rows, changed, strict=True)}
    assert same["fixed-add"] and not all(same.values())
    compared(len(same))


def test_errors_of_a_table(compared):
    row = dict.fromkeys(COLUMNS, "")
    rows = [{**row, "unit": str(k), "family": "ecp5", "dsp_allowed": "0", "lut4_error": str(error)}
            for k, error in enumerate((-0.1, 0.2, 0.3, -0.4, 0.5))]
    assert errors(rows) == [{
        "family": "ecp5", "dsp_allowed": False, "units": 5, "fmax_mhz": None,
        "lut4": {"rows": 5, "median": 0.3, "p90": 0.46}}]
    compared(len(rows))


# Units.

@pytest.mark.parametrize("name, options", [
    ("mixpe-w4a8", {"lanes": 7}), ("pe/mixpe", {"preset": "w4a8", "settings": ["lanes=3"]}),
    ("decode-int8", {"settings": ["lanes=5"]}), ("array-mxfp4", {}),
])
def test_units_with_odd_parameters(name, options, small, cache, compared):
    found = predict(name, table=small[0] / "estimator.csv", dsp=False, cache=cache, **options)
    assert [row["family"] for row in found["rows"]] == list(characterise.FAMILIES[:3])
    assert all(row["lut4"]["predicted"] > 10 and row["lut4"]["measured"] is None
               for row in found["rows"])
    assert json.loads(json.dumps(found)) == found
    compared(len(found["rows"]))


def test_more_lanes_cost_more(small, cache, compared):
    luts = [predict("decode-int8", lanes=lanes, table=small[0] / "estimator.csv",
                    families=["ecp5"], cache=cache)["rows"][0]["lut4"]["predicted"]
            for lanes in (1, 5, 13)]
    assert luts == sorted(set(luts))
    compared(len(luts))


def test_for_the_terminal(small, cache):
    console = Console(width=100, record=True)
    folder, found, _ = small
    console.print(show(predict("fixed-add", table=folder / "estimator.csv", cache=cache)))
    console.print(show_errors(found | {"left_out": ["x with 1 lane: no"]}))
    text = console.export_text()
    assert "fixed-add: 4 lanes, 45 flip-flops" in text and re.search(r"ecp5 +\d+ \(\d+ to", text)
    assert "measured" in text and "left out: x with 1 lane: no" in text


@pytest.mark.parametrize("arguments, message", [
    ([], "UNIT must be given, or --all for every measured unit"),
    (["fixed-add", "--all"], "UNIT must be given, or --all for every measured unit, not both"),
    (["--all", "--lanes", "3"], "--lanes is for one UNIT, not for --all"),
    (["fixed-add", "--family", "gates"], "--family must be one of ecp5, ice40, gowin, not 'gates'"),
    (["fixed-add", "--dsp"], "fixed-add has no multiplications for DSP blocks"),
    (["fixed-add", "--lanes", "0"], "fixed-add: Lanes must be a positive integer, not 0"),
    (["array-int8", "--lanes", "2"], "array-int8 takes no --lanes, --set or --preset"),
    (["fixed-mul", "--dsp", "--family", "ecp5"],
     "must have 5 units or more for ecp5 with DSP blocks, not 0: run carrysave predict --all"),
    (["fixed-add", "--table", "none.csv"],
     "--table: none.csv cannot be read: No such file or directory; carrysave predict --all"),
    (["fixed-add", "--table", REPORTS / "resources.csv"], "is no table of an estimator"),
    (["--all", "--table", "none/t.csv"], "reports/resources.csv has no measured rows"),
])
def test_mistakes(arguments, message, small, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    if "--table" not in arguments:
        arguments = [*arguments, "--table", small[0] / "estimator.csv"]
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err and not list(tmp_path.iterdir())


def test_a_table_that_cannot_be_written(small, tmp_path, cache):
    with pytest.raises(BadInput, match=r"^--table: .* cannot be written: No such file"):
        estimator.estimator(resources=small[0] / "resources.csv", table=tmp_path / "none" / "t.csv",
                            jobs=1, cache=cache)
    with pytest.raises(BadInput, match=r"^--jobs must be a positive integer, not 0$"):
        estimator.estimator(jobs=0)


# The committed table.

def test_committed_table(compared):
    """Predictions are today's; registers are exact but for one unit on one family."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    again = [dict(row) for row in rows]
    for family in characterise.FAMILIES[:3]:
        for dsp in (False, True):
            for column, fit in (("lut4", predict_fit.fit_lut4), ("fmax_mhz", predict_fit.fit_fmax)):
                some = [row for row in group(again, family, dsp) if row[column]]
                estimator._leave_out(some, column, fit)
    differ = []
    for row, fresh in zip(rows, again, strict=True):
        for column in ("lut4", "fmax_mhz"):
            # NNLS goes through LAPACK, whose last digits are another machine's.
            assert float(row[f"predicted_{column}"] or 0) == pytest.approx(
                float(fresh[f"predicted_{column}"] or 0), rel=0.01, abs=0.2), row["command"]
        if (row["family"], row["dsp_allowed"]) != ("ice40", "1"):  # blocks take registers in
            differ += [(row["unit"], row["family"])] * (row["predicted_ff"] != row["ff"])
        compared(1)
    # There synth_ice40 drops some registers more.
    assert set(differ) == {("to-bf16", "ice40")}


def test_committed_table_is_of_the_committed_measurements(compared):
    measured = {tuple(row[name] for name in estimator.KEY): row
                for row in characterise.read(REPORTS / "resources.csv")
                if row["family"] in characterise.FAMILIES[:3]}
    rows = {tuple(row[name] for name in estimator.KEY): row for row in read(TABLE)}
    assert rows.keys() == measured.keys(), "run carrysave predict --all"
    for key, row in rows.items():
        for column in ("lut4", "ff", "fmax_mhz"):
            assert row[column] == measured[key][column], "run carrysave predict --all"
        compared(1)


def test_committed_errors():
    """What the README says of LUTs without DSP blocks holds for ECP5 and iCE40."""
    found = {(row["family"], row["dsp_allowed"]): row for row in errors(read(TABLE))}
    for family in ("ecp5", "ice40"):
        assert found[family, False]["lut4"]["median"] <= 0.1
    assert found["ecp5", False]["fmax_mhz"]["median"] <= 0.15
