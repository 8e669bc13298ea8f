# SPDX-License-Identifier: Apache-2.0
"""What the fuses of a Gowin die mean, after Project Apicula's data base and packer."""

import dataclasses
import functools
import itertools
import re
import warnings
from types import SimpleNamespace

from .tools import ToolError, ToolMissing

__all__ = ["Die", "Slice", "die"]

WIRE = re.compile(r"R(\d+)C(\d+)_(\w+)")
# Kinds of flip-flops that share a slice; no fuse says whether the clock enable is used.
PAIRS = [pair for edge in ("", "N") for letters in ("", "RS", "CP")
         for pair in itertools.product([f"DFF{edge}{letter}E" for letter in letters or [""]],
                                       repeat=2)]
WIDTHS = (1, 2, 4, 9, 18, 36)


@dataclasses.dataclass(frozen=True)
class Slice:
    """Two LUTs with two flip-flops.

    Members
    -------
    mode : {"logic", "alu", "ram"}
    kinds : (str, str) or None
        Both flip-flops, as Yosys calls them.
    """

    mode: str = "logic"
    kinds: tuple | None = None


@functools.lru_cache(maxsize=2)
def die(name):
    """The :class:`Die` of a name."""
    return Die(name)


class Die:
    """Tables of a die, by row and column of its tiles from 0.

    Parameters
    ----------
    name : str
        As Apicula calls it: ``GW1N-9C``.

    Raises
    ------
    ToolMissing
        Without Apicula.
    """

    def __init__(self, name):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from apycula import attrids, chipdb, gowin_pack, gowin_unpack
                # Apicula's packer: for it knows the fuses of each setting, and here it is asked.
                self._nets = SimpleNamespace(is_constant_net=lambda net: net)
                arguments = SimpleNamespace(get_device=lambda: name, args=SimpleNamespace())
                self.packer = gowin_pack.create_device(arguments, self._nets)
        except ImportError:
            raise ToolMissing("apycula was not found: install the Python package apycula") from None
        self._pack, self._chipdb = gowin_pack, chipdb
        self._unpack, self._attributes = gowin_unpack, attrids
        self.name, self.db = name, self.packer.chipdb.db
        self._routes, self._slices, self._rams = {}, {}, {}
        self._root, self._members, self._globals = {}, {}, {}
        self._join_wires()

    # Wires: a name is (row, column, local name); some have several.

    def _global(self, row, col, name):
        key = row, col, name
        if key not in self._globals:
            text = self._chipdb.wire2global(row + 1, col + 1, self.db, name)
            found = WIRE.fullmatch(text)
            self._globals[key] = (int(found[1]) - 1, int(found[2]) - 1, found[3]) if found else text
        return self._globals[key]

    def _join_wires(self):
        groups = [[(*place, name) for *place, name in wires] for _, wires in self.db.nodes.values()]
        for row, col in itertools.product(range(self.db.rows), range(self.db.cols)):
            for k in (1, 2):
                groups.append([(row, col, f"SN{k}0"), self._global(row - 1, col, f"N1{k}1"),
                               self._global(row + 1, col, f"S1{k}1")])
                groups.append([(row, col, f"EW{k}0"), self._global(row, col - 1, f"W1{k}1"),
                               self._global(row, col + 1, f"E1{k}1")])
        # Long wires: a column, and from each of its rows a branch. As nextpnr's tables have them.
        for (_, col, k), part in self.db.segments.items():
            rows = range(part["min_y"], part["max_y"] + 1)
            groups.append([(part["top_row"], col, part["top_wire"]),
                           (part["bottom_row"], col, part["bottom_wire"]),
                           *((row, col, ("LT01", "LT04")[k // 4]) for row in rows)])
            groups += [[(row, col, f"LBO{k // 4}"), *(
                (row, other, f"LB{k}1") for other in range(part["min_x"], part["max_x"] + 1))]
                for row in rows]
        for group in groups:
            roots = {self._root.get(wire, wire) for wire in group}
            root = min(roots, key=lambda wire: (len(wire[2]), wire))
            members = {member for old in roots for member in self._members.pop(old, [old])}
            self._members[root] = sorted({*members, *group})
            for member in self._members[root]:
                self._root[member] = root

    def wire(self, row, col, name):
        """The wire that a tile calls so; ``VCC`` and ``VSS`` are constants."""
        found = self._global(row, col, name)
        return self._root.get(found, found)

    def names(self, wire):
        """Every (row, column, name) of a wire."""
        return self._members.get(wire, [wire])

    # Routing.

    def routes(self, row, col):
        """Destination → (fuses, {pattern of them: sources}) of a tile."""
        tile = self.db[row, col]
        if tile.ttyp not in self._routes:
            table = self._routes[tile.ttyp] = {}
            for dest, sources in [*tile.pips.items(), *tile.clock_pips.items()]:
                patterns = {}
                for source, fuses in sources.items():
                    pattern = frozenset(fuses).union(*(
                        more for others, more in
                        (tile.alonenode.get(dest, ()) if dest in tile.pips else ())
                        if source not in others))
                    patterns.setdefault(pattern, []).append(source)
                table[dest] = frozenset().union(*patterns), patterns
        return self._routes[tile.ttyp]

    # Logic.

    def table(self, row, col, index, fuses):
        """Content of a LUT, an int."""
        flags = self.db[row, col].bels[f"LUT{index}"].flags
        return sum(1 << bit for bit, where in flags.items() if not set(where) <= fuses)

    def slices(self, row, col, index):
        """(fuses, {pattern of them: :class:`Slice`}) of a slice."""
        ttyp = self.db[row, col].ttyp
        if (ttyp, index) not in self._slices:
            table = self.db.shortval[ttyp].get(f"CLS{index}", {})
            # The fourth has no flip-flops and tells LUT RAM from logic. A slice whose
            # flip-flops are not used looks as if it had two without reset.
            states = [*itertools.product(("logic", "alu"), PAIRS)] if index < 3 else \
                [("logic", None)]
            states.append(("ram", None))
            patterns = {}
            # Where one of a pair is left out, it must look like some pair that has the other.
            for used in ((0, 1), (0,), (1,)):
                for mode, pair in states if table else ():
                    kinds = pair and tuple(pair[k] if k in used else None for k in (0, 1))
                    found = self._slice(row, col, index, mode, kinds)
                    known = patterns.setdefault(found, Slice(mode, kinds))
                    assert known.mode == mode and (kinds is None or all(
                        known.kinds[k] == kinds[k] for k in used)), found
            patterns.setdefault(frozenset(), Slice())
            self._slices[ttyp, index] = frozenset().union(*table.values()), patterns
        return self._slices[ttyp, index]

    def _slice(self, row, col, index, mode, kinds):
        value, packer = self._pack.AttrVal, self.packer
        packer.used_slices = self._pack.UsedSlices()
        settings = {"logic": [], "alu": [value("MODE", "ALU")],
                    "ram": [value("MODE", "SSRAM")]}[mode]
        if mode == "ram" and index == 2:
            settings += [value("LSRONMUX", "LSRMUX"), value("LSR_MUX_LSR", "INV"),
                         value("CLKMUX_1", "UNKNOWN"), value("CLKMUX_CLK", "SIG")]
        packer.used_slices.add_slice_attrs(col, row, index, False, False, settings)
        for k, kind in enumerate(kinds or ()):
            if kind is not None:
                cell = self._pack.CellDesc("", kind, {}, {}, {})
                getattr(packer, f"get_{kind}_fuses")(
                    self._pack.BelDesc(col, row, str(2 * index + k), cell))
        return frozenset(bit for fuses in packer.get_final_slice_fuses() for bit in fuses.bits)

    # Block RAM.

    def block_ram(self, row, col, fuses):
        """What a block RAM can be, a list of (cell, parameters); empty where it is not used.

        A memory with two ports looks like one with one port, which leaves the second alone.

        Parameters
        ----------
        fuses : set of (int, int, int)
            Column from the first of its three tiles, and place in the tile.
        """
        key = tuple(self.db[row, col + k].ttyp for k in range(3))
        if key not in self._rams:
            mask = {(k, *bit) for k in range(3)
                    for table, entries in self.db.shortval.get(key[k], {}).items()
                    if table.startswith("BSRAM_") for bits in entries.values() for bit in bits}
            self._rams[key] = mask, {}
        mask, patterns = self._rams[key]
        fuses = frozenset(fuses & mask)
        if not fuses:
            return []
        for cell, parameters, fixed in () if patterns else settings():
            found = patterns.setdefault(self._block_ram(row, col, cell, parameters, fixed), [])
            if (cell, parameters) not in found:
                found.append((cell, parameters))
        if fuses not in patterns:
            raise ToolError(f"Block RAM R{row + 1}C{col + 1} is set in a way that the kit does not "
                            "know")
        return patterns[fuses]

    def _block_ram(self, row, col, cell, parameters, fixed):
        self._nets.is_constant_net = lambda net: net in fixed
        described = self._pack.CellDesc(
            "", cell, {name: value if isinstance(value, str) else f"{value:b}"
                       for name, value in parameters.items()}, {"BSRAM_SUBTYPE": "X9"},
            {f"AD{port}{k}": [port] for port in ("", "A", "B") for k in range(4)})
        return frozenset(
            (part.x - col, *bit) for part in getattr(self.packer, f"get_{cell}_fuses")(
                self._pack.BelDesc(col, row, "", described)) for bit in part.bits)

    def place(self, row, col, word, bit):
        """Row and column of a bitmap with a bit of an 18-bit word of a block RAM."""
        top = self.db.height + 256 * sorted(self.db.simplio_rows).index(row)
        line = 255 - (word >> 2 & 63) - (0x00, 0x80, 0x40, 0xC0)[word & 3]
        left = sum(self.db[0, k].width for k in range(col))
        return top + line, left + self.db.rev_logicinfo("BSRAM_INIT")[4 * bit + (word >> 8)][0] - 1

    def content(self, row, col, bitmap):
        """The 1024 18-bit words with which a block RAM begins."""
        if len(bitmap) == self.db.height:
            return [0] * 1024
        places = [[self.place(row, col, word, bit) for bit in range(18)] for word in range(1024)]
        return [sum(int(bitmap[y][x]) << bit for bit, (y, x) in enumerate(word))
                for word in places]

    # Pins.

    def pad(self, device, pin):
        """(row, column, letter) of a pin of a device."""
        package, variant, _ = self.db.packages[device]
        return self._unpack.tbrl2rc(self.db, self.db.pinout[variant][package][pin][0])

    def pad_settings(self, row, col, letter, fuses):
        """Names of the settings of a pad."""
        tile = self.db[row, col]
        bits = [[int((r, c) in fuses) for c in range(tile.width)] for r in range(tile.height)]
        return set(self._unpack.parse_attrvals(
            bits, self.db.rev_logicinfo("IOB"), self.db.longval[tile.ttyp][f"IOB{letter}"],
            self._attributes.iob_attrids, "IOB"))


def settings():
    """(cell, parameters, fixed byte enables) of block RAMs as Yosys makes them."""
    resets = ("SYNC", "ASYNC")
    for width, mode, reset, fixed in itertools.product(WIDTHS, (0, 1, 2), resets, ("", " ")):
        yield "SP", {"BIT_WIDTH": width, "WRITE_MODE": mode, "RESET_MODE": reset}, \
            {""} if fixed else set()
    for first, second, reset, fixed in itertools.product(WIDTHS, WIDTHS, resets, ("", "A")):
        yield "SDP", {"BIT_WIDTH_0": first, "BIT_WIDTH_1": second, "RESET_MODE": reset}, set(fixed)
    for first, second, one, two, reset, fixed in itertools.product(
            WIDTHS[:-1], WIDTHS[:-1], (0, 1), (0, 1), resets, ("", "A", "B", "AB")):
        yield "DP", {"BIT_WIDTH_0": first, "BIT_WIDTH_1": second, "WRITE_MODE0": one,
                     "WRITE_MODE1": two, "RESET_MODE": reset}, set(fixed)
