# SPDX-License-Identifier: Apache-2.0
"""A board's part of the chain: RTL → netlist → routed design → bitstream."""

import dataclasses

from . import arrows
from .errors import BadInput, Failure
from .fpga import levels
from .fpga.build import implement
from .fpga.route import TimingError
from .fpga.synthesis import ResourceError, synthesise
from .hw.process import MissingTool
from .sim.ledger import Arrow
from .sim.verilog import Design, Port

__all__ = ["SOURCES", "BoardChain", "attempt", "netlist_design"]

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

    TASKS = ("synthesis", "routing", *SOURCES)

    def __init__(self, prepared, board, report, *, place=None):
        self.prepared, self.board, self.report = prepared, board, report
        self.place = place or self._place
        self.tasks = {}

    def submit(self, pool, name):
        """Start a task in a pool of threads."""
        self.tasks[name] = pool.submit(
            getattr(self, f"_{name}") if name not in SOURCES else lambda: self._arrow(name))
        return self.tasks[name]

    def get(self, name):
        """What a task gave: a `Synthesis`, a `Routing`, an `Arrow`."""
        return self.tasks[name].result()

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
        return arrows.Level(name, netlist_design(netlist), netlist.startup)

    def _arrow(self, target):
        return attempt(Arrow(SOURCES[target], target, "batch", on=self.board.name),
                       lambda: self._compare(target))

    def _compare(self, target):
        prepared, board, source = self.prepared, self.board, SOURCES[target]
        divisor, samples = prepared.divisor(board), len(prepared.subject.x)
        models = self.level(source), self.level(target)
        samples = min(samples, prepared.config.verify.netlist_samples
                      or arrows.affordable(prepared.program, divisor=divisor))
        self.report(f"{board.name}: {source} against {target}, "
                    f"{samples} samples over the UART pins")
        return arrows.pins_arrow(prepared.subject, prepared.program, *models, board=board.name,
                                 divisor=divisor, samples=samples)


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
