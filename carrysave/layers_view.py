# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave layers`` shows: a table."""

from statistics import median

from rich import box
from rich.console import Group
from rich.table import Table

__all__ = ["show"]


def show(runs, ledger=None):
    """Runs as `.layers.layers` or `.layers.all_blocks` gives them, for the terminal."""
    config, names = runs[0]["config"], [layer["name"] for layer in runs[0]["layers"]]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    titles = ["formats", "lanes", "cycles", "used", "error"]
    if ledger is not None:
        titles += ["results", "differ", "timing", "s", "kHz"]
    for name in titles:
        table.add_column(name, justify="left" if name == "formats" else "right", no_wrap=True)
    arrows = {} if ledger is None else {(arrow.on, arrow.method): arrow for arrow in ledger.arrows}
    for run in runs:
        kind = run["kind"]
        cells = [kind, str(run["config"]["lanes"]), f"{run['cycles']:,}",
                 f"{100 * run['utilisation']:.1f} %",
                 f"{100 * median(layer['error'] for layer in run['layers']):.2g} %"]
        if ledger is not None:
            results, formula = arrows[kind, "batch"], arrows[kind, "cycle formula"]
            tones = ["green" if arrow.status == "exact" else "bold red"
                     for arrow in (results, formula)]
            rate = run["cycles_per_second"]
            cells += [f"{results.compared:,}", f"[{tones[0]}]{results.mismatches:,}[/]",
                      f"[{tones[1]}]{formula.status}[/]",
                      f"{run['seconds']['run'] or '–'}", f"{rate / 1000:.0f}" if rate else "–"]
        table.add_row(*cells)
    title = (f"{len(names)} layers, {names[0]} to {names[-1]}, {runs[0]['layers'][0]['m']} tokens, "
             f"on {config['rows']} × {config['columns']}")
    return Group(title, table, "[dim]used: of the peak, over the whole program; error: relative to "
                               "real numbers, median of the layers[/]")
