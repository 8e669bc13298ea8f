# SPDX-License-Identifier: Apache-2.0
"""The description of a number format as text: sections of pictures, tables and prose."""

import re
from typing import NamedTuple

from .format_boxes import code_boxes, pair_boxes, storage_boxes
from .format_line import linear, logarithmic, progressions
from .format_numbers import (
    SPECIALS,
    approximate,
    both,
    code_text,
    exact,
    odd_bits,
    plural,
    spans,
)
from .formats import TABLE_BITS, documentation
from .quant import formats as quant

__all__ = [
    "COLUMNS", "RIGHT", "Prose", "Section", "Table", "Text", "columns", "exact", "families",
    "family_line", "sections",
]

COLUMNS = ("format", "bits", "step", "least>0", "greatest", "special", "what")
RIGHT = {"bits", "step", "least>0", "greatest"}
SHORT_TABLE = 16  # rows of a table with one code each; longer ones have several codes to a row
BINADES = {"Minifloat", "Exponent", "AbFloat", "Flint", "Log2", "Pair"}


class Text(NamedTuple):
    """Lines as they are, none longer than the width asked for."""

    lines: list


class Table(NamedTuple):
    """Cells; without ``head`` a list of facts. ``right`` are the columns justified right."""

    head: tuple
    rows: list
    right: frozenset = frozenset()


class Prose(NamedTuple):
    """Paragraphs; code stands in backquotes."""

    paragraphs: list


class Section(NamedTuple):
    title: str
    content: list


# The list of all formats.

def columns(description):
    """Cells of a format in the list, as `COLUMNS` names them."""
    span = description["range"]
    found = {special["is"] for special in description["specials"]}
    return (
        description["name"], f"{description['bits_per_value']:.3g}",
        *(approximate(span[key]) for key in ("least_step", "least_positive", "max")),
        " ".join(SPECIALS[name] for name in ("nan", "inf", "-0", "identifier") if name in found),
        description["what"],
    )


def families(descriptions):
    """Descriptions by class, in their order."""
    found = {}
    for description in descriptions:
        found.setdefault(description["class"], []).append(description)
    return found


def family_line(kind, members):
    """What a class of formats is, and where they are from, in short."""
    sources = dict.fromkeys(_short(source) for d in members for source in d["sources"])
    summary = documentation(getattr(quant, kind))["summary"]
    return summary, f"{'; '.join(sources)}." if sources else ""


def _short(source):
    """Author, or the name of a standard, and year of a citation."""
    text = re.sub(r"^\[\d+\] ", "", source)
    author = re.search(r"\w+ et al\.", text)
    name = author[0] if author else re.split(r", |\.$", text)[0]
    year = re.search(r", .*\b(20\d\d)\b", text)
    return f"{name} {year[1]}" if year else name


# Tables.

def code_table(description, width, identifier=None):
    """Codes, operands and values: one code to a row, or in long tables several.

    Only the positive half where the other has the same fields; a sentence says so.
    """
    rows, complete = description["table"], description["bits"] <= TABLE_BITS
    half = len(rows) // 2
    mirrored = complete and description["layout"][0]["field"] == "sign"
    shown = rows[:half] if mirrored else rows
    unused = [special["codes"] for special in description["specials"] if special["is"] == "unused"]
    notes = {
        row["code"]: SPECIALS["unused"]
        for row in shown for first, last in unused if first <= row["code"] <= last
    }
    if identifier is not None:
        notes[identifier] = SPECIALS["identifier"]
    if len(shown) <= SHORT_TABLE or not complete:
        table = _long(shown, description, notes)
    else:
        table = _grid(shown, description, width)
    text = "With the sign bit set: the same negative, but for special codes."
    return [table, Prose([text])] if mirrored else [table]


_FIELDS = ("sign", "exponent", "integer")


def _operands(rows):
    rows = [row for row in rows if row["integer"] is not None]
    if not rows:
        return ""
    return f"<{', '.join(spans(row[key] for row in rows) for key in _FIELDS)}>"


def _value(row, room, odd_bits):
    if row.get("times_sqrt2"):
        return f"≈ {row['value']:.6f}" if room > 8 else approximate(row["value"])
    return exact(row["value"], room, odd_bits)


def _long(rows, description, notes):
    bits = description["bits"]
    head = ("code", "<sign, exponent, integer>", "value")
    longest = odd_bits(description)
    cells = [
        (code_text(row["code"], bits), _operands([row]), _value(row, 14, longest)) for row in rows
    ]
    if any(row["code"] in notes for row in rows):
        head += ("",)
        cells = [(*c, notes.get(row["code"], "")) for c, row in zip(cells, rows, strict=True)]
    return Table(head, cells, frozenset({2}))


def _grid(rows, description, width):
    """Several codes to a row; the columns are the low bits."""
    bits = description["bits"]
    mantissa = [f["bits"] for f in description["layout"] if f["field"] == "mantissa"]
    most = min(1 << mantissa[0], 16) if mantissa and mantissa[0] else 16
    for across, room in ((n, room) for n in (16, 8, 4, 2, 1) if n <= most for room in (8, 6)):
        groups = [rows[start : start + across] for start in range(0, len(rows), across)]
        cells = [
            (code_text(group[0]["code"], bits), _operands(group),
             *(_value(row, room, odd_bits(description)) for row in group))
            for group in groups
        ]
        head = ("code", "<s, e, integer>", *(f"+{k}" for k in range(across)))
        sizes = (max(map(len, column)) for column in zip(head, *cells, strict=True))
        if sum(sizes) + 2 * len(head) - 2 <= width:
            break
    return Table(head, cells, frozenset(range(2, 2 + across)))


# Sections.

def sections(description, width):
    """The description as a list of `Section`; pictures and tables fit the width if they can."""
    found = [
        Section("Layout", _layout(description, width)),
        Section("Range", [Table((), _range(description))]),
    ]
    if description["specials"]:
        found.append(Section("Special codes", [_specials(description)]))
    for name, part in description["parts"].items():
        content = [Text(code_boxes(part["layout"], width))]
        if name != "scale":
            mark = 1 << (part["bits"] - 1) if name == "normal" else None
            content += code_table(part, width, mark)
        found.append(Section(f"{name.capitalize()}: {part['name']}", content))
    if "table" in description:
        title = "Codes" if description["bits"] <= TABLE_BITS else "Some codes"
        found.append(Section(title, code_table(description, width)))
    found.append(Section("Number line", _lines(description, width)))
    found.append(Section("Encoding", [Table((), _rules(description["encode"]))]))
    found.append(Section("Parameters", [_parameters(description)]))
    if description["sources"]:
        rows = [tuple(re.split(r"(?<=^\[\d\]) ", source)) for source in description["sources"]]
        found.append(Section("Sources", [Table((), rows)]))
    return found


def _layout(description, width):
    kind = description["class"]
    if kind == "Pair":
        return [Text(pair_boxes(description["bits"], width))]
    if kind in ("Block", "Group"):
        content = [Text(storage_boxes(description, width))]
        if kind == "Block":
            content.append(Prose([f"{description['storage']['bytes']} bytes of a block, numbered; "
                                  "in each the first element lies lowest."]))
        return content
    lsb = description["lsb"]
    signed = description["range"]["min"] < 0
    scale = {0: "2^exponent"}.get(lsb, f"2^(exponent {'+' if lsb > 0 else '-'} {abs(lsb)})")
    root = ", times √2 for odd codes" if "times_sqrt2" in description["table"][0] else ""
    equation = f"value = {'(-1)^sign · ' if signed else ''}integer · {scale}{root}"
    return [Text(code_boxes(description["layout"], width)), Prose([equation])]


def _range(description):
    span, rows = description["range"], []
    for key, name in {
        "max": "greatest", "min": "least", "least_normal": "least normal",
        "greatest_subnormal": "greatest subnormal", "least_positive": "least above 0",
        "least_step": "least step",
    }.items():
        if key in span:
            rows.append((name, both(span[key], odd_bits(description))))
    if description["unit"]:
        rows.append(("in units of", description["unit"]))
    rows.append(("bits per value", exact(description["bits_per_value"])))
    if "distinct" in description:
        kind = "words" if description["class"] == "Pair" else "codes"
        rows.append(("values", f"{description['distinct']:,} in {description['codes']:,} {kind}"))
        unit = "" if description["lsb"] == 0 else f", in units of 2^{description['lsb']}"
        bits = plural(description["integer_bits"], "bit")
        rows.append(("decoded to", f"integers of {bits}{unit}"))
    return rows


def _specials(description):
    bits, rows = description["bits"], []
    if description["parts"].get("scale"):
        bits = description["parts"]["scale"]["bits"]
    values = {row["code"]: row["value"] for row in description.get("table", [])}
    for special in description["specials"]:
        first, last = special["codes"]
        codes = code_text(first, bits)
        if last > first:
            codes += f"…{code_text(last, bits)} ({last - first + 1:,})"
        meaning = SPECIALS[special["is"]]
        if description["class"] == "Block":
            meaning = f"of the scale: the block is {meaning}"
        if special["is"] == "unused" and first in values:
            meaning += f", decoded to {exact(values[first])}"
        rows.append((codes, meaning))
    return Table((), rows)


def _lines(description, width):
    kind, parts = description["class"], description["parts"]
    if kind == "Pair":
        shown = [(name, *progressions(part)[::2]) for name, part in parts.items()]
    else:
        description = parts.get("element", description)
        shown = [("", *progressions(description)[::2])]
    content = [Text(linear(shown, width))]
    if description["class"] in BINADES:
        content.append(Text(logarithmic(description, width)))
    elif len(description["steps"]) > 1:
        rows = [
            (*(exact(row[key], 10, odd_bits(description)) for key in ("from", "to", "step")),
             f"{row['gaps']:,}")
            for row in description["steps"]
        ]
        content.append(Table(("from", "to", "step", "steps"), rows, frozenset(range(4))))
    if parts.get("element"):
        content.insert(0, Prose([f"Of an element ({description['name']}), before its scale."]))
    return content


def _rules(encode):
    rows = []
    for name in ("rounding", "overflow", "rule"):
        if name in encode:
            default, allowed = encode[name]["default"], encode[name]["allowed"]
            shown = [f"{rule} ({quant.ROUNDINGS[rule]})" if name == "rounding" else rule
                     for rule in [default, *(rule for rule in allowed if rule != default)]]
            others = f"; also {', '.join(shown[1:])}" if shown[1:] else ""
            rows.append((name, shown[0] + others))
    for name, value in encode["becomes"].items():
        rows.append((SPECIALS[name], "is refused" if value is None else f"becomes {exact(value)}"))
    return rows


def _parameters(description):
    rows = []
    for parameter in description["parameters"]:
        value = parameter["value"]
        value = f"{len(value)} numbers" if isinstance(value, list) else str(value)
        rows.append((parameter["name"], value, parameter["meaning"]))
    return Table(("parameter", "value", "meaning"), rows)
