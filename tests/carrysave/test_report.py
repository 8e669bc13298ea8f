# SPDX-License-Identifier: Apache-2.0
import copy
import re

import pytest

from carrysave.report import number, percent, render_report, write_report

SECTIONS = ("ledger", "accuracy", "network", "engine", "cycles", "waveform", "boards", "provenance")
HOSTILE = "</style><script>alert(1)</script>\"'&"


@pytest.fixture
def page(evidence, markup):
    return markup.Page(render_report(evidence))


def test_complete_page(page):
    assert [attrs["id"] for attrs in page.all("section")] == list(SECTIONS)
    links = [attrs["href"] for attrs in page.all("a") if "href" in attrs]
    assert links == [f"#{name}" for name in SECTIONS]
    for text in (
        "Every arrow that was run is exact", "3 722 values in 4 comparisons, none differs",
        "Not run: Netlist → Routed, Routed → Bitstream",
        "98.00 %", "of 100 held-out samples", "99.00 %",
        "0123456789abcdef", "equal to the trained scale for all 4 321 accumulators",
        "−2 000 to 2 320", "outputs are the accumulators themselves",
        "64 of 64", "24 of 32", "88 of 288",
        "1, not 2", "Board A", "21.5 MHz", "23 000 inferences per second", "ab" * 32,
        "engine.columns", "All 36 cycles of a batch", "amaranth 0.5.10",
    ):
        assert text in page.plain, text
    assert "absent" not in {attrs.get("class") for attrs in page.all("p")}


def test_every_arrow_is_in_the_chain_and_the_table(evidence, page):
    states = [attrs["aria-label"] for attrs in page.all("span") if attrs.get("role") == "img"]
    assert states == ["exact", "exact", "exact", "not run", "not run"]
    rows = page.plain.split("What was compared Seconds ")[1].split(" Accuracy ")[0]
    assert rows.count("= exact") == 4
    assert rows.count("– not run") == 2
    assert "1 254 compared" in page.plain  # batch and cocotb together


def test_nothing_is_fetched(evidence, markup):
    text = render_report(evidence)
    page = markup.Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "image"}
    for _, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert (attrs.get(name) or "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_identifiers_are_unique(page):
    found = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(found) == len(set(found)) >= len(SECTIONS)


def test_phone_dark_and_print(evidence, markup):
    text = render_report(evidence)
    page = markup.Page(text)
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert viewport in page.all("meta")
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    # Everything wide is in a box that scrolls and that the keyboard reaches.
    boxes = [a for a in page.all("div") if "scroll" in a.get("class", "").split()]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in boxes)
    assert len(boxes) >= len(page.all("table"))


def test_every_variable_is_defined(evidence):
    text = render_report(evidence)
    used = set(re.findall(r"var\((--[\w-]+)", text))
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert len(used) > 15
    assert used <= defined


def test_deterministic_and_unchanged_input(evidence):
    before = copy.deepcopy(evidence)
    assert render_report(evidence) == render_report(before)
    assert evidence == before


@pytest.mark.parametrize("section, text", [
    ("ledger", "Comparisons: not run."), ("accuracy", "Accuracy: not run."),
    ("network", "Network: not run."), ("schematic", "Schematic: not run."),
    ("cycles", "Cycles: not run."), ("wave", "Waveform: not run."),
    ("boards", "Bitstreams: not run."), ("tools", "Tools: not run."),
    ("config", "Configuration: not run."),
])
@pytest.mark.parametrize("how", ["missing", "none"])
def test_missing_section(evidence, section, text, how, markup):
    if how == "missing":
        del evidence[section]
    else:
        evidence[section] = None
    page = markup.Page(render_report(evidence))
    assert text in page.plain
    assert len([a for a in page.all("p") if a.get("class") == "absent"]) == 1


@pytest.mark.parametrize("section", [
    "name", "identity", "labels", "confusion", "samples", "engine",
])
def test_missing_detail(evidence, section, markup):
    if section == "labels":
        del evidence["confusion"]
    del evidence[section]
    assert "Every arrow that was run is exact" in markup.Page(render_report(evidence)).plain


def test_nothing_at_all(markup):
    page = markup.Page(render_report({}))
    assert "Nothing was compared" in page.plain
    assert len([a for a in page.all("p") if a.get("class") == "absent"]) == 9


FIRST = {"layer": "fc1", "element": 3, "cycle": 131, "sample": 7, "expected": 5, "found": 6}


@pytest.mark.parametrize("changed, title, text", [
    ({"status": "differs", "mismatches": 2, "first": FIRST}, "golden → rtl differs",
     "2 of 1 234 values differ. First difference: layer fc1, element 3, cycle 131, sample 7: "
     "expected 5, found 6."),
    ({"status": "differs", "mismatches": 1234, "on": "a", "why": "it stopped answering"},
     "golden → rtl on a differs", "1 234 of 1 234 values differ. it stopped answering."),
    ({"mismatches": 1}, "golden → rtl differs", "1 of 1 234 values differ."),
    ({"compared": 0}, "golden → rtl differs", "0 of 0 values differ."),
])
def test_a_difference_is_red(evidence, changed, title, text, markup):
    evidence["ledger"]["arrows"][1] |= changed
    page = markup.Page(render_report(evidence))
    (verdict,) = [a for a in page.all("div") if a.get("class", "").startswith("verdict")]
    assert verdict["class"] == "verdict differs"
    assert f"{title} {text}" in page.plain
    assert "exact" not in page.plain.split("Ledger")[0]


def test_a_link_says_what_was_left_out(evidence, make_arrow, markup):
    evidence["ledger"]["arrows"].append(make_arrow("rtl", "netlist", "not run", on="b"))
    page = markup.Page(render_report(evidence))
    assert "1 234 compared, 1 not run" in page.plain
    assert "RTL → Netlist" in page.plain


def test_all_run(evidence, make_arrow, markup):
    evidence["ledger"]["arrows"][4:] = [
        make_arrow("netlist", "routed"), make_arrow("routed", "bitstream"),
    ]
    assert "Every arrow is exact" in markup.Page(render_report(evidence)).plain


def hostile(value):
    """Every string replaced, but those that the page goes by."""
    keep = ("exact", "not run", "differs", "bit", "bus", "data", "address", "control", "unit",
            "memory", "port", "array", "trained", "golden", "rtl", "netlist", "routed", "bitstream",
            "phase", "layer", "step", "write", "LOAD", "PREPARE", "RUN", "DRAIN", "READ")
    if isinstance(value, dict):
        return {hostile_key(key): hostile(v) for key, v in value.items()}
    if isinstance(value, list):
        return [hostile(v) for v in value]
    return HOSTILE + value if isinstance(value, str) and value not in keep else value


def hostile_key(key):
    return HOSTILE + key if key in ("LUT4", "weights", "amaranth", "engine.rows") else key


def test_hostile_names(evidence, markup):
    text = render_report(hostile(evidence))
    assert HOSTILE not in text
    assert "<script" not in text.lower()
    page = markup.Page(text)
    assert {tag for tag, _ in page.elements} == {
        tag for tag, _ in markup.Page(render_report(evidence)).elements
    }
    assert page.plain.count("<script>alert(1)</script>") > 30


def test_long_waveforms_stay_small(evidence, markup):
    wave = evidence["wave"]
    for signal in wave["signals"]:
        signal["values"] = [v for v in signal["values"] for _ in range(1000)]
    wave["signals"].append({"name": "busy", "kind": "bit", "values": [0, 1] * 18000})
    wave["signals"].append({
        "name": "n", "kind": "bus", "values": [str(k) for k in range(36000)],
    })
    text = render_report(evidence)
    assert len(text.encode()) < 1_500_000
    assert "The first 2 000 of 36 000 cycles." in markup.Page(text).plain


def test_write(evidence, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(evidence, path)
    assert path.read_text(encoding="utf-8") == render_report(evidence)
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_page(evidence, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(evidence, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value, places, text", [
    (None, None, "–"), (0, None, "0"), (1234567, None, "1\u202f234\u202f567"), (12.0, None, "12"),
    (-5, None, "−5"), (1234.5678, 1, "1\u202f234.6"), (0.125, None, "0.125"), ("x", None, "x"),
])
def test_number(value, places, text):
    assert number(value, places) == text


def test_percent():
    assert percent(None) == "–"
    assert percent(0.98765, 2) == "98.77\u202f%"
