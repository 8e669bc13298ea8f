# SPDX-License-Identifier: Apache-2.0
"""Block diagram of a component, read from the design itself."""

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from amaranth import Shape
from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component

from .hw.yosys import run_yosys

__all__ = ["schematic"]

_TOP = "top"
_HANDSHAKE = re.compile(r"(?:^|__)(?:valid|ready|clk|rst)$")
_INDEX = re.compile(r"(?:_\d+)+$")
_SUFFIX = re.compile(r"\$\d+$")  # Amaranth's, where two names would be the same.
_THROUGH = {"$mux": "AB", "$pmux": "AB", "$pos": "A"}  # Inputs whose values come out unchanged.


@dataclass
class _Part:
    """Node of the hierarchy: a component or a memory."""

    path: str
    what: object
    parts: list = field(default_factory=list)

    @property
    def name(self):
        return self.path.rpartition(".")[2]

    @property
    def stem(self):
        return self.path.rpartition(".")[0], _INDEX.sub("", self.name), self.detail

    @property
    def is_memory(self):
        return isinstance(self.what, Memory)

    @property
    def units(self):
        return [part for part in self.parts if isinstance(part.what, Component)]

    @property
    def opened(self):
        """Drawn as what it consists of: at least two kinds of units."""
        kinds = {_INDEX.sub("", unit.name) for unit in self.units if not unit.is_memory}
        return len(kinds) > 1

    @property
    def array(self):
        """Rows, columns… of a unit all of whose units are alike, as their names count them."""
        names = [unit.name for unit in self.units if not unit.is_memory]
        kinds = {_INDEX.sub("", name) for name in names}
        if len(kinds) != 1 or len(names) < 2:
            return None
        indices = [re.findall(r"_(\d+)", name.removeprefix(_INDEX.sub("", name))) for name in names]
        return [max(map(int, index)) + 1 for index in zip(*indices, strict=True)]

    @property
    def kind(self):
        return "memory" if self.is_memory else "array" if self.array else "unit"

    @property
    def detail(self):
        if self.is_memory:
            return f"{self.what.depth} × {_bits(self.what.shape)}"
        kind = type(self.what).__name__
        lines = [kind] if kind.lower() != self.name.replace("_", "") else []
        if self.array:
            unit = next(unit for unit in self.units if not unit.is_memory)
            lines = [" × ".join(map(str, self.array)) + f" {type(unit.what).__name__}"]
        latency = getattr(self.what, "latency", None)
        if isinstance(latency, int):
            lines.append(f"latency {latency}")
        lines += [f"{part.name} {part.detail}" for part in self.parts if part.is_memory]
        return "\n".join(lines)

    def leaves(self):
        """Parts that are drawn as they are."""
        for part in self.parts:
            if part.opened:
                yield from part.leaves()
            else:
                yield part


def _bits(shape):
    if isinstance(shape, data.ArrayLayout):
        return f"{shape.length} × {Shape.cast(shape.elem_shape).width} bit"
    return f"{Shape.cast(shape).width} bit"


def _hierarchy(fragment, path=""):
    """Components and memories of an elaborated design."""
    origin = fragment.origins[0] if fragment.origins else None
    part = _Part(path, origin)
    for index, (child, name, _) in enumerate(fragment.subfragments):
        below = f"{path}.{name or f'U${index}'}".lstrip(".")
        part.parts.append(_hierarchy(child, below))
    return part


def _netlist(component, leaves):
    """Yosys' JSON of the component, flat but for the leaves."""
    text = rtlil.convert(component, name=_TOP, emit_src=False)
    modules, names = {_TOP: ""}, []
    for line in text.splitlines():
        if match := re.match(r"module \\(\S+)", line):
            here = match[1]
        elif match := re.match(r"  cell \\(\S+) \\(\S+)", line):
            modules[match[1]] = f"{modules[here]}.{_SUFFIX.sub('', match[2])}".lstrip(".")
            names.append(match[1])
    kept = [name for name in names if modules[name] in leaves]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "design.il").write_text(text, encoding="utf-8")
        run_yosys(
            [
                "read_rtlil design.il",
                "proc",
                *(f"setattr -mod -set keep_hierarchy 1 {name}" for name in kept),
                "flatten",
                "write_json design.json",
            ],
            cwd=folder,
        )
        return json.loads(Path(folder, "design.json").read_text())["modules"]


def _fields(module, port):
    """Fields of a payload, from the names of the nets: label and bits of each."""
    bits = module["ports"][port]["bits"]
    place = {bit: index for index, bit in enumerate(bits)}
    nets = {
        name.removeprefix(port): [place[bit] for bit in net["bits"]]
        for name, net in module["netnames"].items()
        if name.startswith(port) and all(bit in place for bit in net["bits"])
    }
    fields = []
    for name, indices in nets.items() if len(bits) > 1 else ():
        if re.fullmatch(r"\.\w+", name):
            elements = sum(1 for other in nets if re.fullmatch(re.escape(name) + r"\[\d+\]", other))
            size = _width(len(indices), elements) if len(indices) > 1 else ""
            fields.append((f"{name[1:]} {size}".strip(), indices))
    if not fields:
        elements = sum(1 for name in nets if re.fullmatch(r"\[\d+\]", name))
        fields = [(_width(len(bits), elements), list(range(len(bits))))]
    return fields


def _width(bits, elements):
    return f"{elements} × {bits // elements} bit" if elements > 1 else f"{bits} bit"


class _Netlist:
    """Bits of the flat top module: who drives them, and who takes them.

    ``sinks`` lists node, label, bits, and what they are: ``data``, ``address`` or ``control``.
    """

    def __init__(self, modules):
        self.modules = modules
        self.drivers = {}
        self.pins = []  # Nodes of the inputs.
        self.sinks = []
        top = modules[_TOP]
        for name, port in top["ports"].items():
            base = _SUFFIX.sub("", name)
            if _HANDSHAKE.search(base) or base.startswith("monitor__"):
                continue
            node = f"{port['direction'][:-3]}:{base.removesuffix('__payload')}"
            if port["direction"] == "input":
                self.drivers |= dict.fromkeys(port["bits"], (node, None))
                self.pins.append(node)
            else:
                self._take(node, top, name, port["bits"])
        for name, cell in top["cells"].items():
            self._add(name, cell)

    def _take(self, node, module, port, bits):
        for label, indices in _fields(module, port):
            self.sinks.append((node, label, [bits[index] for index in indices], "data"))

    def _add(self, name, cell):
        kind, connections = cell["type"], cell["connections"]
        if kind in ("$memrd_v2", "$memwr_v2"):
            node = cell["parameters"]["MEMID"].removeprefix("\\")
            self.sinks.append((node, "address", connections["ADDR"], "address"))
            self.sinks.append((node, "enable", connections["EN"], "control"))
            if kind == "$memwr_v2":
                bits = connections["DATA"]
                self.sinks.append((node, _width(len(bits), 1), bits, "data"))
            else:
                self.drivers |= dict.fromkeys(connections["DATA"], (node, None))
        elif not kind.startswith("$"):
            node = ".".join(_SUFFIX.sub("", part) for part in name.split("."))
            for port, bits in connections.items():
                base = _SUFFIX.sub("", port)
                if self.modules[kind]["ports"][port]["direction"] == "output":
                    self.drivers |= dict.fromkeys(bits, (node, None))
                elif base.endswith("__payload"):
                    self._take(node, self.modules[kind], port, bits)
                elif not _HANDSHAKE.search(base):
                    pins = all(self.drivers.get(bit, (None,))[0] in self.pins for bit in bits)
                    sort = "data" if pins else "control"
                    self.sinks.append((node, _width(len(bits), 1), bits, sort))
        else:
            for port, bits in connections.items():
                if cell.get("port_directions", {}).get(port) == "output":
                    self.drivers |= {bit: (cell, index) for index, bit in enumerate(bits)}

    def sources(self, bits):
        """Nodes whose values reach the bits unchanged, and all others that the bits depend on.

        The search for the others ends at registers.
        """
        values, others = set(), set()
        seen = set()
        todo = [(bit, True) for bit in bits]
        while todo:
            item = bit, as_value = todo.pop()
            if item in seen or bit not in self.drivers:
                continue
            seen.add(item)
            cell, index = self.drivers[bit]
            if isinstance(cell, str):
                (values if as_value else others).add(cell)
                continue
            kind, connections = cell["type"], cell["connections"]
            if "ff" in kind or "latch" in kind:
                if as_value:
                    todo.append((connections["D"][index], True))
                continue
            through = _THROUGH.get(kind, "") if as_value else ""
            width = len(connections.get("Y", ()))
            for port in cell["connections"]:
                if cell["port_directions"][port] == "output":
                    continue
                if port in through:
                    todo += [(b, True) for b in connections[port][index::width]]
                else:
                    todo += [(b, False) for b in connections[port]]
        return values, others - values


def schematic(component):
    """Units and memories of a component, and what connects them.

    The hierarchy is that of elaboration, the edges are those of the netlist that Yosys reads from
    the RTLIL: each input of a unit is traced back to the outputs on which it depends. Units and
    memories that differ in their index only are one node, and so is a unit whose parts are all
    alike.

    Parameters
    ----------
    component : wiring.Component

    Returns
    -------
    dict
        ``nodes``: ``id``, ``label``, ``detail``, ``group`` (the units around it, with dots) and
        ``kind``: ``unit``, ``array``, ``memory`` or ``port``. ``edges``: ``from``, ``to``,
        ``label`` and ``kind``: ``data`` or ``address`` where values pass unchanged, through wires,
        multiplexers and registers, else ``control``.
    """
    parts = {part.path: part for part in _hierarchy(Fragment.get(component, None)).leaves()}
    if not parts:
        raise ValueError(f"Component must consist of units, not {type(component).__name__}")
    alike = {}
    for part in parts.values():
        alike.setdefault(part.stem, []).append(part.path)
    shown = {path: paths[0] for paths in alike.values() for path in paths}

    netlist = _Netlist(_netlist(component, parts))
    edges = {}
    for sink, label, bits, kind in netlist.sinks:
        values, others = netlist.sources(bits)
        for source in sorted(values | others):
            ends = shown.get(source, source), shown.get(sink, sink)
            if ends[0] != ends[1]:
                labels = edges.setdefault(ends, {"data": [], "address": [], "control": []})
                known = labels[kind if source in values else "control"]
                known += [label] if label not in known else []

    nodes = []
    for (group, stem, detail), paths in alike.items():
        many = f"{len(paths)} × " if len(paths) > 1 else ""
        nodes.append({
            "id": paths[0],
            "label": stem if many else parts[paths[0]].name,
            "detail": many + detail,
            "group": group,
            "kind": parts[paths[0]].kind,
        })
    ends = sorted({end for edge in edges for end in edge if ":" in end})
    nodes += [
        {"id": end, "label": end.partition(":")[2], "detail": "", "group": "", "kind": "port"}
        for end in ends
    ]
    return {
        "nodes": nodes,
        "edges": [_edge(source, sink, labels) for (source, sink), labels in edges.items()],
    }


def _edge(source, sink, labels):
    kind = next(kind for kind, known in labels.items() if known)
    known = labels["data"]
    lines = [label for label in known if " " in label]
    flags = ", ".join(label for label in known if " " not in label)
    label = "\n".join(lines + ([flags] if flags else []))
    return {"from": source, "to": sink, "label": label, "kind": kind}
