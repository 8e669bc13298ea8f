# SPDX-License-Identifier: Apache-2.0
"""``carrysave sweep``: many configurations measured, each once, interrupted or not."""

import contextlib
import os
from collections import Counter
from pathlib import Path

from .errors import BadInput, Failure
from .sweep_config import load_sweep
from .sweep_measure import COLUMNS, task_of
from .sweep_store import Store, StoreError, write_csv
from .sweep_workers import check_address, cluster, processes

__all__ = ["sweep"]


def sweep(path, *, out=Path("build/sweeps"), scheduler=None, jobs=None, progress=None):
    """Measure every point of a sweep that is not known yet.

    Each result is in the database as soon as it is there. What is there already, from a sweep that
    was interrupted or from another one, is not measured again.

    Parameters
    ----------
    path : path
        A SWEEP.toml.
    out : path
        A file ``.sqlite``, or a folder for one that bears the name of the sweep.
    scheduler : str, optional
        Of a Dask cluster that measures; processes of this machine by default.
    jobs : int, optional
        How many of those; as many as there are processors by default.
    progress : callable(done, total), optional
        Called with the measurements that are done, those known already included.

    Returns
    -------
    dict
        As ``sweep --json`` prints it.

    Raises
    ------
    BadInput
    Failure
        The scheduler went away.
    KeyboardInterrupt
        Its text says what is kept.
    """
    if scheduler is not None:
        check_address(scheduler)
    wanted = load_sweep(path)
    out = Path(out)
    file = out if out.suffix == ".sqlite" else out / f"{wanted.name}.sqlite"
    table = file.with_suffix(".csv")
    tasks, keys, reasons = _tasks(wanted)
    known = {}

    def kept():
        done = sum(key in known for key in tasks)
        return f"{done} of {len(tasks)} results are kept in {file}; the same command goes on"

    try:
        with Store(file) as store:
            store.enter(wanted.name, [
                (point.number, point.values, keys[point.number], reasons[point.number])
                for point in wanted.points])
            known.update((key, outcome) for key, outcome in store.known().items() if key in tasks)
            before = len(known)
            _measure(tasks, known, store, scheduler, jobs or os.cpu_count() or 1, progress)
        rows = [_row(point, keys[point.number], reasons[point.number], known)
                for point in wanted.points]
        columns = ["point", *wanted.keys,
                   *(name for measure in wanted.measure for name in COLUMNS[measure]),
                   "status", "reason"]
        write_csv(table, columns, rows)
    except StoreError as error:
        raise BadInput(f"--out: {error}{'. ' + kept() if known else ''}") from None
    except Failure as error:
        raise Failure(f"{error}. {kept()}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {kept()}") from None
    found = Counter(row["status"] for row in rows)
    return {
        "name": wanted.name, "measure": wanted.measure, "keys": wanted.keys, "columns": columns,
        "counts": {"points": len(rows), **{name: found[name] for name in ("done", "impossible",
                                                                       "failed")},
                   "measured": len(tasks) - before, "known": before},
        "database": str(file), "csv": str(table), "rows": rows,
    }


def _tasks(wanted):
    """Tasks by key; keys by measure of each point; why it is impossible."""
    tasks, keys, reasons = {}, {}, {}
    for point in wanted.points:
        keys[point.number], reasons[point.number] = {}, point.reason
        if point.config is None:
            continue
        try:
            found = [task_of(measure, wanted.kind, point) for measure in wanted.measure]
        except BadInput as error:
            reasons[point.number] = str(error)
            continue
        for task in found:
            tasks.setdefault(task["key"], task)
            keys[point.number][task["measure"]] = task["key"]
    return tasks, keys, reasons


def _measure(tasks, known, store, scheduler, jobs, progress):
    """Perform what is not in ``known``, and put it there and into the store."""
    progress = progress or (lambda done, total: None)
    todo = [task for key, task in tasks.items() if key not in known]
    progress(len(known), len(tasks))
    if not todo:
        return
    if scheduler is not None:
        outcomes = cluster(todo, scheduler)
    else:
        outcomes = processes(todo, jobs=min(jobs, len(todo)))
    with contextlib.closing(outcomes):
        for task, outcome in outcomes:
            store.put(task, outcome)
            known[task["key"]] = outcome
            progress(len(known), len(tasks))


def _row(point, keys, reason, known):
    """A point with its results."""
    found = {measure: known[key] for measure, key in keys.items()}
    worst = "impossible" if reason else max(
        (outcome["status"] for outcome in found.values()),
        key=("done", "impossible", "failed").index)
    reasons = [reason, *(outcome["reason"] for outcome in found.values())]
    row = {"point": point.number, **point.values}
    for outcome in found.values():
        row |= outcome["result"]
    return {**row, "status": worst, "reason": "; ".join(dict.fromkeys(filter(None, reasons)))}
