# SPDX-License-Identifier: Apache-2.0
"""The contract of streams, proved for all time by induction: no stimulus, no bound on cycles."""

import dataclasses
import tempfile
import time
from pathlib import Path

from amaranth.lib import data

from ..hw.yosys import YosysError
from .netlist import aiger, clocked_otherwise, cone, evert, flat, freezes, reach
from .payload import layout_of

__all__ = ["PROPERTIES", "Contract", "prove_contract"]

#: What is proved, in the order in which it is.
PROPERTIES = {
    "valid without ready": "o.valid and o.payload do not depend on o.ready combinationally",
    "payload held": "while o waits, every register that o depends on keeps its value",
    "nothing lost, nothing duplicated": "each result comes out once: never more results than "
    "transfers that end one, none from reset, none missing once the pipeline has run empty; and "
    "input is accepted as long as output is",
}

HARNESS = """
module harness(input clk, input rst, input offer, input [{i_top}:0] i_payload, input take,
               output bad);
  wire i_valid = {i_valid}, i_ready{i_ready}, o_valid{o_valid}, o_ready = {o_ready};
  wire [{o_top}:0] o_payload;
  {top} dut({pins});

  wire ends = {ends};
  wire enter = i_valid & i_ready & ends, leave = o_valid & o_ready;
  reg [4:0] outstanding = 0;  // results that are due
  reg [4:0] idle = 0, taken = 0;  // cycles without input, and of a ready sink
  reg waited = 0, waited_last = 0, held = 0, lawful = 1;
  always @(posedge clk) begin
    waited <= i_valid & ~i_ready & ~rst;
    waited_last <= ends;
    held <= o_valid & ~o_ready & ~rst;
    lawful <= now_lawful;
    outstanding <= rst ? 0 : outstanding + enter - leave;
    idle <= rst | i_valid | ~o_ready ? 0 : idle == {latency} ? idle : idle + 1;
    taken <= rst | ~o_ready ? 0 : taken == {latency} ? taken : taken + 1;
  end
  // The source keeps to the contract: what it offers stays until it is taken.
  wire now_lawful = lawful & ~(waited & ~rst & ~(i_valid & ends == waited_last));
  wire more = o_valid & outstanding + ({latency} == 0 & i_valid & ends) == 0;
  wire lost = ~i_valid & o_ready & idle == {latency} & outstanding != 0;
  wire full = outstanding > {latency} + 1;
  wire dropped = held & ~o_valid;
  wire stuck = o_ready & taken == {latency} & ~i_ready;
  assign bad = now_lawful & ~rst & (more | lost | full | dropped | stuck);
endmodule
"""


@dataclasses.dataclass(frozen=True)
class Contract:
    """What became of one property.

    Attributes
    ----------
    name : str
        One of `PROPERTIES`.
    status : {"proved", "refuted", "not proved"}
    why : str
        What refutes it, or why it is not proved, as a phrase.
    seconds : float
    """

    name: str
    status: str
    why: str
    seconds: float


def prove_contract(design, *, latency, timeout=120):
    """Prove that a design with streams ``i`` and ``o`` keeps to the stream contract.

    Parameters
    ----------
    design : Design
        One result per transfer, or per transfer with ``last`` where the payload has such a field.
    latency : int
        Cycles from a transfer to its result; at most 14.
    timeout : float
        Seconds for each property.

    Returns
    -------
    list of Contract
    """
    if not 0 <= latency <= 14:
        raise ValueError(f"Latency must be 0 to 14, not {latency!r}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = []
        for name, text in design.sources.items():
            (folder / name).write_text(text)
            names.append(name)
        read = [f"read_verilog -sv {' '.join(names)}", f"hierarchy -top {design.top}"]
        others = clocked_otherwise(flat(read, design.top, folder), design.clock)
        if others:
            why = f"as register {others[0]} has another clock than {design.clock} rising"
            return [Contract(name, "not proved", why, 0.0) for name in PROPERTIES]
        steps = (_independent, _held, _counted)
        results = []
        for name, step in zip(PROPERTIES, steps, strict=True):
            start = time.monotonic()
            try:
                status, why = step(design, read, folder, latency, timeout)
            except YosysError as error:
                if "TIMEOUT" not in error.log and "did not finish" not in str(error):
                    raise
                status, why = "not proved", f"within {timeout:g} s"
            results.append(Contract(name, status, why, time.monotonic() - start))
    return results


def _independent(design, read, folder, latency, timeout):
    module = flat(read, design.top, folder)
    seen, _ = cone(module, ["o__valid", "o__payload"])
    if design.has_port("o__ready") and seen & set(module["ports"]["o__ready"]["bits"]):
        return "refuted", "o.valid or o.payload follows o.ready combinationally"
    return "proved", ""


def _held(design, read, folder, latency, timeout):
    """One step from any state: while o waits, the registers before it do not change."""
    if not design.has_port("o__ready"):
        return "proved", ""
    module = flat(read, design.top, folder)
    seen, registers = cone(module, ["o__valid", "o__payload"])
    direct = any(seen & set(module["ports"][name]["bits"])
                 for name in ("i__valid", "i__payload") if design.has_port(name))
    if not registers and not direct:
        return "refuted", "o depends on nothing"
    numbers = evert(module)
    prove = [f"D_{numbers[name]} Q_{numbers[name]}" for name in sorted(registers)]
    if direct:  # the source keeps what it offers, if that is not taken
        if not design.has_port("i__ready"):
            return "refuted", "o follows i, and i cannot be held back"
        prove.append("i__ready 0")
    given = ["o__valid 1", "o__ready 0", *([] if design.reset is None else [f"{design.reset} 0"])]
    held = freezes(module, design.top, folder, given=given, prove=prove, timeout=timeout)
    if held is None:
        return "not proved", f"within {timeout:g} s"
    if not held:
        return "refuted", "a register that o depends on may change while o waits"
    return "proved", ""


def _last_bit(design):
    """Place of the field ``last`` in the payload, if there is one."""
    layout = layout_of(design.port("i__payload").shape)
    if isinstance(layout, data.Layout):
        for key, field in layout:
            if key == "last":
                return field.offset
    return None


def _counted(design, read, folder, latency, timeout):
    """Property-directed reachability (abc pdr) on counters around the design."""
    last = _last_bit(design)
    pins = {"i__payload": "i_payload", "i__valid": "i_valid", "i__ready": "i_ready",
            "o__payload": "o_payload", "o__valid": "o_valid", "o__ready": "o_ready",
            design.clock: "clk", design.reset: "rst"}
    known = {design.clock, design.reset, *(port.name for port in design.ports)} - {None}
    unknown = known - pins.keys()
    if unknown:
        raise ValueError(f"{design.top} must have no ports but i and o, "
                         f"not {', '.join(sorted(unknown))}")
    # Where the design has no port, valid or ready always is.
    free = {"i_valid": "offer", "o_ready": "take", "i_ready": "", "o_valid": ""}
    always = {"i_valid": "1'b1", "o_ready": "1'b1", "i_ready": " = 1'b1", "o_valid": " = 1'b1"}
    harness = HARNESS.format(
        **{name: (free if name.replace("_", "__") in known else always)[name] for name in free},
        i_top=design.port("i__payload").width - 1, o_top=design.port("o__payload").width - 1,
        top=design.top, latency=latency, ends="1'b1" if last is None else f"i_payload[{last}]",
        pins=", ".join(f".{name}({pins[name]})" for name in sorted(known)))
    (folder / "harness.v").write_text(harness)
    bits = aiger([*read, "read_verilog -sv harness.v"], "harness", folder)
    frame = reach(bits, timeout=timeout)
    if frame is None:
        return "not proved", f"within {timeout:g} s"
    if frame >= 0:
        return "refuted", f"a result too many, missing or stuck {frame} cycles after power-on"
    return "proved", ""
