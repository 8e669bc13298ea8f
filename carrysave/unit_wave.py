# SPDX-License-Identifier: Apache-2.0
"""A few transfers through a unit as a waveform: simulated, as WaveJSON, and drawn by WaveDrom."""

import inspect
import re
from xml.etree import ElementTree

import numpy as np
import yowasp_wavedrom
from amaranth.hdl import ClockDomain, Module, Value
from amaranth.sim import Simulator

from .quant import formats
from .sim import stimulus
from .sim.payload import pack, plain, to_ints
from .sim.reference import reference
from .unit_text import format_of, leaves

__all__ = ["draw", "record", "small", "wavejson"]

GROUPS = (3, 2)  # transfers of each group
SINGLES = 4  # transfers of a unit without groups
STALL = 2  # cycles in which the first result waits
FIELDS = 7  # rows of a payload
LONGEST = 12  # characters of a value
DEFAULTS = "|".join((  # of the style sheet: what holds anyway
    "(?:font-(?:style|variant|weight|stretch):normal|text-align:center|color:#000|stroke-width:1px",
    "stroke-(?:miterlimit:4|opacity:1|dasharray:none|dashoffset:0|linejoin:miter)|fill-opacity:1",
    "fill-rule:nonzero|marker:none|visibility:visible|display:inline|overflow:visible);?"))
SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def small(preset):
    """The preset with one lane, where its class takes lanes, so that values can be read."""
    if "lanes" in inspect.signature(preset.unit).parameters:
        try:
            return preset.build(lanes=1)
        except (TypeError, ValueError):
            pass
    return preset.build()


def _inputs(unit):
    """Payloads of a few transfers, and how many results they give by the golden function."""
    count = sum(GROUPS) if stimulus.is_grouped(unit) else SINGLES
    inputs = stimulus.random(unit, count * unit.lanes, seed=5).inputs
    if stimulus.is_grouped(unit):
        lengths = [min(length, unit.group) for length in GROUPS]
        count = sum(lengths)
        inputs = stimulus._take(inputs, np.arange(count))
        inputs["clear"] = np.zeros(count, np.int64)
        inputs["last"] = np.zeros(count, np.int64)
        inputs["last"][np.cumsum(lengths) - 1] = 1
    inputs = stimulus._take(inputs, np.arange(count))
    expected = reference(unit).expected(unit, inputs)
    return (to_ints(pack(unit.i.p.shape(), inputs)),
            to_ints(pack(unit.o.p.shape(), expected, name="expected")))


def record(unit):
    """Simulate: the source pauses once, the first result has to wait.

    Returns
    -------
    list of dict
        Of each cycle ``i`` and ``o``: ``valid``, ``ready``, ``payload`` (its bits as an integer).

    Raises
    ------
    AssertionError
        If a result is not the golden function's.
    """
    inputs, expected = _inputs(unit)
    cycles = []

    def sample(ctx):
        now = {}
        for name, stream in (("i", unit.i), ("o", unit.o)):
            payload = Value.cast(stream.payload)
            bits = ctx.get(payload) & ((1 << len(payload)) - 1)
            now[name] = {"valid": ctx.get(stream.valid), "ready": ctx.get(stream.ready),
                         "payload": bits}
        cycles.append(now)
        return now

    async def bench(ctx):
        sent, waited, found, paused = 0, 0, [], len(inputs) <= 2
        while len(found) < len(expected):
            if len(cycles) > 200:
                raise AssertionError(f"{len(found)} of {len(expected)} results")
            valid = sent < len(inputs) and len(cycles) > 0 and (paused or sent != 2)
            paused |= sent == 2
            ctx.set(unit.i.valid, valid)
            if valid:
                ctx.set(Value.cast(unit.i.payload), inputs[sent])
            stall = ctx.get(unit.o.valid) and waited < STALL
            waited += bool(stall)
            ctx.set(unit.o.ready, not stall)
            now = sample(ctx)
            if now["o"]["valid"] and now["o"]["ready"]:
                found.append(now["o"]["payload"])
            sent += valid and now["i"]["ready"]
            await ctx.tick()
        if found != expected:
            raise AssertionError(f"results {found}, not {expected}")
        ctx.set(unit.i.valid, 0)
        sample(ctx)

    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.unit = unit
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


def _text(fmt, value):
    """A value in a waveform: codes of formats other than integers in hexadecimal."""
    if isinstance(value, dict):
        return " ".join(_text(None, part) for part in value.values())
    if isinstance(value, list):
        return " ".join(_text(fmt, part) for part in value)
    if fmt is None or isinstance(fmt, (formats.Int, formats.Fixed)):
        return str(value).replace("-", "−")
    return f"{value:0{-(-fmt.bits // 4)}x}h"


def _format(name):
    try:
        return None if name is None else formats.get(name)
    except ValueError:
        return None


def _values(unit, stream, cycles):
    """Name and text of the payload's fields in each cycle."""
    shape = getattr(unit, stream).p.shape()
    found = {}
    for leaf in leaves(shape):
        fmt = _format(format_of(unit, stream, leaf))
        texts = []
        for cycle in cycles:
            value = plain(shape, cycle[stream]["payload"])
            for key in leaf.name.split(".") if leaf.name != "payload" else ():
                value = [part[key] for part in value] if isinstance(value, list) else value[key]
            text = _text(fmt, value)
            texts.append(text if len(text) <= LONGEST else
                         text[:LONGEST - 1].rpartition(" ")[0] + " …" if " " in text[:LONGEST - 1]
                         else text[:LONGEST - 2] + "…")
        found[leaf.name] = texts
    return found


def _bits(values):
    """A WaveDrom wave of ones and zeros."""
    return "".join("." if k and value == values[k - 1] else str(int(value))
                   for k, value in enumerate(values))


def _numbers(cycles, stream):
    """Number of the transfer that each cycle shows, None where none is offered."""
    number, found = 0, []
    for cycle in cycles:
        found.append(number if cycle[stream]["valid"] else None)
        number += bool(cycle[stream]["valid"] and cycle[stream]["ready"])
    return found


def wavejson(unit, cycles):
    """The cycles as WaveJSON: payloads of a group in the colour of its result."""
    ends, group, of = [], 0, {}
    for cycle, number in enumerate(_numbers(cycles, "i")):
        of.setdefault(number, group)
        if number is not None and cycles[cycle]["i"]["ready"]:
            payload = plain(unit.i.p.shape(), cycles[cycle]["i"]["payload"])
            if not isinstance(payload, dict) or payload.get("last", 1):
                ends.append(cycle)
                group += 1

    def rows(stream, colour):
        state = [cycle[stream] for cycle in cycles]
        numbers = _numbers(cycles, stream)
        found = [{"name": "valid", "wave": _bits([one["valid"] for one in state])},
                 {"name": "ready", "wave": _bits([one["ready"] for one in state])}]
        for name, texts in list(_values(unit, stream, cycles).items())[:FIELDS]:
            row = {"name": name}
            if name in ("clear", "last"):
                marks = [None if number is None else text
                         for number, text in zip(numbers, texts, strict=True)]
                row["wave"] = "".join("." if k and mark == marks[k - 1] else mark or "x"
                                      for k, mark in enumerate(marks))
            else:
                wave, shown = "", []
                for k, number in enumerate(numbers):
                    if k and number == numbers[k - 1]:
                        wave += "."
                    elif number is None:
                        wave += "x"
                    else:
                        wave += str(3 + colour(number) % 3)
                        shown.append(texts[k])
                row |= {"wave": wave, "data": shown}
            found.append(row)
        return found

    taken, given = rows("i", lambda number: of[number]), rows("o", lambda number: number)
    first = next(k for k, cycle in enumerate(cycles) if cycle["o"]["valid"])
    result = {
        "signal": [{"name": "clk", "wave": "p" + "." * (len(cycles) - 1)},
                   ["i", *taken], {}, ["o", *given]],
        "head": {"tick": 0},
        "config": {"hscale": _scale(taken + given)},
    }
    if first > ends[0]:
        cycle = "cycle" if first - ends[0] == 1 else "cycles"
        result["signal"][2] = {"node": f"{'.' * ends[0]}A{'.' * (first - ends[0] - 1)}B"}
        result["edge"] = [f"A<->B {first - ends[0]} {cycle}"]
    return result


def _scale(rows):
    """How many times as wide as usual a cycle must be for its values."""
    widest = 2
    for row in rows:
        spans = [len(part) for part in re.findall(r"\d\.*", row["wave"])] if "data" in row else []
        for text, span in zip(row.get("data", ()), spans, strict=False):
            widest = max(widest, -(-(8 * len(text) + 14) // (40 * span)))
    return widest


# Drawing.

def draw(wave):
    """WaveJSON as SVG: WaveDrom's, on white, without what it does not use."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK)
    root = ElementTree.fromstring(yowasp_wavedrom.render(wave))
    for style in list(root.findall(f"{{{SVG}}}style")):
        if style.text and "prefers-color-scheme" in style.text:
            root.remove(style)  # inverts the whole, white included
    _share_runs(root, 2 * wave["config"]["hscale"])
    text = ElementTree.tostring(root, encoding="unicode")
    used, todo = set(), set(re.findall(r'#([^")]+)', re.sub(r"<defs>.*?</defs>", "", text,
                                                              flags=re.DOTALL)))
    parts = {part.get("id"): part for defs in root.iter(f"{{{SVG}}}defs") for part in defs}
    while todo:
        name = todo.pop()
        if name in parts and name not in used:
            used.add(name)
            todo |= set(re.findall(r"#([^\")]+)",
                                   ElementTree.tostring(parts[name], encoding="unicode")))
    for defs in root.iter(f"{{{SVG}}}defs"):
        for part in list(defs):
            if part.get("id") not in used:
                defs.remove(part)
    for part in root.iter():
        for child in list(part):
            if child.tag == f"{{{SVG}}}g" and not len(child) and child.get("id") not in used:
                part.remove(child)
    classes = {name for part in root.iter() for name in part.get("class", "").split()}
    for style in root.findall(f"{{{SVG}}}style"):
        rules = re.findall(r"[^{}]+\{[^{}]*\}", style.text or "")
        style.text = "".join(rule for rule in rules
                             if not rule.startswith(".") or rule[1:rule.index("{")] in classes)
        style.text = re.sub(DEFAULTS, "", style.text or "")
    white = ElementTree.Element(f"{{{SVG}}}rect", {"width": "100%", "height": "100%",
                                                   "fill": "#fff"})
    root.insert(1, white)
    for part in root.iter():
        if part.get("id", "").startswith(("wave", "lane", "gmark", "group")):
            del part.attrib["id"]
        part.attrib.pop("{http://www.w3.org/XML/1998/namespace}space", None)
        if part.tag == f"{{{SVG}}}use":
            place = part.attrib.pop("transform", None)
            if place:
                part.set("x", re.findall(r"\d+", place)[0])
    for brick in root.iter(f"{{{SVG}}}g"):
        _join_paths(brick)
    for marks in root.iter(f"{{{SVG}}}g"):
        lines = marks.findall(f"{{{SVG}}}line")
        if len(lines) > 2 and len({(line.get("y1"), line.get("y2")) for line in lines}) == 1:
            for line in lines:
                marks.remove(line)
            ElementTree.SubElement(marks, f"{{{SVG}}}path", {"d": "".join(
                f"M{line.get('x1')},{line.get('y1')}V{line.get('y2')}" for line in lines)})
    short = {}  # names of bricks
    for part in root.iter():
        for attribute in ("id", f"{{{LINK}}}href"):
            if attribute in part.attrib:
                name = part.attrib.pop(attribute)
                mark, name = name[:1] == "#", name.removeprefix("#")
                short.setdefault(name, f"b{len(short)}")
                part.set("href" if mark else "id", "#" * mark + short[name])
    for part in root.iter():
        style = part.get("style", "")
        if "url(#" in style:
            part.set("style", re.sub(r"url\(#(\w+)\)", lambda match: f"url(#{short[match[1]]})",
                                     style))
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>") + "\n"


def _join_paths(group):
    """Open paths of one class, one after the other, as one."""
    before = None
    for path in list(group):
        d = path.get("d", "")
        if path.tag != f"{{{SVG}}}path" or set(path.attrib) != {"class", "d"}:
            before = None
            continue
        # "m" at the start of a path is as "M"; within one it is not.
        d = re.sub(r"^m([\d.-]+,[\d.-]+) ", r"M\1l", d)
        if before is not None and before.get("class") == path.get("class"):
            before.set("d", before.get("d") + d)
            group.remove(path)
        else:
            path.set("d", d)
            before = path


def _share_runs(root, period):
    """Runs of equal bricks become one use of a brick made of two, of four, and so on."""
    use, href = f"{{{SVG}}}use", f"{{{LINK}}}href"
    (defs,) = root.iter(f"{{{SVG}}}defs")
    known = {part.get("id") for part in defs}

    def brick(name, count):
        """Name of ``count`` bricks in a row, a power of two."""
        if count == 1:
            return name
        own = f"{name}_{count}"
        if own not in known:
            half = brick(name, count // 2)
            group = ElementTree.SubElement(defs, f"{{{SVG}}}g", {"id": own})
            ElementTree.SubElement(group, use, {href: f"#{half}"})
            ElementTree.SubElement(group, use, {href: f"#{half}",
                                                "transform": f"translate({10 * count})"})
            known.add(own)
        return own

    for lane in root.iter(f"{{{SVG}}}g"):
        if not lane.get("id", "").startswith("wavelane_draw"):
            continue
        if lane.get("id").startswith("wavelane_draw_0_"):  # the clock: a period, over and over
            cycle = list(lane)[:period]
            group = ElementTree.SubElement(defs, f"{{{SVG}}}g", {"id": "cycle"})
            for k, child in enumerate(list(lane)):
                if k % period == 0:
                    first = ElementTree.SubElement(
                        lane, use, {"transform": f"translate({20 * k})", href: "#cycle"})
                    first.tail = None
                lane.remove(child)
            group.extend(cycle)
            continue
        children = list(lane)
        run = []
        for child in [*children, None]:
            same = child is not None and child.tag == use and run and \
                child.get(href) == run[0].get(href)
            if same:
                run.append(child)
                continue
            start = 0
            while start < len(run):
                size = 1
                while 2 * size <= len(run) - start:
                    size *= 2
                run[start].set(href, "#" + brick(run[start].get(href)[1:], size))
                for extra in run[start + 1:start + size]:
                    lane.remove(extra)
                start += size
            run = [child] if child is not None and child.tag == use else []
