# SPDX-License-Identifier: Apache-2.0
"""``carrysave predict --all``: every measured unit, predicted from the others."""

import collections
import functools
import importlib.metadata
import json
import multiprocessing
import os
import statistics
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import characterise
from .errors import BadInput, Failure
from .format_numbers import plural
from .fpga import cover
from .fpga.characterise import DEVICES
from .hw.cache import digest
from .hw.process import MissingTool
from .hw.yosys import YosysError
from .predict import TABLE, group, read
from .predict_fit import LEAST, fit_fmax, fit_lut4, kind_of
from .tables import write_csv

__all__ = ["COLUMNS", "errors", "estimator"]

COUNTS = (*(name for name in cover.COUNTS if name != "ff"), *cover.PATH)
COLUMNS = ("unit", "lanes", "family", "dsp_allowed", "lut4", "predicted_lut4", "lut4_error", "ff",
           "predicted_ff", "fmax_mhz", "predicted_fmax_mhz", "fmax_error", *COUNTS, "command",
           "tools", "hash")
KEY = COLUMNS[:4]


def estimator(*, resources=characterise.TABLE, table=TABLE, jobs=None, cache=None, progress=None):
    """Predict every row of a table of measurements, and write how wrong that is.

    Nothing of a unit goes into its prediction, whatever its lanes. Counts of units whose hash is in
    the table are not made again.

    Parameters
    ----------
    resources : path
        Of :func:`.characterise`.
    table : path
        To be written.
    jobs : int, optional
        Processes; as many as the machine has cores.
    cache : path, optional
    progress : callable, optional

    Returns
    -------
    dict
        ``out``; numbers of rows, ``rows``, and units ``counted`` and ``known``; ``errors``, see
        :func:`errors`; ``left_out``, list of lines.

    Raises
    ------
    BadInput
    Failure
    """
    progress = progress or (lambda line: None)
    resources, table = Path(resources), Path(table)
    if jobs is not None and jobs < 1:
        raise BadInput(f"--jobs must be a positive integer, not {jobs!r}")
    measured = [row for row in characterise.read(resources) if row["family"] in DEVICES]
    if not measured:
        raise BadInput(f"{resources} has no measured rows: run carrysave characterise --all")
    needed = collections.defaultdict(set)
    for row in measured:
        needed[row["unit"], row["lanes"]].add(_which(row))
    left_out, found, known = [], {}, _known(table)
    with ProcessPoolExecutor(jobs or os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        results = pool.map(functools.partial(_counted, known=known, cache=cache), needed.items())
        try:
            for done, ((name, lanes), result) in enumerate(zip(needed, results, strict=True), 1):
                if isinstance(result, str):
                    left_out.append(f"{name} with {plural(int(lanes), 'lane')}: {result}")
                else:
                    found[name, lanes] = result
                progress(f"{done} of {len(needed)}: {name}, {plural(int(lanes), 'lane')}")
        except MissingTool as error:
            raise Failure(str(error)) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    rows = [_row(row, found[row["unit"], row["lanes"]]) for row in measured
            if (row["unit"], row["lanes"]) in found]
    for family in DEVICES:
        for dsp in (False, True):
            _leave_out(group(rows, family, dsp), "lut4", fit_lut4)
            _leave_out(group(rows, family, dsp), "fmax_mhz", fit_fmax)
    try:
        write_csv(table, COLUMNS, rows)
    except OSError as error:
        raise BadInput(f"--table: {table} cannot be written: {error.strerror}") from None
    old = sum(result["known"] for result in found.values())
    return {"out": str(table), "rows": len(rows), "counted": len(found) - old, "known": old,
            "errors": errors(rows), "left_out": left_out}


def errors(rows):
    """How wrong a table's predictions are.

    Returns
    -------
    list of dict
        For each family, with and without DSP blocks: ``units``; for ``lut4`` and ``fmax_mhz`` the
        number of ``rows``, and ``median`` and 90th percentile ``p90`` of the relative errors'
        magnitudes; None where nothing is predicted.
    """
    found = []
    for family in DEVICES:
        for dsp in (False, True):
            some = group(rows, family, dsp)
            line = {"family": family, "dsp_allowed": dsp,
                    "units": len({row["unit"] for row in some})}
            for column, name in (("lut4", "lut4_error"), ("fmax_mhz", "fmax_error")):
                values = [abs(float(row[name])) for row in some if row[name] != ""]
                line[column] = {
                    "rows": len(values), "median": round(statistics.median(values), 4),
                    "p90": round(statistics.quantiles(values, n=10, method="inclusive")[-1], 4),
                } if len(values) > 1 else None
            if some:
                found.append(line)
    return found


def _which(row):
    """Which counts of a unit a row is predicted from."""
    return row["family"] if row["dsp_allowed"] == "1" else "logic"


def _known(table):
    """Counts of a table: of each hash those that there are, by :func:`_which`."""
    found = collections.defaultdict(dict)
    for row in read(table) if table.exists() else ():
        found[row["hash"]][_which(row)] = {
            "ff": row["predicted_ff"], **{column: row[column] for column in COUNTS}}
    return dict(found)


def _counted(item, *, known, cache):
    """Counts of a unit, its ``hash``, whether it was ``known``, lanes if ``chosen``; or why not."""
    warnings.filterwarnings("ignore", ".* created but never used")
    (name, lanes), needed = item
    try:
        unit, own = characterise.build(name)
        chosen = None if str(own) == lanes else int(lanes)
        if chosen is not None:
            unit, _ = characterise.build(name, chosen)
        hashed = digest(json.dumps(cover.dependencies(unit), sort_keys=True))[:16]
        counts = known.get(hashed, {})
        complete = needed <= counts.keys()
        if not complete:
            counts = cover.count(unit, cache=cache)
        if not needed <= counts.keys():
            return "it multiplies no longer: run carrysave characterise again"
    except MissingTool:
        raise
    except (TypeError, ValueError, YosysError, OSError) as error:
        return str(error)
    return {"chosen": chosen, "hash": hashed, "known": complete, "counts": counts}


def _row(old, found):
    """A row without predictions, from one of measurements and what was counted."""
    counts = found["counts"][_which(old)]
    lanes = "" if found["chosen"] is None else f" --lanes {found['chosen']}"
    dsp = "" if old["dsp_allowed"] == "1" else "no-"
    versions = [f"{name} {importlib.metadata.version(name)}"
                for name in ("pyosys", "numpy", "scipy")]
    return dict.fromkeys(COLUMNS, "") | {name: old[name] for name in (*KEY, "lut4", "ff",
                                                                     "fmax_mhz")} | {
        "predicted_ff": counts["ff"], **{name: counts[name] for name in COUNTS},
        "command": f"carrysave predict {old['unit']}{lanes} --family {old['family']} --{dsp}dsp",
        "tools": "; ".join(versions), "hash": found["hash"],
    }


def _leave_out(rows, column, fit):
    """Predict each unit's rows from those of the others."""
    rows = [row for row in rows if row[column] != ""]
    for unit in dict.fromkeys(row["unit"] for row in rows):
        others = [row for row in rows if row["unit"] != unit]
        if len({row["unit"] for row in others}) < LEAST:
            continue
        predict = fit(others)
        for row in rows:
            if row["unit"] == unit:
                found = predict(row, kind_of(unit))
                row[f"predicted_{column}"] = shown = f"{found:.1f}"
                if real := float(row[column]):
                    error = float(shown) / real - 1
                    row[f"{column.removesuffix('_mhz')}_error"] = f"{error:.4f}"
