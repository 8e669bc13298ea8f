# SPDX-License-Identifier: Apache-2.0
"""The points of the explorer: rows of costs joined with the accuracy of a unit's formats."""

from ..quant import formats
from .metrics import FAMILIES, costs, qualities
from .quality import SCALES, Quality
from .subjects import KINDS

__all__ = ["explorer", "front", "points", "table_of", "value"]

#: Columns of a row that are shown as they are.
SHOWN = ("lut4", "ff", "dsp", "bram", "carry", "fmax_mhz", "fmax_min_mhz", "fmax_max_mhz", "nand2",
         "transistors", "command")


def points(resources, energy, subjects):
    """Points, and how many rows were left out because their unit is no more.

    A point is a unit with so many lanes on a family, with DSP blocks allowed or not. What depends
    on no family is a point of the family ``gates``.
    """
    found, lost = {}, 0
    for row in resources or []:
        if row["unit"] not in subjects or row["family"] not in FAMILIES or not row["lanes"]:
            lost += 1
            continue
        key = row["unit"], row["lanes"], row["family"], row["dsp_allowed"] == "1"
        values = {name: row[name] for name in SHOWN if row.get(name) not in (None, "")}
        lut4, fmax = row.get("lut4"), row.get("fmax_mhz")
        products = row["lanes"] * subjects[row["unit"]].columns
        for name in "lut4", "ff", "nand2":
            if row.get(name) is not None:
                values[f"{name}-product"] = round(row[name] / products, 3)
        if lut4 is not None and fmax:
            values["lut4-rate"] = round(lut4 / (products * fmax / 1000), 2)
        found[key] = {"unit": row["unit"], "lanes": row["lanes"], "family": row["family"],
                      "dsp": key[3], "values": values}
    for row in energy or []:
        if row["unit"] not in subjects or not row["lanes"]:
            lost += 1
            continue
        key = row["unit"], row["lanes"], "gates", False
        point = found.setdefault(key, {"unit": row["unit"], "lanes": row["lanes"],
                                       "family": "gates", "dsp": False, "values": {}})
        if row["relative"] is not None:
            point["values"][f"energy-{row['trace']}"] = row["relative"]
        point["values"].setdefault("command", row["command"])
    places = {name: place for place, name in enumerate(subjects)}
    order = sorted(found.values(), key=lambda point: (
        places[point["unit"]], point["lanes"], list(FAMILIES).index(point["family"]),
        point["dsp"]))
    return order, lost


def explorer(rows, accuracy, subjects):
    """Everything that the explorer's page needs, as JSON.

    Parameters
    ----------
    rows : list of dict
        `points`.
    accuracy : list of dict, or None
    subjects : dict
    """
    quality = Quality(accuracy or [])
    units, used = {}, dict.fromkeys(row["unit"] for row in rows)
    for name in used:
        subject = subjects[name]
        operands = list(dict.fromkeys(filter(None, (subject.activations, subject.weights))))
        units[name] = {
            "kind": subject.kind, "summary": subject.summary,
            "formats": " × ".join(filter(None, (subject.activations, subject.weights)))
            or ", ".join(dict.fromkeys(subject.unit.formats.values())),
            "names": operands or list(dict.fromkeys(subject.unit.formats.values())),
            "class": _class(subject.weights or next(iter(subject.unit.formats.values()), None)),
            "quality": quality.of(subject),
        }
    kinds = {kind: title for kind, title in KINDS.items()
             if any(unit["kind"] == kind for unit in units.values())}
    classes = {}
    for name in sorted({name for unit in units.values() for name in unit["names"]}):
        classes.setdefault(_class(name), []).append(name)
    return {
        "rows": rows, "units": units, "kinds": kinds, "classes": dict(sorted(classes.items())),
        "families": {key: title for key, title in FAMILIES.items()
                     if any(row["family"] == key for row in rows)},
        "scales": SCALES,
        "x": [metric._asdict() for metric in costs(rows)],
        "y": [metric._asdict() for metric in qualities(quality)],
    }


def _class(name):
    """Class of a format, by its name."""
    return "none" if name is None else type(formats.get(name)).__name__


def value(data, row, metric, scale="row"):
    """Number of a row of the explorer's data under a metric (a dict), or None."""
    if metric["on"] == "formats":
        return data["units"][row["unit"]]["quality"].get(metric["id"], {}).get(scale)
    return row["values"].get(metric["id"])


def table_of(data, x, y, *, keep, scale="row"):
    """Rows for a figure: those that ``keep`` wants and that have both numbers."""
    found = []
    for row in data["rows"]:
        unit = data["units"][row["unit"]]
        at = value(data, row, x, scale), value(data, row, y, scale)
        if keep(row, unit) and None not in at:
            found.append({"unit": row["unit"], "formats": unit["formats"],
                          "class": unit["class"], "family": row["family"], "lanes": row["lanes"],
                          x["id"]: at[0], y["id"]: at[1],
                          "command": row["values"].get("command", "")})
    return found


def front(rows, x, y):
    """Rows that no other beats in both, by the first."""
    signs = [1 if metric["better"] == "low" else -1 for metric in (x, y)]
    best, found = None, []
    for row in sorted(rows, key=lambda row: tuple(
            sign * row[metric["id"]] for sign, metric in zip(signs, (x, y), strict=True))):
        second = signs[1] * row[y["id"]]
        if best is None or second < best:
            found.append(row)
            best = second
    return found
