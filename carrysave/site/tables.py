# SPDX-License-Identifier: Apache-2.0
"""What the site is made of: tables and evidence of a folder, read and checked."""

import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadInput

__all__ = ["MISSING", "Build", "Sources", "gather", "read_json", "read_table"]

#: What there may be: columns that a table must have; those of them that are numbers, or empty.
TABLES = {
    "resources.csv": (
        ("unit", "lanes", "family", "dsp_allowed", "command"),
        ("lanes", "dsp", "lut4", "ff", "bram", "carry", "fmax_mhz", "fmax_min_mhz",
         "fmax_max_mhz", "seeds", "nand2", "transistors")),
    "accuracy.csv": (
        ("format", "bits", "scale", "transform", "subject", "command"),
        ("bits", "values", "relative_error", "qsnr_db", "perplexity", "accuracy")),
    "energy.csv": (
        ("unit", "lanes", "trace", "toggles_per_mac", "weighted_per_mac", "relative", "command"),
        ("lanes", "cycles", "macs", "nets", "toggles", "toggles_per_mac", "weighted_per_mac",
         "relative")),
    "mixed.csv": (
        ("network", "kind", "weights", "memory_bits", "lut4", "cycles", "accuracy", "command"),
        ("memory_bits", "block_ram", "lut4", "cycles", "loss", "accuracy")),
    "estimator.csv": (
        ("unit", "lanes", "family", "dsp_allowed", "lut4", "predicted_lut4", "fmax_mhz",
         "predicted_fmax_mhz", "command"),
        ("lanes", "lut4", "predicted_lut4", "fmax_mhz", "predicted_fmax_mhz")),
    "arrays.csv": (
        ("array", "element", "rows", "columns", "lanes", "sites", "decoders"),
        None),
}
#: What measures a table, or writes a file.
MISSING = {
    "resources.csv": "carrysave characterise --all",
    "accuracy.csv": "carrysave accuracy",
    "energy.csv": "carrysave energy --all",
    "estimator.csv": "carrysave predict --all",
    "mixed.csv": "carrysave mixed examples/fashion.toml",
    "arrays.csv": "python scripts/arrays.py",
    "digits.json": "make demo, then python scripts/readme.py --measured",
    "units/verification.json": "carrysave verify --all-units --json > "
                               "reports/units/verification.json",
}


class Build(NamedTuple):
    """A build folder: its name, its ledger as JSON, and its report page, if there is one."""

    name: str
    ledger: dict
    page: Path | None


class Sources(NamedTuple):
    """What was found. None where there is no such file; rows are dictionaries.

    Numbers in them are int or float, or None where a cell is empty.
    """

    folder: Path
    resources: list | None
    accuracy: list | None
    energy: list | None
    mixed: list | None
    estimator: list | None
    arrays: list | None
    digits: dict | None
    verification: list | None
    builds: list


def gather(reports, builds):
    """Everything that is in the folder of reports, and in that of builds.

    Raises
    ------
    BadInput
        One line that names the file, what was found in it and what is allowed.
    """
    reports, builds = Path(reports), Path(builds)
    if not reports.is_dir():
        raise BadInput(f"--reports: must be a folder with tables, not {str(reports)!r}")
    tables = {name.removesuffix(".csv"): read_table(reports / name, *columns)
              for name, columns in TABLES.items()}
    for line, row in enumerate(tables["arrays"] or [], 2):
        for name, value in row.items():
            if name not in ("array", "decoders") and not (value or 0) > 0:
                raise BadInput(f"{reports / 'arrays.csv'}: row {line}: {name} must be a positive "
                               f"number, not {value!r}")
    verification = reports / "units" / "verification.json"
    content = read_json(verification)
    if isinstance(content, dict):
        content = content.get("units")
    if content is not None:
        for ledger in _list(content, verification):
            _ledger(ledger, verification)
    digits = read_json(reports / "digits.json")
    if digits is not None:
        _ledger(digits.get("ledger") if isinstance(digits, dict) else digits,
                reports / "digits.json")
    return Sources(reports, **tables, digits=digits, verification=content,
                   builds=list(_builds(builds)))


def read_table(path, required, numbers):
    """Rows of a CSV file; None where there is none, or it has none.

    Parameters
    ----------
    path : Path
    required : sequence of str
        Columns that must be there; others are kept.
    numbers : sequence of str, or None
        Columns, if there, whose cells are numbers or empty; None for all but the first.

    Raises
    ------
    BadInput
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows, found = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read: {_reason(error)}") from None
    lost = [name for name in required if name not in found]
    if lost:
        raise BadInput(f"{path}: must have a column {lost[0]}, not only "
                       f"{','.join(found)[:100] or 'an empty file'}")
    if not rows:  # what an interrupted measurement leaves
        return None
    numbers = found[1:] if numbers is None else numbers
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise BadInput(f"{path}: row {line} must have {len(found)} cells, as the first has")
        for name in numbers:
            if name in row:
                row[name] = _number(row[name], f"{path}: row {line}: {name}")
    return rows


def _number(text, where):
    if text == "":
        return None
    try:
        value = int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadInput(f"{where} must be a number, not {text[:40]!r}")
    return value


def read_json(path) -> Any:
    """What a JSON file holds; None where there is none. Raises BadInput."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # of text and of JSON
        raise BadInput(f"{path}: cannot be read: {_reason(error)}") from None


def _builds(folder):
    """The :class:`Build` s of a folder, by name."""
    for path in sorted(folder.glob("*/ledger.json")):
        ledger, page = read_json(path), path.with_name("report.html")
        _ledger(ledger, path)
        yield Build(path.parent.name, ledger, page if page.is_file() else None)


def _list(content, path):
    if not isinstance(content, list) or not content:
        raise BadInput(f"{path}: must be a list of ledgers, not {str(content)[:40]!r}")
    return content


def _ledger(content, path):
    """Nothing, if this is a ledger."""
    needed = {"from", "to", "method", "status", "compared", "mismatches"}
    arrows = content.get("arrows") if isinstance(content, dict) else None
    if not isinstance(arrows, list) or not all(
            isinstance(arrow, dict) and needed <= arrow.keys() for arrow in arrows):
        raise BadInput(f"{path}: must hold a ledger, with arrows that have "
                       f"{', '.join(sorted(needed))}")


def _reason(error):
    return getattr(error, "strerror", None) or str(error)
