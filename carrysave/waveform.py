# SPDX-License-Identifier: Apache-2.0
"""Digital waveforms as SVG."""

from itertools import groupby
from xml.etree import ElementTree

__all__ = ["activity", "group_boundary", "layer_change", "only_written", "runs", "waveform"]

ROW = 30  # Pixels; the style sheet has the same for the names.
AXIS = 22
_HIGH, _LOW = 7, 23  # Of a row.
_CHARACTER = 6.6


def runs(values):
    """``(first, length, value)`` of each run of equal values."""
    result, first = [], 0
    for value, run in groupby(values):
        length = len(list(run))
        result.append((first, length, value))
        first += length
    return result


def _signal(wave, name):
    for signal in wave["signals"]:
        if signal["name"] == name:
            return signal["values"]
    return []


def only_written(signals):
    """Signals with the places and values of writes left out where nothing is written."""
    write = next((signal["values"] for signal in signals if signal["name"] == "write"), None)
    if write is None:
        return signals
    result = []
    for signal in signals:
        if signal["name"] in ("row", "index", "value", "values"):
            pairs = zip(signal["values"], write, strict=True)
            signal = signal | {"values": [value if on else "" for value, on in pairs]}
        result.append(signal)
    return result


def _svg(width, height, title):
    return ElementTree.Element("svg", {
        "viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}",
        "role": "img", "aria-label": title,
    })


def _add(parent, tag, **attributes):
    text = attributes.pop("text", None)
    element = ElementTree.SubElement(
        parent, tag, {key.rstrip("_").replace("_", "-"): str(v) for key, v in attributes.items()}
    )
    element.text = text
    return element


def _step(cycles, width):
    """Cycles between marks of the axis: at least 56 pixels."""
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000):
        if step * width >= 56:
            return step
    return cycles


def waveform(wave, *, first=0, last=None, width=20, marks=()):
    """Signals over a range of cycles, one row each, their names left to the page.

    Parameters
    ----------
    wave : dict
        ``first``, and ``signals`` with ``name``, ``kind`` (``bit`` or ``bus``) and ``values``; an
        empty string means that the value does not matter.
    first, last : int
        Range, as indices of ``values``.
    width : int
        Pixels per cycle.
    marks : list of (int, str)
        Instants to mark: a cycle, at whose start it is, and what happens.
    """
    signals = wave["signals"]
    length = max((len(signal["values"]) for signal in signals), default=0)
    last = length if last is None else min(last, length)
    first = max(first, 0)
    height = ROW * len(signals) + AXIS + (16 if marks else 0)
    top = AXIS + (16 if marks else 0)
    svg = _svg((last - first) * width + 1, height, f"Waveform of cycles {first} to {last - 1}")
    svg.set("class", "wave")
    step = _step(last - first, width)
    for cycle in range(-(-first // step) * step, last, step):
        x = (cycle - first) * width
        _add(svg, "path", d=f"M{x + 0.5:g} {AXIS - 4}V{height}", class_="w-grid")
        _add(svg, "text", x=f"{x + 3:g}", y=AXIS - 8, class_="w-tick",
             text=str(wave.get("first", 0) + cycle))
    for row, signal in enumerate(signals):
        y = top + row * ROW
        values = signal["values"][first:last]
        if signal["kind"] == "bit":
            _bit(svg, y, values, width)
        else:
            _bus(svg, y, values, width)
    for cycle, text in marks:
        if first <= cycle < last:
            x = (cycle - first) * width + 0.5
            _add(svg, "path", d=f"M{x:g} {AXIS - 2}V{height}", class_="w-mark")
            near_end = (last - cycle) * width < _CHARACTER * len(text)
            _add(svg, "text", x=f"{x - 4 if near_end else x + 4:g}", y=AXIS + 10, class_="w-note",
                 text_anchor="end" if near_end else "start", text=text)
    return ElementTree.tostring(svg, encoding="unicode")


def _bit(svg, y, values, width):
    line, area = [], []
    for first, length, value in runs(values):
        x, level = first * width, y + (_HIGH if value else _LOW)
        line.append(f"{'V' if line else f'M{x:g} '}{level:g}H{x + length * width:g}")
        if value:
            area.append(f"M{x:g} {y + _LOW:g}V{level:g}h{length * width:g}V{y + _LOW:g}z")
    if area:
        _add(svg, "path", d="".join(area), class_="w-area")
    if line:
        _add(svg, "path", d="".join(line), class_="w-line")


def _bus(svg, y, values, width):
    slope = min(3, width / 4)
    middle = y + (_HIGH + _LOW) / 2
    line, idle = [], []
    for first, length, value in runs(values):
        x, end = first * width, (first + length) * width
        if value == "" or value is None:
            idle.append(f"M{x:g} {middle:g}H{end:g}")
            continue
        line.append(
            f"M{x:g} {middle:g}L{x + slope:g} {y + _HIGH:g}H{end - slope:g}L{end:g} {middle:g}"
            f"L{end - slope:g} {y + _LOW:g}H{x + slope:g}z"
        )
        text = str(value)
        room = (end - x - 2 * slope) / _CHARACTER
        if room >= len(text):
            # A long value is repeated, so that it is in sight wherever the box is scrolled to.
            times = max(1, int((end - x) / 600))
            for k in range(times):
                at = x + (end - x) * (2 * k + 1) / (2 * times)
                _add(svg, "text", x=f"{at:g}", y=f"{middle + 4:g}", class_="w-value", text=text)
    if idle:
        _add(svg, "path", d="".join(idle), class_="w-idle")
    if line:
        _add(svg, "path", d="".join(line), class_="w-line w-bus")


def activity(wave, *, layers=()):
    """The whole inference as a strip: a colour for each phase, ticks where the array computes."""
    phases = _signal(wave, "phase")
    length = len(phases)
    if not length:
        return ""
    colours = {"LOAD": "load", "PREPARE": "prepare", "RUN": "mac", "DRAIN": "drain",
               "READ": "read"}
    names = {"RUN": "MAC"}
    left, width, height = 76, 924, 118
    scale = width / length
    svg = _svg(left + width, height, f"Phases of {length} cycles")
    svg.set("class", "strip")
    layer = _signal(wave, "layer")
    if layer:
        for first, span, value in runs(
            [value if phase in ("PREPARE", "RUN", "DRAIN") else None
             for phase, value in zip(phases, layer, strict=True)]
        ):
            if value is None:
                continue
            name = layers[value] if isinstance(value, int) and value < len(layers) else str(value)
            x, end = left + first * scale, left + (first + span) * scale
            _add(svg, "path", d=f"M{x + 1:.1f} 22v-5H{end - 1:.1f}v5", class_="w-idle")
            _add(svg, "text", x=f"{(x + end) / 2:.1f}", y=12, class_="w-value", text=name)
    for first, span, phase in runs(phases):
        x, w = left + first * scale, span * scale
        block = _add(svg, "rect", x=f"{x:.2f}", y=26, width=f"{w:.2f}", height=34,
                     fill=f"var(--{colours.get(phase, 'soft')})")
        _add(block, "title", text=f"{phase}: {span} cycles from {wave.get('first', 0) + first}")
        text = names.get(phase, str(phase).lower())
        if w >= 8 * len(text):
            _add(svg, "text", x=f"{x + w / 2:.1f}", y=47, class_="w-phase", text=text)
    _add(svg, "text", x=left - 8, y=47, class_="w-name", text="phase")
    for row, (name, text) in enumerate((("step", "computing"), ("write", "writing"))):
        values = _signal(wave, name)
        y = 68 + 14 * row
        path = "".join(
            f"M{left + first * scale:.2f} {y}h{span * scale:.2f}v9h-{span * scale:.2f}z"
            for first, span, value in runs(values) if value
        )
        _add(svg, "text", x=left - 8, y=y + 9, class_="w-name", text=text)
        _add(svg, "rect", x=left, y=y, width=width, height=9, fill="var(--fill)")
        if path:
            _add(svg, "path", d=path, fill=f"var(--{'mac' if name == 'step' else 'read'})")
    step = _step(length, scale)
    for cycle in range(0, length, step):
        _add(svg, "text", x=f"{left + cycle * scale:.1f}", y=height - 4, class_="w-tick",
             text=str(wave.get("first", 0) + cycle))
    return ElementTree.tostring(svg, encoding="unicode")


def _steps(wave):
    """Indices of the cycles in which the array computes, by layer."""
    step, layer = _signal(wave, "step"), _signal(wave, "layer")
    layer = layer or [0] * len(step)
    result = {}
    for cycle, (on, number) in enumerate(zip(step, layer, strict=True)):
        if on:
            result.setdefault(number, []).append(cycle)
    return list(result.values())


def group_boundary(wave, network):
    """Cycles around the last group of a dot product of the first layer, its results included.

    Returns
    -------
    (first, last, marks) or None
    """
    steps = _steps(wave)
    if not steps or not network or network[0].get("kind", "linear") != "linear":
        return None
    inputs, group = network[0]["inputs"], network[0]["group"]
    ends = sorted({*range(group, inputs + 1, group), inputs})
    boundaries = [tile + end for tile in range(0, len(steps[0]), inputs) for end in ends]
    marks = [
        (steps[0][k - 1] + 1, "dot product ends" if k % inputs == 0 else "group ends")
        for k in boundaries if k <= len(steps[0])
    ]
    middle = next(
        (cycle for cycle, text in marks if text == "dot product ends"), marks[0][0]
    )
    return max(0, middle - 8), middle + 32, marks


def layer_change(wave):
    """Cycles from the last steps of the first layer to the first of the second.

    Returns
    -------
    (first, last, marks) or None
    """
    steps = _steps(wave)
    if len(steps) < 2:
        return None
    end, start = steps[0][-1] + 1, steps[1][0]
    return max(0, end - 6), start + 8, [(end, "last MAC"), (start, "first MAC of the next layer")]
