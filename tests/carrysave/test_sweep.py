# SPDX-License-Identifier: Apache-2.0
"""Sweeps that are killed, interrupted, run on a cluster, or meet a full disk: the same table."""

import contextlib
import csv
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carrysave import main, sweep_measure, sweep_workers
from carrysave.errors import BadInput, Failure
from carrysave.estimate import estimate
from carrysave.sweep import sweep
from carrysave.sweep_config import load_sweep

ENGINE = """
name = "x"
[engine]
activations = "int8"
weights = "int8"
rows = 2
[workload]
gemms = [{name = "a", m = 100, n = 100, k = 32}, {name = "b", m = 9, n = 30, k = 70}]
"""
SWEEP = """
name = "s"
base = "engine.toml"
measure = ["estimate"]
[grid]
engine.columns = [2, 3, 4, 6, 8]
engine.bus = [32, 64, 96, 128]
"engine.activations, engine.weights" = [
    ["int8", "int8"], ["int8", "int4g16"], ["mxfp4", "mxfp4"], ["int8", "mxfp4"],
    ["int4", "int4"], ["int8", "int8"],
]
"""  # the fourth pair is impossible, the last a duplicate
POINTS, RESULTS = 120, 100
COMMAND = (sys.executable, "-m", "carrysave.main", "sweep")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "engine.toml").write_text(ENGINE)
    (folder / "s.toml").write_text(SWEEP)
    return folder / "s.toml"


@pytest.fixture(scope="module")
def whole(file):
    """The sweep, not interrupted, and where it lies."""
    return sweep(file, out=file.parent / "whole", jobs=2), file.parent / "whole"


def contents(folder):
    """The table as CSV, and what is in the database apart from times."""
    with contextlib.closing(sqlite3.connect(folder / "s.sqlite")) as database:
        tables = [database.execute(f"SELECT * FROM {name}").fetchall()
                  for name in ("points", "results")]
    return (folder / "s.csv").read_text(), tables


def kept(folder):
    """Results that are in a database now."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / 's.sqlite'}?mode=ro",
                                                uri=True)) as database:
            return database.execute("SELECT count(*) FROM results").fetchone()[0]
    except sqlite3.Error:
        return 0


def stopped(file, folder, signals, *, at=10, options=(), **popen):
    """A sweep as a command, sent a signal when some results are kept: its status and what it says.

    Signals go to its group of processes, as those of a terminal do.
    """
    # A test run in the background may have been told to ignore it.
    popen.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    with subprocess.Popen([*COMMAND, str(file), "--out", str(folder), *options], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True, **popen) as process:
        deadline = time.monotonic() + 50
        while kept(folder) < at and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        signals(process.pid)
        out, said = process.communicate(timeout=30)
    return process.returncode, out, said


def test_table(file, whole, compared):
    found, folder = whole
    rows = list(csv.DictReader((folder / "s.csv").read_text().splitlines()))
    points = load_sweep(file).points
    for row, csv_row, point in zip(found["rows"], rows, points, strict=True):
        assert csv_row == {name: "" if row.get(name) is None else str(row[name])
                           for name in found["columns"]}
        assert row["point"] == point.number
        if point.values["engine.weights"] == "mxfp4" != point.values["engine.activations"]:
            assert (row["status"], row["reason"]) == (
                "impossible", "engine: Activations and weights must both be in blocks of one size, "
                "not int8 and mxfp4")
            continue
        expected = estimate(point.config) if point.number % 7 == 0 else row
        assert row["status"] == "done" and row["cycles"] == expected["cycles"] > 0
    assert found["counts"] == {"points": POINTS, "done": 100, "impossible": 20, "failed": 0,
                               "measured": RESULTS, "known": 0}
    compared(len(rows))


def test_nothing_is_measured_twice(file, whole, monkeypatch, compared):
    found, folder = whole
    before = contents(folder)
    monkeypatch.setattr(sweep_workers, "_start", None)  # no process is needed
    again = sweep(file, out=folder / "s.sqlite")
    assert again["counts"]["measured"] == 0 and again["counts"]["known"] == RESULTS
    assert again["rows"] == found["rows"] and contents(folder) == before
    compared(len(again["rows"]))


def test_killed_in_the_middle(file, whole, tmp_path, compared):
    status, _, _ = stopped(file, tmp_path, lambda pid: os.kill(pid, signal.SIGKILL))
    before = kept(tmp_path)
    assert status == -signal.SIGKILL and 10 <= before < RESULTS
    assert not (tmp_path / "s.csv").exists()
    found = sweep(file, out=tmp_path, jobs=2)
    assert found["counts"]["known"] == before
    assert found["counts"]["measured"] == RESULTS - before
    assert found["rows"] == whole[0]["rows"] and contents(tmp_path) == contents(whole[1])
    compared(len(found["rows"]))


def test_interrupted(file, whole, tmp_path, compared):
    status, out, said = stopped(file, tmp_path, lambda pid: os.killpg(pid, signal.SIGINT),
                                options=("--jobs", "1", "--json"))
    before = kept(tmp_path)
    assert status == 130 and out == "" and 10 <= before < RESULTS
    assert said == (f"interrupted: {before} of {RESULTS} results are kept in "
                    f"{tmp_path / 's.sqlite'}; the same command goes on\n")
    result = subprocess.run([*COMMAND, str(file), "--out", str(tmp_path), "--json"], text=True,
                            capture_output=True, timeout=60)
    assert result.returncode == 0 and result.stderr == ""
    found = json.loads(result.stdout)
    assert found["counts"]["known"] == before and found["rows"] == whole[0]["rows"]
    assert contents(tmp_path) == contents(whole[1])
    compared(len(found["rows"]))


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (160_000, 160_000))
sys.argv[0] = "carrysave"
from carrysave.main import main
if __name__ == "__main__":
    main()
"""


def test_a_full_disk(file, whole, tmp_path, compared):
    """Files may grow no more at some point: nothing of what was done is lost."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    result = subprocess.run(
        [sys.executable, str(script), "sweep", str(file), "--out", str(tmp_path), "--json"],
        text=True, capture_output=True, timeout=60)
    before = kept(tmp_path)
    assert result.returncode == 2 and result.stdout == "" and 0 < before < RESULTS
    path = tmp_path / "s.sqlite"
    assert result.stderr.startswith(f"error: --out: {path} cannot be used: ")
    assert result.stderr.endswith(f". {before} of {RESULTS} results are kept in {path}; "
                                  "the same command goes on\n")
    found = sweep(file, out=tmp_path, jobs=2)
    assert found["counts"]["known"] == before
    assert found["rows"] == whole[0]["rows"] and contents(tmp_path) == contents(whole[1])
    compared(len(found["rows"]))


# On a cluster.

@contextlib.contextmanager
def dask(folder, workers=2):
    """A Dask cluster on the loopback interface: address of the scheduler, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with contextlib.ExitStack() as stack:
        def start(name, *args):
            log = stack.enter_context((folder / "dask.log").open("a"))
            process = subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{name}", *args,
                                        "--no-dashboard"], stdout=log, stderr=log, cwd=folder)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2])
        for _ in range(workers):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "60",
                  "--local-directory", str(folder / "spill"))
        until_it_answers(address)
        yield address, scheduler


def until_it_answers(address):
    host, port = address.removeprefix("tcp://").split(":")
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.1)
    raise TimeoutError("the scheduler did not start")


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    with dask(tmp_path_factory.mktemp("dask")) as (address, scheduler):
        yield address, scheduler


def test_cluster(file, whole, two_workers, tmp_path, monkeypatch, compared):
    monkeypatch.setattr(sweep_workers, "PATIENCE", 60)  # for workers to start on a loaded machine
    monkeypatch.setattr(sweep_workers, "_start", None)  # no process of ours
    found = sweep(file, out=tmp_path, scheduler=two_workers[0])
    assert found["rows"] == whole[0]["rows"] and contents(tmp_path) == contents(whole[1])
    compared(len(found["rows"]))


def test_workers_with_other_tools(file, two_workers, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_workers, "PATIENCE", 60)
    monkeypatch.setitem(sweep_measure.PACKAGES, "estimate", ("amaranth", "numpy"))
    sweep_measure.stamp.cache_clear()
    try:
        with pytest.raises(BadInput, match="worker .* must have the tools and the code of this"):
            sweep(file, out=tmp_path, scheduler=two_workers[0])
    finally:
        sweep_measure.stamp.cache_clear()


def test_a_scheduler_that_goes_away(file, whole, two_workers, tmp_path, monkeypatch, compared):
    """The last of those on this cluster."""
    monkeypatch.setattr(sweep_workers, "PATIENCE", 5)  # for it to come back
    address, scheduler = two_workers
    with pytest.raises(Failure) as caught:
        sweep(file, out=tmp_path, scheduler=address,
              progress=lambda done, total: done < 10 or scheduler.kill())
    before = kept(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"--scheduler: {address} went away") and said.endswith(
        f". {before} of {RESULTS} results are kept in {tmp_path / 's.sqlite'}; the same command "
        "goes on")
    assert 10 <= before < RESULTS
    found = sweep(file, out=tmp_path, jobs=2)
    assert found["counts"]["known"] == before
    assert found["rows"] == whole[0]["rows"] and contents(tmp_path) == contents(whole[1])
    compared(len(found["rows"]))


def test_a_scheduler_without_workers(file, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_workers, "PATIENCE", 2)
    with dask(tmp_path, workers=0) as (address, _), pytest.raises(BadInput) as caught:
        sweep(file, out=tmp_path, scheduler=address)
    assert str(caught.value) == (f"--scheduler: {address} has no workers: start them with "
                                 f"dask worker {address}")


# The command.

def command(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["carrysave", "sweep", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


def test_command(file, whole, tmp_path, monkeypatch, capsys):
    picture = tmp_path / "p.svg"
    assert command(monkeypatch, file, "--out", whole[1], "--plot", picture, "--x", "cycles",
                   "--y", "traffic") == 0
    shown = capsys.readouterr()
    assert "120 points: 100 done, 20 impossible, 0 failed" in shown.out
    assert "impossible: engine: Activations" in shown.out and "100 of 100 results" in shown.err
    assert picture.read_text().startswith("<?xml") and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("args, message", [
    (["--out", "/proc/none"], "--out: /proc/none/s.sqlite cannot be written: No such file"),
    (["--scheduler", "localhost"], "--scheduler: must be tcp://HOST:PORT, not 'localhost'"),
    (["--plot", "x.png"], "--plot: must end in .svg, not '.png'"),
    (["--plot", "x.svg"], "--plot: must come with --x and --y, the columns to draw"),
    (["--x", "cycles"], "--x, --y: must come with --plot"),
    (["--plot", "x.svg", "--x", "cycle", "--y", "cycles"], "--x: must be one of point, "),
    (["--plot", "x.svg", "--x", "cycles", "--y", "reason"], "--plot: no point has a number in"),
    (["--plot", "/none/x.svg", "--x", "cycles", "--y", "traffic"],
     "--plot: /none/x.svg cannot be written: No such file"),
])
def test_command_wrong(file, whole, monkeypatch, capsys, args, message):
    out = [] if "--out" in args else ["--out", whole[1]]
    assert command(monkeypatch, file, *out, *args) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith(f"error: {message}")


def test_example():
    found = load_sweep(Path(__file__).parents[2] / "examples" / "sweep.toml")
    assert len(found.points) == 36 and all(point.config for point in found.points)
