# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave accuracy`` shows: a table."""

import math
from statistics import median

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

__all__ = ["describe", "show"]

NUMBERS = ("bits", "values", "relative_error", "qsnr_db", "perplexity")
TRANSFORMS = ("none", "hadamard64", "smooth")


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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("format", "scale", "bits", "weights", "activations", "perplexity", "hadamard",
                 "smooth"):
        table.add_column(name, justify="left" if name in ("format", "scale") else "right",
                         no_wrap=True)
    groups = {}
    for row in found.rows:
        groups.setdefault((row["format"], row["scale"], row["bits"]), []).append(row)
    for (fmt, scale, bits), rows in groups.items():
        cells = [_decibels(rows, kind) for kind in ("weights", "activations")]
        for transform in TRANSFORMS:
            values = [row["perplexity"] for row in rows
                      if row["perplexity"] and row["transform"] == transform]
            cells.append(values[-1] if values else "–")
        table.add_row(escape(fmt), scale, bits, *cells)
    known = len(found.rows) - found.measured
    return Group(
        table,
        "[dim]weights, activations: QSNR in dB, median of the tensors; row: a scale for each "
        "channel of weights, each token of activations; own: scales of blocks or groups[/]",
        *(f"[dim]{escape(line)}[/]" for line in found.skipped),
        f"{found.measured:,} rows measured, {known:,} known; all in {escape(str(out))}",
    )


def _decibels(rows, kind):
    values = [float(row["qsnr_db"]) for row in rows if row["subject"].endswith(f" {kind}")]
    return f"{median(values):.1f}" if values else "–"
