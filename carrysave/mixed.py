# SPDX-License-Identifier: Apache-2.0
"""``carrysave mixed``: widths of weights by layer, chosen under budgets and then measured."""

import dataclasses
import importlib.metadata
import inspect
import json
from pathlib import Path

import numpy as np
import tomlkit
import torch

from .config import WEIGHTS, load_config
from .errors import BadInput
from .flow import graph_config, prepare
from .fpga import boards
from .fpga.synthesis import synthesise
from .hw.cache import cached, digest
from .hw.engine.graph_program import Unit
from .quant.golden.argmax import argmax
from .quant.precision.choice import BUDGETS, Engine, Infeasible, choose, front
from .quant.precision.sensitivity import calibration_loss, hessian_trace, monotone
from .quant.train.train import inputs
from .subject import BATCH, Training, load_data_of
from .tables import read_csv, write_csv

__all__ = ["COLUMNS", "METHODS", "beyond", "mixed", "read"]

COLUMNS = ("network", "kind", "weights", "columns", "memory_bits", "block_ram", "lut4", "cycles",
           "loss", "accuracy", "samples", "beyond", "command", "tools", "hash")
METHODS = {"loss": calibration_loss, "hessian": hessian_trace}
WIDTHS = tuple(int(name.removeprefix("int")) for name in WEIGHTS)
PACKAGES = ("torch", "brevitas", "scipy", "amaranth", "pyosys")


def mixed(path, *, board=None, widths=WIDTHS, columns=(), budgets=None, points=9, method="loss",
          samples=2000, out=None, write=None, progress=None):
    """Choose widths for the layers of a network, and measure what they give.

    Sensitivities come from the network in float and samples it was trained on; LUTs from the
    synthesised engines of uniform networks; cycles and memory from the compiler, which are those
    of the RTL. The front is that of the solver; each point on it is then trained, frozen,
    compiled and synthesised like any other build, and so are the uniform networks.

    Parameters
    ----------
    path : path
        CONFIG.toml of a network that is trained.
    board : str, optional
        Whose LUTs are counted; default: the configuration's first, or none.
    widths : sequence of int
        Of which each layer has one.
    columns : sequence of int
        Of the engines to choose from; default: that of the configuration.
    budgets : dict of str to int, optional
        Of `BUDGETS`: the most that may be used; default: what the board has.
    points : int
        Budgets of memory, evenly between the least and the most.
    method : str
        Of `METHODS`.
    samples : int
        For sensitivities.
    out : path, optional
        A table, of which rows of other networks stay.
    write : path, optional
        Where to write the configuration of the choice within the budgets.
    progress : callable(line), optional

    Returns
    -------
    dict
        As ``mixed --json`` prints it: ``rows``, of `COLUMNS`; ``sensitivity``, by layer and width;
        ``chosen``; ``solver_seconds``, the longest; ``out``, ``written``.

    Raises
    ------
    BadInput, Failure
    """
    report = progress or (lambda line: None)
    config, widths = load_config(path), tuple(sorted(set(widths)))
    _check(config, widths, columns, points, samples, method)
    command = _command(path, board=board, widths=widths, columns=columns, budgets=budgets or {},
                       points=points, method=method, samples=samples)
    name = next(iter(config.build.boards), None) if board is None else board
    board = None if name is None else _board(name)
    budgets = _budgets(budgets or {}, board)
    study = _Study(command, config, board, widths, columns or (config.engine.columns,), report)
    if write is not None and not Path(write).parent.is_dir():
        raise BadInput(f"--write: {Path(write).parent} is no folder")
    if out is not None:
        _write(out, read(out))  # a table that cannot be written shows before anything is trained
    costs = study.sensitivities(method, samples)
    found = {}
    for column in study.columns:
        for bits in widths:
            study.measure(found, ("uniform", (bits,) * len(costs), column))
    engines = [study.engine(found, column) for column in study.columns]
    try:
        best = choose(costs, engines, widths=widths, **budgets)
    except Infeasible as error:
        raise BadInput(f"budgets: {error}") from None
    choices = front(costs, engines, widths=widths, points=points, **budgets)
    for choice in [best, *choices]:
        study.measure(found, ("mixed", choice.widths, int(choice.engine.name)),
                      loss=choice.loss)
    rows = study.rows(found, costs)
    if out is not None:
        others = [row for row in read(out) if row["network"] != config.name]
        _write(out, [*others, *rows])
    if write is not None:
        _configuration(path, write, best)
    return {
        "network": config.name, "layers": study.layers, "widths": list(widths),
        "sensitivity": costs.tolist(), "rows": rows,
        "chosen": _name(best.widths), "chosen_columns": int(best.engine.name),
        "solver_seconds": max(choice.seconds for choice in [best, *choices]),
        "out": out and str(out), "written": write and str(write),
    }


def _check(config, widths, columns, points, samples, method):
    if config.model.network is not None:
        raise BadInput("model.network: must be left out; widths are chosen before training")
    for option, values, low, high in (("--width", widths, 2, 8), ("--columns", columns, 1, 256),
                                      ("--points", [points], 1, 1000),
                                      ("--samples", [samples], 32, 1 << 20)):
        for value in values:
            if not low <= value <= high:
                raise BadInput(f"{option} must be {low} to {high}, not {value}")
    if method not in METHODS:
        raise BadInput(f"--sensitivity must be {' or '.join(METHODS)}, not {method!r}")


def _board(name):
    try:
        return boards.get(name)
    except ValueError as error:
        raise BadInput(f"--board: {error}") from None


def _budgets(given, board):
    """The budgets, those of the board where none is given."""
    if board is None:
        if given.get("lut4"):
            raise BadInput("--lut: needs a board, whose LUTs are counted: give --board")
        return {name: given.get(name) for name in BUDGETS}
    return {"lut4": board.lut4, "memory_bits": board.bram_bits, "cycles": None,
            **{name: most for name, most in given.items() if most is not None}}


def _command(path, *, board, widths, columns, budgets, points, method, samples):
    """The command that makes these rows, without what goes without saying."""
    usual = inspect.signature(mixed).parameters
    parts = [f"carrysave mixed {path}", *([f"--board {board}"] if board else [])]
    if widths != usual["widths"].default:
        parts += [f"--width {bits}" for bits in widths]
    parts += [f"--columns {each}" for each in columns]
    for option, name, unit in (("--lut", "lut4", 1), ("--cycles", "cycles", 1),
                               ("--memory", "memory_bits", 8192)):
        if budgets.get(name) is not None:
            parts.append(f"{option} {budgets[name] / unit if unit > 1 else budgets[name]}")
    for option, name, value in (("--points", "points", points), ("--sensitivity", "method", method),
                                ("--samples", "samples", samples)):
        if value != usual[name].default:
            parts.append(f"{option} {value}")
    return " ".join(parts)


class _Study:
    """One network, in all widths."""

    def __init__(self, command, config, board, widths, columns, report):
        self.command, self.config, self.widths, self.report = command, config, widths, report
        self.columns, self.layers = tuple(dict.fromkeys(columns)), []
        self.data = load_data_of(config)
        self.board = board
        for each in self.columns:
            graph_config(self.variant(widths[:1], each))  # before anything is trained

    def variant(self, weights, columns):
        """The configuration with other widths, on the engine of graphs of so many columns."""
        lanes = self.config.engine.lanes or next(n for n in (4, 3, 2, 1) if columns % n == 0)
        update = {"columns": columns, "lanes": lanes}
        return self.config.model_copy(update={
            "quantise": self.config.quantise.model_copy(update={"weights": _names(weights)}),
            "engine": self.config.engine.model_copy(update=update),
            "build": self.config.build.model_copy(update={"boards": []}),  # whether it fits or not
        })

    def sensitivities(self, method, samples):
        """Array of layers by widths, see `monotone`."""
        config = self.config.model_copy(update={
            "quantise": self.config.quantise.model_copy(update={"weights": "int8"})})
        training = Training(config, self.data, self.report)
        floating, _ = training.floating()

        def produce(folder):
            self.report(f"sensitivities of layers: {method}, {samples} samples")
            x, y, _, _ = inputs(self.data, layers=training.layers, shape=training.network["shape"],
                                normalise=config.data.normalise)
            generator = torch.Generator().manual_seed(config.train.seed)
            some = torch.randperm(len(x), generator=generator)[:samples]
            found = METHODS[method](training.quantised(), floating, x[some], y[some],
                                    widths=self.widths)
            (folder / "costs.json").write_text(json.dumps(found.tolist()))

        code = Path(calibration_loss.__code__.co_filename).read_bytes()
        folder, _ = cached("sensitivity", {
            **training.inputs, "group": config.quantise.group, "method": method,
            "samples": samples, "widths": self.widths, "sensitivity": digest(code)}, produce)
        return monotone(np.array(json.loads((folder / "costs.json").read_text())))

    def measure(self, found, key, *, loss=None):
        """Train, compile and synthesise; what came out is put into ``found``."""
        kind, weights, columns = key
        if len(set(weights)) == 1:
            kind = "uniform"
        if (weights, columns) in found:
            return
        title = f"{_name(weights)} on {columns} columns"
        self.report(title)
        prepared = prepare(self.variant(weights, columns),
                           progress=lambda line: self.report(f"{title}: {line}"))
        subject, program = prepared.subject, prepared.program
        self.layers = [layer.name for layer in subject.network.layers if hasattr(layer, "group")]
        classes = argmax(subject.network.logits(subject.x, batch=BATCH))
        right = int((classes == torch.from_numpy(subject.data.y_test)).sum())
        row = {"kind": kind, "accuracy": 100 * right / len(classes), "samples": len(classes),
               "cycles": program.latency(1), "memory_bits": sum(program.memory_bits.values()),
               "lut4": "", "block_ram": "", "loss": loss, "program": program,
               "identity": subject.network.identity.hex()}
        if self.board is not None:
            self.report(f"{title}: synthesis for {self.board.name}")
            used = synthesise(prepared.accelerator(self.board), self.board, check=False).resources
            row |= {"lut4": used["lut4"], "block_ram": used["bram"]}
        found[weights, columns] = row

    def engine(self, found, columns):
        """What the solver is told of an engine."""
        rows = {weights[0]: row for (weights, on), row in found.items() if on == columns}
        program = next(iter(rows.values()))["program"]
        per_word = program.config.columns * program.config.lanes
        named = {layer.name: layer for layer in program.layers if layer.unit is Unit.MAC}
        bits = tuple(named[name].steps * named[name].tiles * per_word for name in self.layers)
        # Averages lie in the memory of weights as well, and are no choice.
        other = max(row["memory_bits"] - width * sum(bits) for width, row in rows.items())
        return Engine(str(columns), {width: row["lut4"] or 0 for width, row in rows.items()},
                      program.latency(1), other, bits)

    def rows(self, found, costs):
        """Rows of the table."""
        tools = "; ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
        rows = []
        for (weights, columns), row in found.items():
            loss = row["loss"]
            if loss is None:
                loss = sum(cost[self.widths.index(bits)]
                           for cost, bits in zip(costs, weights, strict=True))
            entry = {
                "network": self.config.name, "kind": row["kind"], "weights": _name(weights),
                "columns": columns, "loss": f"{loss:.6g}", "accuracy": f"{row['accuracy']:.4g}",
                **{key: row[key] for key in ("memory_bits", "block_ram", "lut4", "cycles",
                                             "samples")},
                "tools": tools,
            }
            entry["hash"] = digest(json.dumps(
                {**entry, "identity": row["identity"], "board": self.board and self.board.name,
                 "engine": dataclasses.asdict(row["program"].config)}, sort_keys=True))[:16]
            entry["command"] = self.command
            rows.append({key: str(entry.get(key, "")) for key in COLUMNS})
        for row in rows:
            row["beyond"] = str(int(beyond(row, rows)))
        return sorted(rows, key=lambda row: (int(row["columns"]), int(row["memory_bits"])))


def beyond(row, rows):
    """Whether a mixed network is a point of the front that no uniform one reaches.

    None has as much accuracy or more with as much memory or less.
    """
    return row["kind"] == "mixed" and not any(
        float(other["accuracy"]) >= float(row["accuracy"])
        and int(other["memory_bits"]) <= int(row["memory_bits"])
        for other in rows if other["kind"] == "uniform")


def _names(weights):
    names = [f"int{bits}" for bits in weights]
    return names[0] if len(set(names)) == 1 else names


def _name(weights):
    """As a table has it: `int4`, or `int8 int3 int4`."""
    names = _names(weights)
    return names if isinstance(names, str) else " ".join(names)


def read(path):
    """Rows of the table, see `read_csv`."""
    return read_csv(path, COLUMNS)


def _write(path, rows):
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_csv(Path(path), COLUMNS, rows)
    except OSError as error:
        raise BadInput(f"--out: {path} cannot be written: {error.strerror}") from None


def _configuration(path, target, choice):
    """The configuration with the widths of a choice, comments kept."""
    document = tomlkit.parse(Path(path).read_text(encoding="utf-8"))
    for section, key, value in (("quantise", "weights", _names(choice.widths)),
                                ("engine", "columns", int(choice.engine.name))):
        if section not in document:
            document[section] = tomlkit.table()
        document[section][key] = value
    name = f"{document['name']}-mixed"
    document["name"] = name[:64]
    try:
        Path(target).write_text(tomlkit.dumps(document), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--write: {target} cannot be written: {error.strerror}") from None
