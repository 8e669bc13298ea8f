# SPDX-License-Identifier: Apache-2.0
"""The netlist in a bitstream of a Gowin die: routes, cells and contents, each from its fuses."""

import re

import numpy as np

from .tools import ToolError

__all__ = ["Fabric"]

# Cells with block RAM, as Apicula calls them: their models, and their ports.
NAMES = {"SP": "GOWIN_SPX9", "SDP": "SDPX9B", "DP": "DPX9B"}
PORTS = {
    "SP": ("CLK", "CE", "OCE", "RESET", "WRE", "BLKSEL", "AD", "DI", "DO"),
    "SDP": ("CLKA", "CEA", "RESETA", "BLKSELA", "ADA", "DI", "CLKB", "CEB", "OCE", "RESETB",
            "BLKSELB", "ADB", "DO"),
    "DP": ("CLKA", "CEA", "OCEA", "RESETA", "WREA", "BLKSELA", "ADA", "DIA", "DOA",
           "CLKB", "CEB", "OCEB", "RESETB", "WREB", "BLKSELB", "ADB", "DIB", "DOB"),
}
WIDTHS = {"DI": 36, "DO": 36, **{f"{port}{side}": width for side in ("", "A", "B")
                                 for port, width in (("AD", 14), ("BLKSEL", 3))},
          **{f"{port}{side}": 18 for port in ("DI", "DO") for side in "AB"}}
OUTPUT = re.compile(r"(F|Q|OF)(\d)")


def text(wire):
    """A wire, or another (row, column, name), as an identifier that counts from 1."""
    row, col, name = wire
    return f"R{row + 1}C{col + 1}_{name}"


def depends(table, k):
    """Whether a LUT depends on input ``k``."""
    return any((table >> n ^ table >> (n | 1 << k)) & 1 for n in range(16) if not n >> k & 1)


class Fabric:
    """A bitstream as a netlist: from the pads back through routing and cells.

    Parameters
    ----------
    die : Die
    bitmap : list of list of int
        As Apicula reads a bitstream, content of block RAM included.
    pads : dict of (int, int, str) to str
        (row, column, letter) → name of the pin.
    """

    def __init__(self, die, bitmap, pads):
        self.die, self.bitmap, self.pads = die, bitmap, pads
        self.fuses, bits, top = {}, np.asarray(bitmap, np.uint8), 0
        for row in range(die.db.rows):
            left = 0
            for col in range(die.db.cols):
                tile = die.db[row, col]
                part = bits[top:top + tile.height, left:left + tile.width]
                self.fuses[row, col] = {(r, c) for r, c in np.argwhere(part).tolist()}
                left += tile.width
            top += die.db[row, 0].height
        self.inputs, self.rams, self.found = {}, {}, {}
        self.lines, self.names, self.waiting, self.written = [], set(), [], []
        self._check()
        self._find_rams()

    def _check(self):
        """Every fuse of a tile with logic, and every route, must have a meaning."""
        for (row, col), fuses in self.fuses.items():
            if not fuses:
                continue
            rest = set(fuses)
            for name, (mask, patterns) in self.die.routes(row, col).items():
                used = mask & fuses
                if used and used not in patterns:
                    self._fail(row, col, f"wire {name}", used)
                rest -= used
            tile = self.die.db[row, col]
            if "LUT0" not in tile.bels:
                continue  # pads and general settings
            for name, bel in tile.bels.items():
                if name.startswith("LUT"):
                    rest.difference_update(*bel.flags.values())
            for k in range(4):
                rest -= self.die.slices(row, col, k)[0]
            if rest:
                self._fail(row, col, "fuses", rest)

    def _fail(self, row, col, what, fuses):
        raise ToolError(f"Tile R{row + 1}C{col + 1}: {what} set in a way that has no meaning: "
                        f"{sorted(fuses)}")

    def _find_rams(self):
        for row in sorted(self.die.db.simplio_rows):
            for col in range(self.die.db.cols):
                bel = self.die.db[row, col].bels.get("BSRAM")
                if bel is None:
                    continue
                found = self.die.block_ram(row, col, {
                    (k, *bit) for k in range(3) for bit in self.fuses[row, col + k]})
                for port, name in bel.portmap.items() if found else ():
                    if port.startswith("DO"):
                        self.rams[self.die.wire(row, col, name)] = row, col, found

    def _reading(self, row, col, found):
        """What a block RAM is, of all that its fuses allow: two ports if the second has a clock.

        A port of 36 bits takes both; its fuses leave no choice.
        """
        pins = self.die.db[row, col].bels["BSRAM"].portmap
        both = self._routed(self.die.wire(row, col, pins["CLKB"]))
        wide = any(isinstance(self.source(self.die.wire(row, col, pins[f"DI{k}"])), tuple)
                   for k in range(18, 36))
        for cell in ("DP", "SDP", "SP") if both else ("SP",):
            fitting = [parameters for kind, parameters in found if kind == cell]
            if cell == "SP" and len(fitting) > 1:
                # With WRITE_MODE 2, no fuse tells 18 bits from 36.
                fitting = [parameters for parameters in fitting
                           if (parameters["BIT_WIDTH"] == 36) == wide]
            if len(fitting) == 1:
                return cell, fitting[0]
            if fitting:
                break
        raise ToolError(f"Block RAM R{row + 1}C{col + 1} can be read in more than one way: {found}")

    def _routed(self, wire):
        """Whether fuses give a wire a driver."""
        return any(
            routes[dest][0] & self.fuses[row, col]
            for row, col, name in self.die.names(wire)
            for routes in (self.die.routes(row, col),) for dest in (name, f"{name}0")
            if dest in routes and self.die.wire(row, col, dest) == wire)

    def source(self, wire):
        """Where the signal of a wire begins: the wire of a cell's or pad's output, or a constant.

        None if nothing drives it.
        """
        if isinstance(wire, str):
            return {"VCC": "1'b1", "VSS": "1'b0"}[wire]
        if wire in self.found:
            if self.found[wire] is self:
                raise ToolError(f"Wire {text(wire)} drives itself")
            return self.found[wire]
        self.found[wire] = self
        drivers, resting = set(), set()
        for row, col, name in self.die.names(wire):
            routes = self.die.routes(row, col)
            for dest in (name, f"{name}0"):
                if dest not in routes or self.die.wire(row, col, dest) != wire:
                    continue
                mask, patterns = routes[dest]
                used = frozenset(mask & self.fuses[row, col])
                (drivers if used else resting).update(
                    self.die.wire(row, col, name) for name in patterns.get(used, ()))
        sources = {self.source(driver) for driver in drivers or resting} - {None}
        if not drivers and not resting:
            sources = {wire} if self._is_output(wire) else set()
        if len(sources) > 1:
            raise ToolError(f"Wire {text(wire)} is driven more than once")
        self.found[wire] = sources.pop() if sources else None
        return self.found[wire]

    def _is_output(self, wire):
        if wire in self.inputs or wire in self.rams:
            return True
        return any(re.fullmatch(r"F[0-7]|Q[0-5]|OF[0-7]", name)
                   and "LUT0" in self.die.db[row, col].bels
                   for row, col, name in self.die.names(wire))

    # Cells.

    def verilog(self):
        """Module ``top`` with the pins as ports."""
        ports, outputs = [], []
        for (row, col, letter), pin in self.pads.items():
            settings = self.die.pad_settings(row, col, letter, self.fuses[row, col])
            wires = self.die.db[row, col].bels[f"IOB{letter}"].portmap
            if "PADDI" in settings and not settings & {"ODMUX", "ODMUX_1"}:
                self.inputs[self.die.wire(row, col, wires["O"])] = pin
                ports.append(f"input {pin}")
            elif settings & {"ODMUX", "ODMUX_1"} and "PADDI" not in settings:
                outputs.append((pin, row, col, wires, "ODMUX" in settings))
                ports.append(f"output {pin}")
            else:
                raise ToolError(f"Pin {pin} is neither an input nor an output")
        for pin, row, col, wires, tristate in outputs:
            if tristate and self._input(row, col, wires["OE"]) != "1'b0":
                raise ToolError(f"Pin {pin} does not always drive")
            self.lines.append(f"  assign {pin} = {self._input(row, col, wires['I'])};")
        while self.waiting:
            self._cell(self.waiting.pop())
        declared = [f"  wire {name};" for name in sorted(self.names)]
        return "\n".join([f"module top({', '.join(ports)});", *declared, *self.lines,
                          "endmodule", ""])

    def _input(self, row, col, name, *, resting=None):
        """The net or constant at an input of a cell, whose own cell is then written as well."""
        source = self.source(self.die.wire(row, col, name)) or resting
        if source is None:
            raise ToolError(f"Input {text((row, col, name))} has no driver")
        return self._net(source)

    def _net(self, source):
        if isinstance(source, str):
            return source
        if source in self.inputs:
            return self.inputs[source]
        name = text(source)
        if name not in self.names:
            self.names.add(name)
            self.waiting.append(source)
        return name

    def _add(self, kind, name, parameters, ports):
        self.lines.append(f"  {kind} #({', '.join(f'.{k}({v})' for k, v in parameters.items())}) "
                          f"{name} ({', '.join(f'.{k}({v})' for k, v in ports.items())});")

    def _cell(self, wire):
        """Write the cell that drives a wire."""
        if wire in self.rams:
            if self.rams[wire] not in self.written:
                self.written.append(self.rams[wire])
                self._block_ram(*self.rams[wire])
            return
        row, col, kind, index = next(
            (row, col, found[1], int(found[2])) for row, col, name in self.die.names(wire)
            if (found := OUTPUT.fullmatch(name)) and "LUT0" in self.die.db[row, col].bels)
        {"F": self._function, "Q": self._flip_flop, "OF": self._multiplexer}[kind](
            row, col, index, text(wire))

    def slice(self, row, col, index):
        mask, patterns = self.die.slices(row, col, index)
        return patterns[frozenset(mask & self.fuses[row, col])]

    def _function(self, row, col, index, net):
        table = self.die.table(row, col, index, self.fuses[row, col])
        if self.slice(row, col, index // 2).mode == "alu":
            self._adder(row, col, index, summed=True)
        elif index < 4 and self.slice(row, col, 3).mode == "ram":
            self._add("RAM16SDP1", f"ram_{net}", {"INIT_0": f"16'h{table:04x}"}, {
                "DO": net, "DI": self._input(row, col, f"{'ABCD'[index]}5"),
                "CLK": self._input(row, col, "CLK2"), "WRE": self._input(row, col, "LSR2"),
                "WAD": self._bus(row, col, [f"{letter}4" for letter in "ABCD"]),
                "RAD": self._bus(row, col, [f"{letter}{index}" for letter in "ABCD"])})
        else:
            self._add("GOWIN_LUT4", f"lut_{net}", {"INIT": f"16'h{table:04x}"}, {
                "F": net, **{f"I{k}": self._input(row, col, f"{'ABCD'[k]}{index}")
                             if depends(table, k) else "1'b0" for k in range(4)}})

    def _adder(self, row, col, index, *, summed=False):
        """An ALU, and those before it in its chain."""
        place = row, col, index
        if place in self.written:
            return
        self.written.append(place)
        table = self.die.table(row, col, index, self.fuses[row, col])
        previous = (row, col, index - 1) if index else (row, col - 1, 5)
        carry = "1'b0"
        if previous[1] >= 0 and "LUT0" in self.die.db[previous[:2]].bels \
                and self.slice(*previous[:2], previous[2] // 2).mode == "alu":
            carry = f"carry_{text((*previous[:2], previous[2]))}"
            self._adder(*previous)
        elif table >> 4 or summed:
            raise ToolError(f"Adder {text(place)} has no carry input")
        net = text(self.die.wire(row, col, f"F{index}"))
        self.names.update((net, f"carry_{text(place)}"))
        self._add("GOWIN_ALU", f"alu_{net}", {"INIT": f"16'h{table:04x}"}, {
            "SUM": net, "COUT": f"carry_{text(place)}", "CIN": carry,
            **{f"I{k}": self._input(row, col, f"{'ABCD'[k]}{index}")
               if depends(table, k) else "1'b0" for k in range(4)}})

    def _flip_flop(self, row, col, index, net):
        found = self.slice(row, col, index // 2)
        if found.kinds is None:
            raise ToolError(f"Flip-flop {net} is not set up")
        kind = found.kinds[index % 2]
        half = index // 2
        letter = kind.removeprefix("DFF").removeprefix("N").removesuffix("E")
        ports = {"Q": net, "D": self._input(row, col, f"F{index}"),
                 "CLK": self._input(row, col, f"CLK{half}"),
                 "CE": self._input(row, col, f"CE{half}", resting="1'b1")}
        if letter:
            port = {"R": "RESET", "S": "SET", "C": "CLEAR", "P": "PRESET"}[letter]
            ports[port] = self._input(row, col, f"LSR{half}")
        self._add(kind, f"ff_{net}", {}, ports)

    def _multiplexer(self, row, col, index, net):
        low, high = {
            1: ("OF2", "OF0"), 5: ("OF6", "OF4"), 3: ("OF5", "OF1"),
        }.get(index, (f"F{index}", f"F{index + 1}"))
        side = col
        if index == 7:
            low = high = "OF3"
            side = col + 1
        self._add("MUX2", f"mux_{net}", {}, {
            "O": net, "I0": self._input(row, side, low), "I1": self._input(row, col, high),
            "S0": self._input(row, col, f"SEL{index}")})

    def _bus(self, row, col, names):
        return "{" + ", ".join(self._input(row, col, name) for name in reversed(names)) + "}"

    def _block_ram(self, row, col, found):
        cell, parameters = self._reading(row, col, found)
        pins = self.die.db[row, col].bels["BSRAM"].portmap
        ports = {}
        for port in PORTS[cell]:
            bits = [port] if port in pins else [f"{port}{k}" for k in range(WIDTHS[port])]
            if port.startswith("DO"):
                nets = [text(self.die.wire(row, col, pins[bit])) for bit in bits]
                self.names.update(nets)
                ports[port] = "{" + ", ".join(reversed(nets)) + "}"
            elif port.startswith("DI"):
                # Only as many as the port is wide have to have a driver.
                sources = [self.source(self.die.wire(row, col, pins[bit])) for bit in bits]
                ports[port] = "{" + ", ".join(
                    "1'b0" if source is None else self._net(source)
                    for source in reversed(sources)) + "}"
            elif len(bits) > 1:
                ports[port] = self._bus(row, col, [pins[bit] for bit in bits])
            else:
                ports[port] = self._input(row, col, pins[port])
        words = self.die.content(row, col, self.bitmap)
        rows = {f"INIT_RAM_{k:02X}": "288'h" + format(sum(
            word << 18 * n for n, word in enumerate(words[16 * k:16 * k + 16])), "072x")
            for k in range(64) if any(words[16 * k:16 * k + 16])}
        self._add(NAMES[cell], f"ram_{text((row, col, 'BSRAM'))}", {
            **{name: f'"{value}"' if isinstance(value, str) else value
               for name, value in parameters.items()}, **rows}, ports)
