# SPDX-License-Identifier: Apache-2.0
"""Tables of results as CSV."""

import csv
import os

__all__ = ["write_csv"]


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
