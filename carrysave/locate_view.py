# SPDX-License-Identifier: Apache-2.0
"""The first difference for people: a table, a VCD file and a picture."""

import json
import os
from xml.etree import ElementTree

from rich.markup import escape
from rich.table import Table

from .errors import BadInput
from .waveform import AXIS, ROW, waveform

__all__ = ["picture", "show", "write"]

STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1f2328 }
.w-grid { stroke: #d8dee4; fill: none } .w-line { stroke: #0550ae; fill: none; stroke-width: 1.5 }
.w-area { fill: #0550ae22; stroke: none } .w-tick { fill: #656d76; font-size: 11px }
.w-mark { stroke: #cf222e; fill: none; stroke-dasharray: 3 2 } .w-note { fill: #cf222e }
.w-bus { stroke: #0550ae; fill: #0550ae11 }
.name { fill: #1f2328; font: 12px ui-monospace, monospace }
.title { font-weight: 600 } .w-value { font: 11px ui-monospace, monospace; text-anchor: middle }
"""
NAMES = 8  # pixels of a character of a name


def rows(place):
    """Name and text of everything that is known about a place."""
    arrow = f"{place.source} → {place.target}" + (f" on {place.on}" if place.on else "")
    yield "arrow", f"{arrow}, {place.method}"
    for name in ("layer", "element", "sample", "pe", "cycle", "signal", "cell"):
        value = getattr(place, name)
        if value is not None:
            yield name.upper() if name == "pe" else name, str(value)
    yield "expected, found", f"{place.expected}, {place.found}"
    if place.others:
        yield "in the same cycle", f"{place.others} more signals differ"
    if place.compared:
        yield "compared", f"{place.compared:,} " + (
            "bits in every cycle" if place.on else "values")


def show(place, folder):
    """A table for the terminal."""
    table = Table(title="First difference", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows(place):
        table.add_row(name, escape(text))
    if place.signals:
        table.add_row("waveform", escape(f"{folder / 'first.vcd'}, {folder / 'first.svg'}"))
    return table


def picture(place):
    """The waveform around a place as a picture of its own: SVG."""
    names = [signal["name"] for signal in place.signals]
    short = [name if len(name) <= 44 else f"{name[:20]}…{name[-23:]}" for name in names]
    left, width = 12 + NAMES * max(map(len, short), default=0), 24
    marks = [] if place.cycle is None else [(place.cycle - place.first, "first difference")]
    inner = ElementTree.fromstring(waveform(
        {"first": place.first, "signals": place.signals}, width=width, marks=marks))
    inner.set("x", str(left))
    inner.set("y", "28")
    height = float(inner.get("height", "0")) + 36
    whole = left + float(inner.get("width", "0")) + 12
    svg = ElementTree.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {whole:g} {height:g}",
        "width": f"{whole:g}", "height": f"{height:g}"})
    ElementTree.SubElement(svg, "style").text = STYLE
    ElementTree.SubElement(svg, "rect", {
        "width": "100%", "height": "100%", "fill": "#fff"})
    title = ElementTree.SubElement(svg, "text", {"x": "12", "y": "18", "class": "title"})
    title.text = f"{place.source} → {place.target}: cycle {place.cycle}, {place.signal}"
    top = 28 + AXIS + (16 if marks else 0)
    for row, name in enumerate(short):
        text = ElementTree.SubElement(svg, "text", {
            "x": "12", "y": f"{top + row * ROW + 19}", "class": "name"})
        text.text = name
    svg.append(inner)
    return ElementTree.tostring(svg, encoding="unicode")


def write(place, out):
    """Write ``first.json``, and ``first.vcd`` and ``first.svg`` where there is a waveform.

    Returns
    -------
    Path
        The folder: ``out/first``.
    """
    folder = out / "first"
    files = {"first.json": json.dumps(place.to_json(), indent=1, default=str) + "\n"}
    if place.signals:
        files |= {"first.vcd": place.vcd(), "first.svg": picture(place)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            part = folder / f".{name}.part"
            part.write_text(text, encoding="utf-8")
            os.replace(part, folder / name)
    except OSError as error:
        raise BadInput(f"--out: {folder} cannot be written to: {error.strerror}") from None
    return folder
