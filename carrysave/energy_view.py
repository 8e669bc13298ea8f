# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave energy`` found, as a table for the terminal."""

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

__all__ = ["show"]

HEADS = {"lanes": "lanes", "macs": "products", "nets": "nets", "toggles_per_mac": "toggles",
         "weighted_per_mac": "by fan-out", "relative": "relative to int8"}


def show(found):
    """The rows that were asked for, and what was left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("unit")
    table.add_column("trace")
    for head in HEADS.values():
        table.add_column(head, justify="right")
    for row in found["rows"]:
        cells = [f"{int(row[key]):,}" if key in ("lanes", "macs", "nets") else
                 row[key] if key == "relative" else f"{float(row[key]):,.1f}" for key in HEADS]
        table.add_row(row["unit"], row["trace"], *cells)
    lines = [f"[dim]left out: {escape(line)}[/]" for line in found["left_out"]]
    lines.append("toggles per product, without glitches and the clock: a measure to compare units "
                 "by, no joules")
    lines.append(f"{found['measured']} measured, {found['known']} known; table: "
                 f"{escape(found['out'])}")
    return Group(*([table] if found["rows"] else []), *lines)
