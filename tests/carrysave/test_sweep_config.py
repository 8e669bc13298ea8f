# SPDX-License-Identifier: Apache-2.0
"""Sweeps as files: their points, and everything that is wrong with them."""

import itertools

import pytest

from carrysave.errors import BadInput
from carrysave.sweep_config import MOST, load_sweep

ENGINE = """
name = "x"
[engine]
activations = "int8"
weights = "int8"
[workload]
gemms = [{name = "a", m = 16, n = 24, k = 32}]
"""
UNIT = 'unit = "MixPE"\n[parameters]\nlanes = 2\n'
NETWORK = 'name = "n"\n[data]\nsource = "mine.npz"\n'
HEAD = 'name = "s"\nbase = "engine.toml"\nmeasure = ["estimate"]\n'
GRID = "[grid]\nengine.rows = [1, 2]\n"


@pytest.fixture
def load(tmp_path):
    for name, text in ("engine", ENGINE), ("unit", UNIT), ("network", NETWORK):
        (tmp_path / f"{name}.toml").write_text(text)

    def run(text):
        (tmp_path / "s.toml").write_text(text)
        return load_sweep(tmp_path / "s.toml")

    return run


def test_grid(load, compared):
    found = load(HEAD + '[grid]\nengine.rows = [1, 2]\n'
                 '"engine.columns, engine.lanes" = [[4, 1], [8, 2]]\n"workload.batch" = [1, 3]\n')
    expected = itertools.product((1, 2), ((4, 1), (8, 2)), (1, 3))
    assert found.keys == ["engine.rows", "engine.columns", "engine.lanes", "workload.batch"]
    for point, (rows, (columns, lanes), batch) in zip(found.points, expected, strict=True):
        assert list(point.values.values()) == [rows, columns, lanes, batch]
        engine = point.config.engine
        assert (engine.rows, engine.columns, engine.lanes) == (rows, columns, lanes)
        assert (point.config.workload.batch, engine.weights) == (batch, "int8")
    assert [point.number for point in found.points] == list(range(1, 9))
    compared(8)


def test_random_points_are_drawn_once_and_again_the_same(load):
    text = HEAD + "[random]\npoints = 40\nseed = {}\n[grid]\nengine.rows = {}\nengine.bus = {}\n"
    rows, buses = list(range(1, 101)), list(range(8, 808, 8))
    first, again, other = (load(text.format(seed, rows, buses)).points for seed in (7, 7, 8))
    assert first == again != other
    assert len({tuple(point.values.values()) for point in first}) == 40
    huge = "".join(f"engine.{key} = {rows * 1000}\n" for key in ("rows", "columns", "bus"))
    assert len(load(HEAD + "[random]\npoints = 3\n[grid]\n" + huge).points) == 3


def test_an_impossible_point_has_its_reason(load):
    found = load(HEAD + '[grid]\nengine.rows = [0, 4, "x"]\nengine.weights = ["int8", "int99"]\n')
    possible = [point.values for point in found.points if point.config is not None]
    assert possible == [{"engine.rows": 4, "engine.weights": "int8"}]
    reasons = [point.reason for point in found.points]
    assert reasons[0] == "engine.rows: should be greater than or equal to 1, not 0"
    assert reasons[3].startswith("engine.weights: ") and "int99" in reasons[3]
    assert reasons[4] == "engine.rows: should be a valid integer, not 'x'"


@pytest.mark.parametrize("base", ["unit.toml", "mixpe-w4a8"])
def test_units(load, base):
    found = load(f'name = "s"\nbase = "{base}"\nmeasure = ["synth"]\n[synth]\nfamily = "ice40"\n'
                 f'[grid]\nsynth.dsp = [false, true]\nparameters.lanes = [1, 4]\n')
    chosen = [(point.config.choose().unit.lanes, point.config.synth.dsp) for point in found.points]
    assert chosen == [(1, False), (4, False), (1, True), (4, True)]
    assert {point.config.synth.family for point in found.points} == {"ice40"}
    (wrong,) = load(f'name = "s"\nbase = "{base}"\nmeasure = ["synth"]\n[grid]\n'
                    "parameters.lanes = [0]\n").points
    assert wrong.reason.endswith("Lanes must be a positive integer, not 0")


def test_paths_are_relative_to_the_sweep(load, tmp_path):
    found = load('name = "s"\nbase = "network.toml"\nmeasure = ["train"]\n'
                 '[grid]\ndata.source = ["digits", "b.npz"]\nmodel.network = ["n"]\n')
    assert [point.config.data.source for point in found.points] == [
        "digits", str(tmp_path / "b.npz")]
    assert found.points[0].config.model.network == str(tmp_path / "n")
    found = load('name = "s"\nbase = "network.toml"\nmeasure = ["train"]\n'
                 "[grid]\ntrain.seed = [1]\n")
    assert found.points[0].config.data.source == str(tmp_path / "mine.npz")


@pytest.mark.parametrize("text, message", [
    ("name = ", "not TOML: "),
    (HEAD, "grid: missing"),
    (HEAD + "[grid]\n", "grid: Dictionary should have at least 1 item after validation, not 0"),
    (HEAD + "gird = 1\n" + GRID, "gird: unknown key; did you mean grid? allowed here: name, "),
    (HEAD + "[grid]\nengine.row = [1]\n",
     "grid.engine.row: unknown key 'row'; did you mean rows? allowed here: activations, weights, "),
    (HEAD + "[grid]\nengin.rows = [1]\n",
     "grid.engin.rows: unknown key 'engin'; did you mean engine? "),
    (HEAD + "[grid]\nengine.rows.x = [1]\n",
     "grid.engine.rows.x: unknown key 'x'; allowed here: none, it is a value"),
    (HEAD + "[grid]\nengine.rows = []\n", "grid.engine.rows: must have at least one value"),
    (HEAD + "[grid.engine]\n", "grid.engine: must have at least one key"),
    (HEAD + "[grid]\nengine.rows = 4\n", "grid.engine.rows: must be a list of values, not 4"),
    (HEAD + '[grid]\n"engine.rows, engine.bus" = [[1, 8], [2]]\n',
     "grid.engine.rows, engine.bus: must have lists of 2 values, not [2]"),
    (HEAD + '[grid]\nengine.rows = [1]\n"engine.bus, engine.rows" = [[8, 2]]\n',
     "grid.engine.rows: must be given once"),
    (HEAD + f"[grid]\nengine.rows = {list(range(101))}\nengine.bus = {list(range(100))}\n",
     f"grid: must have at most {MOST:,} points, not 10,100; [random] with points takes some"),
    (HEAD + "[random]\npoints = 3\n" + GRID,
     "random.points: must be at most 2, the points of the grid, not 3"),
    (HEAD + "[random]\npoints = 0\n" + GRID, "random.points: should be greater than or equal to 1"),
    (HEAD.replace('"estimate"', '"train"') + GRID,
     "measure: must be estimate or synth for a matrix engine, which engine.toml is, not 'train'"),
    (HEAD.replace('"estimate"', "") + GRID, "measure: List should have at least 1 item"),
    (HEAD.replace('"estimate"', '"synth", "synth"') + GRID,
     "measure: each measure once, not ['synth', 'synth']"),
    (HEAD.replace("engine.toml", "no.toml") + GRID, "base: "),
    (HEAD.replace("engine.toml", "none") + GRID, "base: UNIT must be one of "),
    (HEAD + '[synth]\nfamily = "x"\n' + GRID, "synth.family: Family must be one of "),
])
def test_wrong(load, text, message):
    with pytest.raises(BadInput) as caught:
        load(text)
    shown = str(caught.value)
    assert message in shown and "s.toml: " in shown and "\n" not in shown


def test_no_synth_of_a_network(load):
    with pytest.raises(BadInput, match="synth: unknown key 'synth'; allowed here: name, data"):
        load('name = "s"\nbase = "network.toml"\nmeasure = ["train"]\n[synth]\ndsp = true\n'
             "[grid]\ntrain.seed = [1]\n")


def test_no_such_file(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        load_sweep(tmp_path / "no.toml")
