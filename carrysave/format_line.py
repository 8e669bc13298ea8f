# SPDX-License-Identifier: Apache-2.0
"""Pictures of the number line of a format."""

import itertools
import math
from fractions import Fraction
from typing import NamedTuple

from .format_numbers import approximate, exact

__all__ = ["linear", "logarithmic", "progressions"]

MOST_BINADES = 24  # rows; beyond, rows that look alike are drawn once


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
