# SPDX-License-Identifier: Apache-2.0
"""Widths by layer: from the front to a configuration that builds."""

import json
import re
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from carrysave import flow, mixed
from carrysave.config import load_config
from carrysave.errors import BadInput
from carrysave.main import app

TEXT = """# A comment that stays.
name = "pictures"
[model]
layers = [{ conv = 4, stride = 2 }, { conv = 6, stride = 2 }]
[train]
epochs = 1
quantised_epochs = 1
[engine]
columns = 4
lanes = 2
[build]
boards = []
[verify]
engine_samples = 5
cocotb_samples = 1
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "pictures.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def found(path):
    return mixed.mixed(path, widths=(8, 2, 4), points=4, samples=200, out=path.parent / "m.csv",
                       write=path.parent / "chosen.toml", budgets={"memory_bits": 8000})


def test_rows(found, path, compared):
    rows = found["rows"]
    assert mixed.read(path.parent / "m.csv") == rows
    uniform = {row["weights"]: row for row in rows if row["kind"] == "uniform"}
    assert sorted(uniform) == ["int2", "int4", "int8"]
    some = [row for row in rows if row["kind"] == "mixed"]
    assert some and all(len(row["weights"].split()) == 3 for row in some)
    # What the solver was told is what the compiled networks take.
    bits = (int(uniform["int8"]["memory_bits"]) - int(uniform["int4"]["memory_bits"])) // 4
    for row in rows:
        config = load_config(path)
        weights = row["weights"].split()
        update = {"weights": weights if len(weights) > 1 else weights[0]}
        prepared = flow.prepare(config.model_copy(update={
            "quantise": config.quantise.model_copy(update=update)}))
        program = prepared.program
        assert int(row["memory_bits"]) == sum(program.memory_bits.values())
        assert int(row["cycles"]) == program.latency(1)
        compared(prepared.subject.x.shape[0])
    assert bits > 0
    assert len({row["hash"] for row in rows}) == len(rows)
    assert {row["command"] for row in rows} == {
        f"carrysave mixed {path} --width 2 --width 4 --width 8 --memory 0.9765625 --points 4 "
        "--samples 200"}


def test_a_table_that_cannot_be_written(path, monkeypatch):
    """It shows before anything is trained."""
    monkeypatch.setattr(mixed._Study, "sensitivities", None)
    with pytest.raises(BadInput, match=r"^--out: /proc/none/m.csv cannot be written: "):
        mixed.mixed(path, out="/proc/none/m.csv")


def test_beyond():
    def row(kind, memory, accuracy):
        return {"kind": kind, "memory_bits": str(memory), "accuracy": str(accuracy)}

    rows = [row("uniform", 100, 80), row("uniform", 200, 90)]
    assert mixed.beyond(row("mixed", 150, 80.1), rows)
    assert not mixed.beyond(row("mixed", 150, 80), rows)
    assert not mixed.beyond(row("mixed", 200, 85), rows)
    assert mixed.beyond(row("mixed", 99, 10), rows)
    assert not mixed.beyond(row("uniform", 99, 10), rows)


def test_the_choice_is_built_and_exact(found, path, compared):
    """The configuration that was written, to the RTL over the UART pins."""
    written = path.parent / "chosen.toml"
    assert written.read_text().startswith('# A comment that stays.\nname = "pictures-mixed"\n')
    config = load_config(written)
    weights = config.quantise.weights
    assert found["chosen"] == (weights if isinstance(weights, str) else " ".join(weights))
    prepared = flow.prepare(config)
    assert sum(prepared.program.memory_bits.values()) <= 8000
    ledger, _ = flow.verify(prepared, netlists=False, chain=False)
    ran = [arrow for arrow in ledger.arrows if arrow.ran]
    assert len(ran) == 5 and all(arrow.status == "exact" for arrow in ran)
    compared(sum(arrow.compared for arrow in ran))


def test_luts_of_the_array_limit_the_widths(path, monkeypatch, tmp_path):
    """Synthesis is as costly here as the widest weights are."""
    def synthesise(accelerator, board, *, check):
        assert board.name == "ulx3s" and not check
        bits = accelerator.engine.program.weight.bits
        return SimpleNamespace(resources={"lut4": 1000 * bits, "bram": bits})

    monkeypatch.setattr(mixed, "synthesise", synthesise)
    found = mixed.mixed(path, board="ulx3s", widths=(2, 4, 8), points=3, samples=200,
                        budgets={"lut4": 4000})
    assert {row["lut4"] for row in found["rows"]} == {"2000", "4000", "8000"}
    assert "8" not in found["chosen"] and "4" in found["chosen"]
    assert all("int8" not in row["weights"] for row in found["rows"] if row["kind"] == "mixed")
    with pytest.raises(BadInput, match="^budgets: no choice stays within lut4 1999, memory_bits "):
        mixed.mixed(path, board="ulx3s", widths=(2, 4, 8), samples=200, budgets={"lut4": 1999})


@pytest.mark.parametrize("arguments, message", [
    (["--width", "9"], "--width must be 2 to 8, not 9"),
    (["--board", "ulx"], "--board: Board must be one of"),
    (["--lut", "5"], "--lut: needs a board, whose LUTs are counted: give --board"),
    (["--sensitivity", "x"], "--sensitivity must be loss or hessian, not 'x'"),
    (["--samples", "3"], "--samples must be 32 to 1048576, not 3"),
    (["--plot", "x.png"], "--plot: must end in .svg, not '.png'"),
    (["--write", "x"], "--write: must end in .toml, not 'x'"),
    (["--columns", "0"], "--columns must be 1 to 256, not 0"),
    (["--columns", "3"], "engine.lanes must divide the 3 columns, not 2"),
    (["--memory", "nan"], "--memory"),
    (["--memory", "inf"], "--memory: must be a number of KiB, not inf"),
    (["--write", "none/x.toml"], "--write: none is no folder"),
    (["--plot", "none/x.svg"], "--plot: none is no folder"),
    (["--board", ""], "--board: Board must be one of"),
])
def test_bad_options(path, tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["mixed", str(path), "--out", str(tmp_path / "o.csv"),
                                      *arguments])
    assert result.exit_code == 2 or isinstance(result.exception, BadInput)
    assert message in f"{result.exception} {result.output}"
    assert not list(tmp_path.iterdir())


def test_other_tables_and_networks(path, tmp_path):
    table = tmp_path / "other.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=re.escape("must be a table with the columns network,")):
        mixed.mixed(path, out=table)
    assert table.read_text() == "a,b\n1,2\n"
    given = tmp_path / "given.toml"
    given.write_text('name = "x"\n[model]\nnetwork = "net"\n')
    with pytest.raises(BadInput, match=r"^model.network: must be left out"):
        mixed.mixed(given)


def test_command(found, path, compared):
    """The same again from the cache, as JSON, with the figure."""
    figure = path.parent / "front.svg"
    result = CliRunner().invoke(app, [
        "mixed", str(path), "--width", "2", "--width", "4", "--width", "8", "--points", "4",
        "--samples", "200", "--memory", str(8000 / 8192), "--out", str(path.parent / "m2.csv"),
        "--plot", str(figure), "--json"])
    assert result.exit_code == 0, result.output
    again = json.loads(result.stdout)
    assert [row["hash"] for row in again["rows"]] == [row["hash"] for row in found["rows"]]
    text = figure.read_text()
    assert text.startswith("<svg") and "int8" in text and "memory on chip, KiB" in text
    compared(len(again["rows"]))
