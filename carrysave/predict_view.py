# SPDX-License-Identifier: Apache-2.0
"""Predictions for the terminal."""

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

__all__ = ["show", "show_errors"]

TITLES = {"lut4": "LUT4", "fmax_mhz": "Fmax, MHz"}


def show(found):
    """A unit's predictions with their ranges."""
    heads = [(column, part) for column in TITLES for part in ("predicted", "measured")
             if part == "predicted" or any(row[column] and row[column][part] is not None
                                           for row in found["rows"])]
    table = _table("family", *(TITLES[column] if part == "predicted" else part
                               for column, part in heads))
    for row in found["rows"]:
        table.add_row(_family(row), *(_value(row[column], part) for column, part in heads))
    settings = "".join(f", {name} = {value}" for name, value in found["parameters"].items())
    return Group(
        f"[bold]{found['unit']}[/]{escape(settings)}: {found['lanes']} "
        f"lane{'s' * (found['lanes'] != 1)}, {found['ff']:,} flip-flops",
        table,
        "In brackets: where 8 of 10 such predictions of measured units lie. Without synthesis; to "
        "measure: carrysave characterise, or synth.")


def show_errors(found):
    """How wrong the predictions of the measured units are."""
    table = _table("family", "units", *(f"{title}: error" for title in TITLES.values()))
    for row in found["errors"]:
        cells = ["–" if row[column] is None else
                 f"{100 * row[column]['median']:.1f} % ({100 * row[column]['p90']:.1f} %)"
                 for column in TITLES]
        table.add_row(_family(row), str(row["units"]), *cells)
    lines = [f"[dim]left out: {escape(line)}[/]" for line in found["left_out"]]
    return Group(table, "Median of the errors' magnitudes; in brackets their 90th percentile.",
                 *lines, f"{found['rows']} rows; {found['counted']} units counted, "
                         f"{found['known']} known; table: {found['out']}")


def _table(first, *others):
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _family(row):
    return f"{row['family']}{' with DSP blocks' if row['dsp_allowed'] else ''}"


def _value(found, part):
    if found is None or found[part] is None:
        return "–"
    if part == "measured":
        return f"{found[part]:,g}"
    return f"{found[part]:,} ({found['low']:,} to {found['high']:,})"
