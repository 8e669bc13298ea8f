# SPDX-License-Identifier: Apache-2.0
"""``carrysave predict``: LUTs and Fmax of a unit from its declaration, without synthesis.

The elaborated unit is counted, see :mod:`carrysave.fpga.cover`; what a count costs on a family is
fitted to ``reports/resources.csv``.
"""

import csv
import io
import statistics
import warnings
from pathlib import Path

from .characterise import ARRAYS, build
from .errors import BadInput, Failure
from .fpga.characterise import DEVICES
from .fpga.cover import count
from .fpga.tools import ToolError
from .hw import catalogue
from .hw.process import MissingTool
from .hw.yosys import YosysError
from .predict_fit import LEAST, fit_fmax, fit_lut4
from .unit_choice import choose

__all__ = ["TABLE", "check_families", "group", "predict", "read"]

TABLE = Path("reports/estimator.csv")


def predict(name, *, preset=None, settings=(), lanes=None, families=(), dsp=None, table=TABLE,
            cache=None):
    """What a unit will cost, and how fast it will be.

    A preset as it is listed is predicted from all units but itself: as if nobody had measured it.

    Parameters
    ----------
    name, preset, settings
        As for :func:`.choose`; or an array such as ``array-int8``.
    lanes : int, optional
        Short for the setting.
    families : sequence of str
        Of `DEVICES`; all by default.
    dsp : bool, optional
        Only with DSP blocks, or only without; both by default, the former for what multiplies.
    table : path
        That of :func:`.estimator`.
    cache : path, optional

    Returns
    -------
    dict
        As ``predict --json`` prints it: ``unit``, ``parameters``, ``lanes``, ``ff``; ``rows``, for
        each family ``family``, ``dsp_allowed``, ``lut4``, ``fmax_mhz``, each with ``predicted``,
        ``low`` and ``high``, between which 8 of 10 such predictions of the table hold, ``units``,
        from how many it is fitted, and ``measured`` or None. ``fmax_mhz`` is None where too few
        are measured.

    Raises
    ------
    BadInput
    Failure
        If Yosys is missing or fails.
    """
    families = check_families(families)
    rows = read(table)
    chosen, unit, parameters, listed = _unit(name, preset, settings, lanes)
    own = build(chosen)[1] if chosen in ARRAYS else unit.lanes
    try:
        counts = count(unit, cache=cache)
    except MissingTool as error:
        raise Failure(str(error)) from None
    except (YosysError, ToolError, OSError) as error:
        raise Failure(f"{chosen}: {error}") from None
    found = []
    for family in families:
        for blocks in (False, True):
            numbers = counts.get(family if blocks else "logic")
            if numbers is None or dsp not in (None, blocks):
                continue
            known = group(rows, family, blocks)
            if len({row["unit"] for row in known}) < LEAST:
                raise BadInput(f"--table: {table} must have {LEAST} units or more for {family}"
                               f"{' with DSP blocks' if blocks else ''}, not "
                               f"{len({row['unit'] for row in known})}: run carrysave predict "
                               "--all")
            same = next((row for row in known if listed and row["unit"] == chosen
                         and row["lanes"] == str(own)), None)
            others = [row for row in known if not (listed and row["unit"] == chosen)]
            kind = type(unit).__name__
            found.append({
                "family": family, "dsp_allowed": blocks,
                "lut4": _one(known, others, numbers, kind, same, "lut4", fit_lut4),
                "fmax_mhz": _one(known, others, numbers, kind, same, "fmax_mhz", fit_fmax),
            })
    if not found:
        raise BadInput(f"{chosen} has no multiplications for DSP blocks")
    return {"unit": chosen, "parameters": {key: str(value) for key, value in parameters.items()},
            "lanes": own, "ff": counts["logic"]["ff"], "rows": found}


def check_families(families):
    """Families in order, all by default; BadInput names a wrong one."""
    for family in families:
        if family not in DEVICES:
            raise BadInput(f"--family must be one of {', '.join(DEVICES)}, not {family!r}")
    return [family for family in DEVICES if family in families] or list(DEVICES)


def read(path):
    """Rows of the table of an estimator.

    Raises
    ------
    BadInput
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
        if any(None in row or None in row.values() or "predicted_lut4" not in row for row in rows):
            raise BadInput(f"--table: {path} is no table of an estimator: run carrysave predict "
                           "--all")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"--table: {path} cannot be read: {reason}; carrysave predict --all makes "
                       "it") from None
    return rows


def group(rows, family, dsp):
    """Rows that are fitted together."""
    return [row for row in rows if row["family"] == family and row["dsp_allowed"] == str(int(dsp))]


def _unit(name, preset, settings, lanes):
    """Name, component, parameters that are not the preset's, and whether there are but lanes."""
    settings = [*settings, *([] if lanes is None else [f"lanes={lanes}"])]
    if name in ARRAYS:
        if settings or preset:
            raise BadInput(f"{name} takes no --lanes, --set or --preset")
        return name, build(name)[0], {}, True
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* created but never used")
        choice = choose(name, preset=preset, settings=settings)
    listed = dict(catalogue.get(choice.preset).parameters) if choice.preset else {}
    changed = {key: value for key, value in choice.parameters.items()
               if choice.preset is None or listed.get(key, ...) != value}
    return choice.name, choice.unit, changed, choice.preset is not None and changed.keys() <= {
        "lanes"}


def _one(known, others, numbers, kind, same, column, fit):
    """A prediction with its range, or None."""
    known, others = ([row for row in rows if row[column]] for rows in (known, others))
    if len({row["unit"] for row in others}) < LEAST:
        return None
    errors = [float(row[column]) / float(row[f"predicted_{column}"]) for row in known
              if row[f"predicted_{column}"]]
    if len(errors) < 2:
        return None
    value = fit(others)(numbers, kind)
    cuts = statistics.quantiles(errors, n=10, method="inclusive")
    low, high = value * min(1, cuts[0]), value * max(1, cuts[-1])
    digits = 0 if column == "lut4" else 1
    return {"predicted": _round(value, digits), "low": _round(low, digits),
            "high": _round(high, digits), "units": len({row["unit"] for row in others}),
            "measured": same and same[column] and float(same[column])}


def _round(value, digits):
    return round(value, digits) if digits else round(value)
