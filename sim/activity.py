# SPDX-License-Identifier: Apache-2.0
"""Switching activity of a netlist of gates: how often its nets change, under real transfers."""

import collections
import ctypes
import dataclasses
import graphlib
import itertools

import numpy as np

from ..hw.ports import flat_ports
from .batch import BatchSimulator, load
from .payload import first
from .verilator import HERE, built, compile_flags, find_compiler, run, runtime
from .verilog import Design, Port

__all__ = ["Activity", "GateSimulator"]

#: What Yosys' gates make of their pins A, B, C and D; of a multiplexer's, S is the third.
FUNCTIONS = {
    "$_BUF_": lambda a, b, c, d: a,
    "$_NOT_": lambda a, b, c, d: not a,
    "$_AND_": lambda a, b, c, d: a and b,
    "$_NAND_": lambda a, b, c, d: not (a and b),
    "$_OR_": lambda a, b, c, d: a or b,
    "$_NOR_": lambda a, b, c, d: not (a or b),
    "$_XOR_": lambda a, b, c, d: a != b,
    "$_XNOR_": lambda a, b, c, d: a == b,
    "$_ANDNOT_": lambda a, b, c, d: a and not b,
    "$_ORNOT_": lambda a, b, c, d: a or not b,
    "$_MUX_": lambda a, b, s, d: b if s else a,
    "$_NMUX_": lambda a, b, s, d: not (b if s else a),
    "$_AOI3_": lambda a, b, c, d: not (a and b or c),
    "$_OAI3_": lambda a, b, c, d: not ((a or b) and c),
    "$_AOI4_": lambda a, b, c, d: not (a and b or c and d),
    "$_OAI4_": lambda a, b, c, d: not ((a or b) and (c or d)),
}
REGISTER = "$_DFF_P_"
CLOCK, RESET = "clk", "rst"
CONSTANTS = 2  # nets 0 and 1


class GateTables(ctypes.Structure):
    """``GateTables`` of batch_gates.h."""

    _fields_ = [
        ("port_count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in (
            "port_names", "port_widths", "port_is_output", "port_nets")),
        ("net_count", ctypes.c_int64), ("initial", ctypes.c_void_p),
        ("gate_count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("truth", "pins", "gate_nets")),
        ("register_count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("register_inputs", "register_nets")),
        ("first", ctypes.c_int64), ("end", ctypes.c_int64), ("toggles", ctypes.c_void_p),
    ]


@dataclasses.dataclass(frozen=True)
class Activity:
    """What happened on the nets of a netlist.

    Members
    -------
    cycles : int
        Observed, with a transfer in each.
    toggles : dict of int to int
        By bit of the netlist, in how many cycles a net ended on another level than in the one
        before.
    fan_out : dict of int to int
        By bit, how many input pins of cells a net drives; ports count for nothing.
    outputs : array or dict of arrays
        All payloads that came out, those of earlier transfers among them.
    """

    cycles: int
    toggles: dict = dataclasses.field(repr=False)
    fan_out: dict = dataclasses.field(repr=False)
    outputs: object = dataclasses.field(repr=False)

    @property
    def total(self):
        """Toggles of all nets."""
        return sum(self.toggles.values())

    @property
    def weighted(self):
        """The same, each net's as often as it drives pins."""
        return sum(count * self.fan_out[bit] for bit, count in self.toggles.items())


class GateSimulator(BatchSimulator):
    """The batch simulator with a netlist of gates in place of a compiled design.

    All gates are evaluated once each cycle, without delays: glitches do not exist. Nets are inputs
    and outputs of gates and flip-flops. The clock is none of them: it is ideal, and its toggles,
    two at each flip-flop in each cycle, depend on no operand.

    Parameters
    ----------
    netlist : dict
        As :func:`carrysave.fpga.gates.netlist` gives it.
    unit : wiring.Component
        Whose it is: a component with its ports.

    Raises
    ------
    ValueError
        For a cell that is none of Yosys' simple gates.
    """

    def __init__(self, netlist, unit):
        ports = [Port(name, len(value), direction.value, value.shape().signed, shape)
                 for name, (value, direction, shape) in flat_ports(unit).items()
                 if name in netlist["ports"]]
        reset = RESET if RESET in netlist["ports"] else None
        super().__init__(Design(sources={}, top=type(unit).__name__, clock=CLOCK, reset=reset,
                                ports=tuple(ports)))
        self.fan_out = _fan_out(netlist)
        self._names, counts, self._arrays = _tables(netlist, self.fan_out)
        self._tables = GateTables(
            **counts, port_names=ctypes.addressof(self._names),
            **{name: array.ctypes.data for name, array in self._arrays.items()})

    def library(self, *, trace=False):
        if trace:
            raise ValueError("VCD must be of a compiled design, not of a netlist of gates")
        library = load(build())
        library.sim_gates.restype, library.sim_gates.argtypes = None, [ctypes.c_void_p]
        library.sim_gates(ctypes.byref(self._tables))
        return library

    def observe(self, inputs, *, outputs, warm=0):
        """Toggles while transfers are sent, one each cycle.

        Parameters
        ----------
        inputs : array, list or dict
            Payloads, as :func:`.payload.pack` takes them.
        outputs : int
            Transfers that come out.
        warm : int
            Transfers before those that are observed.

        Returns
        -------
        Activity

        Raises
        ------
        ValueError
            If a transfer has to wait.
        SimulationError
            If outputs are missing or too many.
        """
        count = len(first(inputs))
        start = int(self.design.reset is not None)  # after the cycle of the reset
        self._tables.first, self._tables.end = start + warm, start + count
        toggles = self._arrays["toggles"]
        toggles[:] = 0
        run = self.run(inputs, outputs=outputs, extra=1)
        if (run.input_cycles != np.arange(count)).any():
            raise ValueError(f"{self.design.top} must take a transfer each cycle")
        return Activity(
            cycles=count - warm, outputs=run.outputs, fan_out=self.fan_out,
            toggles=dict(zip(self.fan_out, toggles[CONSTANTS:].tolist(), strict=True)))


def build(*, timeout=600):
    """Shared library of the loops around batch_gates.h, the same for all netlists."""
    def make(folder, work):
        (work / "gates.cpp").write_text('#include "batch_gates.h"\n')
        run([*compile_flags(), "-O3", "-I", HERE, "-c", "gates.cpp", "-o", "gates.o"], cwd=work,
            timeout=timeout)
        run([find_compiler()[0], "-shared", "-pthread", "-o", folder / "gates.so", "gates.o",
             *sorted(runtime("batch").glob("*.o"))], cwd=work, timeout=timeout)

    own = [(HERE / name).read_text()
           for name in ("batch_gates.h", "batch_model.h", "batch_main.cpp")]
    return built({"kind": "gates", "flags": compile_flags()[1:], "own": own}, make) / "gates.so"


def _fan_out(netlist):
    """Pins that each net drives: a dict by bit, of all nets that can change but the clock."""
    counts = collections.Counter(
        bit for kind, pins in netlist["cells"] for pin, bit in pins.items()
        if pin not in ("Q", "Y") and (kind, pin) != (REGISTER, "C"))
    driven = [bit for name, (direction, bits) in netlist["ports"].items()
              if direction == "input" and name != CLOCK for bit in bits]
    driven += [pins["Q" if kind == REGISTER else "Y"] for kind, pins in netlist["cells"]]
    return {bit: counts[bit] for bit in driven}


def _truth(kind):
    """Outputs of a gate for all levels of its four pins, as bits of a number."""
    return sum(bool(FUNCTIONS[kind](*levels[::-1])) << row
               for row, levels in enumerate(itertools.product((0, 1), repeat=4)))


def _sorted(netlist):
    """Gates as ``(type, pins)``, each after those whose outputs enter it."""
    gates = {pins["Y"]: (kind, pins) for kind, pins in netlist["cells"] if kind != REGISTER}
    strange = {kind for kind, _ in gates.values()} - FUNCTIONS.keys()
    if strange:
        raise ValueError(f"Cells must be of the kinds {', '.join(FUNCTIONS)} or {REGISTER}, "
                         f"not {min(strange)}")
    order = graphlib.TopologicalSorter({
        bit: [pin for name, pin in pins.items() if name != "Y" and pin in gates]
        for bit, (_, pins) in gates.items()}).static_order()
    return [gates[bit] for bit in order]


def _tables(netlist, nets):
    """Names of ports, counts and arrays of `GateTables`; nets in their order, after constants."""
    numbers = {"0": 0, "x": 0, "1": 1}
    numbers.update((bit, k) for k, bit in enumerate(nets, CONSTANTS))
    gates, truth = _sorted(netlist), {kind: _truth(kind) for kind in FUNCTIONS}
    registers = [pins for kind, pins in netlist["cells"] if kind == REGISTER]
    ports = [(name, *port) for name, port in netlist["ports"].items() if name != CLOCK]
    names = [name.encode() for name, *_ in ports] + [CLOCK.encode()]
    initial = np.zeros(CONSTANTS + len(nets), np.uint8)
    initial[1] = 1
    for bit, value in netlist["init"]:
        if bit in numbers:
            initial[numbers[bit]] = value

    def net(bits):
        return np.array([numbers[bit] for bit in bits], np.int32)

    counts = {"port_count": len(names), "net_count": len(initial), "gate_count": len(gates),
              "register_count": len(registers)}
    return (ctypes.c_char_p * len(names))(*names), counts, {
        "port_widths": np.array([*(len(bits) for *_, bits in ports), 1], np.uint32),
        "port_is_output": np.array([*(direction == "output" for _, direction, _ in ports), 0],
                                   np.uint8),
        "port_nets": net(bit for *_, bits in ports for bit in bits),
        "initial": initial,
        "truth": np.array([truth[kind] for kind, _ in gates], np.uint16),
        "pins": net(pins.get(pin, "0") for _, pins in (
            (kind, {"C": pins.get("S", "0"), **pins}) for kind, pins in gates) for pin in "ABCD"),
        "gate_nets": net(pins["Y"] for _, pins in gates),
        "register_inputs": net(pins["D"] for pins in registers),
        "register_nets": net(pins["Q"] for pins in registers),
        "toggles": np.zeros(len(initial), np.uint32),
    }
