# SPDX-License-Identifier: Apache-2.0
"""The roofline of an estimate: a picture of its own, or a figure of a page."""

import math
import re
from importlib.resources import files

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .figures import COLOURS, draw, plain

__all__ = ["points", "roofline", "standalone"]

TONES = {"compute": "good", "activation load": "stall", "weight load": "prepare",
         "results": "drain", "drain": "load"}
WIDTH, HEIGHT = 560, 340


def points(found):
    """Layers of an estimate as points of the roofline, those at one place together.

    Returns
    -------
    list of dict
        ``names``; ``intensity``, multiply-accumulates per word of the stream that carries more,
        in or out; ``rate``, multiply-accumulates per cycle; ``bound``; ``share`` of all cycles.
    """
    places, word = {}, found["config"]["bus"] // 8
    for layer in found["layers"]:
        out = layer["traffic"]["results"]
        words = max(out, sum(layer["traffic"].values()) - out) / word
        key = layer["macs"] / words, layer["macs"] / layer["cycles"], layer["bound"]
        place = places.setdefault(key, {"names": [], "share": 0})
        if layer["name"] not in place["names"]:
            place["names"].append(layer["name"])
        place["share"] += layer["cycles"] / found["cycles"]
    return [{"names": place["names"], "intensity": x, "rate": y, "bound": bound,
             "share": place["share"]} for (x, y, bound), place in places.items()]


def roofline(found):
    """Multiply-accumulates per cycle against those per word of a stream.

    The roof is one word per cycle, and the peak of the array. The area of a point is its share of
    the cycles, its colour what bounds it.
    """
    placed = sorted(points(found), key=lambda point: -point["share"])
    config, peak = found["config"], found["config"]["peak_macs_per_cycle"]
    xs = [point["intensity"] for point in placed]
    low_x, high_x = min(*xs, peak) / 2, max(*xs, peak) * 4
    low_y, high_y = min(low_x, *(point["rate"] for point in placed)) / 1.5, peak * 2

    def paint(figure):
        axes = figure.add_axes((0.1, 0.13, 0.87, 0.75))
        plain(axes)
        axes.set(xscale="log", yscale="log", xlim=(low_x, high_x), ylim=(low_y, high_y))
        for axis, ends in (axes.xaxis, (low_x, high_x)), (axes.yaxis, (low_y, high_y)):
            axis.set_major_locator(FixedLocator(ticks(*ends)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(color=COLOURS["line"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.plot((low_y, peak, high_x), (low_y, peak, peak), color=COLOURS["ink"], linewidth=1.6)
        axes.annotate(f"peak {peak}", (high_x, peak), xytext=(-4, 5), textcoords="offset points",
                      ha="right", fontsize=10)
        for point in placed:
            axes.plot(point["intensity"], point["rate"], "o", color=COLOURS[TONES[point["bound"]]],
                      markersize=5 + 17 * math.sqrt(point["share"]), alpha=0.75,
                      markeredgewidth=0)
        labels(axes, placed, peak)
        axes.set_xlabel(f"multiply-accumulates per {config['bus']}-bit word", fontsize=10)
        axes.set_ylabel("multiply-accumulates per cycle", fontsize=10)
        bounds = [bound for bound in TONES if any(bound == each["bound"] for each in placed)]
        left = 0.1
        for bound in bounds:
            figure.text(left, 0.94, f"● {bound}", color=COLOURS[TONES[bound]], fontsize=10)
            left += (36 + 5.6 * len(bound)) / WIDTH

    title = "Roofline: " + "; ".join(
        f"{', '.join(point['names'])} {point['rate']:.1f} of {peak} per cycle, bound by "
        f"{point['bound']}" for point in placed)
    return draw(WIDTH, HEIGHT, paint, title=title)


def ticks(low, high):
    """Powers of two between two ends, every second or fourth where there are many."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    step = next((step for step in (1, 2, 4) if (last - first) / step <= 8), 8)
    return [2.0**power for power in range(-(-first // step) * step, last + 1, step)]


def labels(axes, placed, peak):
    """Names beside the points, the greatest shares first; none over another, a point, the roof."""
    points_per_dot = 72 / axes.figure.dpi

    def place(x, y):
        return axes.transData.transform((x, y)) * points_per_dot

    low, bottom, high, _ = axes.bbox.extents * points_per_dot
    _, roof = place(1, peak)
    taken, spots = [(low, roof - 1, high, roof + 1)], []
    for point in placed:
        x, y = place(point["intensity"], point["rate"])
        radius = 3 + 8.5 * math.sqrt(point["share"])
        spots.append((point["names"], x, y, radius))
        taken.append((x - radius, y - radius, x + radius, y + radius))
    for names, x, y, radius in spots:
        text = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        width = 5.2 * len(text)
        for shift, side in ((shift, side) for shift in (0, -14, -28, -42, 14, 28)
                            for side in (1, -1)):
            left = x + side * (radius + 3) - (0 if side > 0 else width)
            box = left, y + shift - 5, left + width, y + shift + 6
            inside = left > low and left + width < high and box[1] > bottom
            if inside and not any(overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(text, (left, y + shift), xycoords="figure points", fontsize=9,
                              va="center_baseline")
                break


def overlap(a, b):
    """Whether two boxes (left, bottom, right, top) do."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def standalone(svg):
    """A figure as a file of its own, in the colours of the report page, light and dark."""
    css = files("carrysave").joinpath("templates", "report.css").read_text(encoding="utf-8")
    colours = css[:css.index("*, ::before")]
    style = re.sub(r"\s+", " ", colours).strip()
    head, body = svg.split(">", 1)
    size = re.findall(r'viewBox="0 0 (\S+) (\S+)"', head)[0]
    return (f'{head} xmlns="http://www.w3.org/2000/svg" '
            f'xmlns:xlink="http://www.w3.org/1999/xlink" width="{size[0]}" height="{size[1]}">'
            f'<style>{style} text {{ font-family: var(--sans); }}</style>'
            f'<rect width="100%" height="100%" fill="var(--paper)"/>{body}\n')
