# SPDX-License-Identifier: Apache-2.0
"""Pictures of bits and bytes."""

from .format_numbers import plural

__all__ = ["code_boxes", "pair_boxes", "storage_boxes"]


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
