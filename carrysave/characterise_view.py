# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave characterise`` found, as a table for the terminal."""

from rich import box
from rich.console import Group
from rich.table import Table

__all__ = ["show"]

HEADS = {"lanes": "lanes", "dsp": "DSP", "lut4": "LUT4", "ff": "FF", "bram": "block RAM",
         "nand2": "NAND2", "fmax_mhz": "Fmax, MHz"}


def show(found):
    """The rows that were asked for, and what was left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("unit")
    table.add_column("family")
    for head in HEADS.values():
        table.add_column(head, justify="right")
    for row in found["rows"]:
        cells = {key: f"{int(row[key]):,}" if row[key] else "–"
                 for key in HEADS if key != "fmax_mhz"}
        cells["fmax_mhz"] = "–"
        if row["fmax_mhz"]:
            cells["fmax_mhz"] = (f"{row['fmax_mhz']} ({row['fmax_min_mhz']} to "
                                 f"{row['fmax_max_mhz']})")
        table.add_row(row["unit"], row["family"], *(cells[key] for key in HEADS))
    lines = [f"[dim]left out: {line}[/]" for line in found["left_out"]]
    lines.append(f"{found['measured']} measured, {found['known']} known; table: {found['out']}")
    return Group(*([table] if found["rows"] else []), *lines)
