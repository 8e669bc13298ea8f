# SPDX-License-Identifier: Apache-2.0
"""What the tables under ``reports`` say, for `findings`; and what they do not say yet."""

import csv
import functools
from pathlib import Path
from statistics import median

from .hw import catalogue
from .sim.trace import products_of

__all__ = ["FAMILIES", "Known", "Tables", "costs"]

FAMILIES = {"gates": "NAND2", "ecp5": "ECP5 LUT4", "ice40": "iCE40 LUT4", "gowin": "Gowin LUT4"}
TRACES = ("smollm2", "digits", "uniform")  # the first that is there is shown


class Tables:
    """The tables as they are; empty where there is no file."""

    def __init__(self, reports):
        reports = Path(reports)
        self.resources = {(row["unit"], row["lanes"], row["family"], row.get("dsp_allowed")): row
                          for row in _read(reports / "resources.csv")}
        self.arrays = {row["array"]: row for row in _read(reports / "arrays.csv")}
        self.energy = {(row["unit"], row["lanes"], row["trace"]): row
                       for row in _read(reports / "energy.csv")}
        self.accuracy = _read(reports / "accuracy.csv")


def _read(path):
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


class Known:
    """Figures for one finding, and the commands that measure what was not there."""

    def __init__(self, tables):
        self.tables, self._others, self._units = tables, {}, {}

    @property
    def missing(self):
        """Lines of Markdown."""
        found = {}
        for unit, families in self._units.items():
            found.setdefault(tuple(families), []).append(unit)
        lines = []
        for families, units in found.items():
            every = len(families) == len(FAMILIES)
            options = "" if every else "".join(f" --family {family}" for family in families)
            lines.append(f"`carrysave characterise {' '.join(units)}{options} --no-timing`")
        return [*lines, *self._others]

    def lacks(self, line):
        self._others[line] = None

    def cost(self, unit, family="gates"):
        """NAND2 gates or LUT4 for each product in a cycle, no DSP blocks; None if not measured."""
        found = _size(unit)
        if found is None:
            self.lacks(f"`{unit}`, which the catalogue of units lacks")
            return None
        lanes, products = found
        row = self.tables.resources.get((unit, str(lanes), family, "0"))
        value = row and row["nand2" if family == "gates" else "lut4"]
        if not value:
            self._units.setdefault(unit, {})[family] = None
            return None
        return int(value) / products

    def activity(self, *units):
        """Toggles per product weighted by fan-out of units under one trace, and its name."""
        for trace in TRACES:
            rows = [self.tables.energy.get((unit, str((_size(unit) or (0, 0))[0]), trace))
                    for unit in units]
            if all(rows):
                return [float(row["weighted_per_mac"]) for row in rows if row], trace
        self.lacks(f"`carrysave energy {' '.join(units)}`")
        return [None] * len(units), None

    def array(self, name):
        """A row of the arrays of equal area; None if it is not there."""
        row = self.tables.arrays.get(name)
        if row is None:
            self.lacks("`python scripts/arrays.py`")
        return row

    def qsnr(self, fmt, kind):
        """Median QSNR in dB of a format with scales of its own on tensors of SmolLM2; None."""
        found = [float(row["qsnr_db"]) for row in self.tables.accuracy
                 if row["format"] == fmt and row["qsnr_db"]
                 and row["subject"].startswith("smollm2 ") and row["subject"].endswith(f" {kind}")]
        if not found:
            self.lacks(f"`carrysave accuracy {fmt} --only tensors`")
            return None
        return median(found)


@functools.cache
def _size(unit):
    """Lanes of a preset, and its products per cycle; None where there is none of that name."""
    if unit not in catalogue.names():
        return None
    built = catalogue.get(unit).build()
    return built.lanes, products_of(built)


def ratio(value, reference):
    return None if value is None or reference is None else value / reference


def text(value, form=".2f"):
    return "–" if value is None else f"{value:{form}}"


def costs(known, units):
    """Head and rows of a table: what units cost for a product, and as a part of the first's."""
    head = ["unit"]
    for title in FAMILIES.values():
        head += [f"{title} per product", "of the first"]
    rows = []
    for unit in units:
        cells = [f"`{unit}`"]
        for family in FAMILIES:
            value = known.cost(unit, family)
            first = known.cost(units[0], family)
            cells += [text(value, ".1f"), text(ratio(value, first))]
        rows.append(cells)
    return head, rows
