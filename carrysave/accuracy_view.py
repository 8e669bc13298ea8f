# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave accuracy`` shows: a table."""

import math
from statistics import median

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

__all__ = ["describe", "show"]

NUMBERS = ("bits", "values", "relative_error", "qsnr_db", "perplexity", "accuracy")
TRANSFORMS = {"none": "perplexity", "hadamard64": "hadamard", "smooth": "smooth"}
TASKS = ("fashion", "har")
# Columns, and what is to be said of them.
NOTES = (
    (("weights", "activations"), "weights, activations: QSNR in dB, median of the tensors; row: a "
     "scale for each channel of weights, each token of activations; own: scales of blocks or "
     "groups"),
    (TASKS, "fashion, har: accuracy in %, rounded after training → trained so; row: a scale for "
     "each channel of weights, one for the activations of a layer"),
)


def describe(found):
    """A `.accuracy.Found` as ``accuracy --json`` prints it: numbers, null where there is none."""
    rows = [{**row, **{name: _number(row[name]) for name in NUMBERS}} for row in found.rows]
    return {"rows": rows, "measured": found.measured, "known": len(rows) - found.measured,
            "skipped": found.skipped}


def _number(text):
    value = float(text or "nan")
    if not math.isfinite(value):
        return None
    return int(value) if text.isdigit() else value


def show(found, out):
    """The same for the terminal: a line for each format and scale."""
    groups = {}
    for row in found.rows:
        groups.setdefault((row["format"], row["scale"], row["bits"]), []).append(row)
    cells = {key: _cells(rows) for key, rows in groups.items()}
    shown = [name for name in next(iter(cells.values()), {})
             if any(each[name] for each in cells.values())]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("format", "scale", "bits", *shown):
        table.add_column(name, justify="left" if name in ("format", "scale") else "right",
                         no_wrap=True)
    for (fmt, scale, bits), each in cells.items():
        table.add_row(escape(fmt), scale, bits, *(each[name] or "–" for name in shown))
    known = len(found.rows) - found.measured
    return Group(
        table,
        *(f"[dim]{note}[/]" for names, note in NOTES if set(names) & set(shown)),
        *(f"[dim]{escape(line)}[/]" for line in found.skipped),
        f"{found.measured:,} rows measured, {known:,} known; all in {escape(str(out))}",
    )


def _cells(rows):
    """Cells of a line by column, empty where nothing was measured."""
    cells = {kind: _decibels(rows, kind) for kind in ("weights", "activations")}
    for transform, name in TRANSFORMS.items():
        values = [row["perplexity"] for row in rows
                  if row["perplexity"] and row["transform"] == transform]
        cells[name] = values[-1] if values else ""
    for task in TASKS:
        cells[task] = " → ".join(
            row["accuracy"] for transform in ("none", "ptq", "qat") for row in rows
            if row["accuracy"] and row["subject"].startswith(f"{task} ")
            and row["transform"] == transform)
    return cells


def _decibels(rows, kind):
    values = [float(row["qsnr_db"]) for row in rows if row["subject"].endswith(f" {kind}")]
    return f"{median(values):.1f}" if values else ""
