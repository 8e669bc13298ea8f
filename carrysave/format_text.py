# SPDX-License-Identifier: Apache-2.0
"""The description of a number format as text: sections of pictures, tables and prose."""

import itertools
import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from .formats import TABLE_BITS, documentation
from .quant import formats as quant

__all__ = [
    "COLUMNS", "RIGHT", "Prose", "Section", "Table", "Text", "columns", "exact", "families",
    "family_line", "sections",
]

SPECIALS = {
    "nan": "NaN", "inf": "Inf", "-inf": "-Inf", "-0": "-0", "identifier": "identifier",
    "unused": "never encoded", "invalid": "no value",
}
COLUMNS = ("format", "bits", "step", "least>0", "greatest", "special", "what")
RIGHT = {"bits", "step", "least>0", "greatest"}
SHORT_TABLE = 16  # rows of a table with one code each; longer ones have several codes to a row
MOST_BINADES = 24  # rows; beyond, rows that look alike are drawn once
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


# Numbers.

def exact(x, room=10, odd_bits=64):
    """A value in as many characters, exact: as a decimal, or as an integer times a power of two.

    Where that integer has more than ``odd_bits``, as in codebooks, as Python writes the float.
    """
    if x is None:
        return "–"
    if isinstance(x, str):
        return SPECIALS[x]
    decimal = format(Decimal(x), "f")
    if len(decimal) <= room:
        return decimal
    n, d = Fraction(x).as_integer_ratio()
    twos = (n & -n).bit_length() - 1
    odd, power = n >> twos, f"2^{twos - d.bit_length() + 1}"
    if odd.bit_length() > odd_bits:
        return repr(x)
    return {1: power, -1: f"-{power}"}.get(odd, f"{odd}·{power}")


def approximate(x):
    """A value in at most 8 characters or so: exact, or to four digits."""
    text = exact(x, 7)
    return f"{x:.4g}" if "·" in text or len(text) > 7 else text


def both(x, odd_bits):
    """A value, and where it has many digits also as an integer times a power of two."""
    text = exact(x, 6, odd_bits)
    if "^" not in text or abs(x) >= 1 << 1023:
        return text
    decimal = format(Decimal(x), "f")
    return f"{text} = {decimal}" if len(decimal) <= 12 else f"{text} ≈ {float(x):.4g}"


def odd_bits(description):
    """Longest integer that `exact` may write: what comes from tables of floats has no short one."""
    tables = description["class"] == "Codebook" or description["name"].startswith("logsqrt2")
    return 8 if tables else 64


def code_text(code, bits):
    """A code in binary, or longer ones in hexadecimal."""
    return f"{code:0{bits}b}" if bits <= 5 else f"0x{code:0{-(-bits // 4)}X}"


def plural(number, what):
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spans(numbers):
    """Integers as text, neighbours that follow each other as ``first…last``."""
    parts, numbers = [], list(dict.fromkeys(numbers))
    while numbers:
        step = 1 if len(numbers) < 2 or numbers[1] > numbers[0] else -1
        end = 1
        while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        run, numbers = numbers[:end], numbers[end:]
        parts.append(str(run[0]) if end == 1 else f"{run[0]}…{run[-1]}")
    return " ".join(parts)


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


# Pictures of bits and bytes.

def boxes(fields, width):
    """Boxes side by side, each ``(left label, right label, text)``; a list where they are wide."""
    inner = [max(len(text) + 2, len(left) + len(right) + 1) for left, right, text in fields]
    if sum(inner) + len(inner) + 1 > width:
        return [
            f"{left}{'–' if left and right else ''}{right}  {text}".strip()
            for left, right, text in fields
        ]
    labels = " ".join(
        left + right.rjust(w - len(left)) if right else left.center(w)
        for (left, right, _), w in zip(fields, inner, strict=True)
    )
    lines = [f" {labels}".rstrip()] if labels.strip() else []
    return [
        *lines,
        f"┌{'┬'.join('─' * w for w in inner)}┐",
        f"│{'│'.join(f[2].center(w) for f, w in zip(fields, inner, strict=True))}│",
        f"└{'┴'.join('─' * w for w in inner)}┘",
    ]


def code_boxes(layout, width):
    """Fields of a code, the most significant first, with the numbers of their bits."""
    fields, high = [], sum(field["bits"] for field in layout) - 1
    for field in layout:
        low = high - field["bits"] + 1
        fields.append((str(high), str(low) if low < high else "", field["field"]))
        high = low - 1
    return boxes(fields, width)


def pair_boxes(bits, width):
    """The word of a pair, and the four things that it may hold."""
    rows = [
        ("right", "left", ""),
        ("normal", "normal", ""),
        ("identifier", "outlier", "right is 0"),
        ("outlier", "identifier", "left is 0"),
        ("identifier", "identifier", "both are 0"),
    ]
    top = f" {2 * bits - 1:<7}{bits:>7} {bits - 1:<7}{0:>7}"
    lines = [f"│{a:^14}│{b:^14}│ {note}".rstrip() for a, b, note in rows]
    rule = "─" * 14
    lines = [top, f"┌{rule}┬{rule}┐", lines[0], f"├{rule}┼{rule}┤", *lines[1:], f"└{rule}┴{rule}┘"]
    if max(map(len, lines)) > width:
        return [f"{a}, {b}{': ' + note if note else ''}" for a, b, note in rows]
    return lines


def storage_boxes(description, width):
    """A block in bytes, or a group in bits."""
    storage, size = description["storage"], _parameter(description, "size")
    fields = []
    for field in storage["fields"]:
        if "byte" not in field:
            many, bits = "", field["bits"]
            if field["field"] == "elements":
                many, bits = f"{size} × ", bits // size
            fields.append(("", "", f"{field['field']}: {many}{plural(bits, 'bit')}"))
            continue
        first, last = field["byte"], field["byte"] + field["bytes"] - 1
        low, high = field["bits"]
        text = field["field"]
        if text == "elements":
            whole = (low, high) == (0, description["bits"] - 1)
            text = plural(size, "element") + ("" if whole else f", bits {low}–{high}")
        labels = (str(first), str(last)) if last > first else (str(first), "")
        fields.append((*labels, text))
    return boxes(fields, width)


def _parameter(description, name):
    return next(p["value"] for p in description["parameters"] if p["name"] == name)


# Number lines.

class Progression(NamedTuple):
    """Integers ``start + k * step`` for k below ``count``."""

    start: int
    step: int
    count: int

    @property
    def last(self):
        return self.start + (self.count - 1) * self.step

    def below(self, x):
        """How many are less than x."""
        return min(max(-((self.start - x) // self.step), 0), self.count)


def progressions(description):
    """All values of a format, and the gaps above each, as integers of a common unit.

    Returns
    -------
    values : list of Progression
        Every value once.
    gaps : list of Progression
        The values from 0 on, or all where they are not symmetric: each but the greatest, whose
        ``step`` is the gap above it.
    unit : Fraction
    """
    steps, top = description["steps"], Fraction(description["range"]["max"])
    numbers = [Fraction(row[key]) for row in steps for key in ("from", "step")]
    unit = Fraction(1, max(x.denominator for x in [*numbers, top]))
    gaps = [Progression(int(Fraction(row["from"]) / unit), int(Fraction(row["step"]) / unit),
                        row["gaps"]) for row in steps]
    values = [*gaps, Progression(int(top / unit), 1, 1)]
    if description["symmetric"]:
        for start, step, count in values[:]:
            zero = start == 0
            values.append(Progression(-start - (count - 1) * step, step, count - zero))
    return values, gaps, unit


def counts(values, *, low, high, cells):
    """How many values lie in each of as many equal parts of ``[low, high)``; Fractions."""
    scale = math.lcm(low.denominator, high.denominator)
    start, size, scale = int(low * scale) * cells, int((high - low) * scale), scale * cells
    edges = [-(-(start + size * cell) // scale) for cell in range(cells + 1)]
    values = [p for p in values if p.start < edges[-1] and p.last >= edges[0]]
    found = [sum(p.below(edge) for p in values) for edge in edges]
    return [b - a for a, b in itertools.pairwise(found)]


def axis(found):
    """Ticks where values are; where some lie together, bars of their number above a plain line.

    The height of a bar grows with the logarithm of the number.
    """
    most = max(found)
    if most <= 1:
        return ["".join("┃" if n else "─" for n in found)]
    bars = ""
    for n in found:
        level = next(k for k in range(9) if (1 + n) ** 8 <= (1 + most) ** k)
        bars += " ▁▂▃▄▅▆▇█"[level]
    return [bars, "─" * len(found)]


def linear(parts, width):
    """The values of formats on one axis, linear: ``(label, values, unit)`` each."""
    unit = min(unit for *_, unit in parts)
    scaled = [
        (label, [Progression(p.start * int(u / unit), p.step * int(u / unit), p.count)
                 for p in values])
        for label, values, u in parts
    ]
    everything = [p for _, values in scaled for p in values]
    low = min(p.start for p in everything)
    high = max(p.last for p in everything)
    margin = max(len(label) + 1 if label else 0 for label, _ in scaled)
    step = math.gcd(*(n for p in everything for n in (p.start - low, p.step))) or 1
    spaces, cells = (high - low) // step, max(width - margin, 8)
    # The least and the greatest value lie in the middle of the outermost cells.
    if 0 < spaces < cells:
        cells = spaces * ((cells - 1) // spaces) + 1  # as many cells between any two neighbours
    elif low == -high:
        cells -= cells % 2 == 0  # 0 in the middle
    half = Fraction(high - low, 2 * (cells - 1)) or Fraction(1)
    if spaces >= cells and sum(p.count for p in everything) == spaces + 1:
        # Evenly spaced: as many values in each cell, if that can be.
        even = [n for n in range(cells, cells // 2, -1) if (spaces + 1) % n == 0]
        if even:
            cells, half = even[0], Fraction(step, 2)
    lines = []
    for label, values in scaled:
        *bars, line = axis(counts(values, low=low - half, high=high + half, cells=cells))
        lines += [f"{'':{margin}}{bar}".rstrip() for bar in bars]
        lines.append(f"{label:<{margin}}{line}")
    marks = [(low, exact(float(low * unit))), (high, exact(float(high * unit)))]
    if low < 0 < high:
        marks.insert(1, (0, "0"))
    labels = [" "] * cells
    for at, text in sorted(marks, key=lambda mark: mark[0] == 0):
        start = int((at - low + half) * cells // (high - low + 2 * half))
        start = min(max(start - len(text) // 2, 0), cells - len(text))
        if all(c == " " for c in labels[max(start - 1, 0) : start + len(text) + 1]):
            labels[start : start + len(text)] = text
    return [*lines, (" " * margin + "".join(labels)).rstrip()]


def logarithmic(description, width):
    """Positive values, one line per binade ``[2^k, 2^(k+1))``: ticks, number, gaps."""
    values, gaps, unit = progressions(description)
    first = _binade(Fraction(description["range"]["least_positive"]))
    last = _binade(Fraction(description["range"]["max"]))
    rows = []
    for k in range(first, last + 1):
        low = Fraction(2) ** k / unit
        start, end = _ceil(low), _ceil(2 * low)
        inside, above = (
            [p for p in group if p.start < end and p.last >= start] for group in (values, gaps)
        )
        number = sum(p.below(end) - p.below(start) for p in inside)
        steps = dict.fromkeys(p.step for p in above if p.below(start) < p.below(end))
        rows.append((k, inside, number, " ".join(approximate(float(s * unit)) for s in steps)))
    edge = max(len(f"2^{k}") for k in (first, last))
    tail = max(len(f"{number:,}") for _, _, number, _ in rows)
    far = max(4, *(len(row[3]) for row in rows))
    cells = width - edge - tail - far - 4
    if cells < 8:
        return [f"2^{k}: {number:,}" for k, _, number, _ in rows]
    most = max(row[2] for row in rows)
    while most > cells:
        most = -(-most // 2)
    cells -= cells % most  # ticks of a full binade lie evenly
    lines = [f"{'':{edge}} {'':{cells}} {'n':>{tail}}  step"]
    drawn = []
    for k, inside, number, steps in rows:
        low = Fraction(2) ** k / unit
        found = counts(inside, low=low, high=2 * low, cells=cells)
        line = "".join("─┃█"[min(n, 2)] for n in found)
        drawn.append((line, number, f"{f'2^{k}':>{edge}} {line} {number:>{tail},}  {steps}"))
    for _, run in itertools.groupby(drawn, key=lambda row: row[:2]):
        same = [row[2] for row in run]
        if len(rows) > MOST_BINADES and len(same) > 3:
            same = [same[0], f"{'⋮':>{edge}} {len(same) - 2} binades alike", same[-1]]
        lines += same
    return lines


def _ceil(x):
    return -(-x.numerator // x.denominator)


def _binade(x):
    """Largest k with ``2 ** k <= x``."""
    k = x.numerator.bit_length() - x.denominator.bit_length()
    return k if Fraction(2) ** k <= x else k - 1


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
