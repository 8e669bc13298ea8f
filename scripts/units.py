# SPDX-License-Identifier: Apache-2.0
"""Write the pages of the units, ``reports/units``: structure, ports, waveform, gates, checks.

Names of presets write those alone. ``--check`` only says whether the pages are current; figures
count as current where they were drawn of the same RTL. Gates come from ``reports/resources.csv``,
checks from ``reports/units/verification.json``
(``carrysave verify --all-units --json``); pages say so where one is missing.
"""

import csv
import json
import re
import sys
import textwrap
import warnings
from pathlib import Path

from amaranth.back import rtlil

from carrysave import unit_diagram, unit_text, unit_wave
from carrysave.hw import catalogue
from carrysave.hw.cache import digest
from carrysave.quant import formats

REPORTS = Path(__file__).parents[1] / "reports"
FOLDER = REPORTS / "units"
RESOURCES, VERIFICATION = REPORTS / "resources.csv", FOLDER / "verification.json"
WIDTH = 96
ROOMS = {"decode": "Decoders", "pe": "Processing elements", "fixed": "Fixed and floating point",
         "post": "After the array"}
PROOFS = ("sat", "induction")
UNSHOWN = ("dsp_allowed", "command", "tools", "hash")  # columns of the gates
MADE = "Written by `scripts/units.py`"
MARK = "<!-- figures: {} -->"


def cell(text):
    return str(text).replace("|", "\\|")


def table(head, rows, right=()):
    rule = "|".join("---:" if name in right else "---" for name in head)
    return [f"| {' | '.join(map(cell, head))} |", f"|{rule}|",
            *(f"| {' | '.join(map(cell, row))} |" for row in rows)]


def wrapped(text, indent=""):
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)


def linked(name):
    """A format with a link to its page, if it has one."""
    if name is None:
        return ""
    return f"[{name}](../formats/{name}.md)" if name in formats.names() else name


def ports(unit):
    rows = [[f"`{port['field']}`", port["bits"], port["elements"], port["width"], port["number"],
             linked(port["format"])] for port in unit_text.ports(unit)]
    return table(["field", "bits of the payload", "elements", "bits each", "number", "format"],
                 rows, {"bits of the payload", "elements", "bits each"})


def resources():
    """Rows of ``resources.csv`` by unit; None where there is none."""
    if not RESOURCES.exists():
        return None
    found = {}
    with RESOURCES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row.pop("unit"), []).append(row)
    return found


def ledgers():
    """Arrows of ``verification.json`` by unit; None where there is none."""
    if not VERIFICATION.exists():
        return None
    content = json.loads(VERIFICATION.read_text(encoding="utf-8"))
    content = content.get("units", content) if isinstance(content, dict) else content
    return {ledger["subject"]: ledger["arrows"] for ledger in content}


def gates(rows):
    if rows is None:
        return ["Not measured yet: run `carrysave characterise --all`."]
    if not rows:
        return ["Not measured: `carrysave characterise` has written no row of this unit yet."]
    head = [name for name in rows[0] if name not in UNSHOWN
            and any(row[name] not in ("", None) for row in rows)]
    numbers = {name for name in head if all(re.fullmatch(r"-?[\d.]*", row[name] or "")
                                            for row in rows)}
    return [*table(head, [[row[name] for name in head] for row in rows], numbers), "",
            "Written by `carrysave characterise` to [resources.csv](../resources.csv)."]


def checks(arrows):
    if not arrows:
        return ["Not recorded here yet: run `carrysave verify --all-units --json` into "
                "`reports/units/verification.json`."]
    rows = []
    for arrow in arrows:
        ran = arrow["status"] != "not run"
        counts = [f"{arrow[key]:,}" if ran else "" for key in ("compared", "mismatches")]
        rows.append([f"{arrow['from']} → {arrow['to']}", arrow["method"], arrow.get("what") or "",
                     *counts, arrow["status"]])
    return table(["arrow", "method", "what", "compared", "mismatches", "status"], rows,
                 {"compared", "mismatches"})


def page(preset, unit, mark, gates_of, checks_of):
    docs = unit_text.docs(unit)
    shown = ", ".join(f"{key}={unit_text.value(value)}" for key, value in preset.parameters.items())
    lines = [f"# {preset.name}", "", docs.summary, "", "```python",
             f"from carrysave.hw.{preset.room} import {preset.unit.__name__}", "",
             *wrapped(f"{preset.unit.__name__}({shown})", "    "), "```", ""]
    for paragraph in docs.equation:
        lines += [*wrapped(paragraph), ""]
    for name in ("latency", "throughput", "backpressure"):
        if getattr(docs, name):
            lines += wrapped(f"- {name.capitalize()}: {getattr(docs, name)}", "  ")
    facts = [f"lanes {unit.lanes}"]
    if getattr(unit, "group", None):
        facts.append(f"groups of up to {unit.group} transfers")
    lines += [f"- {', '.join(facts).capitalize()}.", ""]
    for source in docs.sources:
        lines += [*wrapped(source.replace("]: ", "] ")), ""]
    lines += ["## Structure", "", f"![Structure of {preset.name}]({preset.name}.svg)", "",
              *wrapped("Registers (yellow) and the operators between them as Yosys reads the RTL, "
                       "before mapping; the handshake and what stalls the registers are left "
                       "out."), "",
              "## Ports", "", *ports(unit), "",
              *wrapped("Besides `clk`, `rst` and for each stream `valid` and `ready`. "
                       f"`carrysave export {preset.name} --out DIR` writes it as Verilog."), "",
              "## Waveform", "", f"![Waveform of {preset.name}]({preset.name}-wave.svg)", "",
              *wrapped("Simulated" + (", with one lane"
                                      if unit_wave.small(preset).lanes < unit.lanes else "") +
                       ": the source pauses once, the first result waits for two cycles."), "",
              "## Gates", "", *gates(gates_of), "",
              "## How it was verified", "", *checks(checks_of), "",
              f"{MADE}. {MARK.format(mark)}"]
    return "\n".join(lines) + "\n"


def index(units, gates_of, checks_of):
    lines = ["# Units", "", *wrapped(
        "Every preset of the catalogue (`carrysave units`). Compared: results of all simulations, "
        "and how many differ; proved: parts and properties of the stream, of how many."), ""]
    rooms = {}
    for preset, unit in units:
        rooms.setdefault(preset.room, []).append((preset, unit))
    for room, members in rooms.items():
        lines += [f"## {ROOMS.get(room, room)}", ""]
        rows = []
        for preset, unit in members:
            arrows = [a for a in (checks_of or {}).get(preset.name, []) if a["status"] != "not run"]
            proved = [a for a in arrows if a["method"] in PROOFS]
            ran = [a for a in arrows if a not in proved and a["method"] != "mutation"]
            row = [f"[{preset.name}]({preset.name}.md)", preset.summary.rstrip("."),
                   ", ".join(dict.fromkeys(map(linked, unit.formats.values()))), unit.lanes,
                   unit.latency]
            row.append(f"{sum(a['compared'] for a in ran):,}, "
                       f"{sum(a['mismatches'] for a in ran):,}" if ran else "–")
            row.append(f"{sum(a['status'] == 'exact' for a in proved)} of {len(proved)}"
                       if proved else "–")
            rows.append(row)
        lines += [*table(["unit", "what", "formats", "lanes", "latency", "compared", "proved"],
                         rows, {"lanes", "latency", "compared", "proved"}), ""]
    return "\n".join([*lines, f"{MADE}."]) + "\n"


def mark_of(preset, unit):
    """What the figures depend on: the RTL, and how they are drawn."""
    drawn = [Path(module.__file__).read_text(encoding="utf-8")
             for module in (unit_diagram, unit_wave)]
    return digest("\n".join([rtlil.convert(unit, name="top", emit_src=False), *drawn]))[:16]


def figures(preset):
    small = unit_wave.small(preset)
    wave = unit_wave.wavejson(small, unit_wave.record(small))
    return {f"{preset.name}.svg": unit_diagram.diagram(preset.build()),
            f"{preset.name}-wave.svg": unit_wave.draw(wave)}


def main():
    warnings.filterwarnings("ignore", ".* created but never used")
    arguments = sys.argv[1:]
    check = "--check" in arguments
    named = [word for word in arguments if not word.startswith("-")]
    unknown = [name for name in named if name not in catalogue.names()]
    if unknown:
        raise SystemExit(f"Unit must be one of {', '.join(catalogue.names())}, not {unknown[0]!r}")
    gates_of, checks_of = resources(), ledgers()
    units = [(preset, preset.build()) for preset in catalogue.PRESETS]
    old = {path.name: path.read_text(encoding="utf-8")
           for path in FOLDER.glob("*") if path.suffix in (".md", ".svg")}
    new, stale = {"README.md": index(units, gates_of, checks_of)}, []
    for preset, unit in units:
        names = {f"{preset.name}.svg", f"{preset.name}-wave.svg"}
        if named and preset.name not in named:
            names.add(f"{preset.name}.md")
            new |= {name: old[name] for name in names & old.keys()}
            continue
        mark = mark_of(preset, unit)
        new[f"{preset.name}.md"] = page(
            preset, unit, mark, None if gates_of is None else gates_of.get(preset.name, []),
            (checks_of or {}).get(preset.name))
        same = MARK.format(mark) in old.get(f"{preset.name}.md", "") and names <= old.keys()
        if same:
            new |= {name: old[name] for name in names}
        elif check:
            stale += sorted(names)
        else:
            print(preset.name, flush=True)
            new |= figures(preset)
    behind = sorted({name for name in new if old.get(name) != new[name]}
                    | (old.keys() - new.keys()) | set(stale))
    if check:
        if behind:
            raise SystemExit(f"reports/units is behind in {', '.join(behind)}: "
                             "run .venv/bin/python scripts/units.py")
        return
    FOLDER.mkdir(exist_ok=True)
    for name in behind:
        if name in new:
            (FOLDER / name).write_text(new[name], encoding="utf-8", newline="\n")
        else:
            (FOLDER / name).unlink()


if __name__ == "__main__":
    main()
