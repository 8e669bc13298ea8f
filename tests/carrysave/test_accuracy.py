# SPDX-License-Identifier: Apache-2.0
"""The table of accuracies: what is measured, what is known, what is left after an interruption."""

import csv
import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from carrysave import accuracy as module
from carrysave import accuracy_tasks, main
from carrysave.accuracy import COLUMNS, accuracy, read
from carrysave.config import load_config
from carrysave.errors import BadInput, Failure
from carrysave.quant import formats
from carrysave.quant.accuracy import error, perplexity, rounded, scales, unsuited
from carrysave.quant.data import Unavailable
from carrysave.subject import load_subject

TABLE = Path(__file__).parents[2] / "reports" / "accuracy.csv"
NAMES = ("int8", "mxfp4")


def matrices():
    rng = np.random.default_rng(0)
    for layer in range(3):
        for kind in "weights", "activations":
            yield f"layer{layer}", kind, rng.standard_t(3, size=(4, 64)).astype(np.float32)


@pytest.fixture
def loads(monkeypatch):
    """One source of six tensors; how often it was read."""
    count = []

    def load():
        count.append(1)
        yield from matrices()

    subjects = [each[:2] for each in matrices()]
    monkeypatch.setattr(module, "_sources", lambda train, report: (
        [module.Source("toy", subjects, "0", load)], ["weights of har: left out"]))
    return count


def tensors(out, names=NAMES, **kwargs):
    return accuracy(names, out=out, only="tensors", **kwargs)


def test_each_row(loads, tmp_path, compared):
    """Each tensor in each format and scale, in the file and in what is returned."""
    found = tensors(tmp_path / "new" / "t.csv")
    rows = read(tmp_path / "new" / "t.csv")
    assert sorted(map(str, rows)) == sorted(map(str, found.rows))
    assert (found.measured, found.skipped) == (18, ["weights of har: left out"])
    expected = {}
    for name, kind, x in matrices():
        for fmt, scale in ("int8", "tensor"), ("int8", "row"), ("mxfp4", "own"):
            of = error(x, rounded(x, formats.get(fmt), scale))
            expected[fmt, scale, f"toy {name} {kind}"] = (
                f"{of.relative:.4g}", f"{of.qsnr:.2f}", f"carrysave accuracy {fmt} --only tensors")
    assert expected == {
        (row["format"], row["scale"], row["subject"]): (
            row["relative_error"], row["qsnr_db"], row["command"]) for row in rows}
    assert {row["bits"] for row in rows} == {"8", "4.25"}
    assert {row["values"] for row in rows} == {"256"}
    assert len({row["hash"] for row in rows}) == 18
    assert all("numpy " in row["tools"] for row in rows)
    compared(len(rows))


def test_known_rows_are_not_measured_again(loads, tmp_path, monkeypatch, compared):
    out = tmp_path / "t.csv"
    first, content = tensors(out), out.read_bytes()
    monkeypatch.setattr(module, "_error", None)
    again = tensors(out)
    assert (again.measured, len(loads), out.read_bytes()) == (0, 1, content)
    assert sorted(map(str, again.rows)) == sorted(map(str, first.rows))
    compared(len(again.rows))


def test_bits_of_a_value(compared):
    found = {name: module._bits(formats.get(name)) for name in (
        "e2m1", "olive8", "mxfp4", "nvfp4", "int4g128", "uint4g128z")}
    assert list(found.values()) == [4, 8, 4.25, 4.5, 4 + 8 / 128, 4 + 12 / 128]
    compared(len(found))


def test_other_rows_stay(loads, tmp_path):
    out = tmp_path / "t.csv"
    tensors(out)
    assert tensors(out, ("int4",)).measured == 12
    assert len(read(out)) == 30
    assert tensors(out, ("int4", "int8", "int4")).measured == 0
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("seconds", [0, 1000])
def test_interrupted_and_resumed(loads, tmp_path, monkeypatch, seconds, compared):
    """The same table as without an interruption; what was measured is not measured again."""
    whole, out = tmp_path / "whole.csv", tmp_path / "t.csv"
    tensors(whole)
    monkeypatch.setattr(module, "SECONDS", seconds)
    right, calls = module._error, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(module, "_error", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tensors(out)
    assert len(read(out)) == 7
    assert tensors(out).measured == 11
    assert out.read_bytes() == whole.read_bytes()
    compared(18)


def test_a_killed_run_leaves_a_table(loads, tmp_path, monkeypatch, compared):
    """Each row is written before the next one is measured, where writes are not rare."""
    monkeypatch.setattr(module, "SECONDS", 0)
    right, seen = module._error, []

    def watched(*args):
        seen.append(len(read(tmp_path / "t.csv")))
        return right(*args)

    monkeypatch.setattr(module, "_error", watched)
    tensors(tmp_path / "t.csv")
    assert seen == list(range(18))
    compared(len(seen))


def test_another_rounding_is_measured_again(loads, tmp_path, monkeypatch, compared):
    """Its rows take the place of the old ones; those of other formats stay as they are."""
    out = tmp_path / "t.csv"
    tensors(out)
    before = read(out)
    fmt = formats.get("int8")
    encode = type(fmt).encode
    monkeypatch.setattr(type(fmt), "encode", lambda self, x: encode(self, x, rounding="zero"))
    assert tensors(out).measured == 12
    after = read(out)
    assert [row["subject"] for row in after] == [row["subject"] for row in before]
    for old, new in zip(before, after, strict=True):
        if new["format"] == "int8":
            assert float(new["qsnr_db"]) < float(old["qsnr_db"]) - 3
            assert new["hash"] != old["hash"]
        else:
            assert new == old
        compared(1)


@pytest.fixture
def model(monkeypatch):
    """Perplexities without a model: calls of it, and of the calibration."""
    calls = []

    def measured(fmt, scale, *, transform, tokens, smooth):
        assert (smooth == {"a": 1}) == (transform == "smooth")
        calls.append((fmt.name, scale, transform, tokens))
        return 20 + len(calls) / 3

    monkeypatch.setattr(perplexity, "perplexity", measured)
    monkeypatch.setattr(perplexity, "calibrated", lambda model: calls.append("smooth") or {"a": 1})
    monkeypatch.setattr(module._language()[0], "SmolLM2", lambda: None)
    monkeypatch.setattr(perplexity, "texts", lambda model, tokens: None)
    return calls


def test_perplexity(model, tmp_path, compared):
    """Each transform of each scale; of pairs the tensor's alone, of fp32 no transform."""
    out = tmp_path / "t.csv"
    found = accuracy(("fp32", "int8", "olive4"), out=out, only="perplexity", tokens=1024)
    expected = [("fp32", "none", "none", 1024)]
    for transform in "none", "hadamard64", "smooth":
        if transform == "smooth":
            expected.append("smooth")
        expected += [(fmt, scale, transform, 1024) for fmt, scale in (
            ("int8", "tensor"), ("int8", "row"), ("olive4", "tensor"))]
    assert model == expected
    assert [row["perplexity"] for row in found.rows[:2]] == ["20.333", "20.667"]
    assert {row["subject"] for row in read(out)} == {"smollm2 perplexity 1024 tokens"}
    assert found.rows[0]["command"] == "carrysave accuracy fp32 --only perplexity --tokens 1024"
    assert accuracy(("int8",), out=out, only="perplexity", tokens=1024).measured == 0
    assert accuracy(("int8",), out=out, only="perplexity").measured == 6
    compared(len(found.rows))


def test_defaults(loads, model, tmp_path, compared):
    """All formats that can, and for perplexity some of them."""
    found = accuracy(out=tmp_path / "t.csv")
    of_tensors = {row["format"] for row in found.rows if not row["perplexity"]}
    assert of_tensors == {name for name in formats.names() if not unsuited(formats.get(name))}
    of_text = {row["format"] for row in found.rows if row["perplexity"]}
    assert of_text == set(module.ACTIVATIONS)
    compared(len(found.rows))


@pytest.fixture
def classifiers(monkeypatch):
    """Accuracies without networks: what was scored."""
    calls = []

    def example(name, report):
        def score(fmt, transform):
            calls.append((name, fmt and fmt.name, transform))
            return 0.5 + len(calls) / 300

        return accuracy_tasks.Example(f"{name} accuracy 9 images", 9, name, score)

    monkeypatch.setattr(accuracy_tasks, "example", example)
    return calls


def test_tasks(classifiers, tmp_path, compared):
    """Each network in each format, before and after training in it; fp32 is the network itself."""
    out = tmp_path / "t.csv"
    found = accuracy(("fp32", "int4g128", "e4m3"), out=out, only="tasks")
    assert classifiers == [
        (name, fmt, transform) for name in ("fashion", "har") for fmt, transform in (
            (None, "none"), ("int4g128", "ptq"), ("int4g128", "qat"), ("e4m3", "ptq"),
            ("e4m3", "qat"))]
    assert found.rows[1].items() >= {
        "accuracy": "50.67", "values": "9", "scale": "own, int8 activations", "transform": "ptq",
        "subject": "fashion accuracy 9 images", "perplexity": "",
        "command": "carrysave accuracy int4g128 --only tasks",
        "tools": module._tools(module.TRAINING)}.items()
    assert [row["scale"] for row in found.rows[:5]] == ["none"] + [found.rows[1]["scale"]] * 2 + [
        "row"] * 2
    assert len(read(out)) == len({row["hash"] for row in read(out)}) == 10
    assert accuracy(("fp32", "e4m3"), out=out, only="tasks").measured == 0
    assert accuracy(out=out, only="tasks").measured == 2 * (2 * len(module.TASKS) - 1) - 10
    compared(len(found.rows))


def test_activations_that_round_otherwise(classifiers, monkeypatch, tmp_path, compared):
    """Rows of groups depend on how int8 rounds, which their activations are in."""
    out, fmt = tmp_path / "t.csv", formats.get("int8")
    accuracy(("int4g128", "e4m3"), out=out, only="tasks")
    encode = type(fmt).encode
    monkeypatch.setattr(type(fmt), "encode", lambda self, x, **options: encode(
        self, x, **({"rounding": "zero"} if self is fmt else options)))
    assert accuracy(("int4g128", "e4m3"), out=out, only="tasks").measured == 4
    compared(8)


def test_a_classifier_of_an_example(bees, monkeypatch, tmp_path, compared):
    """Trained once, and taken from the cache after that; nothing is trained before it is needed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = load_config(bees)
    config = config.model_copy(update={
        "model": config.model.model_copy(update={"layers": [{"conv": 3}], "hidden": None}),
        "data": config.data.model_copy(update={"shape": [7, 1]})})
    monkeypatch.setattr(accuracy_tasks, "load_config", lambda path: config)
    lines, scores = [], []
    for _ in range(2):
        found = accuracy_tasks.example("fashion", lines.append)
        assert len(lines) == len(scores) > 0 or not scores
        scores.append(found.score(None, "none"))
        found.score(formats.get("int8"), "ptq")
    assert lines == ["fashion: training in float"] and scores[0] == scores[1] > 0.6
    assert found.subject == f"fashion accuracy {found.samples} images" and found.samples == 30
    changed = config.train.model_copy(update={"seed": 1})
    config = config.model_copy(update={"train": changed})
    assert accuracy_tasks.example("fashion", lines.append).data != found.data
    compared(2 * found.samples)


def test_committed_table(compared):
    """All tensors in all formats, each row once, none of a format that is gone."""
    rows = read(TABLE)
    assert rows and all(bool(row["relative_error"]) == bool(row["qsnr_db"]) for row in rows)
    metrics = ("qsnr_db", "perplexity", "accuracy")
    assert {sum(bool(row[name]) for name in metrics) for row in rows} == {1}
    kept = {(row["format"], row["scale"]) for row in rows if row["qsnr_db"]}
    assert kept == {(name, scale) for name in formats.names()
                    if not unsuited(formats.get(name)) for scale in scales(formats.get(name))}
    subjects = {row["subject"] for row in rows if row["qsnr_db"]}
    assert sum(bool(row["qsnr_db"]) for row in rows) == len(kept) * len(subjects)
    classified = [(row["subject"].split()[0], row["format"], row["transform"])
                  for row in rows if row["accuracy"]]
    assert sorted(classified) == sorted(
        (name, fmt, transform) for name in module.NETWORKS for fmt in module.TASKS
        for transform in (("none",) if fmt == "fp32" else ("ptq", "qat")))
    assert len({module._identity(row) for row in rows}) == len(rows)
    assert rows == sorted(rows, key=module._order())
    compared(len(rows))


def test_committed_rows_are_those_of_today(compared):
    """A format that rounds otherwise than when it was measured has another hash."""
    known = {row["hash"]: row for row in read(TABLE)}
    row = next(iter(known.values()))
    if row["tools"] != module._tools():
        pytest.skip(f"the table was measured with {row['tools']}")
    sources, _ = module._sources(False, lambda line: None)
    for source in sources:
        for name, kind in source.subjects:
            for fmt in map(formats.get, NAMES):
                for scale in scales(fmt):
                    job = module._job(
                        fmt, scale, dict, subject=f"{source.name} {name} {kind}", data=source.data,
                        tools=row["tools"], command="--only tensors")
                    assert known[job.row["hash"]].items() >= job.row.items()
                    compared(1)


def run(monkeypatch, capsys, *arguments):
    """Exit status, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["carrysave", "accuracy", *map(str, arguments)])
    monkeypatch.setattr(main.err, "soft_wrap", True)
    with pytest.raises(SystemExit) as done:
        main.main()
    return done.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("arguments, text", [
    (["int9x"], "FORMAT: Format must be one of "),
    (["uint4"], "FORMAT: must be able to keep weights by itself; uint4 has no negative values"),
    (["--only", "task"], "--only: must be tensors, perplexity or tasks, not 'task'"),
])
def test_bad_input(monkeypatch, capsys, tmp_path, arguments, text):
    code, out, err = run(monkeypatch, capsys, *arguments, "--out", tmp_path / "t.csv")
    assert (code, out) == (2, "") and err.startswith(f"error: {text}")
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_table_of_somebody_else(monkeypatch, capsys, tmp_path):
    path = tmp_path / "t.csv"
    for content in b"a,b\n1,2\n", b"\xff\xfe", (",".join(COLUMNS) + "\n1,2\n").encode():
        path.write_bytes(content)
        code, _, err = run(monkeypatch, capsys, "--out", path)
        assert code == 2 and err.startswith(f"error: --out: {path} ") and err.count("\n") == 1
        assert path.read_bytes() == content


def test_nowhere_to_write(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(monkeypatch, capsys, "--out", tmp_path / "file" / "t.csv")
    assert code == 2 and err.startswith("error: --out: ") and err.count("\n") == 1


def test_json(loads, monkeypatch, capsys, tmp_path, compared):
    code, out, err = run(monkeypatch, capsys, *NAMES, "--only", "tensors", "--json",
                         "--out", tmp_path / "t.csv")
    content = json.loads(out)
    assert (code, err, content["measured"], content["known"]) == (0, "", 18, 0)
    assert content["rows"][0]["bits"] == 8 and content["rows"][0]["perplexity"] is None
    with (tmp_path / "t.csv").open(newline="") as file:
        expected = sorted((row["hash"], float(row["qsnr_db"])) for row in csv.DictReader(file))
    assert sorted((row["hash"], row["qsnr_db"]) for row in content["rows"]) == expected
    compared(len(expected))


def test_interrupted_in_one_line(loads, monkeypatch, capsys, tmp_path):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_error", interrupt)
    out = tmp_path / "t.csv"
    code, _, err = run(monkeypatch, capsys, "int8", "--only", "tensors", "--out", out)
    assert code == 130
    assert err.splitlines()[-1] == (
        f"interrupted; what was measured is in {out}; the same command goes on from there")


def test_tokens_wrong(monkeypatch, tmp_path):
    def refuse(model, tokens):
        raise ValueError("Tokens must be fewer")

    monkeypatch.setattr(perplexity, "texts", refuse)
    monkeypatch.setattr(module._language()[0], "SmolLM2", lambda: None)
    with pytest.raises(BadInput, match=r"^--tokens: Tokens must be fewer$"):
        accuracy(out=tmp_path / "t.csv", only="perplexity", tokens=3)
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_had(loads, monkeypatch, tmp_path):
    """A failure in one line, with what was measured before it in the table."""
    def load():
        yield next(matrices())
        raise Unavailable("toys are needed")

    subjects = [each[:2] for each in matrices()]
    monkeypatch.setattr(module, "_sources", lambda train, report: (
        [module.Source("toy", subjects, "0", load)], []))
    with pytest.raises(Failure, match=r"^toys are needed$"):
        tensors(tmp_path / "t.csv")
    assert len(read(tmp_path / "t.csv")) == 3


def test_a_package_that_is_not_there(monkeypatch, tmp_path):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module.importlib.metadata, "version", version)
    with pytest.raises(Failure, match=r"^gguf is needed: pip install carrysave\[language\]$"):
        tensors(tmp_path / "t.csv")


def test_weights_of_a_network(bees, monkeypatch, tmp_path, compared):
    """Those of a trained example, taken from the cache the second time."""
    config = load_config(bees)
    monkeypatch.setattr("carrysave.config.load_config", lambda path: config)
    lines = []
    source = module._network("fashion", lines.append)
    subject = load_subject(config)
    assert subject.trained is not None
    weights = [x.detach().numpy() for x in subject.trained.parameters() if x.ndim == 2]
    found = list(source.load())
    assert [each[:2] for each in found] == source.subjects
    assert [x.shape for _, _, x in found] == [(6, 7), (3, 6)]
    for (_, kind, x), expected in zip(found, weights, strict=True):
        assert kind == "weights"
        np.testing.assert_array_equal(x, expected)
        compared(x.size)
    assert module._network("fashion", lines.append).data == source.data
    monkeypatch.setattr(module, "_sources", lambda train, report: ([source], []))
    rows = tensors(tmp_path / "t.csv", ("int8",)).rows
    assert {row["command"] for row in rows} == {"carrysave accuracy int8 --only tensors --train"}
