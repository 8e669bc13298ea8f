# SPDX-License-Identifier: Apache-2.0
"""The logic that a configuration memory of ECP5 describes: cells, and what drives each input.

Wires and muxes as in the data base of Project Trellis. A cell is named by its place, as nextpnr
names it: ``X4/Y37/SLICEA.K0``. Every input of the fabric has one driver, found by following the
configured arcs and the fixed connections from the input backwards.
"""

import collections
import dataclasses
import functools
import re

from .trellis_data import BitstreamError, tile_type

__all__ = ["Cell", "Fabric", "best_match", "matches"]

RELATIVE = re.compile(r"(?:([NS])(\d+))?(?:([EW])(\d+))?_(.*)")
DEVICE_ONLY = re.compile(r"(25|45|85)K_(.*)")
WIDE = re.compile(r"F[5X][A-D]_SLICE")
SLICES = "ABCD"
# Outputs of cells: wire → (cell, pin).
OUTPUTS = (
    (re.compile(r"F(\d)_SLICE"), lambda n: (f"SLICE{SLICES[int(n) // 2]}.K{int(n) % 2}", "F")),
    (re.compile(r"Q(\d)_SLICE"), lambda n: (f"SLICE{SLICES[int(n) // 2]}.FF{int(n) % 2}", "Q")),
    (re.compile(r"FCO([ABC])_SLICE"), lambda s: (f"SLICE{s}.K1", "FCO")),
    (re.compile(r"FCO()_SLICE"), lambda _: ("SLICED.K1", "FCO")),
    (re.compile(r"(WA?DO\d)C_SLICE"), lambda pin: ("SLICEC.RAMW", pin)),
    (re.compile(r"JPADDI([A-D])_PIO"), lambda pio: (f"PIO{pio}", "O")),
    (re.compile(r"G_CLKO_([LRTB]DCC\d+)"), lambda dcc: (dcc, "CLKO")),
)
EBR_OUTPUT = re.compile(r"J(DO[AB]\d+)_EBR")
EBR_INPUTS = (*(f"{kind}{port}{n}" for kind, count in (("DI", 18), ("AD", 14), ("CS", 3))
                for port in "AB" for n in range(count)),
              *(f"{kind}{port}" for kind in ("CLK", "CE", "OCE", "WE", "RST") for port in "AB"))
# RAMW joins pins of slice C to the write ports of slices A and B.
RAMW = {"WDO0": "C1", "WDO1": "A1", "WDO2": "D1", "WDO3": "B1",
        "WADO0": "D0", "WADO1": "B0", "WADO2": "C0", "WADO3": "A0"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell in its place.

    Members
    -------
    kind : str
        ``LUT``, ``CARRY`` (half of a CCU2C), ``RAM`` (half of a 16-by-2 LUT RAM), ``RAMW``, ``FF``,
        ``EBR``, ``BUFFER`` (of a clock), ``INPUT`` or ``OUTPUT`` (pads).
    parameters : dict of str to int or str
    inputs : dict of str to (str, str) or int
        Pin → cell and pin that drive it, or a constant.
    """

    kind: str
    parameters: dict
    inputs: dict


class Fabric:
    """Cells of a configuration memory, read as they are asked for.

    Parameters
    ----------
    memory : Memory
    """

    def __init__(self, memory):
        self.memory, self.chip = memory, memory.device
        size = re.findall(r"-(\d+)F", self.chip.name)[0]
        self.size = "25" if size == "12" else size  # the same die
        self.places, self.kinds = collections.defaultdict(list), collections.defaultdict(list)
        for tile in self.chip.tiles.values():
            self.places[tile.x, tile.y].append(tile)
            self.kinds[tile.kind].append(tile)
        self.arcs, self.ones = {}, {}
        for tile in self.chip.tiles.values():
            bits = self.memory.window(tile).nonzero()
            ones = set(zip(*(axis.tolist() for axis in bits), strict=True))
            self.ones[id(tile)] = ones
            for sink, sources in chosen(tile.kind, ones) if ones else ():
                found = best_match(sources, ones)
                self.arcs[self.wire(tile, sink)] = found and self.wire(tile, found)
        # Connections without bits by the name of their sink; those of a place are sought when
        # needed.
        self.fixed = collections.defaultdict(list)
        for kind in self.kinds:
            for sink, source in (*unset(kind), *tile_type(kind).fixed):
                size, x, y, name = relative(sink)
                # CIBTEST stands for an interface without a block behind it.
                if size in ("", self.size) and not source.endswith("_CIBTEST"):
                    self.fixed[name].append((kind, x, y, source))

    def previous(self, wire):
        """The wire that drives a wire; None at an open end."""
        if wire in self.arcs:
            return self.arcs[wire]
        x, y, name = wire
        for kind, dx, dy, source in self.fixed.get(name, ()):
            tiles = self.kinds[kind] if name.startswith("G_") else \
                [tile for tile in self.places[x - dx, y - dy] if tile.kind == kind]
            for tile in tiles:
                if found := self.wire(tile, source):
                    return found
        return None

    def wire(self, tile, name):
        """A wire of the data base, relative to a tile, as ``(x, y, name)``; None if elsewhere."""
        size, x, y, name = relative(name)
        if size and size != self.size:
            return None
        if name[:2] not in ("G_", "L_", "R_"):
            return tile.x + x, tile.y + y, name
        if name.startswith("G_HPBX"):  # in a row, from the tap at its side
            return self._tap(tile, name)
        if name.startswith("G_VPTX"):  # in a column of taps, from the spine of the quadrant
            return self._spine(tile, name)
        if name.startswith("G_HPRX"):  # to the spines of a quadrant
            return 0, 0, f"G_{self._quadrant(tile)}PCLK{int(name[6:8])}"
        return (tile.x, tile.y, name) if name[0] != "G" else (0, 0, name)

    def _quadrant(self, tile):
        for name, area in self.chip.regions["quadrants"].items():
            if area["x0"] <= tile.x <= area["x1"] and area["y0"] <= tile.y <= area["y1"]:
                return name
        raise BitstreamError(f"column {tile.x}, row {tile.y} is in no quadrant")

    def _tap(self, tile, name):
        for column, reach in self.chip.regions["taps"].items():
            for side in "lr":
                if reach[f"{side}x0"] <= tile.x <= reach[f"{side}x1"]:
                    return int(column[1:]), tile.y, side.upper() + name[1:]
        return None

    def _spine(self, tile, name):
        # A spine's tile lies one column before its taps.
        for column in tile.x, tile.x + 1:
            spine = self.chip.regions["spines"].get(f"{self._quadrant(tile)}{column}")
            if spine:
                return spine["x"], spine["y"], name
        return None

    def option(self, x, y, name, default=""):
        """Value of an enumeration, whose bits may lie in several tiles of one or more places."""
        candidates, bits = None, collections.Counter()
        for place in range(x, x + (3 if name.startswith("EBR") else 1)):
            for tile in self.places[place, y]:
                options = tile_type(tile.kind).enums.get(name)
                if options is None:
                    continue
                matching = {option for option, wanted in options.items()
                            if matches(wanted, self.ones[id(tile)])}
                for option in matching:
                    bits[option] += len(options[option])
                candidates = matching if candidates is None else candidates & matching
        if candidates is None:
            return default
        return max(sorted(candidates), key=lambda option: bits[option], default="")

    def word(self, x, y, name):
        """Value of a word as an int; its bits may lie in several tiles of one or more places."""
        value = None
        for place in range(x, x + (3 if name.startswith("EBR") else 1)):
            for tile in self.places[place, y]:
                # A tile has nothing for the bits that lie in another one.
                for k, group in enumerate(tile_type(tile.kind).words.get(name, ())):
                    found = bool(group) and matches(group, self.ones[id(tile)])
                    value = (value or 0) | found << k
        if value is None:
            raise BitstreamError(f"column {x}, row {y} has no {name}")
        return value

    @functools.cached_property
    def ebr_index(self):
        """Which block RAM begins at a place."""
        return {(tile.x, tile.y): int(tile.kind[7:]) // 2 for tile in self.chip.tiles.values()
                if re.fullmatch(r"MIB_EBR[0246]", tile.kind)}

    def driver(self, x, y, name):
        """What drives a wire: ``(cell, pin)``, or the constant of an input left open."""
        wire = x, y, name
        for _ in range(100_000):
            x, y, name = wire
            for pattern, output in OUTPUTS:
                if match := pattern.fullmatch(name):
                    place, pin = output(match[1])
                    if pin == "FCO" and self.option(x, y, place[:6] + ".MODE") != "CCU2":
                        return 0  # no carry leaves this slice
                    # Dedicated buffers have a place of their own, which the wire does not name.
                    return (place if pin == "CLKO" else f"X{x}/Y{y}/{place}"), pin
            if match := EBR_OUTPUT.fullmatch(name):
                return f"X{x}/Y{y}/EBR{self.ebr_index[x, y]}", match[1]
            following = self.previous(wire)
            if following and WIDE.fullmatch(following[2]):
                # The same bit stands for a wide multiplexer and, in carry slices, for no injection.
                slice_ = SLICES[int(name[1]) // 2]
                if self.option(x, y, f"SLICE{slice_}.MODE") != "CCU2":
                    raise BitstreamError(f"X{x}/Y{y}/SLICE{slice_}: a wide multiplexer, which is "
                                         "not taken apart")
                following = x, y, f"{name}_SLICE"
            if following is None:
                # The ties of clocks and resets, called 0 as well, make a 1, as nextpnr takes it.
                tied = re.fullmatch(r"J[A-D]\d", name) and self.option(x, y, f"CIB.{name}MUX")
                return 0 if tied == "0" else 1
            wire = following
        raise BitstreamError(f"X{x}/Y{y}/{name} drives itself")

    def cell(self, name):
        """The :class:`Cell` in a place."""
        if "DCC" in name:
            return Cell("BUFFER", {}, {"CLKI": self.driver(0, 0, f"G_CLKI_{name}")})
        place, _, bel = name.rpartition("/")
        x, y = (int(part[1:]) for part in place.split("/"))
        if bel.startswith("PIO"):
            data = self.driver(x, y, f"PADDO{bel[3]}_PIO")
            return Cell("OUTPUT", {}, {"I": data}) if isinstance(data, tuple) else \
                Cell("INPUT", {}, {})
        if bel.startswith("EBR"):
            return self._ebr(x, y, bel)
        letter, part = bel[5], bel[7:]
        if part == "RAMW":
            return Cell("RAMW", {}, {pin: self._lut_input(x, y, "C", pin[0], int(pin[1]))
                                     for pin in RAMW.values()})
        return (self._flip_flop if part.startswith("FF") else self._lut)(
            x, y, letter, int(part[-1]))

    def _lut_input(self, x, y, letter, pin, half):
        if self.option(x, y, f"SLICE{letter}.{pin}{half}MUX") == "1":
            return 1
        return self.driver(x, y, f"{pin}{2 * SLICES.index(letter) + half}_SLICE")

    def _lut(self, x, y, letter, half):
        mode = self.option(x, y, f"SLICE{letter}.MODE")
        inputs = {pin: self._lut_input(x, y, letter, pin, half) for pin in "ABCD"}
        init = {"INIT": self.word(x, y, f"SLICE{letter}.K{half}.INIT")}
        if mode == "CCU2":
            inject = self.option(x, y, f"SLICE{letter}.CCU2.INJECT1_{half}")
            inputs["FCI"] = (f"X{x}/Y{y}/SLICE{letter}.K0", "FCO") if half else \
                self.driver(x, y, "FCI_SLICE" if letter == "A" else f"FCI{letter}_SLICE")
            return Cell("CARRY", {**init, "INJECT": inject}, inputs)
        if mode == "DPRAM":
            slice_ = SLICES.index(letter)
            for pin in (f"WAD{n}" for n in range(4)):
                inputs[pin] = self.driver(x, y, f"{pin}{letter}_SLICE")
            inputs["WD"] = self.driver(x, y, f"WD{half}{letter}_SLICE")
            inputs["WCK"] = self.driver(x, y, f"WCK{slice_}_SLICE")
            inputs["WRE"] = self.driver(x, y, f"WRE{slice_}_SLICE")
            return Cell("RAM", {**init, "WCKMUX": self.option(x, y, "CLK1.CLKMUX"),
                                "WREMUX": self.option(x, y, "LSR1.LSRMUX")}, inputs)
        if mode != "LOGIC":
            raise BitstreamError(f"X{x}/Y{y}/SLICE{letter}.K{half}: read as a LUT, but its mode is "
                                 f"{mode or 'unknown'}")
        return Cell("LUT", init, inputs)

    def _flip_flop(self, x, y, letter, half):
        slice_, reg = SLICES.index(letter), f"SLICE{letter}.REG{half}"
        clock, reset = ((self.arcs.get((x, y, f"MUX{kind}{slice_}")) or (x, y, ""))[2]
                        for kind in ("CLK", "LSR"))
        if not clock:
            raise BitstreamError(f"X{x}/Y{y}/SLICE{letter}.FF{half}: no clock reaches it")
        enable = self.option(x, y, f"SLICE{letter}.CEMUX")
        data = "DI" if self.option(x, y, f"{reg}.SD") == "1" else "M"
        return Cell("FF", {
            "REGSET": self.option(x, y, f"{reg}.REGSET"),
            "SD": self.option(x, y, f"{reg}.SD"),
            "LSRMODE": self.option(x, y, f"{reg}.LSRMODE"),
            "CEMUX": enable,
            "CLKMUX": self.option(x, y, f"{clock}.CLKMUX"),
            **{name: self.option(x, y, f"{reset}.{name}") if reset else ""
               for name in ("LSRMUX", "SRMODE")},
            "GSR": self.option(x, y, f"SLICE{letter}.GSR"),
        }, {
            data: self.driver(x, y, f"{data}{2 * slice_ + half}_SLICE"),
            "CLK": self.driver(x, y, f"CLK{slice_}_SLICE"),
            "LSR": self.driver(x, y, f"LSR{slice_}_SLICE") if reset else 0,
            "CE": 1 if enable == "1" else self.driver(x, y, f"CE{slice_}_SLICE"),
        })

    def _ebr(self, x, y, bel):
        def option(name, default=""):
            return self.option(x, y, f"{bel}.{name}", default)

        mode = option("MODE")
        widths = {"DP16KD": ("DP16KD.DATA_WIDTH_A", "DP16KD.DATA_WIDTH_B"),
                  "PDPW16KD": (None, "PDPW16KD.DATA_WIDTH_R")}.get(mode)
        if widths is None:
            raise BitstreamError(f"X{x}/Y{y}/{bel}: mode {mode or 'unknown'}")
        parameters = {f"DATA_WIDTH_{port}": int(option(width)) if width else 36
                      for port, width in zip("AB", widths, strict=True)}
        for name in ("REGMODE_A", "REGMODE_B", "RESETMODE", "ASYNC_RESET_RELEASE", "GSR"):
            parameters[name] = option(name)
        for port in "AB":
            parameters[f"WRITEMODE_{port}"] = \
                option(f"DP16KD.WRITEMODE_{port}", "NORMAL") if mode == "DP16KD" else "NORMAL"
            for pin in ("CLK", "CE", "OCE", "WE", "RST"):
                parameters[f"{pin}{port}MUX"] = option(f"{pin}{port}MUX")
        if mode == "PDPW16KD":
            # Port A writes whenever it is enabled, port B never: no bits of their own.
            parameters["WEAMUX"], parameters["WEBMUX"] = "WEA", "INV"
        number = int(f"{self.word(x, y, f'{bel}.WID'):09b}"[::-1], 2)
        words = self.memory.brams.get(number)
        parameters["CONTENT"] = bytes(4096) if words is None else words.tobytes()
        return Cell("EBR", parameters,
                    {pin: self.driver(x, y, f"J{pin}_EBR") for pin in EBR_INPUTS})


@functools.cache
def relative(name):
    """Size of the devices that have a wire (or none), its offset in columns and rows, its name."""
    size, x, y = "", 0, 0
    if match := DEVICE_ONLY.fullmatch(name):
        size, name = match.groups()
    if name[:2] not in ("G_", "L_", "R_") and (match := RELATIVE.fullmatch(name)):
        rows, columns = int(match[2] or 0), int(match[4] or 0)
        y = rows if match[1] == "S" else -rows
        x = columns if match[3] == "E" else -columns
        name = match[5]
    return size, x, y, name


@functools.cache
def muxes(kind):
    """Muxes of a kind of tile: sink, sources, and the bits that make a difference."""
    return [(sink, sources, {bit[:2] for bits in sources.values() for bit in bits})
            for sink, sources in tile_type(kind).muxes.items()]


@functools.cache
def unset(kind):
    """Sinks and sources of the arcs that hold where no bit is set."""
    found = ((sink, best_match(sources, ())) for sink, sources, _ in muxes(kind))
    return tuple((sink, source) for sink, source in found if source)


def chosen(kind, ones):
    """Sinks and sources of the muxes of a tile that have bits set."""
    return [(sink, sources) for sink, sources, bits in muxes(kind) if not bits.isdisjoint(ones)]


def matches(bits, ones):
    """Whether bits are as a set of those that are 1 says."""
    return all(((frame, bit) in ones) == on for frame, bit, on in bits)


def best_match(sources, ones):
    """The source of a mux whose bits are as set, and the most of them; None if there is none."""
    found = [source for source, bits in sources.items() if matches(bits, ones)]
    return max(found, key=lambda source: len(sources[source]), default=None)
