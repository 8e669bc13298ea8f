# SPDX-License-Identifier: Apache-2.0
"""A ledger for the terminal."""

from rich import box
from rich.console import Group
from rich.table import Table

__all__ = ["first_difference", "ledger_table", "status_of"]


def ledger_table(ledger):
    """The ledger as a table for the terminal, and a line for what was not run."""
    table = Table(title=f"Ledger of {ledger.subject}", title_justify="left", box=box.SIMPLE_HEAD,
                  pad_edge=False, padding=0)
    for name, justify in (
        ("arrow", "left"), ("method", "left"), ("compared", "right"), ("differ", "right"),
        ("s", "right"), ("status", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)
    styles = {"exact": "green", "differs": "bold red"}
    missing = {}
    for arrow in ledger.arrows:
        name = f"{arrow.source} → {arrow.target}"
        if arrow.status == "not run":
            missing.setdefault((name, arrow.why), []).append(arrow.on)
            continue
        style = styles[arrow.status]
        table.add_row(
            name,
            arrow.method + (f", {arrow.on}" if arrow.on else ""),
            f"{arrow.compared:,}",
            f"{arrow.mismatches:,}",
            f"{arrow.seconds:.1f}",
            f"[{style}]{arrow.status}[/]",
        )
    lines = [
        f"[dim]not run: {name}{' on ' + ', '.join(on) if any(on) else ''} ({why})[/]"
        for (name, why), on in missing.items()
    ]
    return Group(table, *lines)


def first_difference(ledger):
    """Lines that say where the first arrow that differs does so."""
    for arrow in ledger.arrows:
        if arrow.status == "differs":
            line = f"{arrow.source} → {arrow.target} ({arrow.method}) differs"
            if arrow.first:
                place = ", ".join(f"{k} {v}" for k, v in arrow.first.items() if v is not None)
                line += f": first at {place}"
            return line + (f" — {arrow.why}" if arrow.why else "")
    return ""


def status_of(ledger, chain):
    """Exit status: with ``--chain``, a tool that is not installed is a failure as well."""
    return 0 if ledger.exact and not (chain and ledger.missing) else 1
