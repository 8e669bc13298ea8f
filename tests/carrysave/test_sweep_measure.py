# SPDX-License-Identifier: Apache-2.0
"""Measures of a sweep against the commands that measure one thing."""

import pytest

from carrysave import sweep_measure as module
from carrysave.config import load_config
from carrysave.errors import BadInput, Failure
from carrysave.estimate import estimate
from carrysave.flow import prepare
from carrysave.quant.golden.argmax import argmax
from carrysave.sweep_config import load_sweep
from carrysave.sweep_measure import COLUMNS, failed, perform, stamp, task_of
from carrysave.synth import synth

ENGINE = """
name = "x"
[engine]
activations = "int8"
weights = "int4g8"
[workload]
gemms = [{name = "a", m = 16, n = 24, k = 32}]
"""


def sweep(folder, base, measure, grid):
    (folder / "engine.toml").write_text(ENGINE)
    (folder / "s.toml").write_text(
        f'name = "s"\nbase = "{base}"\nmeasure = {measure}\n[grid]\n{grid}\n')
    return load_sweep(folder / "s.toml")


def tasks(folder, base, measure, grid):
    found = sweep(folder, base, [measure], grid)
    return [task_of(measure, found.kind, point) for point in found.points]


def test_estimate(tmp_path, compared):
    found = sweep(tmp_path, "engine.toml", ["estimate"], "engine.rows = [2, 5]")
    for point in found.points:
        outcome, expected = perform(task_of("estimate", found.kind, point)), estimate(point.config)
        result = outcome["result"]
        assert (outcome["status"], outcome["reason"]) == ("done", "") and outcome["seconds"] > 0
        assert tuple(result) == COLUMNS["estimate"]
        assert [result[name] for name in ("cycles", "macs", "utilisation")] == [
            expected[name] for name in ("cycles", "macs", "utilisation")]
        assert result["traffic"] == sum(expected["traffic"].values())
    compared(2)


def test_synth_of_a_unit(tmp_path):
    (task,) = tasks(tmp_path, "decode-e2m1", "synth", "synth.dsp = [false]")
    found, expected = perform(task)["result"], synth("decode-e2m1", dsp=False, timing=False)
    assert found == {name: expected[name] for name in COLUMNS["synth"]}
    assert tuple(found) == COLUMNS["synth"] and found["lut4"] > 0


def test_synth_of_an_element_is_shared(tmp_path):
    found = tasks(tmp_path, "engine.toml", "synth",
                  "engine.rows = [2, 4]\nengine.registers = [1, 2]")
    assert [task["key"] == found[0]["key"] for task in found] == [True, False, True, False]
    result = perform(found[0])["result"]
    assert result["ff"] > 0 and result["fmax_mhz"] is None


def test_train(bees, prepared):
    found = tasks(bees.parent, bees.name, "train", "train.seed = [0]\nverify.cocotb_samples = [1]")
    result = perform(found[0])["result"]
    subject = prepared.subject
    right = argmax(subject.network.logits(subject.x)).numpy() == subject.data.y_test
    assert result["correct"] == right.sum() and result["samples"] == len(right) > 0
    assert result["accuracy"] == right.mean()
    assert result["memory_bits"] == sum(prepared.program.memory_bits.values())
    assert result["float_accuracy"] == subject.float_accuracy
    assert prepare(load_config(bees)).subject.network.identity == subject.network.identity


def test_key_of_training(bees):
    first, other, again = tasks(bees.parent, bees.name, "train",
                                '"train.seed, verify.cocotb_samples" = [[0, 1], [1, 1], [0, 2]]')
    assert first["key"] == again["key"] != other["key"]
    data = bees.parent / "bees.npz"
    before = data.read_bytes()
    try:
        data.write_bytes(before + b" ")
        (changed,) = tasks(bees.parent, bees.name, "train", "train.seed = [0]")
    finally:
        data.write_bytes(before)
    assert changed["key"] != first["key"]


def test_key_of_an_estimate(tmp_path):
    left_out, given, other = tasks(
        tmp_path, "engine.toml", "estimate",
        '"engine.bus, synth.dsp" = [[64, false], [64, true], [32, true]]')
    assert left_out["key"] == given["key"] != other["key"]


def test_errors_become_reasons(tmp_path, monkeypatch):
    (task,) = tasks(tmp_path, "engine.toml", "estimate", "engine.k_max = [31]")
    found = perform(task)
    assert (found["status"], found["result"]) == ("impossible", {})
    assert found["reason"] == ("engine.k_max: must be at least 32, the longest K of the workload, "
                               "not 31")
    for error, status, reason in (
            (Failure("one\ntwo"), "failed", "one"), (OSError("x"), "failed", "OSError: x")):
        def fail(config, error=error):
            raise error

        monkeypatch.setitem(module.MEASURES, "estimate", fail)
        found = perform(task)
        assert (found["status"], found["reason"]) == (status, reason)
    assert failed("")["reason"] == ""


def test_a_worker_with_other_code_measures_nothing(tmp_path):
    (task,) = tasks(tmp_path, "engine.toml", "estimate", "engine.rows = [2]")
    found = perform(task | {"stamp": {**task["stamp"], "code": "other"}})
    assert found["status"] == "failed" and "another carrysave" in found["reason"]


def test_a_package_that_is_missing(monkeypatch):
    stamp.cache_clear()
    monkeypatch.setitem(module.PACKAGES, "train", ("none-such",))
    with pytest.raises(BadInput, match="measure: train needs the package none-such, which is not"):
        stamp("train")
    stamp.cache_clear()
