# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave mixed`` found: a table for the terminal, the Pareto front as a figure."""

from rich import box
from rich.console import Group
from rich.table import Table

from .errors import BadInput
from .figures import COLOURS, draw, plain
from .roofline import standalone

__all__ = ["figure", "plot", "show"]

WIDTH, HEIGHT = 560, 340
HEADS = {"weights": "weights", "columns": "columns", "memory_bits": "memory, KiB",
         "block_ram": "block RAM", "lut4": "LUT4", "cycles": "cycles", "loss": "loss, nats",
         "accuracy": "accuracy, %"}


def show(found):
    """Points by memory; those that no uniform network reaches are bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in HEADS.values():
        table.add_column(head, justify="left" if head == "weights" else "right")
    for row in found["rows"]:
        cells = {key: row[key] or "–" for key in HEADS}
        cells["memory_bits"] = f"{int(row['memory_bits']) / 8192:.1f}"
        cells["loss"] = f"{float(row['loss']):.4f}"
        cells |= {key: f"{int(row[key]):,}" for key in ("lut4", "cycles") if row[key]}
        table.add_row(*(cells[key] for key in HEADS),
                      style="bold" if row["beyond"] == "1" else None)
    better = sum(row["beyond"] == "1" for row in found["rows"])
    lines = [
        f"{better} points (bold) that no uniform network reaches",
        f"chosen: {found['chosen']} on {found['chosen_columns']} columns; solver at most "
        f"{found['solver_seconds']:.2f} s",
    ]
    lines += [f"{what}: {found[key]}" for key, what in
              (("out", "table"), ("written", "configuration")) if found[key]]
    return Group(table, *lines)


def figure(rows):
    """Accuracy against memory: markup of an SVG figure."""
    uniform = sorted((int(row["memory_bits"]) / 8192, float(row["accuracy"]), row["weights"])
                      for row in rows if row["kind"] == "uniform")
    chosen = sorted((int(row["memory_bits"]) / 8192, float(row["accuracy"]), row["beyond"] == "1")
                    for row in rows if row["kind"] == "mixed")

    def paint(picture):
        axes = picture.add_axes((0.11, 0.14, 0.86, 0.76))
        plain(axes)
        axes.grid(color=COLOURS["line"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.plot(*zip(*((x, y) for x, y, _ in uniform), strict=True), "s-", markersize=6,
                  color=COLOURS["soft"], linewidth=1, alpha=0.8)
        for x, y, name in uniform:
            axes.annotate(name, (x, y), xytext=(5, -11), textcoords="offset points", fontsize=9)
        for x, y, better in chosen:
            axes.plot(x, y, "o", markersize=8, color=COLOURS["good"],
                      fillstyle="full" if better else "none")
        axes.margins(0.08)
        axes.set_xlabel("memory on chip, KiB", fontsize=10)
        axes.set_ylabel("accuracy, %", fontsize=10)
        picture.text(0.11, 0.94, "■ uniform", color=COLOURS["soft"], fontsize=10)
        picture.text(0.27, 0.94, "● mixed; hollow: a uniform one is as good",
                     color=COLOURS["good"], fontsize=10)

    title = "Accuracy against memory: " + "; ".join(
        f"{row['weights']} {row['accuracy']} % in {int(row['memory_bits']) / 8192:.1f} KiB"
        for row in rows)
    return draw(WIDTH, HEIGHT, paint, title=title)


def plot(found, path):
    """Write the figure."""
    try:
        path.write_text(standalone(figure(found["rows"])), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--plot: {path} cannot be written: {error.strerror}") from None
