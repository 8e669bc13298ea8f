# SPDX-License-Identifier: Apache-2.0
"""The first place where two models of the chain part, and a waveform of the cycles around it."""

import contextlib
import io
import json
import re
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from vcd import VCDWriter

from . import arrows
from .chain import BoardChain
from .fpga import boards, levels
from .sim.batch import SimulationError, UartSession
from .sim.difference import BIT, Waveform, common, ever_different, first_difference

__all__ = ["Place", "locate"]

AROUND = 16  # cycles before and after
REGISTERS = re.compile(r"SB_DFF|SB_RAM|ICESTORM_RAM|TRELLIS_FF|DP16KD|DFF|SP$|SDPB|DPB|pROM")


@dataclass
class Place:
    """Where two models part.

    Attributes
    ----------
    source, target, method, on : str
        The arrow.
    layer, element, sample : str, int, int
        Of the first wrong result.
    pe : str or None
        The processing element that computed it.
    cycle : int or None
        First cycle in which a signal differs: since the start of the stimulus for the RTL, since
        the release of the reset, in a run with the request alone, on a board.
    signal, cell : str or None
        What differs first, and what drives it.
    expected, found : int
        Of the signal, or of the result where no signal can be named.
    others : int
        Signals that differ in the same cycle.
    compared : int
        Bits watched in every cycle.
    signals : list of dict
        ``name``, ``kind``, ``values`` for the cycles around it; see `waveform`.
    first : int
        Cycle of their first value.
    """

    source: str
    target: str
    method: str
    on: str | None = None
    layer: str | None = None
    element: int | None = None
    sample: int | None = None
    pe: str | None = None
    cycle: int | None = None
    signal: str | None = None
    cell: str | None = None
    expected: object = None
    found: object = None
    others: int = 0
    compared: int = 0
    signals: list = field(default_factory=list)
    first: int = 0

    def to_json(self):
        """All but the waveform."""
        content = asdict(self)
        del content["signals"], content["first"]
        return {"from": content.pop("source"), "to": content.pop("target"), **content}

    def vcd(self):
        """The waveform as VCD, a cycle to a nanosecond."""
        out = io.StringIO()
        with VCDWriter(out, timescale="1 ns", date=datetime(2000, 1, 1, tzinfo=UTC)
                       .isoformat(), init_timestamp=self.first) as writer:
            known = [
                (writer.register_var("first_difference", signal["name"].replace(" ", "_"),
                                     "wire" if signal["kind"] == "bit" else "string",
                                     size=1 if signal["kind"] == "bit" else None,
                                     init=signal["values"][0] if signal["kind"] == "bit"
                                     else str(signal["values"][0])), signal)
                for signal in self.signals]
            for k in range(1, max((len(signal["values"]) for signal in self.signals), default=0)):
                for variable, signal in known:
                    value = signal["values"][k]
                    writer.change(variable, self.first + k,
                                  value if signal["kind"] == "bit" else str(value))
        return out.getvalue()


def locate(prepared, ledger, run, *, progress=None):
    """The `Place` where the first arrow that differs does so, or None if all are exact.

    Parameters
    ----------
    prepared : Prepared
    ledger : Ledger
        Of `flow.verify`.
    run : EngineRun or SimulationError or None
        Likewise.
    """
    report = progress or (lambda line: None)
    arrow = next((arrow for arrow in ledger.arrows if arrow.status == "differs"), None)
    if arrow is None:
        return None
    first = arrow.first or {}
    place = Place(arrow.source, arrow.target, arrow.method, arrow.on,
                  **{key: first.get(key) for key in
                     ("layer", "element", "sample", "cycle", "expected", "found")})
    if arrow.on is not None and arrow.method == "batch":
        report(f"{arrow.on}: first difference between {arrow.source} and {arrow.target}")
        chain = BoardChain(prepared, boards.get(arrow.on), report)
        _on_board(place, chain, arrow)
    elif arrow.target == "rtl" and arrow.method == "batch" and not isinstance(
            run, (SimulationError, type(None))):
        _in_engine(place, prepared, run)
    return place


def _in_engine(place, prepared, run):
    """Name the PE that computed a wrong result, and show the monitor around its write."""
    program, records = prepared.program, run.records
    config = program.config
    place.pe = (f"row {place.sample % config.rows}, column {place.element % config.columns}"
                if place.layer != "argmax" else None)
    place.signal = "monitor.values" if place.layer != "argmax" else "best"
    if place.cycle is None:
        return
    start, stop = max(place.cycle - AROUND, 0), place.cycle + AROUND
    place.first = start
    names = {layer: entry.name for layer, entry in enumerate(program.layers)}
    for name in (each for each in records if each not in ("final", "values")):
        values = records[name][start:stop].tolist()
        if name == "layer":
            values = [names.get(value, str(value)) for value in values]
        kind = "bit" if name in ("step", "write") else "bus"
        place.signals.append({"name": name, "kind": kind, "values": values})
    written = records["values"][start:stop].reshape(stop - start, -1)[:, 0].tolist()
    place.signals += [
        {"name": "value, found", "kind": "bus", "values": written},
        {"name": "value, expected", "kind": "bus", "values": [
            place.expected if start + k == place.cycle else "" for k in range(stop - start)]}]
    place.compared = sum(len(values) for values in records.values())


def _on_board(place, chain, arrow):
    """Name the first net that differs between two models of a board."""
    source, target = (chain.level(name) for name in (arrow.source, arrow.target))
    program, divisor = chain.prepared.program, chain.prepared.divisor(chain.board)
    samples = arrow.detail.get("samples", len(chain.prepared.subject.x))
    requests, lengths = arrows.uart_frames(program, chain.prepared.subject.x[:samples])
    right = _answered(source, target, requests, lengths, divisor)
    wrong = right.index(False) if False in right else 0
    shift = target.startup - source.startup
    with tempfile.TemporaryDirectory() as folder:
        def trace(request):
            return [_trace(level, requests[request], lengths[request], divisor,
                           Path(folder) / f"{level.name}-{request}.vcd")
                    for level in (source, target)]

        waves = trace(wrong)
        pairs, drivers = nets(chain, arrow.target, waves[0])
        pairs = common(*waves, pairs)
        if arrow.target == "netlist" and True in right:
            # What differs where the answer is right does not matter: words beyond a memory's end.
            for label in ever_different(*trace(right.index(True)), pairs, shift=shift):
                del pairs[label]
        found = first_difference(*waves, pairs, shift=shift)
        if found is None:
            place.cycle = None
            return
        label = root(found.signals, drivers)
        driver = drivers.get(label)
        place.cycle, place.compared = found.cycle, found.compared
        place.signal, place.cell = label, driver.name if driver else None
        place.others = len(found.signals) - 1
        place.expected, place.found = found.signals[label]
        shown = [label, *(each for each in (driver.inputs if driver else ()) if each in pairs),
                 *(["tx"] if "tx" in pairs else [])]
        place.first = max(found.cycle - AROUND, 0)
        place.signals = _around(waves, {each: pairs[each] for each in shown}, label,
                                place.first, shift)


def _answered(source, target, requests, lengths, divisor):
    """Which requests both answer alike, as far as the answers go."""
    found = []
    for level in source, target:
        try:
            found.append(arrows.exchange(level.design, requests, lengths, divisor=divisor,
                                         startup=level.startup)[0])
        except SimulationError:  # Once more, up to where it fails.
            found.append([])
            with UartSession(level.design, divisor=divisor) as session, \
                    contextlib.suppress(SimulationError):
                session.idle(level.startup + arrows.IDLE)
                for request, length in zip(requests, lengths, strict=True):
                    found[-1].append(session.exchange(request, expect=length)[0])
    return [ours == theirs for ours, theirs in zip_longest(*found)]


def _trace(level, request, length, divisor, path):
    """Waveform of a level that answers one request, as far as it does."""
    with UartSession(level.design, divisor=divisor, vcd=(path, 0, 1 << 60)) as session:
        with contextlib.suppress(SimulationError):  # What it did until then is looked at.
            session.idle(level.startup + arrows.IDLE)
            session.exchange(request, expect=length,
                             max_cycles=3 * 10 * (len(request) + length) * divisor)
    return Waveform(path)


@dataclass(frozen=True)
class Driver:
    """The cell that drives a net: its name for people, its input nets, whether it is clocked."""

    name: str
    inputs: tuple
    clocked: bool


def nets(chain, target, source_wave):
    """Nets that two models of a board have in common.

    Returns
    -------
    dict of str to pair of (str, int)
        Label → ``(name, bit)`` in either waveform, for `first_difference`.
    dict of str to Driver
    """
    synthesis = chain.get("synthesis")
    pairs, drivers = {"tx": (("tx", 0), ("tx", 0)), "rx": (("rx", 0), ("rx", 0))}, {}
    if target == "netlist":
        module = json.loads(synthesis.json)["modules"]["top"]
        flat = {(f"accelerator_{name}".replace(".", "_"), bit): (name, bit)
                for name, bit in source_wave.bits()}
        labels = {}
        for name, net in module["netnames"].items():
            for k, bit in enumerate(net["bits"]):
                if (name, k) in flat:
                    label = name if len(net["bits"]) == 1 else f"{name}[{k}]"
                    labels.setdefault(bit, label)
                    pairs.setdefault(label, (flat[name, k], (f"top.{name}", k)))
        drivers = cells(module, labels)
        # Only registers keep their meaning through synthesis.
        clocked = {label for label, driver in drivers.items() if driver.clocked}
        pairs = {label: pair for label, pair in pairs.items()
                 if label in clocked or label in ("tx", "rx")}
        return pairs, drivers
    names = levels.names(synthesis, chain.get("routing"))
    module = json.loads(chain.get("routing").design.read_text())["modules"]["top"]
    labels = {}
    for name, net in module["netnames"].items():
        for k, bit in enumerate(net["bits"]):
            labels[bit] = name if len(net["bits"]) == 1 else f"{name}[{k}]"
    drivers = cells(module, labels)
    for place, name in names.items():
        own = BIT.fullmatch(name)
        there = (f"top.{own[1]}", int(own[2])) if own else (f"top.{name}", 0)
        placed = (f"top.{place}", 0)
        pairs[name] = (there if target == "routed" else placed, placed)
    return pairs, drivers


def cells(module, labels):
    """Drivers of nets of a module of Yosys' JSON, by label."""
    found = {}
    for name, cell in module["cells"].items():
        wires, directions = cell["connections"], cell["port_directions"]
        inputs = tuple(labels[bit] for port, bits in wires.items()
                       if directions[port] == "input" for bit in bits if bit in labels)
        clocked = bool(REGISTERS.match(cell["type"])) or \
            cell["parameters"].get("DFF_ENABLE", "0").endswith("1")
        at = cell["attributes"].get("NEXTPNR_BEL")
        driver = Driver(f"{cell['type']} {name}" + (f" at {at}" if at else ""), inputs, clocked)
        for port, bits in wires.items():
            if directions[port] == "output":
                found.update({labels[bit]: driver for bit in bits if bit in labels})
    return found


def root(signals, drivers):
    """The signal at fault among those that differ in the first cycle.

    A register that differs does so on its own: its inputs were right a cycle ago. Otherwise it is
    a gate none of whose inputs differs.
    """
    for label in signals:
        if label in drivers and drivers[label].clocked:
            return label
    for label in signals:
        if label in drivers and not any(each in signals for each in drivers[label].inputs):
            return label
    return next(iter(signals))


def _around(waves, shown, label, first, shift):
    """Values of some bits in the cycles around a difference."""
    rows = []
    for name, pair in shown.items():
        values = [_values(wave, bit, first + late, 2 * AROUND)
                  for wave, bit, late in zip(waves, pair, (0, shift), strict=True)]
        if name == label or values[0] != values[1]:
            rows += [{"name": f"{name}, {kind}", "kind": "bit", "values": each}
                     for kind, each in zip(("expected", "found"), values, strict=True)]
        else:
            rows.append({"name": name, "kind": "bit", "values": values[0]})
    return rows


def _values(wave, bit, first, count):
    """Values of one bit in so many cycles."""
    identifier, place = wave.bits()[bit]
    value, values = 0, []
    for cycle, changed in wave.cycles():
        while len(values) < count and first + len(values) < cycle:
            values.append(value)
        if len(values) == count:
            return values
        if identifier in changed:
            value = changed[identifier] >> place & 1
    return values + [value] * (count - len(values))
