# SPDX-License-Identifier: Apache-2.0
"""Workers of a sweep that die."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time

import pytest

from carrysave.errors import BadInput
from carrysave.sweep_config import load_sweep
from carrysave.sweep_measure import task_of
from carrysave.sweep_workers import cluster, processes

TOML = """
name = "x"
[engine]
activations = "int8"
weights = "int8"
rows = 2
columns = 2
[workload]
gemms = [{name = "a", m = 600, n = 600, k = 32}]
"""


@pytest.fixture
def tasks(tmp_path):
    (tmp_path / "engine.toml").write_text(TOML)
    (tmp_path / "s.toml").write_text('name = "s"\nbase = "engine.toml"\nmeasure = ["estimate"]\n'
                                     "[grid]\nengine.bus = [32, 64, 128]\n")
    found = load_sweep(tmp_path / "s.toml")
    return [task_of("estimate", found.kind, point) for point in found.points]


def kill_children(times, done):
    """A thread that kills so many children, each as soon as it is there."""
    def run():
        left, killed = times, set()
        while left and not done.is_set():
            for child in multiprocessing.active_children():
                if child.pid not in killed and left:
                    os.kill(child.pid, signal.SIGKILL)
                    killed.add(child.pid)
                    left -= 1
            time.sleep(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("times, statuses", [
    (1, ["done", "done", "done"]), (2, ["failed", "done", "done"])])
def test_a_process_that_dies(tasks, times, statuses, compared):
    done = threading.Event()
    thread = kill_children(times, done)
    try:
        found = {task["key"]: outcome for task, outcome in processes(tasks, jobs=1)}
    finally:
        done.set()
        thread.join()
    outcomes = [found[task["key"]] for task in tasks]
    assert [outcome["status"] for outcome in outcomes] == statuses
    if times == 2:
        assert outcomes[0]["reason"] == "its process died twice, at last by signal 9"
    assert not multiprocessing.active_children()
    compared(len(outcomes))


def test_processes_end_with_whoever_waits_for_them(tasks):
    with contextlib.closing(processes(tasks, jobs=2)) as outcomes:
        next(outcomes)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


def test_no_scheduler(tasks, monkeypatch):
    with pytest.raises(BadInput, match="^--scheduler: no scheduler answers at tcp://127.0.0.1:9: "):
        monkeypatch.setattr("carrysave.sweep_workers.PATIENCE", 1)
        next(cluster(tasks, "tcp://127.0.0.1:9"))


def test_no_dask(tasks, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match="Dask is not installed: pip install 'carrysave.cluster.'"):
        next(cluster(tasks, "tcp://127.0.0.1:9"))
