# SPDX-License-Identifier: Apache-2.0
"""``carrysave energy``: how much the gates of units switch for a product, as a table."""

import dataclasses
import importlib.metadata
import json
import warnings
from pathlib import Path

from .characterise_units import build, check, has_lanes, names
from .energy_traces import TRACES, operands
from .errors import BadInput, Failure
from .format_numbers import plural
from .fpga import characterise as fpga
from .fpga.gates import netlist
from .fpga.tools import ToolError
from .hw.cache import digest
from .hw.yosys import YosysError
from .sim.activity import GateSimulator
from .sim.batch import SimulationError
from .sim.payload import pack
from .sim.trace import has_operands, products_of, real, uniform
from .sim.units import compare
from .sim.verilator import VerilatorError
from .tables import read_csv, write_csv
from .workers import finished, workers

__all__ = ["COLUMNS", "REFERENCE", "TABLE", "energy", "read", "write"]

TABLE = Path("reports/energy.csv")
COLUMNS = ("unit", "lanes", "trace", "cycles", "macs", "nets", "toggles", "toggles_per_mac",
           "weighted_per_mac", "relative", "command", "tools", "hash")
KEY = ("unit", "lanes", "trace")
REFERENCE = ("multiplier-w8a8", None)  # int8 by int8, and its lanes
CYCLES, WARM = 4096, 64
METHOD = 1  # to be raised where what is counted changes, and neither netlist nor operands do


@dataclasses.dataclass(frozen=True)
class Task:
    """The rows of a unit.

    Members
    -------
    unit : str
    chosen : int or None
        Lanes that it is built with; None for its own number.
    traces : dict of str to list of Operands
    reference : dict of str to (str, str)
        By trace, ``hash`` and ``weighted_per_mac`` of the reference; of itself it has none.
    known : dict
        Rows of the table by ``KEY``.
    cache : path, optional
    """

    unit: str
    chosen: int | None
    traces: dict
    reference: dict
    known: dict = dataclasses.field(repr=False)
    cache: object = None

    def command(self, trace):
        """The command that measures this row alone."""
        lanes = "" if self.chosen is None else f" --lanes {self.chosen}"
        return f"carrysave energy {self.unit}{lanes} --trace {trace}"


def measure(task):
    """Rows of a task; whether each is new; complaints.

    Returns
    -------
    list of (dict, bool)
    list of str
        Errors.
    list of str
        What was left out, and why.
    """
    warnings.filterwarnings("ignore", ".* created but never used")
    rows, left_out, simulator = [], [], None
    title = task.unit if task.chosen is None else f"{task.unit} with --lanes {task.chosen}"
    try:
        unit, lanes = build(task.unit, task.chosen)
    except (TypeError, ValueError) as error:
        return [], [], [f"{title}: {error}"]
    try:
        design = fpga.dependencies(digest(fpga.rtlil_of(unit)[0]), "", fpga.GATES)
        unit, _ = build(task.unit, task.chosen)
        for trace, matrices in task.traces.items():
            if matrices and not has_operands(unit):
                left_out.append(f"{title}: {trace}: it does not multiply activations by weights")
                continue
            count = CYCLES + WARM
            sent = real(unit, matrices, count) if matrices else uniform(unit, count)
            reference = task.reference.get(trace)
            hashed = digest(json.dumps({
                **design, "operands": digest(pack(unit.i.p.shape(), sent.inputs).tobytes()),
                "method": METHOD, "reference": reference and reference[0]}, sort_keys=True))[:16]
            known = task.known.get((task.unit, str(lanes), trace))
            if known is not None and known["hash"] == hashed:
                rows.append((known, False))
                continue
            if simulator is None:
                simulator = GateSimulator(
                    netlist(build(task.unit, task.chosen)[0], cache=task.cache), unit)
            found = simulator.observe(sent.inputs, outputs=sent.outputs, warm=WARM)
            wrong, first = compare(unit.o.p.shape(), sent.expected, found.outputs)
            if wrong:
                return rows, [f"{title}: {trace}: {wrong} results of the netlist are not the "
                              f"golden function's, the first {first}"], left_out
            rows.append((_row(task, trace, lanes, found, products_of(unit), hashed), True))
    except (YosysError, ToolError, VerilatorError, SimulationError, OSError) as error:
        return rows, [f"{title}: {error}"], left_out
    return rows, [], left_out


def _row(task, trace, lanes, found, products, hashed):
    macs = found.cycles * products
    weighted = f"{found.weighted / macs:.6g}"
    reference = task.reference.get(trace)
    packages = ("pyosys", "numpy") if trace == "uniform" else ("pyosys", "numpy", "torch")
    return {
        "unit": task.unit, "lanes": str(lanes), "trace": trace, "cycles": str(found.cycles),
        "macs": str(macs), "nets": str(len(found.fan_out)), "toggles": str(found.total),
        "toggles_per_mac": f"{found.total / macs:.6g}", "weighted_per_mac": weighted,
        "relative": f"{float(weighted) / float(reference[1] if reference else weighted):.4g}",
        "command": task.command(trace), "hash": hashed,
        "tools": "; ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
    }


def read(path=TABLE):
    """Rows of the table, see `read_csv`."""
    return read_csv(path, COLUMNS)


def write(path, rows):
    """Write a table in order, at once or not at all. Rows of units that are gone are left out."""
    units = {name: k for k, name in enumerate(names())}
    rows = [row for row in rows if row["unit"] in units and row["trace"] in TRACES]
    rows.sort(key=lambda row: (units[row["unit"]], int(row["lanes"]), TRACES.index(row["trace"])))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(path, COLUMNS, rows)
    except OSError as error:
        raise BadInput(f"--out: {path} cannot be written: {_reason(error)}") from None


def energy(units=(), *, every=False, traces=(), lanes=(), jobs=None, out=TABLE, cache=None,
           progress=None):
    """Measure units into a table; rows that are known are not measured again.

    ``toggles`` are changes of level of the nets of the unit's CMOS gates from the end of one cycle
    to that of the next; ``weighted_per_mac`` counts each as often as its net drives input pins;
    ``relative`` is that over the same of the int8 by int8 `REFERENCE` under the same trace. There
    are no glitches, no clock, no wires and no leakage in it: it compares units, and is no energy.
    A MAC is a product; of units that do not multiply, the result of a lane.

    A row is known if it was measured from the same RTLIL, by the same passes and version of Yosys,
    under the same operands, beside the same reference. The rows of a unit are in the file as soon
    as they are measured, so that an interrupted run may be repeated to go on.

    Parameters
    ----------
    units : sequence of str
        Of :func:`.characterise.names`.
    every : bool
        All of them.
    traces : sequence of str
        Of `TRACES`; all by default.
    lanes : sequence of int
        Numbers of lanes for units that have them as a parameter; by default what they are listed
        with.
    jobs : int, optional
        Processes; as many as the machine has cores.
    out : path
        The table. Its other rows stay; those of the reference are added.
    cache : path, optional
    progress : callable, optional

    Returns
    -------
    dict
        As ``energy --json`` prints it: ``out``; numbers of rows ``measured`` and ``known``;
        ``errors`` and ``left_out``, lists of lines; ``rows``, those that were asked for.

    Raises
    ------
    BadInput
        Before anything is measured, or where the table cannot be read or written.
    Failure
        If operands cannot be had, or a process died. Rows that were measured are in the table.
    """
    progress, out = progress or (lambda line: None), Path(out)
    units = check(units, every=every, lanes=lanes, jobs=[jobs])
    for trace in traces:
        if trace not in TRACES:
            raise BadInput(f"--trace must be one of {', '.join(TRACES)}, not {trace!r}")
    table = {_key(row): row for row in read(out)}
    write(out, list(table.values()))
    chosen = {trace: operands(trace, progress)
              for trace in TRACES if trace in (traces or TRACES)}
    choices = [(name, each) for name in units
               for each in (dict.fromkeys(lanes) if lanes and has_lanes(name) else (None,))]
    found = {"out": str(out), "measured": 0, "known": 0, "errors": [], "left_out": [], "rows": []}
    keys = []

    def add(result, *, asked=True):
        rows, errors, left_out = result
        for row, new in rows:
            table[_key(row)] = row
            found["measured" if new else "known"] += asked
        keys.extend(_key(row) for row, _ in rows if asked)
        found["errors"] += errors
        found["left_out"] += left_out if not every else []
        if any(new for _, new in rows):
            write(out, list(table.values()))

    with workers(jobs, out) as pool:
        # The reference first, which is in the other rows.
        progress(f"{plural(len(choices), 'unit')}, {plural(len(chosen), 'trace')}; "
                 f"{REFERENCE[0]} first")
        first = pool.submit(measure, Task(*REFERENCE, chosen, {}, table, cache)).result()
        add(first, asked=REFERENCE in choices)
        if first[1]:
            raise Failure(first[1][0])
        reference = {row["trace"]: (row["hash"], row["weighted_per_mac"]) for row, _ in first[0]}
        running = {}
        for name, each in choices:
            if (name, each) != REFERENCE:
                known = {key: row for key, row in table.items() if key[0] == name}
                task = Task(name, each, chosen, reference, known, cache)
                running[pool.submit(measure, task)] = task
        for _, result in finished(running, progress, title=_short):
            add(result)
    if not keys and not found["errors"] and found["left_out"]:
        raise BadInput(found["left_out"][0])
    places = {name: k for k, name in enumerate(names())}
    found["rows"] = [table[key] for key in sorted(keys, key=lambda key: (
        places[key[0]], int(key[1]), TRACES.index(key[2])))]
    return found


def _key(row):
    return tuple(row[name] for name in KEY)


def _reason(error):
    return getattr(error, "strerror", None) or str(error)


def _short(task, result):
    rows, errors, _ = result
    lanes = "" if task.chosen is None else f", {plural(task.chosen, 'lane')}"
    what = ", ".join(f"{row['trace']} {row['relative']}{'' if new else ' (known)'}"
                     for row, new in rows)
    return f"{task.unit}{lanes}: {'failed' if errors else what or 'left out'}"
