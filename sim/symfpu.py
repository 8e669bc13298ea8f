# SPDX-License-Identifier: Apache-2.0
"""IEEE 754 arithmetic of any size from Yosys' pass ``symfpu``: a specification by other people."""

import tempfile
from functools import lru_cache
from pathlib import Path

from amaranth.hdl import Const, Instance, Signal
from amaranth.lib import data

from ..hw.yosys import run_yosys
from .verilog import Design, Port

__all__ = ["commands", "design", "instance"]

OPERATIONS = ("add", "sub", "mul", "div")
# Half to even, and none of the assertions that the pass makes about itself.
GENERATE = "symfpu -eb {eb} -sb {sb} -op {op} -rm RNE", "chformal -assert -remove"


def _name(operation, fmt):
    return f"symfpu_{operation}_{fmt.exponent_bits}_{fmt.mantissa_bits}"


def commands(operation, fmt):
    """Yosys commands that make the module of an operation.

    Parameters
    ----------
    operation : {"add", "sub", "mul", "div"}
    fmt : Minifloat
        With Inf and NaN, and the usual bias.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"Operation must be one of {', '.join(OPERATIONS)}, not {operation!r}")
    if fmt.specials != "ieee" or fmt.bias != (1 << fmt.exponent_bits - 1) - 1:
        raise ValueError(f"Format must be an IEEE format, not {fmt.name}")
    if fmt.mantissa_bits < 3:  # an assertion in the pass
        raise ValueError(f"Format must have at least 3 mantissa bits, not {fmt.name}")
    sizes = {"eb": fmt.exponent_bits, "sb": fmt.mantissa_bits + 1, "op": operation}
    return *(line.format(**sizes) for line in GENERATE), f"rename symfpu {_name(operation, fmt)}"


def instance(operation, fmt, a, b):
    """The module as a part of another, which needs `commands` run before; and its result."""
    code = Signal(fmt.bits, name="symfpu_code")
    part = Instance(
        _name(operation, fmt), i_a=a, i_b=b, i_c=Const(0, fmt.bits), i_rm=Const(1, 5), o_o=code)
    return {"symfpu": part}, code


@lru_cache(maxsize=8)
def design(operation, fmt):
    """The module with ports ``i__payload`` (``a`` and ``b``) and ``o__payload``, to simulate."""
    name, bits = _name(operation, fmt), fmt.bits
    with tempfile.TemporaryDirectory() as folder:
        run_yosys([*commands(operation, fmt), "opt -full", "write_verilog -noattr symfpu.v"],
                  cwd=folder)
        text = Path(folder, "symfpu.v").read_text()
    wrapper = f"""
module top(input [{2 * bits - 1}:0] i__payload, output [{bits - 1}:0] o__payload);
  {name} operation(.a(i__payload[{bits - 1}:0]), .b(i__payload[{2 * bits - 1}:{bits}]),
    .c({bits}'d0), .rm(5'd1), .o(o__payload));
endmodule
"""
    payload = data.StructLayout({"a": bits, "b": bits})
    return Design(
        sources={"symfpu.v": text + wrapper}, top="top", clock=None, reset=None,
        ports=(Port("i__payload", 2 * bits, "input", shape=payload),
               Port("o__payload", bits, "output")))
