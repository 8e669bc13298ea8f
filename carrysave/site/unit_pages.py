# SPDX-License-Identifier: Apache-2.0
"""Pages of units: what one is, its ports, figures, gates, energy, accuracy, checks."""

import shutil

from .. import unit_text, unit_wave
from .ledger_page import summary
from .metrics import FAMILIES
from .quality import SCALES
from .subjects import KINDS

__all__ = ["write_units"]

GATES = {"lanes": "lanes", "family": "family", "dsp_allowed": "DSP", "dsp": "DSP blocks",
         "lut4": "LUT4", "ff": "FF", "carry": "carry", "bram": "block RAM", "fmax_mhz": "Fmax, MHz",
         "fmax_min_mhz": "least", "fmax_max_mhz": "most", "seeds": "seeds",
         "nand2": "NAND2", "transistors": "transistors"}
TEXT = ("family", "dsp_allowed", "trace")
ENERGY = {"lanes": "lanes", "trace": "operands", "macs": "MACs", "nets": "nets",
          "toggles_per_mac": "toggles per MAC", "weighted_per_mac": "weighted by fan-out",
          "relative": "of int8"}


def write_units(pages, sources, known, data, quality):
    """The index of units and arrays, and a page for each."""
    gates, energy = (_by_unit(rows) for rows in (sources.resources, sources.energy))
    checks = {ledger["subject"]: ledger["arrows"] for ledger in sources.verification or []}
    groups = {}
    for subject in known.values():
        groups.setdefault(subject.kind, []).append({
            "subject": subject,
            "formats": _formats(subject),
            "checks": summary(checks.get(subject.name, [])),
            "least": _least(gates.get(subject.name, []), subject),
        })
    pages.page("units/index.html", "units.html.j2", title="Units", kinds=KINDS, groups=groups)
    titles = {metric["id"]: metric for metric in data["y"]}
    for subject in known.values():
        pages.page(
            f"units/{subject.name}.html", "unit.html.j2", title=subject.name, subject=subject,
            docs=subject.unit and unit_text.docs(subject.unit),
            group=getattr(subject.unit, "group", None),
            small=subject.unit and unit_wave.small(subject.preset).lanes < subject.unit.lanes,
            declaration=_declaration(subject), ports=_ports(subject),
            figures=_figures(pages, sources.folder, subject), formats=_formats(subject),
            gates=_table(gates.get(subject.name, []), GATES),
            energy=_table(energy.get(subject.name, []), ENERGY),
            quality=quality.of(subject), metrics=titles, scales=SCALES,
            arrows=checks.get(subject.name, []))


def _by_unit(rows):
    found = {}
    for row in rows or []:
        found.setdefault(row["unit"], []).append(row)
    return found


def _formats(subject):
    if subject.unit is not None:
        return list(dict.fromkeys(subject.unit.formats.values()))
    return list(dict.fromkeys((subject.activations, subject.weights)))


def _least(rows, subject):
    """LUT4 on ECP5 without DSP blocks, per product of a cycle, of the most lanes."""
    rows = [row for row in rows if row["family"] == "ecp5" and row["dsp_allowed"] != "1"
            and row.get("lut4") is not None]
    row = max(rows, key=lambda row: row["lanes"], default=None)
    return row and row["lut4"] / (row["lanes"] * subject.columns)


def _table(rows, columns):
    """The columns in which there is anything, and their rows; None where there are no rows."""
    used = {name: title for name, title in columns.items()
            if any(row.get(name) not in (None, "") for row in rows)}
    cells = [[_shown(row, name) for name in used] for row in rows]
    return {"columns": used, "rows": cells, "commands": [row["command"] for row in rows],
            "text": [used[name] for name in used if name in TEXT]} if rows else None


def _shown(row, name):
    if name == "family":
        return FAMILIES[row[name]]
    if name == "dsp_allowed":
        return "yes" if row[name] == "1" else "no"
    return row[name] if row[name] != "" else None


def _declaration(subject):
    if subject.preset is None:
        return None
    shown = [f"{key}={unit_text.value(value)}" for key, value in subject.preset.parameters.items()]
    return {"room": subject.preset.room, "name": subject.preset.unit.__name__, "shown": shown}


def _ports(subject):
    return unit_text.ports(subject.unit) if subject.unit is not None else []


def _figures(pages, folder, subject):
    """Copies of the committed drawings that there are: by kind, the file."""
    found = {}
    for kind, end in {"structure": "", "waveform": "-wave"}.items():
        source = folder / "units" / f"{subject.name}{end}.svg"
        if source.is_file():
            shutil.copyfile(source, pages.folder / "units" / source.name)
            found[kind] = source.name
    return found
