# SPDX-License-Identifier: Apache-2.0
"""A board's part of the chain: RTL → netlist → routed design → bitstream."""

import dataclasses
import time
from concurrent.futures import Future

from . import arrows, initial
from .errors import BadInput, Failure
from .fpga import boards, levels
from .fpga.build import implement
from .fpga.route import TimingError
from .fpga.synthesis import ResourceError, synthesise
from .fpga.tools import ToolError
from .hw.process import MissingTool
from .hw.yosys import YosysError
from .sim.ledger import Arrow
from .sim.verilog import Design, Port

__all__ = ["SOURCES", "BoardChain", "attempt", "initial_arrows", "netlist_design"]

#: What each model of a board is compared with.
SOURCES = {"netlist": "rtl", "routed": "netlist", "bitstream": "routed"}


def attempt(arrow, run):
    """The arrow that ``run`` gives, or ``arrow`` as not run where a tool is not installed."""
    try:
        return run()
    except MissingTool as error:
        return dataclasses.replace(arrow, ran=False, why=str(error), detail={"missing": True})


class BoardChain:
    """Models of one board and the arrows between them, as tasks that wait for each other.

    A pool must start them in the order of :attr:`TASKS`, for then whoever waits for another task
    waits for one that has been started.

    Parameters
    ----------
    prepared : Prepared
    board : Board
    report : callable(line)
    place : callable(board, Synthesis) -> Routing, optional
        Another way to place, route and pack.
    """

    TASKS = ("synthesis", "routing", *SOURCES, "contents")

    def __init__(self, prepared, board, report, *, place=None):
        self.prepared, self.board, self.report = prepared, board, report
        self.place = place or self._place
        self.tasks = {}

    def submit(self, pool, name):
        """Start a task in a pool of threads."""
        self.tasks[name] = pool.submit(self._task(name))
        return self.tasks[name]

    def get(self, name):
        """What a task gave: `Synthesis`, `Routing`, list of `Arrow`; done now if none does it."""
        if name not in self.tasks:
            self.tasks[name] = Future()
            self.tasks[name].set_result(self._task(name)())
        return self.tasks[name].result()

    def _task(self, name):
        return (lambda: self._arrows(name)) if name in SOURCES else getattr(self, f"_{name}")

    def _synthesis(self):
        self.report(f"{self.board.name}: synthesis")
        try:
            return synthesise(self.prepared.accelerator(self.board), self.board)
        except ResourceError as error:
            raise BadInput(f"board {self.board.name}: {error}") from None

    def _routing(self):
        return self.place(self.board, self.get("synthesis"))

    def _place(self, board, synthesis):
        try:
            return implement(synthesis, seeds=self.prepared.config.build.seeds,
                             progress=self.report)[-1]
        except ResourceError as error:
            raise BadInput(f"board {board.name}: {error}") from None
        except TimingError as error:
            raise Failure(str(error)) from None

    def level(self, name):
        """A model, an `arrows.Level`."""
        if name == "rtl":
            return arrows.Level(name, self.prepared.design(self.board))
        synthesis = self.get("synthesis")
        if name == "netlist":
            netlist = synthesis.netlist
        elif name == "routed":
            netlist = levels.routed(synthesis, self.get("routing"))
        else:
            self.report(f"{self.board.name}: bitstream taken apart")
            netlist = levels.decompiled(synthesis, self.get("routing"))
        return arrows.Level(name, netlist_design(netlist), netlist.startup, netlist.unverified)

    def _arrows(self, target):
        arrow = Arrow(SOURCES[target], target, "batch", on=self.board.name)
        return [attempt(arrow, lambda: self._compare(target))]

    def _contents(self):
        """Arrows on the bitstream itself, and on block RAM that is late."""
        self.report(f"{self.board.name}: contents of the bitstream")
        found = levels.contents(self.get("synthesis"), self.get("routing"), self._content)
        if self.board.family is boards.ICE40:
            level, prepared = self.level("netlist"), self.prepared
            found.append(attempt(
                Arrow("golden", "netlist", "memory start", on=self.board.name),
                lambda: initial.memory_arrow(
                    prepared.subject, prepared.clean, level.design,
                    divisor=prepared.divisor(self.board), startup=level.startup,
                    clock_hz=self.board.clock_hz, on=self.board.name)))
        return found

    def _content(self, method, what, compare):
        """The arrow of one comparison of `levels.contents`."""
        arrow = Arrow("routed", "bitstream", method, what=what, on=self.board.name)

        def run():
            started = time.monotonic()
            try:
                found = compare()
            except MissingTool:
                raise
            except ToolError as error:
                found = {"compared": 1, "mismatches": 1, "first": None}
                arrow.why = str(error)
            first = found.pop("first")
            arrow.compared, arrow.mismatches = found.pop("compared"), found.pop("mismatches")
            arrow.first = first and {"layer": None, "element": None, "cycle": None, **first}
            arrow.detail = found
            arrow.seconds = round(time.monotonic() - started, 2)
            return arrow

        return attempt(arrow, run)

    def _compare(self, target):
        prepared, board, source = self.prepared, self.board, SOURCES[target]
        divisor, samples = prepared.divisor(board), len(prepared.subject.x)
        samples = min(samples, prepared.config.verify.netlist_samples
                      or arrows.affordable(prepared.program, divisor=divisor))
        models = [self.level(source)]
        try:
            models.append(self.level(target))
        except MissingTool:
            raise
        except (ToolError, YosysError) as error:  # What cannot be taken apart is not the same.
            count = samples * (prepared.program.outputs + 1)
            return Arrow(source, target, "batch", on=board.name, compared=count, mismatches=count,
                         why=str(error))
        self.report(f"{board.name}: {source} against {target}, "
                    f"{samples} samples over the UART pins")
        arrow = arrows.pins_arrow(prepared.subject, prepared.program, *models, board=board.name,
                                  divisor=divisor, samples=samples)
        unverified = sorted({name for model in models for name in model.unverified})
        if unverified:
            arrow.detail["models"] = f"not silicon-verified: {', '.join(unverified)}"
        return arrow


def initial_arrows(prepared):
    """Arrows on states before a reset, and on resets amid a frame."""
    try:
        return initial.initial_arrows(prepared.subject, prepared.clean)
    except MissingTool as error:
        return [Arrow("golden", "rtl", "initial state", ran=False, why=str(error),
                      detail={"missing": True})]


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
