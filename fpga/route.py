# SPDX-License-Identifier: Apache-2.0
"""From a netlist to a placed and routed design and its bitstream, with nextpnr."""

import dataclasses
import json
import re
from pathlib import Path

from ..hw.cache import cached, digest
from .synthesis import ResourceError
from .tools import ToolError, console_script, run_tool, tool_version

__all__ = ["Routing", "Timing", "TimingError", "route", "timing", "worst_path"]


class TimingError(RuntimeError):
    """No attempt met the clock. ``routings`` holds what each of them gave."""

    def __init__(self, message, routings):
        super().__init__(message)
        self.routings = routings


@dataclasses.dataclass(frozen=True)
class Timing:
    """Timing of the clock with the least slack.

    Members
    -------
    clock_mhz, fmax_mhz : float
        What is wanted, and what was reached.
    slack_ns : float
        Negative where the clock is missed.
    """

    clock_mhz: float
    fmax_mhz: float
    slack_ns: float


@dataclasses.dataclass(frozen=True)
class Routing:
    """A routed design.

    Members
    -------
    seed : int
    bitstream, design : Path
        The bitstream, and the routed design as nextpnr's JSON; in the cache, not to be written to.
        On ECP5, ``top.config`` beside them is the configuration before it was packed.
    report : dict
        Of nextpnr: ``fmax``, ``critical_paths``, ``utilization``.
    commands : tuple of tuple of str
        Router and packer, with their arguments.
    reused : bool
        Whether it came from the cache.
    """

    seed: int
    bitstream: Path
    design: Path
    report: dict
    commands: tuple
    reused: bool

    @property
    def timing(self):
        return timing(self.report)

    def utilisation(self, family):
        """``{resource: {"used": …, "available": …}}`` after packing."""
        return {resource: {key: self.report["utilization"][name][key]
                           for key in ("used", "available")}
                for resource, name in family.utilisation.items()}


def timing(report):
    """The :class:`Timing` in a report of nextpnr."""
    clocks = [Timing(round(clock["constraint"], 3), round(clock["achieved"], 3),
                     round(1e3 / clock["constraint"] - 1e3 / clock["achieved"], 3))
              for clock in report["fmax"].values()]
    if not clocks:
        raise ValueError("The report has no clock: the design has no path between flip-flops")
    return min(clocks, key=lambda clock: clock.slack_ns)


def worst_path(report):
    """The slowest path from clock to clock of a report of nextpnr, in lines to read."""
    paths = [path for path in report["critical_paths"]
             if "<async>" not in (path["from"], path["to"])]
    path = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]), default=None)
    if path is None:
        return []
    total = sum(step["delay"] for step in path["path"])
    lines = [f"slowest path, {total:.2f} ns, from {path['from']} to {path['to']}:"]
    for step in path["path"]:
        if step["delay"] == 0:
            continue
        where = step["net"] if step["type"] == "routing" else \
            f"{step['to']['cell']}.{step['to']['port']}"
        lines.append(f"  {step['delay']:6.2f} ns  {step['type']:8}  {where}")
    return lines


def route(synthesis, *, seed=1, timing_driven=True, timeout=3600, cache=None, progress=None):
    """Place, route and pack a synthesised design, whether or not the clock is met.

    Parameters
    ----------
    synthesis : Synthesis
    seed : int
        Of the placer.
    timing_driven : bool
        Place for speed; without it, the tool takes half the time and reaches some 10 % less.
    timeout : float
        Seconds.
    cache : path, optional
        Another cache folder than the user's.
    progress : callable, optional
        Called with a line of text as each step starts.

    Returns
    -------
    Routing

    Raises
    ------
    ToolError
        If a tool fails, for instance because the design cannot be placed.
    """
    if not isinstance(seed, int):
        raise TypeError(f"Seed must be an integer, not {seed!r}")
    board, plan = synthesis.board, synthesis.plan
    family = board.family
    commands = (
        (console_script(plan.route[0]), *plan.route[1:], "--seed", str(seed),
         *([] if timing_driven else ["--no-tmdriv"]), "--report", "report.json",
         "--write", "routed.json", "--timing-allow-fail"),
        (console_script(plan.pack[0]), *plan.pack[1:]),
    )

    def produce(folder):
        (folder / "top.json").write_text(synthesis.json)
        (folder / f"top{family.constraints}").write_text(plan.constraints)
        for verb, command in zip(("place and route", "bitstream"), commands, strict=True):
            if progress:
                progress(f"{board.name}: {verb}, seed {seed}")
            try:
                run_tool(command, cwd=folder, timeout=timeout)
            except ToolError as error:
                if re.search("no B[Ee][Ll]s? remaining|Unable to find a placement", error.log):
                    raise ResourceError(f"The design does not fit {board.title} once it is packed: "
                                        f"{error}. Use a smaller array or network, or a larger "
                                        "board.") from None
                raise
        kept = (f"top{family.bitstream}", "routed.json", "top.config", "report.json", "top.tim")
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()

    inputs = {"netlist": digest(synthesis.json), "constraints": digest(plan.constraints),
              "commands": commands, "tools": [tool_version(command[0]) for command in commands]}
    folder, reused = cached("route", inputs, produce, root=cache)
    return Routing(seed=seed, bitstream=folder / f"top{family.bitstream}",
                   design=folder / "routed.json", commands=commands,
                   report=json.loads((folder / "report.json").read_text()), reused=reused)
