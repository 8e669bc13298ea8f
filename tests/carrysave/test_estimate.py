# SPDX-License-Identifier: Apache-2.0
import json
import sys

import numpy as np
import pytest
from rich.console import Console

from carrysave import estimate as module
from carrysave import estimate_view, main
from carrysave.errors import BadInput
from carrysave.estimate import estimate
from carrysave.hw.engine.images import Operand, input_words
from carrysave.hw.engine.tiling import plan
from carrysave.matrix_config import MatrixConfig, build_engine, works
from carrysave.sim.gemm import GemmSimulator

SIZES = {"wide": (9, 30, 40), "tall": (40, 5, 64), "long": (5, 6, 700), "one": (1, 1, 1)}
GEMMS = [{"name": name, "m": m, "n": n, "k": k, "repeat": 1 + len(name)}
         for name, (m, n, k) in SIZES.items()]


def configuration(workload=None, **engine):
    return MatrixConfig.model_validate({
        "name": "x", "workload": workload or {"gemms": GEMMS},
        "engine": {"activations": "int8", "weights": "int4g16", "rows": 3, "columns": 4,
                   "activation_kib": 2, "weight_kib": 1, "scale_kib": 1, "result_kib": 1,
                   **engine}})


@pytest.mark.parametrize("engine", [
    {}, {"activations": "mxfp4", "weights": "mxfp4", "bus": 16},
    {"weights": "int8", "element": "booth", "lanes": 2, "bus": 128, "bias": True},
])
def test_cycles_and_traffic_are_those_of_the_rtl(engine, compared):
    config = configuration(**engine)
    found, array = estimate(config), build_engine(config.engine, longest=700)
    simulator = GemmSimulator(array, short=True)
    for layer, (gemm, repeat) in zip(found["layers"], works(config.workload), strict=True):
        program = plan(array, [gemm])
        operands = []
        for rows, scale in (gemm.m, array.a_scale_bits), (gemm.n, array.w_scale_bits):
            groups = -(-gemm.k // (array.kind.group or gemm.k))
            operands.append(Operand(np.zeros((rows, gemm.k)),
                                    np.zeros((rows, groups)) if scale else None))
        run = simulator.run(program, [tuple(operands)])
        assert layer["cycles"] == repeat * run.total
        sent, traffic = len(input_words(array, program, [tuple(operands)])), layer["traffic"]
        results = program[0].tiles * array.chain * array.result_beats
        assert sum(traffic.values()) == repeat * (sent + results) * array.bus // 8
        assert traffic["results"] == repeat * results * array.bus // 8
        compared(3)


def test_document():
    found = estimate(configuration())
    assert json.loads(json.dumps(found)) == found
    assert {"layers", "cycles", "utilisation", "config"} <= set(found)
    for layer, gemm in zip(found["layers"], GEMMS, strict=True):
        assert {key: layer[key] for key in gemm} == gemm
        assert {"cycles", "utilisation", "bound", "traffic"} <= set(layer)
        assert layer["macs"] == gemm["repeat"] * gemm["m"] * gemm["n"] * gemm["k"]
        assert layer["utilisation"] == pytest.approx(layer["macs"] / layer["cycles"] / 12)
    for key in "cycles", "macs":
        assert found[key] == sum(layer[key] for layer in found["layers"])
    assert found["utilisation"] == found["macs"] / found["cycles"] / 12
    for name, total in found["traffic"].items():
        assert total == sum(layer["traffic"][name] for layer in found["layers"]) > 0
    assert found["config"]["memories"]["weights"] == {"lines": 512, "bits": 16, "kib": 1.0}


def test_equal_sizes_are_planned_once(monkeypatch):
    planned = []
    monkeypatch.setattr(module, "compile_gemms", lambda engine, gemms: (
        planned.append(gemms[0].name), plan(engine, gemms))[1])
    twice = [{**gemm, "name": f"{gemm['name']}{copy}"} for gemm in GEMMS for copy in "ab"]
    found = estimate(configuration({"gemms": twice}))
    assert planned == [f"{name}a" for name in SIZES]
    pairs = zip(found["layers"][::2], found["layers"][1::2], strict=True)
    assert all({**a, "name": ""} == {**b, "name": ""} for a, b in pairs)


@pytest.mark.parametrize("gemm, engine, message", [
    ({"k": 500}, {"k_max": 400},
     "engine.k_max: must be at least 500, the longest K of the workload, not 400"),
    ({"k": 5000}, {"weights": "int4g1024"}, "Layer big (8 x 8 x 5000): no tiling fits a_lines = "
     "512, w_lines = 512, scale_lines = 256 and partial_tiles = 1: see engine.activation_kib, "
     "weight_kib, scale_kib and partial_tiles"),
    ({"m": 1 << 20, "n": 1 << 20}, {}, "Layer big: 91,626,143,744 tiles; cycles are counted up to "
     "16,777,216: take a larger array, or less in a batch"),
])
def test_what_does_not_fit(gemm, engine, message):
    first = [] if "int4g1024" in engine.values() else [GEMMS[0]]
    workload = {"gemms": [*first, {"name": "big", "m": 8, "n": 8, "k": 8, **gemm}]}
    with pytest.raises(BadInput) as caught:
        estimate(configuration(workload, **engine))
    assert str(caught.value) == message


def test_a_larger_array_takes_fewer_cycles():
    workload = {"model": "resnet-18"}
    found = [estimate(configuration(workload, rows=size, columns=size, activation_kib=256,
                                    weight_kib=256, result_kib=16, scale_kib=32, bus=512))
             for size in (16, 32)]
    assert found[0]["cycles"] > 2 * found[1]["cycles"]
    assert 0.5 < found[0]["utilisation"] < 1


def test_table():
    console = Console(width=100, record=True)
    console.print(estimate_view.show(estimate(configuration())))
    text = console.export_text()
    for part in ("int8 × int4g16 on 3 × 4 MixPE, 64-bit streams", "wide", "9 × 30 × 40", "results",
                 "weight scales"):
        assert part in text


@pytest.mark.parametrize("count, text", [
    (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_600, "1 MB"),
    (72_100_000_000, "72.1 GB"), (1.34e12, "1.34 TB"), (1.23e16, "12,300 TB")])
def test_sizes(count, text):
    assert estimate_view.size(count) == text


def command(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["carrysave", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


TOML = """
name = "x"
[engine]
activations = "int8"
weights = "int8"
[workload]
gemms = [{name = "a", m = 16, n = 24, k = 32}]
"""


def test_command(tmp_path, monkeypatch, capsys):
    file, picture = tmp_path / "x.toml", tmp_path / "x.svg"
    file.write_text(TOML)
    assert command(monkeypatch, "estimate", file, "--json", "--rows", 4, "--plot", picture) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["config"]["rows"], found["config"]["columns"]) == (4, 8)
    assert picture.read_text().startswith("<svg") and not list(tmp_path.glob(".*"))
    assert command(monkeypatch, "estimate", file, "--weights", "int4g8") == 0
    assert "int4g8" in capsys.readouterr().out


@pytest.mark.parametrize("args, message", [
    (["--rows", 0], "error: --rows: should be greater than or equal to 1, not 0"),
    (["--plot", "/nowhere/x.svg"], "error: --plot: /nowhere/x.svg cannot be written: No such file"),
    (["--plot", "x.txt"], "error: --plot: must end in .svg, not '.txt'"),
    (["--activations", "mxfp4"], "error: engine: Activations and weights must both be in blocks"),
])
def test_command_wrong(tmp_path, monkeypatch, capsys, args, message):
    file = tmp_path / "x.toml"
    file.write_text(TOML)
    assert command(monkeypatch, "estimate", file, *args) == 2
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown
