# SPDX-License-Identifier: Apache-2.0
"""Whether two designs with the same ports are the same machine, from power-on and for all time."""

import dataclasses
import tempfile
import time
from pathlib import Path

from ..hw.yosys import YosysError, run_yosys
from .netlist import aiger, reach

__all__ = ["Same", "same"]

# Sums of products as one, as synthesis merges them: the two sides are then alike inside.
MERGED = ("opt", "wreduce", "alumacc", "opt_clean", "maccmap")


@dataclasses.dataclass(frozen=True)
class Same:
    """What became of the proof.

    Attributes
    ----------
    status : {"proved", "refuted", "not proved"}
    cycle : int or None
        Where refuted: a cycle after power-on in which an output can differ.
    seconds : float
    """

    status: str
    cycle: int | None
    seconds: float


def same(a, b, *, timeout=60, merged=False):
    """Prove that two designs give the same outputs for the same inputs, in every cycle.

    Both start from power-on; inputs are free in every cycle, the reset as well. Every bit of every
    output is compared, valid or not.

    Parameters
    ----------
    a, b : Design
        With the same ports, clock and reset. What is undefined in either is 0.
    timeout : float
        Seconds.
    merged : bool
        Merge the sums and products of ``a`` first, by the passes of Yosys that synthesis begins
        with. Products of 8 by 8 bits and more want it, as the proof then is seldom long; of what
        these passes do it says nothing.

    Returns
    -------
    Same

    Raises
    ------
    ValueError
        If the ports are not the same.
    YosysError
        If Yosys cannot read a design.
    """
    if (a.ports, a.clock, a.reset) != (b.ports, b.clock, b.reset):
        raise ValueError(f"{a.top} and {b.top} must have the same ports, clock and reset")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, design in ("gold", a), ("gate", b):
            _read(design, name, folder)
        (folder / "miter.v").write_text(_miter(a))
        read = ["read_rtlil gold.il", *(MERGED if merged else ()), "read_rtlil gate.il",
                "read_verilog -sv miter.v"]
        try:
            cycle = reach(aiger(read, "miter", folder), timeout=timeout, grace=10)
        except YosysError as error:
            if "did not finish" not in str(error):
                raise
            cycle = None
    status = {None: "not proved", -1: "proved"}.get(cycle, "refuted")
    return Same(status, cycle if status == "refuted" else None, time.monotonic() - start)


def _read(design, name, folder):
    """A design as one flat module of that name, in ``name.il``."""
    work = folder / name
    work.mkdir()
    for file, text in design.sources.items():
        (work / file).write_text(text)
    defines = "".join(f" -D{define}" for define in design.defines)
    # Models of cells that are not used are not elaborated: some take minutes.
    run_yosys([f"read_verilog -sv -defer{defines} {' '.join(design.sources)}",
               f"hierarchy -top {design.top}", "proc -norom", "flatten", "opt_clean",
               f"rename -top {name}", "delete =*/t:$scopeinfo", f"write_rtlil ../{name}.il"],
              cwd=work)


def _miter(design):
    """Both side by side, and ``bad`` where an output differs."""
    ports = [(pin, 1, "input") for pin in (design.clock, design.reset) if pin]
    ports += [(port.name, port.width, port.direction) for port in design.ports]
    inputs = [(name, width) for name, width, direction in ports if direction == "input"]
    outputs = [(name, width) for name, width, direction in ports if direction == "output"]
    declared = ", ".join(f"input [{width - 1}:0] {name}" for name, width in inputs)
    lines = [f"module miter({declared}, output bad);"]
    for side in "gold", "gate":
        lines += [f"wire [{width - 1}:0] {side}_{name};" for name, width in outputs]
        pins = [f".{name}({name})" for name, _ in inputs]
        pins += [f".{name}({side}_{name})" for name, _ in outputs]
        lines.append(f"{side} {side}({', '.join(pins)});")
    differ = " | ".join(f"(gold_{name} != gate_{name})" for name, _ in outputs)
    return "\n".join([*lines, f"assign bad = {differ};", "endmodule", ""])
