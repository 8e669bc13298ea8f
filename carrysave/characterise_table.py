# SPDX-License-Identifier: Apache-2.0
"""The table of what units cost: columns, reading, writing."""

import csv
import io
from pathlib import Path

from .characterise_units import names
from .errors import BadInput
from .fpga import characterise as fpga
from .tables import write_csv

__all__ = ["COLUMNS", "FAMILIES", "KEY", "TABLE", "read", "write"]

TABLE = Path("reports/resources.csv")
FAMILIES = (*fpga.DEVICES, fpga.GATES)
KEY = ("unit", "lanes", "family", "dsp_allowed")
COLUMNS = ("unit", "lanes", "family", "dsp", "lut4", "ff", "bram", "carry", "mapping", "fmax_mhz",
           "fmax_min_mhz", "fmax_max_mhz", "seeds", "nand2", "transistors", "dsp_allowed",
           "command", "tools", "hash")


def read(path=TABLE):
    """Rows of a table, dicts of str to str; none where there is no file.

    Columns that an older table lacks are empty; ``dsp_allowed`` is what ``dsp`` says.

    Raises
    ------
    BadInput
        If the file is no such table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--out: {path} cannot be read: {_reason(error)}") from None
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        found = list(reader)
    except csv.Error as error:
        raise BadInput(f"--out: {path} is no table: {error}") from None
    if found and tuple(reader.fieldnames or ())[:5] != COLUMNS[:5] or text and not found \
            and not text.startswith(",".join(COLUMNS[:5])):
        raise BadInput(f"--out: {path} must be a table whose columns start "
                       f"{','.join(COLUMNS[:5])}, not {text.splitlines()[0][:60]!r}")
    rows = [{key: row.get(key) or "" for key in COLUMNS} for row in found]
    for row in rows:
        row["dsp_allowed"] = row["dsp_allowed"] or str(int(row["dsp"] not in ("", "0")))
    return rows


def write(path, rows):
    """Write a table in order, at once or not at all. Rows of units that are gone are left out."""
    units = {name: k for k, name in enumerate(names())}
    rows = [row for row in rows if row["unit"] in units and row["family"] in FAMILIES]
    rows.sort(key=lambda row: (units[row["unit"]], int(row["lanes"]),
                               FAMILIES.index(row["family"]), row["dsp_allowed"]))
    try:
        write_csv(path, COLUMNS, rows)
    except OSError as error:
        raise BadInput(f"--out: {path} cannot be written: {_reason(error)}") from None


def _reason(error):
    return getattr(error, "strerror", None) or str(error)
