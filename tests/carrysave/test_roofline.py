# SPDX-License-Identifier: Apache-2.0
import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from carrysave.roofline import (
    HEIGHT,
    TONES,
    WIDTH,
    labels,
    overlap,
    points,
    roofline,
    standalone,
    ticks,
)


def layer(name, macs, cycles, words, *, results=8, bound="compute"):
    return {"name": name, "macs": macs, "cycles": cycles, "bound": bound,
            "traffic": {"activations": 8 * words, "results": results}}


def estimated(layers):
    return {"layers": layers, "cycles": sum(each["cycles"] for each in layers),
            "config": {"bus": 64, "peak_macs_per_cycle": 64}}


FOUND = estimated([
    layer("q", 6400, 110, 20), layer("k", 6400, 110, 20),
    layer("scores", 800, 40, 100, results=8 * 400, bound="results"),
    layer("<&>", 100, 60, 50, bound="weight load"),
])


def test_points():
    assert points(FOUND) == [
        {"names": ["q", "k"], "intensity": 320.0, "rate": 6400 / 110, "bound": "compute",
         "share": pytest.approx(220 / 320)},
        {"names": ["scores"], "intensity": 2.0, "rate": 20.0, "bound": "results", "share": 0.125},
        {"names": ["<&>"], "intensity": 2.0, "rate": 100 / 60, "bound": "weight load",
         "share": 0.1875},
    ]


def test_markup(markup, compared):
    text = roofline(FOUND)
    element, shown = markup.svg(text), markup.texts(markup.svg(text))
    assert "q, k 58.2 of 64 per cycle, bound by compute" in element.get("aria-label")
    for words in ("q, k", "<&>", "scores", "peak 64", "● compute", "● results", "● weight load",
                  "multiply-accumulates per 64-bit word"):
        assert words in shown
    assert "● drain" not in shown
    # Colours are the page's, and the same each time.
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", text) and text == roofline(FOUND)
    compared(len(shown))


def circles(text):
    """Tone and centre of each point."""
    return {match[3]: (float(match[1]), float(match[2])) for match in re.finditer(
        r'<use [^>]* x="([\d.]+)" y="([\d.]+)" style="fill: var\(--(\w+)\)', text)}


def test_points_lie_under_the_roof():
    """One at the peak, one on the slope and one under it, by the places that the picture has."""
    found = estimated([
        layer("peak", 64 * 50, 50, 10), layer("slope", 400, 50, 50, bound="weight load"),
        layer("under", 200, 50, 25, bound="results"),
    ])
    places = circles(roofline(found))
    assert set(places) == {TONES["compute"], TONES["weight load"], TONES["results"]}
    (x0, y0), (x1, y1), (x2, y2) = (places[TONES[bound]]
                                    for bound in ("compute", "weight load", "results"))
    assert y0 < y1 < y2 and x1 == x2 < x0
    # y of both scales is logarithmic: a factor of 8 from slope to peak, of 2 from under to slope.
    assert (y1 - y0) / (y2 - y1) == pytest.approx(3, rel=1e-4)


def test_standalone():
    text = standalone(roofline(FOUND))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("560", "340")
    used = set(re.findall(r"var\(--(\w+)\)", text))
    style = root[0].text or ""
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    assert len(used) > 6
    for name in used:
        assert f"--{name}:" in light and (name == "sans" or f"--{name}:" in dark)
    assert root[1].get("fill") == "var(--paper)"


@pytest.mark.parametrize("low, high, found", [
    (1, 8, [1, 2, 4, 8]), (0.3, 1.1, [0.5, 1]), (1, 2**12, [2.0**k for k in range(0, 13, 2)]),
    (3, 2**21, [2.0**k for k in range(4, 22, 4)])])
def test_ticks(low, high, found):
    assert ticks(low, high) == found


def test_many_layers_keep_their_labels_apart(compared):
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    placed = [{"names": [f"layer{k}"], "intensity": 250 + k, "rate": 200 + k % 3, "share": 1 / 12}
              for k in range(12)]
    labels(axes, placed, 250)
    boxes = [(x, y - 5, x + 5.2 * len(text.get_text()), y + 6)
             for text in axes.texts for x, y in [text.xy]]
    assert len(boxes) >= 4
    for index, box in enumerate(boxes):
        assert 0 < box[0] < box[2] < WIDTH
        assert not any(overlap(box, other) for other in boxes[:index])
        assert not overlap(box, (0, 249, WIDTH, 251))
    compared(len(boxes))
