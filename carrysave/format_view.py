# SPDX-License-Identifier: Apache-2.0
"""Number formats on the terminal."""

import re
from textwrap import wrap

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from .format_text import (
    COLUMNS,
    RIGHT,
    Prose,
    Text,
    columns,
    families,
    family_line,
    sections,
)

__all__ = ["show_all", "show_one"]

WIDE = 100
NAME = 14  # characters of a name in a narrow list; longer ones have a line of their own
HINT = (
    "`carrysave formats NAME` shows one in full, others of these forms too: `int5`, `uint3`, "
    "`int4n`, `e3m3`, `e4m3b11_fnuz`, `q12.4`, `log2_3`, `int4g32`, `bfp5g16`."
)


def show_all(descriptions, width):
    """All formats by family, for rich; what a format is stands in what is left of the line."""
    cells = {description["name"]: columns(description) for description in descriptions}
    sizes = [max(map(len, column)) for column in zip(COLUMNS, *cells.values(), strict=True)]
    if width < WIDE:
        sizes[0] = min(sizes[0], NAME)
    room = width - sum(sizes[:-1]) - 2 * len(sizes[:-1])

    def lines(values, style):
        *values, what = values
        line = "  ".join(
            value.rjust(size) if name in RIGHT else value.ljust(size)
            for name, value, size in zip(COLUMNS[:-1], values, sizes[:-1], strict=True)
        )
        if len(values[0]) > sizes[0]:  # a long name stands on a line of its own
            line = f"{values[0]}\n{' ' * sizes[0]}{line[len(values[0]):]}"
        if room >= 12:
            pieces = wrap(what, room) or [""]
            line += f"  {pieces[0]}"
            line += "".join(f"\n{' ' * (width - room)}{piece}" for piece in pieces[1:])
        text = RichText(line.rstrip())
        text.stylize(style, 0, len(values[0]) if style == "bold" else None)
        return text

    parts = [lines(COLUMNS, "dim")]
    for kind, members in families(descriptions).items():
        summary, sources = family_line(kind, members)
        heading = RichText.assemble((kind, "bold cyan"), "  ", _code(summary))
        if sources:
            heading.append(f" {sources}", "dim")
        parts += ["", heading, *(lines(cells[member["name"]], "bold") for member in members)]
    return Group(*parts, "", _code(HINT))


def show_one(description, width):
    """A format in full, for rich."""
    parts = [
        RichText.assemble((description["name"], "bold cyan"), "  ", description["what"]),
        RichText(description["declaration"], "dim"),
        "",
        _content(Prose(description["definition"])),
    ]
    for section in sections(description, width - 2):
        parts += ["", RichText(section.title, "bold")]
        for place, content in enumerate(section.content):
            if place:
                parts.append("")
            parts.append(Padding(_content(content), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def _content(content):
    if isinstance(content, Text):
        return RichText("\n".join(content.lines), no_wrap=True, overflow="crop")
    if isinstance(content, Prose):
        return RichText("\n\n").join(_code(paragraph) for paragraph in content.paragraphs)
    table = RichTable(
        box=box.SIMPLE_HEAD if content.head else None, show_header=bool(content.head),
        show_edge=False, pad_edge=False, padding=(0, 1 if content.head else 2, 0, 0),
        header_style="dim",
    )
    heads = content.head or [""] * len(content.rows[0])
    for place, head in enumerate(heads):
        name = not content.head and place == 0 and len(heads) > 1
        table.add_column(head, justify="right" if place in content.right else "left",
                         style="dim" if name else None)
    for row in content.rows:
        table.add_row(*map(_code, row))
    return table


def _code(text):
    """Text with code in colour and emphasis in italics."""
    parts = re.split(r"`([^`]*)`|\*(\w+)\*", text)
    return RichText.assemble(*(
        (part or "", ("", "cyan", "italic")[place % 3]) for place, part in enumerate(parts)
    ))
