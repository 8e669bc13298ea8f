# SPDX-License-Identifier: Apache-2.0
"""Write the generated parts of the README.

The configuration and the formats come from their declarations, the measured numbers from
``reports/digits.json``, those of units from ``reports/resources.csv`` (``carrysave characterise``),
of arrays from ``reports/arrays.csv`` (``scripts/arrays.py``), errors of predictions from
``reports/estimator.csv`` (``carrysave predict --all``), networks of several widths from
``reports/mixed.csv`` (``carrysave mixed``). ``--measured`` first makes
``digits.json`` anew from ``build/digits`` (after ``make demo``); ``--check`` only says whether the
README is current.
"""

import csv
import json
import re
import sys
from pathlib import Path

from pydantic import BaseModel

from carrysave.characterise import read
from carrysave.config import Config
from carrysave.estimator import errors
from carrysave.format_text import families, family_line
from carrysave.formats import describe
from carrysave.hw import catalogue
from carrysave.mixed import read as read_mixed
from carrysave.predict import read as read_estimator
from carrysave.quant import formats
from carrysave.sim.trace import products_of

ROOT = Path(__file__).parents[1]
README, REPORT = ROOT / "README.md", ROOT / "reports" / "digits.json"
RESOURCES, ARRAYS = ROOT / "reports" / "resources.csv", ROOT / "reports" / "arrays.csv"
ESTIMATOR, MIXED = ROOT / "reports" / "estimator.csv", ROOT / "reports" / "mixed.csv"
# What the table of units shows: the plain multiplier, and what there is in its place.
BASELINE = "multiplier-w8a8"
SHOWN = (
    BASELINE, "multiplier-w4a8", "dequantise-first-w4a8", "mixpe-w4a8", "mixpe-w4a8-booth",
    "mixpe-w4a8-zero", "packed-w4a8", "lut-w4a8", "bitserial-w4a4", "two-scale-w4a8", "mxfp4-dot",
    "nvfp4-dot", "mxint8-dot", "mxfp8-e4m3-dot",
)
# Family: its title, and columns, of which a star asks for the share of the plain multiplier's.
FAMILIES = {
    "ecp5": ("ECP5", ("lut4*", "ff", "fmax_mhz")), "ice40": ("iCE40", ("lut4*", "fmax_mhz")),
    "gowin": ("Gowin", ("lut4*", "fmax_mhz")), "gates": ("CMOS", ("nand2*",)),
}
HEADS = {"lut4": "LUT4", "ff": "FF", "fmax_mhz": "MHz", "nand2": "NAND2"}
KEPT = ("name", "identity", "tools", "accuracy", "network", "engine", "cycles", "boards", "ledger")


def shown(value):
    """A default as TOML writes it."""
    if value is None:
        return "–"
    return f"`{value!r}`".replace("'", '"')


def rows(model, section=""):
    """A row of the table for each key of a section."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from rows(kind, f"{name}.")
        else:
            default = "required" if field.is_required() else shown(field.default)
            yield f"| `{section}{name}` | {default} | {field.description} |\n"


def configuration():
    return "".join(["| key | default | meaning |\n|---|---|---|\n", *rows(Config)])


def number_formats():
    lines = ["| class | listed | what it is, and where from |\n|---|---|---|\n"]
    listed = [describe(formats.get(name), full=False) for name in formats.names()]
    for kind, members in families(listed).items():
        names = " ".join(f"`{member['name']}`" for member in members)
        lines.append(f"| {kind} | {names} | {' '.join(family_line(kind, members)).rstrip()} |\n")
    return "".join(lines)


def ledger(report):
    lines = ["| arrow | method | compared | mismatches | status |\n|---|---|---:|---:|---|\n"]
    for arrow in report["ledger"]["arrows"]:
        on = f", {arrow['on']}" if arrow["on"] else ""
        ran = arrow["status"] != "not run"
        counts = [f"{arrow[key]:,}" if ran else "" for key in ("compared", "mismatches")]
        lines.append(
            f"| {arrow['from']} → {arrow['to']} | {arrow['method']}{on} | {counts[0]} "
            f"| {counts[1]} | {arrow['status']} |\n"
        )
    return "".join(lines)


def measured(report):
    score, cycles = report["accuracy"], report["cycles"]
    lines = [
        f"Accuracy on {score['samples']} held-out digits: float {100 * score['float']:.2f} %, "
        f"Brevitas {100 * score['trained']:.2f} %, integer network {100 * score['integer']:.2f} "
        f"%.\n\n{report['engine']['rows']} × {report['engine']['columns']} MixPE elements take "
        f"{cycles['total']} cycles for {cycles['vectors']} images, loading and reading included: "
        f"{cycles['macs_per_cycle']:.2f} useful MACs per cycle of {cycles['peak_macs_per_cycle']}."
        "\n\n| layer | cycles: prepare | MAC | stall | drain | array busy, first to last MAC |\n"
        "|---|---:|---:|---:|---:|---:|\n"
    ]
    for layer in cycles["layers"]:
        lines.append(
            f"| {layer['name']} | {layer['prepare']} | {layer['macs']} | {layer['stalls']} "
            f"| {layer['drain']} | {100 * layer['utilisation']:.1f} % |\n"
        )
    names = sorted({name for board in report["boards"] for name in board["resources"]})
    heads = "".join(f" {name} |" for name in names)
    lines.append(
        f"\n| board | clock, MHz | Fmax, MHz |{heads} inferences/s |\n"
        f"|---|---:|---:|{'---:|' * len(names)}---:|\n"
    )
    for board in report["boards"]:
        used = [board["resources"].get(name) for name in names]
        cells = "".join(
            f" {value['used']} of {value['available']} |" if value else " – |" for value in used
        )
        lines.append(
            f"| {board['title']} | {board['clock_mhz']:g} | {board['fmax_mhz']:.1f} |{cells} "
            f"{board['inferences_per_second']:,.0f} |\n"
        )
    return "".join(lines)


def resources(rows):
    """Units by family: what they take, next to the plain multiplier, and Fmax."""
    found = {(row["unit"], row["family"], row["dsp_allowed"] == "1"): row for row in rows
             if "--lanes" not in row["command"]}
    heads = ["unit", "products"]
    for title, columns in FAMILIES.values():
        for column in columns:
            heads += [f"{title} {HEADS[column.rstrip('*')]}", *(["of plain"] * column.count("*"))]
    lines = [f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}\n"]
    for name in SHOWN:
        for dsp in (False, True):
            parts = {family: found[name, family, dsp] for family in FAMILIES
                     if (name, family, dsp) in found}
            if not parts:
                continue
            products = products_of(catalogue.get(name).build())
            each = products / products_of(catalogue.get(BASELINE).build())
            cells = [shared for family, (_, columns) in FAMILIES.items() for column in columns
                     for shared in part(parts.get(family), found.get((BASELINE, family, False)),
                                        column, each)]
            blocks = dict.fromkeys(row["dsp"] for row in parts.values())
            with_dsp = f", {' or '.join(blocks)} DSP blocks" if dsp else ""
            lines.append(f"| `{name}`{with_dsp} | {products} | {' | '.join(cells)} |\n")
    return "".join(lines)


def part(row, plain, column, each):
    """A cell of a row, and its share of the plain multiplier's where a star asks so.

    ``each`` is by how many times more products it computes than that.
    """
    name, stars = column.rstrip("*"), column.count("*")
    if row is None or not row[name]:
        return ["–"] * (1 + stars)
    if name == "fmax_mhz":
        return [row[name]]
    value = int(row[name])
    if not stars:
        return [f"{value:,}"]
    share = plain and value / each / int(plain[name])
    return [f"{value:,}", f"{100 * share:.0f} %" if share else "–"]


def arrays(rows):
    """Arrays of equal area: elements, and how much faster than int8 networks run on them."""
    names = [key.removesuffix(" cycles") for key in rows[0] if key.endswith(" cycles")]
    lines = [f"| array | sites of an element | elements | sites | decoders |"
             f"{''.join(f' {name} |' for name in names)}\n|---|---:|---:|---:|---:|"
             f"{'---:|' * len(names)}\n"]
    for row in rows:
        lanes = f" × {row['lanes']}" if row["lanes"] != "1" else ""
        share = 100 * int(row["decoders"]) / int(row["sites"])
        gains = "".join(f" {1 / float(row[f'{name} cycles x area, of int8']):.2f} |"
                        for name in names)
        lines.append(
            f"| {row['array']} | {row['element']} | {row['rows']} × {row['columns']}{lanes} "
            f"| {int(row['sites']):,} | {f'{share:.1f} %' if share else '–'} |{gains}\n")
    return "".join(lines)


def mixed(rows):
    """Widths by layer beside uniform networks, the least memory first."""
    lines = ["| weights | memory, KiB | block RAM | LUT4 | cycles | accuracy | no uniform one "
             "reaches it |\n|---|---:|---:|---:|---:|---:|---|\n"]
    for row in rows:
        lines.append(
            f"| {row['weights']} | {int(row['memory_bits']) / 8192:.1f} | {row['block_ram']} "
            f"| {int(row['lut4']):,} | {int(row['cycles']):,} | {float(row['accuracy']):.2f} % "
            f"| {'yes' if row['beyond'] == '1' else ''} |\n")
    return "".join(lines)


def estimator(rows):
    """How wrong predictions of units are that had no part in the fit."""
    lines = ["| family | units | LUT4, rows | median error | 90 % below | Fmax, rows "
             "| median error | 90 % below |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"]
    for line in errors(rows):
        title = FAMILIES[line["family"]][0] + ", with DSP blocks" * line["dsp_allowed"]
        cells = [cell for part in (line["lut4"], line["fmax_mhz"]) for cell in (
            ["–"] * 3 if part is None else
            [str(part["rows"]), *(f"{100 * part[key]:.1f} %" for key in ("median", "p90"))])]
        lines.append(f"| {title} | {line['units']} | {' | '.join(cells)} |\n")
    return "".join(lines)


def refresh():
    """Make ``reports/digits.json`` of the last demo."""
    source = ROOT / "build" / "digits" / "evidence.json"
    if not source.exists():
        raise SystemExit(f"{source} is not there: run make demo first")
    evidence = json.loads(source.read_text(encoding="utf-8"))
    report = {key: evidence[key] for key in KEPT}
    for arrow in report["ledger"]["arrows"]:
        del arrow["seconds"]
        arrow["detail"].pop("reused", None)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main():
    if "--measured" in sys.argv[1:]:
        refresh()
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    parts = {
        "configuration": configuration(),
        "formats": number_formats(),
        "ledger": ledger(report),
        "measured": measured(report),
        "resources": resources(read(RESOURCES)),
        "estimator": estimator(read_estimator(ESTIMATOR)),
        "mixed": mixed(read_mixed(MIXED)),
        "arrays": arrays(list(csv.DictReader(ARRAYS.open(encoding="utf-8")))),
    }
    before = after = README.read_text(encoding="utf-8")
    for name, text in parts.items():
        part = rf"(<!-- generated: {name} \(scripts/readme.py\) -->\n).*?(<!-- /generated -->)"
        after, count = re.subn(part, rf"\g<1>{text}\g<2>", after, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"README.md: the marks of the generated {name} are gone")
    if "--check" not in sys.argv[1:]:
        README.write_text(after, encoding="utf-8")
    elif after != before:
        raise SystemExit("README.md is behind: run .venv/bin/python scripts/readme.py")


if __name__ == "__main__":
    main()
