# SPDX-License-Identifier: Apache-2.0
"""Cells of a routed ECP5 design: out of nextpnr's JSON, and back to Verilog."""

import json
from pathlib import Path

import numpy as np

from .tools import ToolError
from .trellis_fabric import EBR_INPUTS, RAMW, Cell

__all__ = ["reached", "routed_cells", "routed_nets", "verilog"]

CELLS = Path(__file__).parent / "cells"
KINDS = {"TRELLIS_FF": "FF", "TRELLIS_RAMW": "RAMW", "DP16KD": "EBR", "DCCA": "BUFFER"}
MODES = {"": "LUT", "LOGIC": "LUT", "CCU2": "CARRY", "DPRAM": "RAM"}
FF_DEFAULTS = {"REGSET": "RESET", "SD": "0", "LSRMODE": "LSR", "CEMUX": "CE", "CLKMUX": "CLK",
               "LSRMUX": "LSR", "SRMODE": "LSR_OVER_CE", "GSR": "ENABLED"}
MUXES = [pin + port for port in "AB" for pin in ("CLK", "CE", "OCE", "WE", "RST")]


def routed_cells(text):
    """Cells of a routed design by their place.

    Parameters
    ----------
    text : str
        nextpnr's JSON.

    Returns
    -------
    dict of str to Cell
    dict of str to str
        Names of the cells in the design, by place.
    dict of str to str
        Places of the pads, by name of the port.
    """
    module = json.loads(text)["modules"]["top"]
    cells, drivers = {}, {}
    for name, cell in module["cells"].items():
        place = cell["attributes"]["NEXTPNR_BEL"]
        # Buffers of clocks are known by their name alone.
        cells[name] = place.rpartition("/")[2] if cell["type"] == "DCCA" else place
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "output":
                drivers.update((bit, (cells[name], pin)) for bit in bits)
    ports = {bit: port for port, entry in module["ports"].items() for bit in entry["bits"]}
    found, names, pads = {}, {}, {}
    for name, cell in module["cells"].items():
        if cell["type"] == "GSR" or cell["parameters"].get("MODE") == "RAMW_BLOCK":
            continue  # released before the first edge; or covered by RAMW
        place = cells[name]
        found[place], names[place] = _cell(name, cell, drivers), name
        if cell["type"] == "TRELLIS_IO":
            pads[ports[cell["connections"]["B"][0]]] = place
    return found, names, pads


def routed_nets(text):
    """Names of the nets of a routed design, by the names of their wires in Verilog."""
    module = json.loads(text)["modules"]["top"]
    known = {bit: name if len(net["bits"]) == 1 else f"{name}[{k}]"
             for name, net in module["netnames"].items() for k, bit in enumerate(net["bits"])}
    found = {}
    for cell in module["cells"].values():
        place = cell["attributes"]["NEXTPNR_BEL"]
        place = place.rpartition("/")[2] if cell["type"] == "DCCA" else place
        for pin, bits in cell["connections"].items():
            if bits and cell["port_directions"][pin] == "output" and bits[0] in known:
                found[wire_name((place, pin))] = known[bits[0]]
    return found


def _cell(name, cell, drivers):
    parameters = {key: value.strip() for key, value in cell["parameters"].items()}

    def source(pin, otherwise=1):
        bits = cell["connections"].get(pin)
        return drivers[bits[0]] if bits else otherwise

    match cell["type"]:
        case "TRELLIS_COMB":
            kind = MODES.get(parameters.get("MODE", ""))
            init = {"INIT": int(parameters["INITVAL"], 2)}
            inputs = {pin: source(pin) for pin in "ABCD"}
            if kind == "CARRY":
                return Cell(kind, {**init, "INJECT": parameters["CCU2_INJECT1"]},
                            {**inputs, "FCI": source("FCI", None)})
            if kind == "RAM":
                inputs.update((pin, source(pin)) for pin in (
                    "WAD0", "WAD1", "WAD2", "WAD3", "WD", "WCK", "WRE"))
                return Cell(kind, {**init, "WCKMUX": _mux(parameters, "WCKMUX", "CLK"),
                                   "WREMUX": _mux(parameters, "WREMUX", "LSR")}, inputs)
            if kind == "LUT" and not cell["connections"].get("OFX"):
                return Cell(kind, init, inputs)
        case "TRELLIS_RAMW":
            return Cell("RAMW", {}, {pin: source(pin) for pin in RAMW.values()})
        case "TRELLIS_FF":
            found = {key: parameters.get(key, value) for key, value in FF_DEFAULTS.items()}
            inputs = {"CLK": source("CLK"), "LSR": source("LSR", 0), "CE": source("CE")}
            if inputs["LSR"] == 0:
                found["LSRMUX"] = found["SRMODE"] = ""
            if inputs["CE"] == 1:
                found["CEMUX"] = "1"
            data = "DI" if found["SD"] == "1" else "M"
            return Cell("FF", found, {**inputs, data: source(data)})
        case "DP16KD":
            return _ebr(parameters, source)
        case "DCCA":
            return Cell("BUFFER", {}, {"CLKI": source("CLKI")})
        case "TRELLIS_IO" if parameters["DIR"] in ("INPUT", "OUTPUT"):
            return Cell(parameters["DIR"], {},
                        {"I": source("I")} if parameters["DIR"] == "OUTPUT" else {})
    raise ToolError(f"{name}: a cell {cell['type']} that is not taken apart")


def _mux(parameters, name, plain):
    """A clock or enable of a LUT RAM, named as the mux that inverts it."""
    return "INV" if parameters.get(name) == "INV" else plain


def _ebr(parameters, source):
    widths = {port: int(parameters.get(f"DATA_WIDTH_{port}", f"{18:b}"), 2) for port in "AB"}
    wide = 36 in widths.values()
    found = {f"DATA_WIDTH_{port}": width for port, width in widths.items()}
    for key, otherwise in (("REGMODE_A", "NOREG"), ("REGMODE_B", "NOREG"), ("RESETMODE", "SYNC"),
                           ("ASYNC_RESET_RELEASE", "SYNC"), ("GSR", "ENABLED")):
        found[key] = parameters.get(key, otherwise)
    for port in "AB":
        found[f"WRITEMODE_{port}"] = \
            "NORMAL" if wide else parameters.get(f"WRITEMODE_{port}", "NORMAL")
    for pin in MUXES:
        found[f"{pin}MUX"] = parameters.get(f"{pin}MUX", pin)
    # Sixteen words of eighteen bits in a row, each in a field of twenty; the configuration holds
    # words of nine.
    content = np.zeros(2048, np.uint16)
    for row in range(64):
        value = int(parameters.get(f"INITVAL_{row:02X}", "0"), 2)
        for word in range(16):
            bits = value >> 20 * word
            at = 2 * (16 * row + word)
            content[at:at + 2] = bits & 0x1FF, bits >> 9 & 0x1FF
    found["CONTENT"] = content.tobytes()
    # Data and addresses left open are tied to 0, all else is 1.
    inputs = {pin: source(pin, int(pin[:2] not in ("DI", "AD")
                                   or parameters.get(f"{pin}MUX") == "1"))
              for pin in EBR_INPUTS}
    return Cell("EBR", found, inputs)


def reached(cell, ends):
    """Cells that have a part in what some places show.

    Parameters
    ----------
    cell : callable
        Gives the :class:`Cell` of a place.
    ends : iterable of str
        Places of output pads.

    Returns
    -------
    dict of str to Cell
    """
    found, pending = {}, list(ends)
    while pending:
        place = pending.pop()
        if place not in found:
            found[place] = cell(place)
            pending += [source[0] for source in found[place].inputs.values()
                        if isinstance(source, tuple)]
    return found


def wire_name(source):
    """Name of a wire in Verilog, after the cell and the pin that drive it."""
    return "_".join(source).replace("/", "_").replace(".", "_")


def verilog(cells, pads):
    """Verilog of cells, with the models that the netlist's do not have.

    A wire is named after the place of the cell that drives it, and its pin: the same at both
    levels.

    Parameters
    ----------
    cells : dict of str to Cell
        Closed: whatever drives a cell is there.
    pads : dict of str to str
        Places of the pads, by name of the port.
    """
    wires = {(place, "O"): port for port, place in pads.items()}

    def net(source):
        if source is None or isinstance(source, int):
            return f"1'b{source or 0}"
        if source not in wires:
            wires[source] = wire_name(source)
        return wires[source]

    body = []
    for place, cell in cells.items():
        body += _statements(place, cell, net)
    inputs = {port for port, place in pads.items() if cells[place].kind == "INPUT"}
    ports = [f"{'input' if port in inputs else 'output'} {port}" for port in pads]
    lines = [f"module top({', '.join(ports)});"]
    lines += [f"  wire {wire};" for wire in wires.values() if wire not in pads]
    lines += [f"  assign {port} = {net(cells[place].inputs['I'])};"
              for port, place in pads.items() if port not in inputs]
    return "\n".join([*lines, *body, "endmodule", (CELLS / "ecp5_routed.v").read_text()])


def _statements(place, cell, net):
    """Verilog of a cell."""
    kind, parameters, inputs = cell.kind, cell.parameters, cell.inputs
    name = place.replace("/", "_").replace(".", "_")

    def instance(model, values, pins):
        listed = ", ".join(f".{key}({value})" for key, value in values.items())
        joined = ", ".join(f".{pin}({value})" for pin, value in pins.items())
        return [f"  {model} #({listed}) {name} ({joined});"]

    def polar(pin, inverted):
        return f"~{net(inputs[pin])}" if inverted else net(inputs[pin])

    def out(pin):
        return net((place, pin))

    plain = {pin: net(source) for pin, source in inputs.items()}
    init = f"16'h{parameters['INIT']:04x}" if "INIT" in parameters else ""
    match kind:
        case "LUT":
            return instance("LUT4_TABLE", {"INIT": init}, {**plain, "Z": out("F")})
        case "CARRY":
            values = {"INIT": init, "INJECT": int(parameters["INJECT"] == "YES")}
            return instance("ECP5_CARRY", values,
                            {**plain, "F": out("F"), "FCO": out("FCO")})
        case "RAM":
            return instance("ECP5_RAM", {"INIT": init}, {
                **plain, "F": out("F"), "WCK": polar("WCK", parameters["WCKMUX"] == "INV"),
                "WRE": polar("WRE", parameters["WREMUX"] == "INV")})
        case "RAMW":
            return [f"  assign {out(pin)} = {plain[source]};" for pin, source in RAMW.items()]
        case "BUFFER":
            return [f"  assign {out('CLKO')} = {plain['CLKI']};"]
        case "FF":
            if parameters["LSRMODE"] != "LSR":
                raise ToolError(f"{place}: a flip-flop that loads at its reset is not modelled")
            return instance("ECP5_FF", {
                "SET": int(parameters["REGSET"] == "SET"),
                "ASYNC": int(parameters["SRMODE"] == "ASYNC"),
            }, {
                "D": plain["DI" if parameters["SD"] == "1" else "M"], "Q": out("Q"),
                "CLK": polar("CLK", parameters["CLKMUX"] == "INV"),
                "LSR": polar("LSR", parameters["LSRMUX"] == "INV"),
                "CE": {"1": "1'b1", "0": "1'b0"}.get(parameters["CEMUX"]) or
                      polar("CE", parameters["CEMUX"] == "INV")})
        case "EBR":
            words = np.frombuffer(parameters["CONTENT"], np.uint16).reshape(64, 16, 2)
            rows = {f"INITVAL_{row:02X}": "320'h" + "".join(
                f"{int(low) | int(high) << 9:05x}" for low, high in words[row][::-1])
                for row in range(64)}
            values = {key: value if isinstance(value, int) else f'"{value}"'
                      for key, value in parameters.items()
                      if key not in ("CONTENT", "ASYNC_RESET_RELEASE", "GSR")
                      and not key.endswith("MUX")}
            pins = {**plain, **{pin: polar(pin, parameters[f"{pin}MUX"] == "INV") for pin in MUXES},
                    **{f"DO{port}{n}": out(f"DO{port}{n}") for port in "AB" for n in range(18)}}
            return instance("DP16KD", {**values, **rows}, pins)
    return []
