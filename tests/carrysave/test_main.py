# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: files, exit status, one-line errors."""

import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest


def carrysave(*args, cwd, status):
    result = subprocess.run(
        [sys.executable, "-m", "carrysave.main", *map(str, args)],
        cwd=cwd, capture_output=True, text=True, timeout=570,
    )
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def built(bees):
    """The whole path, place and route included."""
    result = carrysave("build", bees, "--json", cwd=bees.parent, status=0)
    return bees.parent / "build" / "bees", json.loads(result.stdout)


def test_build_writes_everything(built, compared):
    folder, ledger = built
    for name in (
        "model.safetensors", "network/network.json", "network/network.safetensors", "rtl/engine.v",
        "rtl/accelerator_icebreaker.v", "icebreaker/bees.bin", "icebreaker/manifest.json",
        "ledger.json", "evidence.json", "manifest.json", "report.html",
    ):
        assert (folder / name).stat().st_size > 100, name
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    assert json.loads((folder / "ledger.json").read_text()) == ledger
    assert (ledger["format"], ledger["subject"]) == (1, "bees")
    arrows = {(a["from"], a["to"], a["method"]): a for a in ledger["arrows"]}
    ran = [a for a in ledger["arrows"] if a["status"] != "not run"]
    assert {a["status"] for a in ran} == {"exact"}
    assert all(a["compared"] > 0 and a["mismatches"] == 0 and a["first"] is None for a in ran)
    for way in ("rtl", "netlist"), ("netlist", "routed"), ("routed", "bitstream"):
        assert (*way, "batch") in arrows
    missing = [a for a in ledger["arrows"] if a["status"] == "not run"]
    assert all("install" in a["why"] for a in missing)  # IceStorm, where it is not there
    compared(sum(a["compared"] for a in ran))


def test_build_is_repeated_from_its_manifest(built, bees):
    folder, _ = built
    first = (folder / "manifest.json").read_bytes()
    carrysave("build", folder / "manifest.json", "--locked", "--no-chain", "--out", "again",
              cwd=bees.parent, status=0)
    again = json.loads((bees.parent / "again" / "bees" / "manifest.json").read_text())
    assert again["boards"] == json.loads(first)["boards"]
    assert again["network"] == json.loads(first)["network"]


def test_build_with_another_tool_is_refused(built, bees):
    folder, _ = built
    path = folder / "manifest.json"
    first = path.read_text()
    manifest = json.loads(first)
    manifest["tools"]["pyosys"] = "0.1"
    path.write_text(json.dumps(manifest))
    try:
        result = carrysave("build", bees, "--locked", "--no-chain", cwd=bees.parent, status=2)
    finally:
        path.write_text(first)
    version = importlib.metadata.version("pyosys")
    assert f"pyosys is {version}, the manifest says 0.1" in result.stderr


def test_build_meets_the_clock(built):
    folder, _ = built
    manifest = json.loads((folder / "icebreaker" / "manifest.json").read_text())
    assert manifest["slack_ns"] > 0 and manifest["fmax_mhz"] > manifest["clock_mhz"] == 12
    assert manifest["resources"]["dsp"]["used"] == 0


def test_network_of_a_build_can_be_used(built, bees):
    folder, _ = built
    text = bees.read_text().replace("[model]", '[model]\nnetwork = "build/bees/network"')
    path = bees.parent / "given.toml"
    path.write_text(text)
    result = carrysave("verify", path, "--no-netlists", "--json", cwd=bees.parent, status=0)
    arrows = json.loads(result.stdout)["arrows"]
    assert arrows[0]["status"] == "not run" and arrows[2]["status"] == "exact"
    # One damaged byte.
    data = folder / "network" / "network.safetensors"
    damaged = bees.parent / "damaged"
    damaged.mkdir()
    (damaged / "network.json").write_bytes((folder / "network" / "network.json").read_bytes())
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    (damaged / "network.safetensors").write_bytes(content)
    path.write_text(text.replace("build/bees/network", "damaged"))
    result = carrysave("verify", path, cwd=bees.parent, status=2)
    assert "SHA-256 differs" in result.stderr


def test_fault_turns_the_ledger_red(bees):
    result = carrysave(
        "verify", bees, "--no-netlists", "--inject", "weight:3", cwd=bees.parent, status=1
    )
    found = " ".join(result.stdout.split())
    assert "golden → rtl (batch) differs: first at layer fc1, element 0, cycle" in found


def test_infer_on_a_simulated_board(bees, compared):
    result = carrysave(
        "infer", bees, "--simulate", "--count", "7", "--json", cwd=bees.parent, status=0
    )
    answer = json.loads(result.stdout)
    assert (answer["samples"], answer["compared"], answer["mismatches"]) == (7, 7 * 4, 0)
    assert set(answer["predictions"]) <= {"ant", "bee", "cow"}
    compared(answer["compared"])
    # The board computes with a fault: the golden model sees it.
    carrysave(
        "infer", bees, "--simulate", "--count", "7", "--inject", "bias:7", cwd=bees.parent, status=1
    )


def test_infer_own_inputs(bees):
    np.savez(bees.parent / "some.npz", x=np.zeros((2, 7)), y=np.array(["bee", "wasp"]))
    result = carrysave(
        "infer", bees, "--simulate", "--input", "some.npz", cwd=bees.parent, status=0
    )
    assert "of 2 right" in result.stdout
    np.savez(bees.parent / "wide.npz", x=np.zeros((2, 8)))
    for name in "wide.npz", "bees.toml", "none.npz":
        result = carrysave("infer", bees, "--simulate", "--input", name, cwd=bees.parent, status=2)
        assert "--input: " in result.stderr


@pytest.mark.parametrize("args, message", [
    (["build", "none.toml"], "none.toml: no such file"),
    (["verify", "CONFIG", "--inject", "x"], "--inject: must be MEMORY:INDEX[:BIT]"),
    (["verify", "CONFIG", "--chain", "--no-netlists"], "--chain must come without --no-netlists"),
    (["infer", "CONFIG"], "infer: give either --port PORT or --simulate"),
    (["infer", "CONFIG", "--port", "/dev/ttyNone"], "/dev/ttyNone: "),
    (["infer", "CONFIG", "--simulate", "--board", "x"], "--board: Board must be one of"),
    (["build", "CONFIG", "--out", "bees.toml"], "--out: bees.toml cannot be written to"),
])
def test_wrong(bees, args, message):
    before = sorted(bees.parent.iterdir())
    args = [str(bees) if arg == "CONFIG" else arg for arg in args]
    result = carrysave(*args, cwd=bees.parent, status=2)
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("·")]
    assert line.startswith("error: ") and message in line
    assert sorted(bees.parent.iterdir()) == before


def test_layer_that_does_not_fit(bees):
    text = bees.read_text().replace("columns = 3", "columns = 3\nweight_words = 15")
    (bees.parent / "small.toml").write_text(text)
    result = carrysave("build", "small.toml", cwd=bees.parent, status=2)
    assert "Layer fc2 (6 to 3): needs 20 weight_words" in result.stderr
    assert not (bees.parent / "build" / "small").exists()
