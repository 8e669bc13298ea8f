# SPDX-License-Identifier: Apache-2.0
import math
import re

import pytest

from carrysave import figures

HOSTILE = '<script>alert("1")</script>&amp;$x^2$\\N\n'


def draw_all(evidence):
    return {
        "accuracy": figures.accuracy(evidence["accuracy"]),
        "confusion": figures.confusion(evidence["labels"], evidence["confusion"]),
        "cycles": figures.cycles(evidence["cycles"]),
        "boards": figures.boards(evidence["boards"][0]),
        "graph": figures.graph(evidence["schematic"]),
        "image": figures.image([3, 3], evidence["samples"][0]["values"]),
        "logits": figures.logits([-5, 9, 7], label=2, prediction=1),
    }


def test_markup(evidence, markup):
    drawn = draw_all(evidence)
    assert len(drawn) == 7
    for name, text in drawn.items():
        element = markup.svg(text)
        assert "viewBox" in element.attrib, name
        assert element.get("aria-label") or element.get("aria-hidden"), name
        # A style element would reach the rest of the page.
        assert "<style" not in text and "<metadata" not in text and "<?xml" not in text
        # Colours are the page's, and nothing is fetched.
        colours = re.findall(r"#[0-9a-fA-F]{6}\b", text)
        assert not colours, (name, colours)
        assert "font-family" not in text and "http://www.w3.org" not in text.split(">", 1)[1]


def test_deterministic(evidence):
    assert draw_all(evidence) == draw_all(evidence)


def test_identifiers_differ(evidence):
    found = []
    for text in draw_all(evidence).values():
        ids = re.findall(r'\bid="([^"]+)"', text)
        used = re.findall(r'(?:url\(#|href="#)([^)"]+)', text)
        assert set(ids) == set(used)
        found += ids
    found += re.findall(r'\bid="([^"]+)"', figures.boards(evidence["boards"][1]))
    assert len(set(found)) == len(found) > 0


def test_accuracy(evidence, markup):
    shown = markup.texts(markup.svg(figures.accuracy(evidence["accuracy"])))
    for text in "Float", "Brevitas", "Integer", "99.00 %", "98.00 %", "100 %":
        assert text in shown
    evidence["accuracy"]["trained"] = None
    assert "Brevitas" not in markup.texts(markup.svg(figures.accuracy(evidence["accuracy"])))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999, 1.0])
def test_accuracy_of_any_share(share, markup):
    drawn = markup.svg(figures.accuracy({"float": share, "integer": 1 - share, "samples": 1000}))
    ticks = [text for text in markup.texts(drawn) if re.fullmatch(r"\d+ %", text)]
    assert 2 <= len(ticks) <= 8


def test_wilson():
    # Solutions of |p - right / n| = z * sqrt(p * (1 - p) / n), here by bisection.
    z, n = 1.959964, 360
    for right in 1, 180, 353:
        share = right / n

        def off(p, share=share):
            return abs(p - share) - z * math.sqrt(p * (1 - p) / n)

        for found, outside in zip(figures.wilson(right, n), (0, 1), strict=True):
            inside, outside = share, float(outside)
            for _ in range(60):
                middle = (inside + outside) / 2
                inside, outside = (middle, outside) if off(middle) < 0 else (inside, middle)
            assert math.isclose(found, inside, abs_tol=1e-9)


def test_confusion(evidence, markup):
    text = figures.confusion(evidence["labels"], evidence["confusion"])
    shown = markup.texts(markup.svg(text))
    assert sorted(t for t in shown if len(t) == 2) == ["30", "33", "35"]
    assert markup.svg(text).get("aria-label") == "Confusion matrix: 98 right, 2 wrong"


def test_confusion_of_many_classes(markup):
    size = 50
    matrix = [[int(r == c) for c in range(size)] for r in range(size)]
    shown = markup.texts(markup.svg(figures.confusion([f"class {k}" for k in range(size)], matrix)))
    assert len(shown) < 60


def test_cycles(evidence, markup):
    text = figures.cycles(evidence["cycles"])
    label = markup.svg(text).get("aria-label")
    assert label == (
        "Cycles: batch load 6, prepare 2, MAC 12, drain 9, read 7; "
        "fc1 prepare 1, MAC 8, drain 5; fc2 prepare 1, MAC 4, drain 4"
    )
    # Widths of the MAC bars are in the ratio of the cycles.
    widths = []
    for path in re.findall(r'<path d="M ([^"]+)"[^>]*fill: var\(--mac\)', text):
        xs = [float(x) for x in re.findall(r"([\d.]+) [\d.]+ ?", path)]
        widths.append(max(xs) - min(xs))
    assert len(widths) == 3
    assert [round(w / widths[2], 3) for w in widths] == [3, 2, 1]


def test_boards(evidence, markup):
    board = evidence["boards"][0]
    text = figures.boards(board)
    for part in "350 of 528", "66 %", "0 of 8", "0 %", "21.5 MHz", "clock 12 MHz":
        assert part in markup.texts(markup.svg(text)), part
    assert "var(--bad)" not in text
    board["fmax_mhz"] = 11.0
    assert "var(--bad)" in figures.boards(board)


def test_image_covers_its_values(compared, markup):
    values = [(7 * k) % 16 for k in range(48)]
    found = [0] * 48
    for path in markup.svg(figures.image([6, 8], values)).iter():
        if path.tag == "path":
            level = round(15 * float(path.get("fill-opacity")))
            for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path.get("d")):
                for k in range(int(run)):
                    found[8 * int(y) + int(x) + k] += level
    assert found == values
    compared(len(values))


@pytest.mark.parametrize("shape, values", [
    ([5], [0, 1, 2, 3, 4]), ([1, 4], [1, 1, 1, 1]), ([2, 2, 3], list(range(12))), ([1], [3]),
])
def test_what_is_no_image_becomes_bars(shape, values, markup):
    (path,) = markup.svg(figures.image(shape, values)).iter("path")
    assert path.get("d").count("M") == len(values)


def test_graph(evidence, markup):
    text = figures.graph(evidence["schematic"])
    shown = markup.texts(markup.svg(text))
    for part in "a", "4 × 8 bit", "b", "2 × 2 MixPE", "value 8 bit", "last":
        assert part in shown, part
    assert text.count("e-data") == 2 and text.count("e-address") == 1
    assert "e-control" not in text
    assert markup.svg(text).get("aria-label") == "Schematic: 3 units and memories, 3 connections"


def test_hostile_names(evidence, markup):
    evidence["labels"] = [HOSTILE, "数字", "c"]
    evidence["cycles"]["layers"][0]["name"] = HOSTILE
    evidence["boards"][0]["title"] = HOSTILE
    evidence["boards"][0]["resources"] = {HOSTILE: {"used": 1, "available": 0}}
    node = evidence["schematic"]["nodes"][1]
    node["label"], node["detail"], node["id"] = HOSTILE, 'x"]; evil [label="', HOSTILE
    evidence["schematic"]["edges"] = [
        {"from": HOSTILE, "to": "b", "label": HOSTILE, "kind": "data"},
    ]
    for text in draw_all(evidence).values():
        assert not [e for e in markup.svg(text).iter() if e.tag.endswith("script")]
    shown = markup.texts(markup.svg(figures.graph(evidence["schematic"])))
    assert HOSTILE.strip() in shown
    assert 'x"]; evil [label="' in shown
