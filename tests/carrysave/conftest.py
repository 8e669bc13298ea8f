# SPDX-License-Identifier: Apache-2.0
"""A small subject of our own data, for the flow; what a build found out, for the page."""

from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from carrysave.config import load_config
from carrysave.flow import prepare
from carrysave.hw.engine.engine import Engine
from carrysave.hw.engine.program import EngineConfig, compile_network
from carrysave.quant.formats import Group
from carrysave.quant.golden.requantise import Requantiser
from carrysave.quant.network import InputScaling, IntegerNetwork, Linear

TOML = """
name = "bees"
[data]
source = "bees.npz"
normalise = "standard"
[model]
hidden = [6]
[quantise]
group = 4
[train]
epochs = 15
quantised_epochs = 8
[engine]
rows = 2
columns = 3
[uart]
baud = 3_000_000
[build]
boards = ["icebreaker"]
[verify]
cocotb_samples = 5
"""


@pytest.fixture(scope="session")
def bees(tmp_path_factory):
    """Path of a configuration with its data beside it."""
    folder = tmp_path_factory.mktemp("bees")
    rng = np.random.default_rng(0)
    centres, labels = rng.normal(size=(3, 7)) * 2, rng.integers(0, 3, 150)
    names = np.array(["ant", "bee", "cow"])[labels]
    np.savez(folder / "bees.npz", x=centres[labels] + rng.normal(size=(150, 7)), y=names)
    path = folder / "bees.toml"
    path.write_text(TOML)
    return path


@pytest.fixture(scope="session")
def prepared(bees):
    return prepare(load_config(bees))


def random_layer(name, inputs, outputs, *, group, last):
    fmt = Group(size=group)
    return Linear(
        name=name,
        group=fmt,
        weights=torch.randint(-8, 8, (outputs, inputs), dtype=torch.int8),
        scales=torch.randint(1, 256, (outputs, fmt.groups(inputs)), dtype=torch.int32),
        exponent=8,
        bias=torch.randint(-1000, 1000, (outputs,)),
        relu=not last,
        input_scale=0.5,
        output_scale=None if last else 0.5,
        requantiser=None if last else Requantiser(93, 18, 0, 1000),
    )


@pytest.fixture(scope="session")
def make_engine():
    """Engine for a random network with layers of the given sizes."""

    def make(sizes=(12, 6, 3), *, rows=2, columns=4, drains=None, group=8):
        torch.manual_seed(0)
        layers = [
            random_layer(f"fc{k + 1}", *sizes[k:k + 2], group=group, last=k == len(sizes) - 2)
            for k in range(len(sizes) - 1)
        ]
        network = IntegerNetwork(
            "random", InputScaling(1.0, np.zeros(1), np.ones(1)), layers,
            [str(k) for k in range(sizes[-1])],
        )
        config = EngineConfig(rows=rows, columns=columns, drains=drains)
        return Engine(compile_network(network, config))

    return make


def arrow(source, target, status="exact", **other):
    ran = status != "not run"
    return {
        "from": source, "to": target, "method": "batch", "status": status, "what": "logits",
        "on": None, "compared": 1234 * ran, "mismatches": 0, "first": None, "seconds": 1.5 * ran,
        "why": "" if ran else "comes later", "detail": {},
    } | other


@pytest.fixture(scope="session")
def make_arrow():
    """An arrow of a ledger."""
    return arrow


@pytest.fixture
def evidence():
    """Every section, small; 2 layers, 2 boards."""
    load, run1, drain1, run2, drain2, read = 6, 8, 5, 4, 4, 7
    phases = (
        ["LOAD"] * load + ["PREPARE"] + ["RUN"] * run1 + ["DRAIN"] * drain1
        + ["PREPARE"] + ["RUN"] * run2 + ["DRAIN"] * drain2 + ["READ"] * read
    )
    second = load + 1 + run1 + drain1
    layers = ["fc1" if k < second else "fc2" for k in range(len(phases))]
    write = [int(phase == "DRAIN") for phase in phases]
    names = [f"{k}" for k in range(3)]
    values = [0.0, 1, 2, 3, 4, 5, 6, 7, 8]
    return {
        "name": "small",
        "identity": "0123456789abcdef",
        "tools": {"carrysave": "0.1.0", "amaranth": "0.5.10"},
        "config": {"name": "small", "engine": {"rows": 2, "columns": 4}, "boards": ["a", "b"]},
        "accuracy": {"float": 0.99, "trained": 0.98, "integer": 0.98, "samples": 100},
        "labels": names,
        "confusion": [[30, 1, 0], [0, 33, 0], [1, 0, 35]],
        "samples": [
            {"shape": [3, 3], "values": values, "label": "2", "prediction": "1",
             "logits": [-5, 9, 7]},
            {"shape": [3, 3], "values": values, "label": "0", "prediction": "0",
             "logits": [5, -9, 1]},
        ],
        "network": [
            {"name": "fc1", "inputs": 4, "outputs": 8, "group": 2, "weight_bits": 4, "relu": True,
             "multiplier": 93, "shift": 18, "reachable": 4321, "differing": 0,
             "accumulator_range": [-2000, 2320]},
            {"name": "fc2", "inputs": 4, "outputs": 3, "group": 2, "weight_bits": 4, "relu": False,
             "multiplier": None, "shift": None, "reachable": None, "differing": None,
             "accumulator_range": [-900, 900]},
        ],
        "engine": {"rows": 2, "columns": 4, "drains": 1, "chain": 8, "accumulator_bits": 25,
                   "memory_bits": {"weights": 192, "scales": 80}},
        "cycles": {
            "vectors": 2, "load": load, "read": read, "total": len(phases),
            "peak_macs_per_cycle": 8, "macs_per_cycle": 88 / len(phases),
            "layers": [
                {"name": "fc1", "prepare": 1, "macs": run1, "stalls": 0, "drain": drain1,
                 "useful": 32, "utilisation": 1.0, "measured_equal": True},
                {"name": "fc2", "prepare": 1, "macs": run2, "stalls": 0, "drain": drain2,
                 "useful": 12, "utilisation": 1.0, "measured_equal": True},
            ],
        },
        "boards": [
            {"name": name, "title": title, "family": family, "clock_mhz": clock,
             "fmax_mhz": fmax, "slack_ns": 1e3 / clock - 1e3 / fmax, "seed": 1,
             "resources": {"LUT4": {"used": 350, "available": 528},
                           "DSP": {"used": 0, "available": 8}},
             "bitstream": f"{name}/small.bin", "sha256": "ab" * 32,
             "inferences_per_second": 23000.0, "uart_inferences_per_second": 100.0}
            for name, title, family, clock, fmax in (
                ("a", "Board A", "ice40", 12.0, 21.5), ("b", "Board B", "ecp5", 25.0, 61.25),
            )
        ],
        "wave": {"clock": "cycle", "first": 100, "signals": [
            {"name": "phase", "kind": "bus", "values": phases},
            {"name": "layer", "kind": "bus", "values": layers},
            {"name": "step", "kind": "bit", "values": [int(p == "RUN") for p in phases]},
            {"name": "write", "kind": "bit", "values": write},
            {"name": "value", "kind": "bus", "values": [str(k) for k in range(len(phases))]},
        ]},
        "schematic": {
            "nodes": [
                {"id": "in:i", "label": "i", "detail": "", "group": "", "kind": "port"},
                {"id": "a", "label": "a", "detail": "4 × 8 bit", "group": "", "kind": "memory"},
                {"id": "b", "label": "b", "detail": "2 × 2 MixPE", "group": "", "kind": "array"},
            ],
            "edges": [
                {"from": "in:i", "to": "a", "label": "8 bit", "kind": "data"},
                {"from": "a", "to": "b", "label": "value 8 bit\nlast", "kind": "data"},
                {"from": "b", "to": "a", "label": "", "kind": "address"},
                {"from": "b", "to": "in:i", "label": "", "kind": "control"},
            ],
        },
        "ledger": {"format": 1, "subject": "small", "tools": {}, "arrows": [
            arrow("trained", "golden"),
            arrow("golden", "rtl"),
            arrow("golden", "rtl", method="cocotb", compared=20),
            arrow("rtl", "netlist", on="a"),
            arrow("netlist", "routed", "not run", on="a"),
            arrow("routed", "bitstream", "not run", on="a"),
        ]},
    }


VOID = {"meta", "br", "hr", "img", "input", "link", "col", "wbr"}


def svg(text):
    """The parsed element; its text must be well formed by itself."""
    assert text.count("<svg") == 1
    # Prefixed attributes need no declaration in HTML.
    return ElementTree.fromstring(
        text.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    )


def texts(element):
    """Stripped texts of all text elements."""
    return ["".join(e.itertext()).strip() for e in element.iter() if e.tag.endswith("text")]


class Page(HTMLParser):
    """Elements of a page; fails where a tag is not closed, or closed twice."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, content):
        if "style" not in self.open:
            self.text.append(content)

    @property
    def plain(self):
        return " ".join(" ".join(self.text).replace("\u202f", " ").split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="session")
def markup():
    """Markup read back strictly: ``svg(text)``, ``texts(element)`` and ``Page(text)``."""
    return SimpleNamespace(svg=svg, texts=texts, Page=Page)
