# SPDX-License-Identifier: Apache-2.0
"""The report page: one HTML file that needs nothing else."""

import os
import tempfile
from pathlib import Path

from jinja2 import Environment, PackageLoader, Undefined
from markupsafe import Markup

from . import figures, waveform

__all__ = ["render_report", "write_report"]

#: Along the chain: name, and what the model is.
CHAIN = (
    ("trained", "Brevitas", "PyTorch, float64"),
    ("golden", "Integer network", "PyTorch, integers"),
    ("rtl", "RTL", "Amaranth"),
    ("netlist", "Netlist", "Yosys"),
    ("routed", "Routed", "nextpnr"),
    ("bitstream", "Bitstream", "decompiled"),
)
SIGNS = {"exact": "=", "differs": "≠", "not run": "–"}
LONGEST_WAVE = 2000  # cycles drawn in full


def _missing(value):
    return value is None or isinstance(value, Undefined)


def number(value, places=None):
    """A number with narrow spaces between thousands; a dash where there is none."""
    if _missing(value):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and places is None:
        value = int(value)
    text = f"{value:,}" if places is None else f"{value:,.{places}f}"
    return text.replace(",", "\u202f").replace("-", "−")


def percent(value, places=1):
    """A share as a percentage."""
    return "–" if _missing(value) else f"{100 * value:.{places}f}\u202f%"


def state(arrow):
    """``exact``, ``differs`` or ``not run``; an arrow that compared nothing is not exact."""
    if arrow["status"] == "exact" and (arrow["mismatches"] or not arrow["compared"]):
        return "differs"
    return arrow["status"]


def place(first):
    """Where the first difference is, in words."""
    parts = [
        f"{name} {first[name]}" for name in first
        if name not in ("expected", "found") and first[name] is not None
    ]
    text = ", ".join(parts)
    if "expected" in first or "found" in first:
        text += f": expected {first.get('expected')}, found {first.get('found')}"
    return text


def _together(arrows):
    """One state for several arrows."""
    states = [state(arrow) for arrow in arrows]
    return next((s for s in ("differs", "exact") if s in states), "not run")


def chain(arrows):
    """The chain: each model with the arrows that lead to it from the one before."""
    links = []
    for index, (key, name, detail) in enumerate(CHAIN):
        before = CHAIN[index - 1][0] if index else None
        into = [a for a in arrows if a["from"] == before and a["to"] == key]
        links.append({
            "name": name,
            "detail": detail,
            "arrows": into,
            "state": _together(into),
            "compared": sum(a["compared"] for a in into),
            "mismatches": sum(a["mismatches"] for a in into),
            "skipped": sum(state(a) == "not run" for a in into),
        })
    return links


def verdict(arrows):
    """State of the whole ledger, in one line and one sentence."""
    ran = [a for a in arrows if state(a) != "not run"]
    compared = number(sum(a["compared"] for a in ran))
    if not ran:
        return {"state": "not run", "title": "Nothing was compared", "text": ""}
    wrong = next((a for a in ran if state(a) == "differs"), None)
    if wrong is None:
        names = {key: name for key, name, _ in CHAIN}
        skipped = sorted({
            f"{names.get(a['from'], a['from'])} → {names.get(a['to'], a['to'])}"
            for a in arrows if a not in ran
        })
        comparisons = "1 comparison" if len(ran) == 1 else f"{len(ran)} comparisons"
        text = f"{compared} values in {comparisons}, none differs."
        if skipped:
            text += f" Not run: {', '.join(skipped)}."
        return {"state": "exact", "title": "Every arrow that was run is exact" if skipped
                else "Every arrow is exact", "text": text}
    on = f" on {wrong['on']}" if wrong.get("on") else ""
    title = f"{wrong['from']} → {wrong['to']}{on} differs"
    text = f"{number(wrong['mismatches'])} of {number(wrong['compared'])} values differ."
    if wrong["first"]:
        text += f" First difference: {place(wrong['first'])}."
    elif wrong.get("why"):
        text += f" {wrong['why']}."
    return {"state": "differs", "title": title, "text": text}


def cycle_rows(cycles):
    """Where the cycles go: rows of name, cycles, and MACs, in the order in which they happen."""
    rows = [("", "load", cycles["load"], None)]
    for layer in cycles["layers"]:
        useful = layer["useful"] * cycles["vectors"]
        rows += [
            (layer["name"], "prepare", layer["prepare"], None),
            (layer["name"], "mac", layer["macs"], useful),
            (layer["name"], "stall", layer["stalls"], None),
            (layer["name"], "drain", layer["drain"], None),
        ]
    return [*rows, ("", "read", cycles["read"], None)]


def _lanes(evidence):
    return (evidence.get("engine") or {}).get("lanes", 1)


def _waves(evidence):
    """The waveform section: strip, two close-ups, and the whole inference."""
    wave = evidence["wave"]
    wave = wave | {"signals": waveform.only_written(wave["signals"])}
    network = evidence.get("network") or []
    length = max(len(signal["values"]) for signal in wave["signals"])
    close_ups = []
    for title, window in (
        ("A dot product ends: the array goes on while its sums are scaled, added and written",
         waveform.group_boundary(wave, network) if _lanes(evidence) == 1 else None),
        ("Layer change: the last results are written before the next layer starts",
         waveform.layer_change(wave)),
    ):
        if window:
            first, last, marks = window
            drawn = waveform.waveform(wave, first=first, last=last, marks=marks, width=24)
            close_ups.append({"title": title, "svg": Markup(drawn)})
    return {
        "names": [signal["name"] for signal in wave["signals"]],
        "length": length,
        "strip": Markup(waveform.activity(wave, layers=[
            layer["name"] for layer in network if layer.get("kind") != "flatten"])),
        "close_ups": close_ups,
        "whole": Markup(waveform.waveform(wave, last=LONGEST_WAVE, width=8)),
        "shown": min(length, LONGEST_WAVE),
    }


def _samples(evidence):
    labels = evidence.get("labels") or []
    return [
        sample | {
            "image": Markup(figures.image(sample["shape"], sample["values"])),
            "bars": Markup(figures.logits(
                sample["logits"],
                label=_index(labels, sample["label"]),
                prediction=_index(labels, sample["prediction"]),
            )),
        }
        for sample in evidence["samples"]
    ]


def _index(labels, label):
    return labels.index(label) if label in labels else None


def _flat(config, prefix=""):
    """``(name, value)`` of each setting, nested names with dots."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        elif value is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            yield f"{prefix}{key}", text


def _drawn(evidence):
    """The figures whose sections are there."""
    drawn = {}
    for name, draw, needs in (
        ("accuracy", lambda e: figures.accuracy(e["accuracy"]), "accuracy"),
        ("confusion", lambda e: figures.confusion(e["labels"], e["confusion"]), "confusion"),
        ("cycles", lambda e: figures.cycles(e["cycles"]), "cycles"),
        ("schematic", lambda e: figures.graph(e["schematic"]), "schematic"),
    ):
        if evidence.get(needs):
            drawn[name] = Markup(draw(evidence))
    return drawn


def render_report(evidence):
    """The page as text.

    Parameters
    ----------
    evidence : dict
        Sections ``name``, ``identity``, ``tools``, ``config``, ``accuracy``, ``labels``,
        ``confusion``, ``samples``, ``network``, ``engine``, ``cycles``, ``boards``, ``wave``,
        ``schematic`` and ``ledger``, as `carrysave.flow` writes them to ``evidence.json``. A
        section that is missing is shown as not run.
    """
    environment = Environment(
        loader=PackageLoader("carrysave"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "percent": percent, "state": state, "place": place}
    arrows = (evidence.get("ledger") or {}).get("arrows") or []
    return environment.get_template("report.html.j2").render(
        evidence=evidence,
        arrows=arrows,
        signs=SIGNS,
        verdict=verdict(arrows),
        chain=chain(arrows),
        figures=_drawn(evidence),
        samples=_samples(evidence) if evidence.get("samples") else [],
        boards=[
            board | {"figure": Markup(figures.boards(board))}
            for board in evidence.get("boards") or []
        ],
        cycle_rows=cycle_rows(evidence["cycles"]) if evidence.get("cycles") else [],
        waves=_waves(evidence) if evidence.get("wave") else None,
        settings=list(_flat(evidence.get("config") or {})),
    )


def write_report(evidence, path):
    """Write the page; a reader never sees half of it.

    Parameters
    ----------
    evidence : dict
        See `render_report`.
    path : path
    """
    path = Path(path)
    text = render_report(evidence)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
