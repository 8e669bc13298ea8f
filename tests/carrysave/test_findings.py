# SPDX-License-Identifier: Apache-2.0
"""Findings follow from the tables, to the last figure."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carrysave.characterise_table import COLUMNS
from carrysave.findings import FINDINGS, findings
from carrysave.findings_known import Known, Tables
from carrysave.hw import catalogue
from carrysave.tables import write_csv

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
TABLES = ("resources.csv", "arrays.csv", "accuracy.csv", "energy.csv")
UNITS = (
    "multiplier-w8a8", "dequantise-first-w4a8", "multiplier-w4a8", "multiplier-w4a4", "mixpe-w4a8",
    "mixpe-w4a8-booth", "mixpe-w2a8", "olive4", "olive8", "decode-olive4", "decode-olive8",
    "mac-e4m3-e4m3", "mac-e5m2-e5m2", "mac-e2m3-e2m3", "mac-e3m2-e3m2", "mac-e2m1-e2m1",
    "mac-e2m1-e2m1-preshift", "mxint8-dot", "mxfp8-e4m3-dot", "mxfp8-e5m2-dot", "mxfp4-dot",
    "nvfp4-dot", "fixed-mul", "fixed-mul-rnd-inf-sat", "khot-2", "lut-w4a8", "lut-w2a8",
    "bitserial-w4a4", "bitserial-w2a8",
)


def row(unit, family, value, lanes=None):
    lanes = lanes or catalogue.get(unit).build().lanes
    return {**dict.fromkeys(COLUMNS, ""), "unit": unit, "lanes": lanes, "family": family,
            "dsp_allowed": "0", "nand2" if family == "gates" else "lut4": value}


@pytest.fixture
def folder(tmp_path):
    """Tables of small numbers: a unit costs 100 for a lane, a decoder 1, times its place."""
    rows = [row(unit, family, place * catalogue.get(unit).build().lanes
                * (1 if unit.startswith("decode") else 100))
            for place, unit in enumerate(UNITS, 1)
            for family in ("gates", "ecp5", "ice40", "gowin")]
    rows.append({**row("mixpe-w4a8", "ecp5", 1), "dsp_allowed": "1", "dsp": "9"})
    rows.append(row("mixpe-w4a8", "gates", 1, lanes=4))
    write_csv(tmp_path / "resources.csv", COLUMNS, rows)
    energy = [{"unit": unit, "lanes": "16", "trace": trace, "weighted_per_mac": value * of}
              for trace, of in (("uniform", 1), ("smollm2", 2)) for unit, value in (
                  ("multiplier-w8a8", 8), ("dequantise-first-w4a8", 16), ("multiplier-w4a8", 4),
                  ("mixpe-w4a8", 2), ("mixpe-w4a8-booth", 1))]
    del energy[-1]  # so smollm2 is not there for all
    write_csv(tmp_path / "energy.csv", list(energy[0]), energy)
    shutil.copy(REPORTS / "arrays.csv", tmp_path)
    shutil.copy(REPORTS / "accuracy.csv", tmp_path)
    return tmp_path


def named(folder):
    return {each.name: each for each in findings(folder)}


def edit(path, change):
    """Rows of a table, each as ``change`` leaves it."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for each in rows:
        change(each)
    write_csv(path, list(rows[0]), rows)


def test_figures_by_hand(folder, compared):
    found = named(folder)
    mixpe = found["mixpe"]
    assert mixpe.head[-2:] == ["toggles of the first (uniform)",
                               "area × power efficiency of the first"]
    # A fifth of int8's toggles at five times its gates, which stands in the list before it.
    assert [each[-2:] for each in mixpe.rows] == [
        ["1.00", "1.00"], ["2.00", "0.25"], ["0.50", "0.67"], ["0.25", "0.80"], ["0.12", "1.33"]]
    assert mixpe.rows[3][:3] == ["`mixpe-w4a8`", "500.0", "5.00"]
    assert mixpe.ours == (
        "0.80 times the area × power efficiency of int8 as MixPE describes it, 1.33 with Booth's "
        "recoding, 0.67 for a plain multiplier of 4 by 8 bits. In NAND2 gates MixPE takes 5.00 of "
        "int8 and 2.50 of dequantising first; with Booth's recoding 6.00 and 3.00.")
    assert "E4M3 is 1100 % dearer than int8" in found["minifloat"].ours
    assert "E2M1 is 300 % dearer than int4" in found["minifloat"].ours
    # 16 lanes of four columns are 64 products.
    assert found["bits"].rows[4][1] == f"{100 * (UNITS.index('lut-w4a8') + 1) / 4:.1f}"
    assert "MXINT8 takes 0.95 of one of MXFP8" in found["mxint8"].ours
    assert "takes 1.04 of the gates" in found["khot"].ours
    # Decoders of 11, elements of 900 less two of them: 22 n / (878 n² + 22 n).
    cells = next(each for each in found["olive"].rows if each[0].startswith("8-bit"))
    assert cells[1:] == ["11.0", "878.0", "0.2 %", "0.0 %", "0.0 %"]
    compared(len(UNITS))


def test_olive_in_an_array(folder, compared):
    """A 15 by 15 array by hand: its decoders, over what it takes in all."""
    def set_row(row):
        if row["array"] == "OliVe 4-bit":
            row |= {"element": "100", "rows": "10", "columns": "10", "sites": "12000",
                    "decoders": "400"}

    edit(folder / "arrays.csv", set_row)
    cells = named(folder)["olive"].rows[0]
    # Decoders of 20, borders of 100 in all: 40 n / (100 n² + 200 n).
    assert cells == ["4-bit array, ECP5 sites", "20.0", "100.0", *(
        f"{100 * 40 * n / (100 * n * n + 200 * n):.1f} %" for n in (16, 64, 128))]
    compared(3)


def test_arrays_by_hand(folder, compared):
    def set_row(row):
        for key in row:
            if key.endswith("cycles x area, of int8"):
                row[key] = {"MixPE W4A8": "0.4", "dequantise first, in each element": "1.6"}.get(
                    row["array"], "1")

    edit(folder / "arrays.csv", set_row)
    found = named(folder)["mixpe-arrays"]
    assert ("MixPE W4A8 runs networks 2.50 to 2.50 times as fast as int8, and 4.00 to 4.00 times "
            "as fast as dequantising in each element") in found.ours
    assert found.rows[3][3:] == ["2.50"] * 4
    compared(4)


def test_the_committed_tables(compared):
    """Every finding of the issue; nothing of ours in the prose that is not computed."""
    found = findings(REPORTS)
    assert [each.name for each in found] == [
        "mixpe", "mixpe-arrays", "olive", "minifloat", "mxint8", "nvint4", "khot", "bits"]
    for each in found:
        assert all((each.title, each.paper, each.ours, each.head, each.rows, each.reason))
        assert re.search(r"(19|20)\d\d", each.source)
        assert {len(cells) for cells in each.rows} == {len(each.head)}
        assert not re.search(r"\d\.\d|\d %", each.reason), "figures belong into ours"
        compared(len(each.rows))


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_table_changes_a_finding(folder, table, compared):
    """Each number that is read: doubled, it shows."""
    before = named(folder)
    columns = {"resources.csv": ("nand2", "lut4"), "energy.csv": ("weighted_per_mac",),
               "accuracy.csv": ("qsnr_db",), "arrays.csv": ("element", "rows")}[table]
    first = {"resources.csv": "multiplier-w8a8", "energy.csv": "multiplier-w8a8",
             "accuracy.csv": "mxint8", "arrays.csv": "OliVe 4-bit"}[table]

    def double(row):
        if first in row.values():
            for name in columns:
                row[name] = row[name] and f"{2 * float(row[name]):g}"

    edit(folder / table, double)
    after = named(folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"resources.csv": {"mixpe", "minifloat", "bits"}, "energy.csv": {"mixpe"},
                       "accuracy.csv": {"mxint8"}, "arrays.csv": {"olive"}}[table]
    compared(len(changed))


def test_nothing_is_measured(tmp_path, compared):
    """Each finding names the commands, which are ones that there are, and claims nothing."""
    for each in findings(tmp_path):
        assert each.ours.startswith("Not measured yet: `")
        assert "–" not in each.ours and not re.search(r"\d\.\d", each.ours)
        compared(1)
    assert named(tmp_path)["olive"].ours.count("`") == 4
    assert ("`carrysave characterise olive4 decode-olive4 olive8 decode-olive8 --family gates "
            "--no-timing`") in named(tmp_path)["olive"].ours


def test_what_is_partly_measured(folder):
    """What is left, by family; what can be said is said."""
    with (folder / "resources.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file)
                if (row["unit"], row["family"]) != ("mac-e5m2-e5m2", "gates")
                and (row["unit"], row["family"]) != ("mac-e2m3-e2m3", "gowin")]
    write_csv(folder / "resources.csv", COLUMNS, rows)
    ours = named(folder)["minifloat"].ours
    assert "than int8, E5M2" not in ours and "E2M3 is 1300 % dearer" in ours
    assert "`carrysave characterise mac-e5m2-e5m2 --family gates --no-timing`" in ours
    assert "`carrysave characterise mac-e2m3-e2m3 --family gowin --no-timing`" in ours


def test_a_unit_that_is_not_there(folder):
    known = Known(Tables(folder))
    assert known.cost("no-such-unit") is None
    assert known.missing == ["`no-such-unit`, which the catalogue of units lacks"]


def test_units_that_findings_ask_for(compared):
    """All of the catalogue, but for those that are said to be missing from it."""
    known = Known(Tables(ROOT / "no such folder"))
    for make in FINDINGS:
        make(known)
    asked = {unit for line in known.missing for unit in re.findall(r"[\w-]+-\w[\w-]*|\w+", line)
             if unit in catalogue.names()}
    assert asked == set(UNITS) | set(catalogue.names()) & {"nvint4-dot"}
    compared(len(asked))


def test_the_page_is_current():
    run = subprocess.run([sys.executable, ROOT / "scripts" / "findings.py", "--check"],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
