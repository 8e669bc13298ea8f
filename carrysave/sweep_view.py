# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave sweep`` shows: progress, a table, a scatter plot."""

import contextlib
import os

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from .errors import BadInput

__all__ = ["check_plot", "follow", "plot", "show"]

MOST = 40  # rows in the terminal
TONES = {"done": "green", "impossible": "yellow", "failed": "bold red"}


@contextlib.contextmanager
def follow(console, *, quiet):
    """``callable(done, total)``: a bar with the time left on a terminal, else lines in tenths."""
    if quiet or not console.is_terminal:
        last = -1

        def line(done, total):
            nonlocal last
            tenth = 10 * done // max(total, 1)
            if not quiet and tenth != last:
                console.print(f"[dim]·[/] {done} of {total} results", highlight=False)
            last = tenth

        yield line
        return
    columns = (TextColumn("results"), BarColumn(), MofNCompleteColumn(), TextColumn("time left"),
               TimeRemainingColumn(elapsed_when_finished=True))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("results", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(found):
    """A sweep as `.sweep.sweep` gives it, for the terminal."""
    rows, counts = found["rows"], found["counts"]
    columns = {name: [row.get(name) for row in rows] for name in found["columns"]
               if name not in ("status", "reason")}
    same = {name: values[0] for name, values in columns.items()
            if len(rows) > 1 and len(set(map(repr, values)) - {"None"}) == 1
            and name not in found["keys"]}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    used = [name for name in columns if name not in same and set(columns[name]) != {None}]
    for name in used:
        table.add_column(name.rpartition(".")[2], justify="right", overflow="fold",
                         min_width=max(len(_shown(value)) for value in columns[name][:MOST]))
    for row in rows[:MOST]:
        table.add_row(*(escape(_shown(row.get(name))) for name in used),
                      style=None if row["status"] == "done" else TONES[row["status"]])
    reasons = {}
    for row in rows:
        if row["reason"]:
            reasons.setdefault((row["status"], row["reason"]), []).append(row["point"])
    left = [f"[dim]everywhere: {name} {escape(_shown(value))}[/]" for name, value in same.items()]
    left += [f"[dim]… {len(rows) - MOST} more: see the CSV[/]"] if len(rows) > MOST else []
    return Group(
        f"{found['name']}: {', '.join(found['measure'])}", table, *left,
        *(f"[{TONES[status]}]{status}[/]: {escape(reason)} ({_places(numbers)})"
          for (status, reason), numbers in reasons.items()),
        f"{counts['points']} points: {counts['done']} done, {counts['impossible']} impossible, "
        f"{counts['failed']} failed; {counts['measured']} results measured now, {counts['known']} "
        "known before",
        f"Table: {escape(found['csv'])}", f"Database: {escape(found['database'])}")


def _places(numbers):
    more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
    return f"point {numbers[0]}{more}"


def _shown(value):
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def check_plot(path, x, y):
    """Refuse options that do not fit together, before anything is measured."""
    if path is None:
        if x or y:
            raise BadInput("--x, --y: must come with --plot")
    elif path.suffix != ".svg":
        raise BadInput(f"--plot: must end in .svg, not {path.suffix or path.name!r}")
    elif not (x and y):
        raise BadInput("--plot: must come with --x and --y, the columns to draw")


def plot(found, path, *, x, y):
    """Write a scatter plot of two columns: SVG, whole or not at all.

    Raises
    ------
    BadInput
        A column that is not there or has no numbers; a file that cannot be written.
    """
    for option, name in ("--x", x), ("--y", y):
        if name not in found["columns"]:
            raise BadInput(f"{option}: must be one of {', '.join(found['columns'])}, not {name!r}")
    pairs = [(row.get(x), row.get(y)) for row in found["rows"]]
    points = [pair for pair in pairs if all(isinstance(value, (int, float)) for value in pair)]
    if not points:
        raise BadInput(f"--plot: no point has a number in both {x} and {y}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*zip(*points, strict=True), s=18, alpha=0.7, linewidths=0)
    axes.set(xlabel=x, ylabel=y, title=f"{found['name']}: {len(points)} points")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    try:
        part = path.with_name(f".{path.name}.part")
        figure.savefig(part, format="svg", metadata={"Date": None})
        os.replace(part, path)
    except OSError as error:
        raise BadInput(f"--plot: {path} cannot be written: {error.strerror or error}") from None
