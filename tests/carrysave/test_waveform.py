# SPDX-License-Identifier: Apache-2.0
import random
import re

import pytest

from carrysave import waveform
from carrysave.waveform import ROW


@pytest.fixture
def one(markup):
    """Waveform of a single signal."""

    def draw(kind, values, **options):
        wave = {"first": 0, "signals": [{"name": "x", "kind": kind, "values": values}]}
        return markup.svg(waveform.waveform(wave, **options))

    return draw


def test_runs():
    assert waveform.runs([]) == []
    assert waveform.runs([1, 1, 0, 2, 2, 2]) == [(0, 2, 1), (2, 1, 0), (3, 3, 2)]


def test_bits_read_back(compared, one):
    rng = random.Random(0)
    values = [rng.random() < 0.4 for _ in range(200)]
    drawn = one("bit", values, width=20)
    (line,) = [e for e in drawn.iter("path") if e.get("class") == "w-line"]
    found, x = [], 0
    for level, end in re.findall(r"V?([\d.]+)H([\d.]+)", line.get("d").removeprefix("M0 ")):
        found += [float(level) < waveform.AXIS + ROW / 2] * round((float(end) - x) / 20)
        x = float(end)
    assert found == values
    compared(len(values))


def test_buses_read_back(compared, one):
    rng = random.Random(0)
    values = [rng.choice(["A", "B", ""]) for _ in range(200)]
    drawn = one("bus", values, width=20)
    found = [""] * len(values)
    for (first, length, _), text in zip(
        [run for run in waveform.runs(values) if run[2]],
        [e for e in drawn.iter("text") if e.get("class") == "w-value"],
        strict=True,
    ):
        assert float(text.get("x")) == (first + length / 2) * 20
        found[first:first + length] = [text.text] * length
    assert found == values
    compared(len(values))


def test_narrow_buses_have_no_text_and_long_ones_repeat_it(markup, one):
    assert "12345" not in markup.texts(one("bus", ["12345", "1"], width=20))
    assert markup.texts(one("bus", ["abc"] * 400, width=8)).count("abc") == 5


def test_range_and_marks(markup, one):
    drawn = one("bit", [0, 1] * 20, first=10, last=30, width=20,
                marks=[(12, "here"), (29, "a long remark"), (35, "outside")])
    assert drawn.get("width") == "401"
    assert "here" in markup.texts(drawn) and "outside" not in markup.texts(drawn)
    anchors = {e.text: e.get("text-anchor") for e in drawn.iter("text")}
    assert anchors["here"] == "start" and anchors["a long remark"] == "end"
    ticks = [e.text for e in drawn.iter("text") if e.get("class") == "w-tick"]
    assert ticks == ["10", "15", "20", "25"]


def test_names_are_escaped(markup, one):
    drawn = one("bus", ["<script>"] * 20)
    assert "<script>" in markup.texts(drawn)


def test_activity(evidence, markup):
    wave = evidence["wave"]
    drawn = markup.svg(waveform.activity(wave, layers=["fc1", "fc2"]))
    lengths = {
        re.findall(r"^(\w+): (\d+) cycles from (\d+)$", title.text or "")[0]
        for title in drawn.iter("title")
    }
    assert lengths == {
        ("LOAD", "6", "100"), ("PREPARE", "1", "106"), ("RUN", "8", "107"), ("DRAIN", "5", "115"),
        ("PREPARE", "1", "120"), ("RUN", "4", "121"), ("DRAIN", "4", "125"), ("READ", "7", "129"),
    }
    assert {"fc1", "fc2", "MAC", "load"} <= set(markup.texts(drawn))
    assert waveform.activity({"signals": []}) == ""


def test_close_ups(evidence):
    wave, network = evidence["wave"], evidence["network"]
    first, last, marks = waveform.group_boundary(wave, network)
    # Steps begin at 7; K is 4 in groups of 2, and there are two tiles.
    assert marks == [
        (9, "group ends"), (11, "dot product ends"), (13, "group ends"), (15, "dot product ends"),
    ]
    assert first <= 9 and last > 15
    assert waveform.layer_change(wave) == (
        9, 29, [(15, "last MAC"), (21, "first MAC of the next layer")]
    )


@pytest.mark.parametrize("wave", [
    {"signals": []},
    {"signals": [{"name": "step", "kind": "bit", "values": [0, 0]}]},
])
def test_no_close_ups_of_nothing(wave, evidence):
    assert waveform.group_boundary(wave, evidence["network"]) is None
    assert waveform.layer_change(wave) is None


def test_only_written(evidence):
    signals = evidence["wave"]["signals"]
    found = {s["name"]: s["values"] for s in waveform.only_written(signals)}
    write = found["write"]
    assert found["value"] == [str(k) if on else "" for k, on in enumerate(write)]
    assert found["phase"] == signals[0]["values"]
    assert waveform.only_written(signals[:2]) == signals[:2]
