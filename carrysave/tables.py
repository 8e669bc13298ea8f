# SPDX-License-Identifier: Apache-2.0
"""Tables of results as CSV."""

import csv
import os
from pathlib import Path

from .errors import BadInput

__all__ = ["read_csv", "write_csv"]


def read_csv(path, columns):
    """Rows of a table of ``--out``, dicts of str to str; none where there is no file.

    Raises
    ------
    BadInput
        If it has other columns, or cannot be read.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows, found = list(reader), tuple(reader.fieldnames or ())
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"--out: {path} cannot be read: {reason}") from None
    if found != columns or any(None in row or None in row.values() for row in rows):
        raise BadInput(f"--out: {path} must be a table with the columns {','.join(columns)}, or "
                       f"not be there; its first line is {','.join(found)[:100]!r}")
    return rows


def write_csv(path, columns, rows):
    """Write rows, which are dictionaries; the file appears complete or not at all.

    Raises
    ------
    OSError
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
