# SPDX-License-Identifier: Apache-2.0
"""Rows of the committed tables, chosen anew every day or by ``--sample WORD``, measured again."""

import random
import re
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from carrysave import characterise, energy
from carrysave.characterise import Job
from carrysave.energy import Task
from carrysave.fpga import characterise as fpga
from carrysave.main import app

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
RESOURCES, ENERGY = (table.read(REPORTS / f"{name}.csv") for name, table in (
    ("resources", characterise), ("energy", energy)))
COUNTS = ("dsp", "lut4", "ff", "bram", "carry", "mapping", "nand2", "transistors")
SAMPLE = 2  # of each family


def pytest_generate_tests(metafunc):
    chosen = random.Random(metafunc.config.getoption("--sample"))
    if "row" in metafunc.fixturenames:
        rows = [row for family in characterise.FAMILIES
                for row in chosen.sample(small(family), SAMPLE)]
        metafunc.parametrize("row", rows, ids=lambda row: row["command"].removeprefix(
            "carrysave characterise "))
    if "timed" in metafunc.fixturenames:
        rows = [chosen.choice([row for row in small(family) if row["fmax_mhz"]])
                for family in fpga.DEVICES]
        metafunc.parametrize("timed", rows, ids=lambda row: f"{row['unit']} {row['family']}")


def small(family):
    """Rows of a family that take seconds: the quarter with the least LUTs, or NAND2."""
    size = "nand2" if family == fpga.GATES else "lut4"
    rows = [row for row in RESOURCES if row["family"] == family and row["hash"]]
    return sorted(rows, key=lambda row: int(row[size]))[:max(SAMPLE, len(rows) // 4)]


def job(row, seeds):
    """What measures a row, after a look whether that is what was measured."""
    lanes = re.search(r"--lanes (\d+)", row["command"])
    chosen = lanes and int(lanes[1])
    dsp = row["dsp_allowed"] == "1"
    found = characterise.examine(row["unit"], chosen)
    assert not isinstance(found, str), found
    number, unit, harness, size, _ = found
    assert str(number) == row["lanes"]
    assert row["hash"] == characterise.row_hash(
        unit, harness, row["family"], dsp=dsp, seeds=int(row["seeds"] or 0)), "it was another"
    return Job(row["unit"], number, chosen, row["family"], dsp, seeds, size, row["hash"])


def test_counts_are_the_same(row, tmp_path, compared):
    found = characterise.measure(job(row, 0), tmp_path)
    assert isinstance(found, dict), found
    assert {key: found[key] for key in COUNTS} == {key: row[key] for key in COUNTS}
    assert found["tools"].split("; ")[0] == row["tools"].split("; ")[0]
    compared(len(COUNTS))


def test_fmax_is_within_the_spread(timed, tmp_path, compared):
    found = characterise.measure(job(timed, 1), tmp_path)
    assert isinstance(found, dict), found
    low, high = float(timed["fmax_min_mhz"]), float(timed["fmax_max_mhz"])
    assert low <= float(found["fmax_mhz"]) <= high
    assert {key: found[key] for key in COUNTS} == {key: timed[key] for key in COUNTS}
    compared(1 + len(COUNTS))


def test_energy_is_the_same(request, tmp_path, compared):
    """A small unit under uniform operands, beside the committed reference."""
    rows = sorted((row for row in ENERGY if row["trace"] == "uniform"
                   and row["unit"] != energy.REFERENCE[0]), key=lambda row: int(row["nets"]))
    row = random.Random(request.config.getoption("--sample")).choice(rows[:len(rows) // 4 + 1])
    (reference,) = (each for each in ENERGY if each["unit"] == energy.REFERENCE[0]
                    and each["trace"] == "uniform" and "--lanes" not in each["command"])
    lanes = re.search(r"--lanes (\d+)", row["command"])
    task = Task(row["unit"], lanes and int(lanes[1]), {"uniform": []},
                {"uniform": (reference["hash"], reference["weighted_per_mac"])}, {}, tmp_path)
    found, errors, left_out = energy.measure(task)
    assert (errors, left_out) == ([], [])
    assert found == [(row, True)]
    compared(len(row))


def test_one_command_makes_every_table(compared):
    """``make evidence`` runs what writes each table; the options it gives exist."""
    lines = subprocess.run(["make", "-n", "evidence"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.splitlines()
    commands = [line.split() for line in lines if line.startswith(".venv/bin/")]
    made = set()
    for program, name, *options in commands:
        if program.endswith("/python"):
            text = (ROOT / name).read_text(encoding="utf-8")
            made |= set(re.findall(r'REPORT = .*"(\w+\.csv)"', text))
        else:
            result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
            assert result.exit_code == 0, name
            made |= set(re.findall(r"reports/(\w+\.csv)", result.output))
            assert all(word in result.output for word in options if word.startswith("--")), name
        compared(1)
    assert made == {path.name for path in REPORTS.glob("*.csv")} | {"mixed.csv"}
