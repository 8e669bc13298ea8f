# SPDX-License-Identifier: Apache-2.0
"""Pages of the units: figures that are true, and pages that are current."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from carrysave import unit_diagram, unit_text, unit_wave
from carrysave.hw import catalogue
from carrysave.hw.decode import Decoder
from carrysave.hw.pe import MixPE, Multiplier
from carrysave.quant import formats
from carrysave.sim.reference import reference

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "units.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("units_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_kind(nodes, kind):
    return [node["lines"] for node in nodes if node["kind"] == kind]


# The block diagram.

def test_structure_is_that_of_the_netlist():
    nodes, edges = unit_diagram.structure(MixPE(4, lanes=3, registers=1))
    assert by_kind(nodes, "input") == [
        ["activations", "3 × 8 bit int8"], ["weights", "3 × 4 bit int4"], ["clear, last"]]
    assert sorted(by_kind(nodes, "register")) == [
        ["accumulator", "15 bit"], ["clear, last"], ["product", "3 × 12 bit"]]
    assert sorted(by_kind(nodes, "logic")) == [
        ["3 add", "2 select"], ["3 × each:", "2 add", "1 subtract", "4 select"]]
    assert by_kind(nodes, "output") == [["payload", "15 bit"]]
    named = {(nodes[a]["lines"][0], nodes[b]["lines"][0]) for a, b in edges}
    assert named == {
        ("activations", "3 × each:"), ("weights", "3 × each:"), ("3 × each:", "product"),
        ("clear, last", "clear, last"), ("product", "3 add"), ("clear, last", "3 add"),
        ("accumulator", "3 add"), ("3 add", "accumulator"), ("3 add", "payload")}


def test_multipliers_show():
    for kind, found in (MixPE, False), (Multiplier, True):
        nodes, _ = unit_diagram.structure(kind(4, lanes=2))
        assert any("multiply" in line for node in nodes for line in node["lines"]) == found


def test_structure_without_registers():
    nodes, edges = unit_diagram.structure(Decoder(formats.get("e2m1"), lanes=2, registers=0))
    assert not by_kind(nodes, "register")
    outputs = [k for k, node in enumerate(nodes) if node["kind"] == "output"]
    assert outputs and {b for _, b in edges} >= set(outputs)


def test_diagram_is_the_same_each_time_and_small():
    unit = MixPE(4, lanes=3)
    text = unit_diagram.diagram(unit)
    assert text == unit_diagram.diagram(MixPE(4, lanes=3)) and len(text) < 12_000
    assert "product" in text and ElementTree.fromstring(text).tag.endswith("svg")


# The waveform.

def rows(wave):
    for entry in wave["signal"]:
        yield from (row for row in (entry[1:] if isinstance(entry, list) else [entry])
                    if "wave" in row)


@pytest.mark.parametrize("registers", [0, 1, 3])
def test_waveform_is_of_a_simulation(registers, compared):
    unit = MixPE(8, registers=registers)
    cycles = unit_wave.record(unit)
    wave = unit_wave.wavejson(unit, cycles)
    assert {len(row["wave"]) for row in rows(wave)} == {len(cycles)}
    edge = wave.get("edge")
    cycle = "cycle" if registers == 1 else "cycles"
    assert edge == ([f"A<->B {registers} {cycle}"] if registers else None)
    # The first result waits for two cycles, unchanged.
    waits = [k for k, cycle in enumerate(cycles) if cycle["o"]["valid"] and not cycle["o"]["ready"]]
    assert len(waits) == unit_wave.STALL
    assert len({cycles[k]["o"]["payload"] for k in (*waits, waits[-1] + 1)}) == 1
    values = {row["name"]: row.get("data") for row in rows(wave)}
    numbers = [[int(text.replace("−", "-")) for text in values[name]]
               for name in ("activations", "weights", "payload")]
    products = [a * w for a, w in zip(*numbers[:2], strict=True)]
    assert numbers[2] == [sum(products[:3]), sum(products[3:])]
    compared(len(cycles))


def test_waveform_of_a_wrong_unit(monkeypatch):
    module = reference(MixPE)
    right = module.expected
    monkeypatch.setattr(module, "expected", lambda unit, inputs: right(unit, inputs) + 1)
    with pytest.raises(AssertionError, match="^results "):
        unit_wave.record(MixPE(8))


@pytest.mark.parametrize("name", ["mixpe-w4a8-zero", "decode-mxfp4"])
def test_drawing_of_a_waveform(name):
    unit = unit_wave.small(catalogue.get(name))
    wave = unit_wave.wavejson(unit, unit_wave.record(unit))
    text = unit_wave.draw(wave)
    assert text == unit_wave.draw(json.loads(json.dumps(wave))) and len(text) < 20_000
    ElementTree.fromstring(text)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert "url(" in text  # the arrow of the latency
    assert used <= set(re.findall(r' id="([^"]+)"', text))
    for row in rows(wave):
        assert f">{row['name']}<" in text
        assert all(f">{value}<" in text for value in row.get("data", ()))
    assert "prefers-color-scheme" not in text and '<rect width="100%"' in text


# Docstrings and fields.

def test_docs_of_every_unit(compared):
    for preset in catalogue.PRESETS:
        docs = unit_text.docs(preset.build())
        for text in (docs.summary, *docs.equation, docs.latency, docs.throughput,
                     docs.backpressure, *docs.sources):
            assert text and not re.search(r"``|\]_|:attr:|:class:|:func:", text), preset.name
        assert docs.latency.startswith(str(preset.build().latency)), preset.name
    compared(len(catalogue.PRESETS))


# The pages.

def test_gates_and_checks_are_said_to_be_missing(script):
    preset = catalogue.get("mixpe-w4a8")
    text = script.page(preset, preset.build(), "0", None, None)
    assert "Not measured yet: run `carrysave characterise --all`." in text
    assert "Not recorded here yet: run `carrysave verify --all-units --json`" in text


def test_gates_and_checks_of_a_page(script):
    preset = catalogue.get("mixpe-w4a8")
    gates = [{"lanes": "16", "family": "ecp5", "lut4": "1600", "fmax_mhz": "90.5", "bram": ""}]
    arrows = [
        {"from": "golden", "to": "rtl", "method": "exhaustive", "what": "all 4096 combinations",
         "compared": 4096, "mismatches": 0, "status": "exact"},
        {"from": "rtl", "to": "specification", "method": "sat", "what": "product | core",
         "compared": 4096, "mismatches": 0, "status": "exact"},
        {"from": "golden", "to": "rtl", "method": "cocotb", "what": "", "compared": 0,
         "mismatches": 0, "status": "not run"}]
    text = script.page(preset, preset.build(), "0", gates, arrows)
    assert "| lanes | family | lut4 | fmax_mhz |\n|---:|---|---:|---:|\n" \
        "| 16 | ecp5 | 1600 | 90.5 |" in text
    assert "| golden → rtl | exhaustive | all 4096 combinations | 4,096 | 0 | exact |" in text
    assert r"product \| core" in text
    assert "| golden → rtl | cocotb |  |  |  | not run |" in text
    listed = script.index([(preset, preset.build())], None, {preset.name: arrows})
    assert "| 16 | 1 | 4,096, 0 | 1 of 1 |" in listed


def test_ports_of_a_page(script):
    text = "\n".join(script.ports(MixPE(4, lanes=3)))
    assert "| `i.weights` | 35:24 | 3 | 4 | signed | [int4](../formats/int4.md) |" in text
    assert "| `i.last` | 37 |  | 1 | unsigned |  |" in text


def test_unknown_preset(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["units.py", "nope"])
    with pytest.raises(SystemExit, match=r"^Unit must be one of .*, not 'nope'$"):
        script.main()


def test_check_finds_what_is_behind(script, monkeypatch, tmp_path):
    """Two units in a folder of their own: written, then found current, then not."""
    presets = tuple(dataclasses.replace(catalogue.get(name)) for name in
                    ("mixpe-w4a8", "decode-e2m1"))
    monkeypatch.setattr(catalogue, "PRESETS", presets)
    monkeypatch.setattr(script, "FOLDER", tmp_path / "units")
    monkeypatch.setattr(sys, "argv", ["units.py"])
    script.main()
    names = {path.name for path in script.FOLDER.iterdir()}
    assert names == {"README.md", *(name + end for name in ("mixpe-w4a8", "decode-e2m1")
                                    for end in (".md", ".svg", "-wave.svg"))}
    monkeypatch.setattr(sys, "argv", ["units.py", "--check"])
    script.main()
    (script.FOLDER / "old.md").write_text("of a unit that is gone")
    page = script.FOLDER / "decode-e2m1.md"
    page.write_text(page.read_text().replace("Latency", "Delay"))
    with pytest.raises(SystemExit, match=r"behind in decode-e2m1\.md, old\.md: run "):
        script.main()
    # Other hardware: the figures are drawn anew.
    changed = dataclasses.replace(presets[0], parameters={"group": 128, "lanes": 2})
    monkeypatch.setattr(catalogue, "PRESETS", (changed, presets[1]))
    with pytest.raises(SystemExit, match=r"mixpe-w4a8-wave\.svg, mixpe-w4a8\.md, mixpe-w4a8\.svg"):
        script.main()


def test_pages_are_current(compared):
    result = subprocess.run([sys.executable, str(SCRIPT), "--check"], cwd=ROOT,
                            capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    pages = list((ROOT / "reports" / "units").glob("*.md"))
    assert len(pages) == len(catalogue.PRESETS) + 1
    for page in pages:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    compared(len(pages))
