# SPDX-License-Identifier: Apache-2.0
"""Combinational parts of units, proved equal to an arithmetic specification by SAT."""

import dataclasses
import math
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hw.yosys import YosysError, run_yosys

__all__ = ["Core", "Proof", "prove"]


@dataclasses.dataclass(frozen=True)
class Core:
    """A combinational function of a unit and what it must equal.

    Parameters
    ----------
    name : str
    inputs : dict of str to shape
    implementation, specification : callable
        Of Values by the inputs' names; each gives a Value or a dict of them, or a dict of
        submodules and that. They are compared as numbers, of whatever widths.
    assume : callable, optional
        Of the same Values: only inputs for which this Value is 1 count.
    says : str
        The specification in words.
    prepare : sequence of str
        Yosys commands that make modules which are instantiated.
    """

    name: str
    inputs: dict
    implementation: Callable
    specification: Callable
    assume: Callable | None = None
    says: str = ""
    prepare: tuple = ()

    @property
    def bits(self):
        """Bits of all inputs."""
        return sum(Shape.cast(shape).width for shape in self.inputs.values())


@dataclasses.dataclass(frozen=True)
class Proof:
    """What became of a proof.

    Attributes
    ----------
    status : {"proved", "refuted", "not proved"}
        The last where time ran out.
    counterexample : dict or None
        Inputs and both results, where refuted.
    seconds : float
    """

    status: str
    counterexample: dict | None
    seconds: float
    log: str = dataclasses.field(default="", repr=False)


class _Miter(wiring.Component):
    """``equal`` is 1 where implementation and specification agree, or the assumption fails."""

    def __init__(self, core):
        self.core = core
        super().__init__({
            **{name: In(Shape.cast(shape)) for name, shape in core.inputs.items()},
            "equal": Out(1), "assumed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        core = self.core
        values = {}
        for name, shape in core.inputs.items():
            values[name] = getattr(self, name)
            if not isinstance(shape, (Shape, int, range)):  # a layout: as a view of the port
                values[name] = shape(values[name])
        found, wanted = core.implementation(**values), core.specification(**values)
        if isinstance(found, tuple):
            parts, found = found
            m.submodules += parts.values()
        if isinstance(wanted, tuple):
            parts, wanted = wanted
            m.submodules += parts.values()
        if not isinstance(found, dict):
            found, wanted = {"found": found}, {"found": wanted}
        if found.keys() != wanted.keys():
            raise ValueError(f"Results of {core.name} must be {', '.join(wanted)}, "
                             f"not {', '.join(found)}")
        same = []
        for name in found:
            pair = []
            for side, value in ("found", found[name]), ("wanted", wanted[name]):
                value = Value.cast(value)
                signal = Signal(value.shape(), name=f"{side}_{name}")
                m.d.comb += signal.eq(value)
                pair.append(signal)
            same.append(pair[0] == pair[1])
        assumed = Const(1) if core.assume is None else core.assume(**values)
        m.d.comb += [self.assumed.eq(assumed), self.equal.eq(Cat(*same).all() | ~self.assumed)]
        return m


def prove(core, *, timeout=120):
    """Prove or refute that a core equals its specification for all inputs.

    Parameters
    ----------
    core : Core
    timeout : float
        Seconds of the solver.

    Returns
    -------
    Proof

    Raises
    ------
    ValueError
        If no input satisfies the assumption, so that a proof would say nothing.
    """
    start = time.monotonic()
    miter = _Miter(core)
    text = rtlil.convert(miter, name="miter", emit_src=False)
    seconds = max(1, math.ceil(timeout))
    prepare = [*core.prepare, "read_rtlil miter.il", "proc -norom", "flatten", "opt -full"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "miter.il").write_text(text)
        if core.assume is not None:
            log = run_yosys([*prepare, f"sat -set assumed 1 -timeout {seconds} miter"],
                            cwd=folder, timeout=timeout + 60)
            if "SAT solving finished - model found" not in log:
                raise ValueError(f"No input of {core.name} satisfies its assumption")
        try:
            log = run_yosys(
                [*prepare, "sat -prove equal 1 -set-def-inputs -show-public "
                           f"-timeout {seconds} miter"],
                cwd=folder, timeout=timeout + 60)
        except YosysError as error:
            if "TIMEOUT" not in error.log and "did not finish" not in str(error):
                raise
            log = error.log + "TIMEOUT"
    took = time.monotonic() - start
    if "SAT proof finished - no model found: SUCCESS" in log:
        return Proof("proved", None, took, log)
    if "SAT proof finished - model found: FAIL" in log:
        return Proof("refuted", _model(log, core), took, log)
    if "TIMEOUT" in log:
        return Proof("not proved", None, took, log)
    raise YosysError(f"The proof of {core.name} ended without a verdict", log)


def _model(log, core):
    """The values that refute: ``{signal: number}`` from the table that Yosys prints."""
    found = {}
    for name, bits in re.findall(r"^ +\\(\S+) +\S+ +\S+ +([01x]+) *$", log, re.M):
        if name not in core.inputs and not name.startswith(("found", "wanted")):
            continue
        value = int(bits.replace("x", "0"), 2)
        shape = core.inputs.get(name)
        shape = None if shape is None else Shape.cast(shape)
        if shape is not None and shape.signed and bits[0] == "1":
            value -= 1 << len(bits)
        found[name] = value
    return found
