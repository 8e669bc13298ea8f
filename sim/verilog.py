# SPDX-License-Identifier: Apache-2.0
"""Designs as Verilog: what the simulators need to know of one."""

import dataclasses
import itertools
import re
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Shape

from ..hw.ports import flat_ports
from ..hw.yosys import run_yosys

__all__ = ["Design", "Port", "from_component"]


@dataclasses.dataclass(frozen=True)
class Port:
    """A port of the top module.

    Parameters
    ----------
    name : str
    width : int
        Bits.
    direction : str
        ``"input"`` or ``"output"``.
    signed : bool
    shape : shape-castable, optional
        What the bits mean; a plain number otherwise.
    """

    name: str
    width: int
    direction: str
    signed: bool = False
    shape: object = dataclasses.field(default=None, compare=False)

    def __post_init__(self):
        if self.direction not in ("input", "output"):
            raise ValueError(f"Direction of port {self.name} must be 'input' or 'output', "
                             f"not {self.direction!r}")
        if self.shape is None:
            object.__setattr__(self, "shape", Shape(self.width, self.signed))


@dataclasses.dataclass(frozen=True)
class Design:
    """Verilog sources with one top module.

    A netlist of a unit has the unit's ports, so ``dataclasses.replace(design, sources=…)`` makes
    one. Pins that are ``inout`` must be given a direction by a wrapper module.

    Parameters
    ----------
    sources : dict of str to str
        Text by file name.
    top : str
        Name of the top module.
    clock : str or None
        Input that clocks the design at its rising edge.
    reset : str or None
        Synchronous reset, active high; None where the design resets itself.
    ports : tuple of Port
        Ports other than clock and reset.
    defines : tuple of str
        Preprocessor macros, ``NAME`` or ``NAME=VALUE``.
    """

    sources: dict
    top: str
    clock: str | None
    reset: str | None
    ports: tuple
    defines: tuple = ()

    def port(self, name):
        """The port of that name; ``KeyError`` lists the others."""
        for port in self.ports:
            if port.name == name:
                return port
        raise KeyError(f"{self.top} has no port {name!r}; "
                       f"it has {', '.join(port.name for port in self.ports)}")

    def has_port(self, name):
        return any(port.name == name for port in self.ports)


def from_component(component, *, name="top", flat=False):
    """Convert a component to Verilog.

    The text depends on nothing but the component: no paths, no dates.

    Parameters
    ----------
    component : wiring.Component
        In the ``sync`` domain.
    name : str
        Name of the top module; the file is called after it.
    flat : bool
        Without hierarchy: constants reach into all parts, and large designs simulate faster.

    Returns
    -------
    Design
        Members of the signature become ports, nested names joined by ``__``.

    Raises
    ------
    ValueError
        For other clock domains than ``sync``.
    YosysError
        If Yosys rejects the design.
    """
    ports, signals = {}, {}
    for port, (value, direction, shape) in flat_ports(component).items():
        signals[port] = value, direction
        ports[port] = Port(port, len(value), direction.value, value.shape().signed, shape)
    text = rtlil.convert(component, name=name, ports=signals, emit_src=False)
    found = re.findall(rf"^module \\{re.escape(name)}$(.*?)^end$", text, re.M | re.S)[-1]
    found = re.findall(r"^  wire .*\b(?:input|output|inout) \d+ .*\\(\S+)$", found, re.M)
    extra = set(found) - set(ports) - {"clk", "rst"}
    if extra:
        raise ValueError(f"{type(component).__name__} must use the clock domain sync only; its "
                         f"Verilog has the ports {', '.join(sorted(extra))} as well")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "design.il").write_text(text)
        run_yosys([
            "read_rtlil design.il",
            *(["proc -norom", "flatten", "opt -fast", "opt_clean -purge", "memory_collect"] if flat
              else ["proc -nomux -norom", "memory_collect"]),
            "attrmap -remove generator -remove top -remove amaranth.hierarchy",
            "attrmap -modattr -remove generator -remove top -remove amaranth.hierarchy",
            "write_verilog -norename design.v",
        ], cwd=folder)
        verilog = _with_loops(Path(folder, "design.v").read_text())
    return Design(
        sources={f"{name}.v": verilog}, top=name,
        clock="clk" if "clk" in found else None, reset="rst" if "rst" in found else None,
        ports=tuple(port for port in ports.values() if port.name in found),
    )


def _with_loops(verilog):
    """Memories that start with zeros filled by loops, in place of a line for each word."""
    numbers = itertools.count()

    def loop(match):
        indent, memory, value = match[1], match[2], match[3]
        lines = match[0].splitlines()
        first, last = (re.findall(r"\[(\d+)\] = ", line)[-1] for line in (lines[0], lines[-1]))
        # A block needs a name to have a variable, in Verilog.
        return (f"{indent}begin : fill_{next(numbers)}\n"
                f"{indent}  integer word;\n"
                f"{indent}  for (word = {first}; word <= {last}; word = word + 1)\n"
                f"{indent}    {memory}[word] = {value};\n"
                f"{indent}end\n")

    return re.sub(r"^( +)(\S+ ?)\[\d+\] = (\d+'h0+);\n(?:\1\2\[\d+\] = \3;\n){7,}", loop, verilog,
                  flags=re.M)
