# SPDX-License-Identifier: Apache-2.0
"""What the figures of the site share: points, their colours, names beside them."""

from typing import NamedTuple

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ..figures import COLOURS, draw, plain
from .points import front

__all__ = ["COLOURS", "FEWEST", "HEIGHT", "WIDTH", "Figure", "axes_of", "columns", "draw", "label",
           "legend", "plain", "scale", "scatter"]

WIDTH, HEIGHT = 540, 370
#: Colour of a class of formats: a variable of the style sheet.
TONES = {"Int": "mac", "Group": "read", "Minifloat": "stall", "Block": "drain", "Pair": "good"}
OTHER = "load"
FEWEST = 2  # points of a figure


class Figure(NamedTuple):
    """``name`` is that of its files, ``svg`` its markup, ``rows`` what it shows."""

    name: str
    title: str
    svg: str
    rows: list


def axes_of(figure):
    """Axes with a grid, and room for a legend above."""
    axes = figure.add_axes((0.11, 0.14, 0.85, 0.75))
    plain(axes)
    axes.grid(color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def scatter(rows, x, y, title):
    """Points in the colour of their formats' class; those on the front have names."""
    best = front(rows, x, y)

    def paint(figure):
        axes = axes_of(figure)
        scale(axes, x, y)
        axes.plot(*columns(best, x, y), color=COLOURS["soft"], linewidth=1, linestyle=(0, (4, 3)))
        for kind in _classes(rows):
            shown = [row for row in rows if row["class"] == kind]
            axes.plot(*columns(shown, x, y), "o", color=COLOURS[TONES.get(kind, OTHER)],
                      markersize=6.5, alpha=0.85, markeredgewidth=0)
        axes.margins(0.1)
        label(axes, best, x, y, among=rows)
        axes.set_xlabel(x["title"], fontsize=10)
        axes.set_ylabel(y["title"], fontsize=10)
        legend(figure, {kind: TONES.get(kind, OTHER) for kind in _classes(rows)})

    return draw(WIDTH, HEIGHT, paint, title=title)


def label(axes, rows, x, y, *, among=()):
    """Names of rows beside their points, as long as they meet neither others nor ``among``."""
    axes.autoscale_view()
    dot = 72 / axes.figure.dpi

    def place(row):
        return axes.transData.transform((row[x["id"]], row[y["id"]])) * dot

    spots = ((-6, 8, "right"), (6, -12, "left"), (-6, 20, "right"))
    if (x["better"] == "low") != (y["better"] == "high"):  # the best line falls
        spots = ((6, 8, "left"), (-6, -12, "right"), (6, 20, "left"))
    taken = [(left - 3, low - 3, left + 3, low + 3) for left, low in map(place, among)]
    for row in rows:
        left, low = place(row)
        width = 5 * len(row["unit"])
        for shift_x, shift_y, side in spots:
            start = left + shift_x - (width if side == "right" else 0)
            box = start, low + shift_y, start + width, low + shift_y + 10
            ends = axes.bbox.extents * dot
            if box[0] > ends[0] and box[2] < ends[2] + 8 and not any(
                    box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3]
                    for b in taken):
                taken.append(box)
                axes.annotate(row["unit"], (row[x["id"]], row[y["id"]]), fontsize=9, ha=side,
                              xytext=(shift_x, shift_y), textcoords="offset points")
                break


def legend(figure, tones):
    """Names in their colours, along the top."""
    left = 0.1
    for name, tone in tones.items():
        figure.text(left, 0.94, f"● {name}", color=COLOURS[tone], fontsize=10)
        left += (30 + 5.6 * len(name)) / WIDTH


def scale(axes, x, y):
    for metric, axis, name in (x, axes.xaxis, "x"), (y, axes.yaxis, "y"):
        if metric["log"]:
            getattr(axes, f"set_{name}scale")("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def columns(rows, x, y):
    return [row[x["id"]] for row in rows], [row[y["id"]] for row in rows]


def _classes(rows):
    return [kind for kind in (*TONES, "") if any(row["class"] == kind for row in rows)] + sorted(
        {row["class"] for row in rows} - {*TONES, ""})
