# SPDX-License-Identifier: Apache-2.0
"""Write the reference pages of the number formats, ``reports/formats``.

``--check`` only says whether they are current.
"""

import re
import sys
import textwrap
from pathlib import Path

from carrysave.format_text import (
    COLUMNS,
    RIGHT,
    Prose,
    Text,
    columns,
    families,
    family_line,
    sections,
)
from carrysave.formats import describe
from carrysave.quant import formats

FOLDER = Path(__file__).parents[1] / "reports" / "formats"
WIDTH = 96
MADE = "Written by `scripts/formats.py`"


def cell(text):
    return text.replace("|", "\\|")


def row(cells):
    return f"| {' | '.join(map(cell, cells))} |"


def wrapped(text, indent=""):
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)


def fenced(lines):
    return ["```text", *lines, "```"]


def aligned(table):
    """A table of numbers as plain text."""
    sizes = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    return [
        "  ".join(
            value.rjust(size) if place in table.right else value.ljust(size)
            for place, (value, size) in enumerate(zip(values, sizes, strict=True))
        ).rstrip()
        for values in (table.head, ["─" * size for size in sizes], *table.rows)
    ]


def rendered(content):
    """Lines of one piece of a section."""
    if isinstance(content, Text):
        return fenced(content.lines)
    if isinstance(content, Prose):
        return "\n\n".join("\n".join(wrapped(text)) for text in content.paragraphs).split("\n")
    if content.right:
        return fenced(aligned(content))
    if content.head:
        return [row(content.head), "|---" * len(content.head) + "|", *map(row, content.rows)]
    # "[1]: …" would be a link's address.
    facts = [f"- {': '.join(values)}".replace("]: ", "] ") for values in content.rows]
    return [line for fact in facts for line in wrapped(fact, "  ")]


def page(description, listed):
    lines = [f"# {description['name']}", "", description["what"], ""]
    lines += fenced(wrapped(description["declaration"], "    "))
    lines += ["", *rendered(Prose(description["definition"]))]
    for section in sections(description, WIDTH):
        title, _, part = section.title.partition(": ")
        known = listed.get(part)
        if known and known["declaration"] in description["declaration"]:
            part = f"[{part}]({part}.md)"
        lines += ["", f"## {title}{': ' if part else ''}{part}"]
        for content in section.content:
            lines += ["", *rendered(content)]
    lines += ["", f"{MADE}; `carrysave formats {description['name']}` shows the same."]
    return "\n".join(lines) + "\n"


def index(listed):
    rule = "|".join("---:" if name in RIGHT else "---" for name in COLUMNS)
    lines = ["# Number formats", "",
             "Bits are per value, the share of a block's scale included; step is the least one."]
    for kind, members in families(listed.values()).items():
        summary, sources = family_line(kind, members)
        lines += ["", f"## {kind}", "", *wrapped(f"{summary} {sources}"), "", row(COLUMNS),
                  f"|{rule}|"]
        for member in members:
            name, *cells = columns(member)
            lines.append(row([f"[{name}]({name}.md)", *cells]))
    return "\n".join([*lines, "", f"{MADE}."]) + "\n"


def main():
    listed = {name: describe(formats.get(name)) for name in formats.names()}
    pages = {f"{name}.md": page(description, listed) for name, description in listed.items()}
    pages["README.md"] = index(listed)
    unsafe = [name for name in pages if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII)]
    if unsafe:
        raise SystemExit(f"reports/formats: {unsafe[0]!r} is no name for a file")
    old = {path.name: path for path in FOLDER.glob("*.md")}
    if "--check" in sys.argv[1:]:
        behind = sorted(
            name for name in pages.keys() | old.keys()
            if name not in pages or name not in old
            or old[name].read_bytes() != pages[name].encode()
        )
        if behind:
            raise SystemExit(f"reports/formats is behind in {', '.join(behind)}: "
                             "run .venv/bin/python scripts/formats.py")
        return
    FOLDER.mkdir(exist_ok=True)
    for name in old.keys() - pages.keys():
        old[name].unlink()
    for name, text in pages.items():
        (FOLDER / name).write_bytes(text.encode())


if __name__ == "__main__":
    main()
