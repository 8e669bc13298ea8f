# SPDX-License-Identifier: Apache-2.0
"""ECP5: routed designs and bitstreams back to Verilog, and the one compared with the other.

A bitstream is read here, without ecpunpack. Trusted is Project Trellis' data base, from which
nextpnr and ecppack take the meaning of every bit as well: an error in it would not be seen here.
"""

import functools
import itertools
import json
import re
import tempfile
from pathlib import Path

import numpy as np

from .tools import run_tool
from .trellis_bitstream import read_bitstream
from .trellis_cells import reached, routed_cells, routed_nets, verilog
from .trellis_data import BitstreamError, database, device, parse_config, render, tile_type
from .trellis_fabric import Fabric, best_match, matches

__all__ = ["compare_cells", "compare_configuration", "decompile", "names", "routed_verilog",
           "unpacked"]

LOCATION = re.compile(r'LOCATE COMP "([^"]+)" SITE "([^"]+)"')
PART = re.compile(rb"Part: \S+-\d([A-Z]+\d+)")


def routed_verilog(text):
    """Verilog of nextpnr's JSON: module ``top``, with the names of the board's pins.

    Parameters
    ----------
    text : str

    Raises
    ------
    ToolError
        Naming a cell that is not taken apart.
    """
    cells, _, pads = routed_cells(text)
    outputs = [place for place in pads.values() if cells[place].kind == "OUTPUT"]
    inputs = {place: cells[place] for place in pads.values()}
    return verilog({**inputs, **reached(cells.__getitem__, outputs)}, pads)


def decompile(data, constraints, name):
    """Verilog of a bitstream: module ``top``; only the names of the pins come from elsewhere.

    Parameters
    ----------
    data : bytes
        The bitstream.
    constraints : str
        The pins, as nextpnr reads them (``.lpf``).
    name : str
        Of the device.

    Raises
    ------
    BitstreamError
        For a damaged bitstream, or logic that is not taken apart.
    """
    fabric = Fabric(read_bitstream(data, device(name)))
    pads = {port: sites(name, package(data))[site]
            for port, site in LOCATION.findall(constraints)}
    ends = {place: fabric.cell(place) for place in pads.values()}
    found = reached(fabric.cell, [place for place, cell in ends.items() if cell.kind == "OUTPUT"])
    return verilog({**ends, **found}, pads)


def names(text):
    """Names of the nets of nextpnr's JSON, by their names in Verilog, which both levels share."""
    return routed_nets(text)


def unpacked(data):
    """The text configuration that ecpunpack makes of a bitstream."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "top.bit").write_bytes(data)
        run_tool(("yowasp-ecpunpack", "--input", "top.bit", "--textcfg", "top.config"),
                 cwd=folder, timeout=600)
        return (Path(folder) / "top.config").read_text()


def package(data):
    """Package that a bitstream says it is for."""
    match = PART.search(data[:200])
    if match is None:
        raise BitstreamError("The bitstream does not name its package")
    return match[1].decode()


@functools.cache
def sites(name, package):
    """Places of the pads by the names of a package's pins."""
    pins = json.loads((database() / "ECP5" / name / "iodb.json").read_text())["packages"][package]
    return {pin: f"X{at['col']}/Y{at['row']}/PIO{at['pio']}" for pin, at in pins.items()}


def compare_configuration(text, data, *, again=None):
    """A routed configuration with the bitstream made of it: every bit of the device.

    Both are compared as the bits of the configuration memory, see :func:`trellis_data.render`.

    Parameters
    ----------
    text : str
        What nextpnr wrote.
    data : bytes
        The bitstream.
    again : str, optional
        What :func:`unpacked` gave: a second reading of the bitstream, compared as well.

    Returns
    -------
    dict
        ``tiles``, ``settings``, ``compared`` (bits, those of block RAMs included), ``mismatches``,
        and ``first``: None or ``{"tile", "setting", "expected", "found"}``.
    """
    configuration = parse_config(text)
    expected = render(configuration)
    readings = [read_bitstream(data, expected.device)]
    if again is not None:
        readings.append(render(parse_config(again)))
    compared = mismatches = 0
    first = None
    for found in readings:
        if found.device is not expected.device:
            raise BitstreamError(f"The bitstream is for {found.device.name}, the configuration "
                                 f"for {expected.device.name}")
        for count, wrong, place in (_compare_cram(configuration, expected, found),
                                    _compare_brams(expected, found)):
            compared, mismatches = compared + count, mismatches + wrong
            first = first or place
    return {"tiles": len(expected.device.tiles),
            "settings": sum(len(settings) for _, settings in configuration.tiles),
            "compared": compared, "mismatches": mismatches, "first": first}


def _compare_cram(configuration, expected, found):
    differing = expected.cram != found.cram
    if not differing.any():
        return differing.size, 0, None
    tile = min(name for name, tile in expected.device.tiles.items()
               if differing[tile.frames, tile.bits].any())
    return (differing.size, int(differing.sum()),
            _difference(configuration, expected, found, tile))


def _compare_brams(expected, found):
    compared, mismatches, first = 0, 0, None
    for bram in sorted(expected.brams.keys() | found.brams.keys()):
        a, b = (memory.brams.get(bram, np.zeros(2048, np.uint16)) for memory in (expected, found))
        compared += 9 * len(a)
        for at in np.flatnonzero(a != b):
            mismatches += int(a[at] ^ b[at]).bit_count()
            first = first or {"tile": f"block RAM {bram}", "setting": f"word {at}",
                              "expected": f"{int(a[at]):03x}", "found": f"{int(b[at]):03x}"}
    return compared, mismatches, first


def _difference(configuration, expected, found, name):
    """The first setting of a tile that differs; those that the configuration names come first."""
    tile = expected.device.tiles[name]
    described = tile_type(tile.kind)
    windows = [memory.window(tile) for memory in (expected, found)]
    wrong = {(int(frame), int(bit)) for frame, bit in np.argwhere(windows[0] != windows[1])}
    ones = [set(zip(*(axis.tolist() for axis in window.nonzero()), strict=True))
            for window in windows]
    candidates = []
    for kind, table in (("word", described.words), ("arc", described.muxes),
                        ("enum", described.enums)):
        for key, bits in table.items():
            groups = bits if kind == "word" else bits.values()
            if wrong.isdisjoint(bit[:2] for group in groups for bit in group):
                continue
            a, b = ("".join(str(int(matches(group, one))) for group in reversed(bits))
                    if kind == "word" else best_match(bits, one) or "nothing" for one in ones)
            if a != b:
                candidates.append((kind, key, a, b))
    named = {setting[:2] for names, settings in configuration.tiles if name in names
             for setting in settings}
    candidates.sort(key=lambda candidate: candidate[:2] not in named)
    if candidates:
        kind, key, a, b = candidates[0]
        return {"tile": name, "setting": f"{kind} {key}", "expected": a, "found": b}
    frame, bit = min(wrong)
    return {"tile": name, "setting": f"F{frame}B{bit}",
            "expected": int((frame, bit) in ones[0]), "found": int((frame, bit) in ones[1])}


def compare_cells(text, data, name):
    """A routed design with what its bitstream says of every cell, and of what drives its inputs.

    LUTs are compared as functions of what drives them: the router permutes their inputs.

    Parameters
    ----------
    text : str
        nextpnr's JSON.
    data : bytes
        The bitstream.
    name : str
        Of the device.

    Returns
    -------
    dict
        ``cells`` (by kind), ``bits`` (of LUTs and block RAMs), ``inputs``, ``parameters``,
        ``compared`` (the last three together), ``mismatches``, and ``first``: None or
        ``{"cell", "place", "setting", "expected", "found"}``.
    """
    cells, names, _ = routed_cells(text)
    fabric = Fabric(read_bitstream(data, device(name)))
    counts = {"cells": {}, "bits": 0, "inputs": 0, "parameters": 0, "mismatches": 0}
    first = None
    for place, expected in cells.items():
        counts["cells"][expected.kind] = counts["cells"].get(expected.kind, 0) + 1
        try:
            found = fabric.cell(place)
        except BitstreamError as error:
            differences, amounts = [("cell", expected.kind, str(error), 1)], {"parameters": 1}
        else:
            differences, amounts = _compare(expected, found)
        for key, amount in amounts.items():
            counts[key] += amount
        counts["mismatches"] += sum(difference[3] for difference in differences)
        if differences and first is None:
            setting, wanted, read, _ = differences[0]
            first = {"cell": names[place], "place": place, "setting": setting,
                     "expected": wanted, "found": read}
    counts["compared"] = counts["bits"] + counts["inputs"] + counts["parameters"]
    return {**counts, "first": first}


def _compare(expected, found):
    """Differences of two cells, ``(setting, expected, found, amount)``, and what was compared."""
    if expected.kind != found.kind:
        return [("kind", expected.kind, found.kind, 1)], {"parameters": 1}
    if expected.kind in ("LUT", "CARRY"):
        return _compare_function(expected, found)
    differences, amounts = [], {"bits": 0, "inputs": 0, "parameters": 0}
    for key, wanted in expected.parameters.items():
        read = found.parameters[key]
        if key == "INIT":
            amounts["bits"] += 16
            if wanted != read:
                differences.append((key, f"{wanted:016b}", f"{read:016b}",
                                    (wanted ^ read).bit_count()))
        elif key == "CONTENT":
            wanted, read = (np.frombuffer(words, np.uint16) for words in (wanted, read))
            amounts["bits"] += 9 * len(wanted)
            wrong = np.flatnonzero(wanted != read)
            if len(wrong):
                at = wrong[0]
                differences.append((f"word {at}", f"{wanted[at]:03x}", f"{read[at]:03x}", sum(
                    int(wanted[k] ^ read[k]).bit_count() for k in wrong)))
        else:
            amounts["parameters"] += 1
            if wanted != read:
                differences.append((key, wanted, read, 1))
    for pin, wanted in expected.inputs.items():
        if pin[:2] == "AD" and pin[3:] == "4" and expected.parameters[f"DATA_WIDTH_{pin[2]}"] == 36:
            continue  # words of 36 bits are counted by the bits from 5 on
        amounts["inputs"] += 1
        if wanted != found.inputs.get(pin):
            differences.append((f"input {pin}", _named(wanted), _named(found.inputs.get(pin)), 1))
    return differences, amounts


def _named(source):
    return f"{source[0]}.{source[1]}" if isinstance(source, tuple) else str(source)


def tables(cell, sources):
    """What a LUT or a carry gives for every combination of what drives it."""
    rows = []
    for bits in itertools.product((0, 1), repeat=len(sources)):
        values = dict(zip(sources, bits, strict=True))
        inputs = [values.get(cell.inputs[pin], cell.inputs[pin]) for pin in "ABCD"]
        for used in ("ABCD", "AB") if cell.kind == "CARRY" else ("ABCD",):
            at = sum(int(inputs[k] or 0) << k for k in range(len(used)))
            rows.append(cell.parameters["INIT"] >> at & 1)
    return rows


def _compare_function(expected, found):
    """Differences of two LUTs or carries up to a permutation of their inputs, and the amounts."""
    wanted, read = ([cell.inputs[pin] for pin in "ABCD" if isinstance(cell.inputs[pin], tuple)]
                    for cell in (expected, found))
    missing = [_named(source) for source in wanted if source not in read]
    extra = [_named(source) for source in read if source not in wanted]
    differences = [("input", a, b, 1) for a, b in
                   itertools.zip_longest(missing, extra, fillvalue="nothing")]
    sources = sorted({*wanted, *read})
    a, b = tables(expected, sources), tables(found, sources)
    amounts = {"inputs": len(wanted), "bits": len(a), "parameters": 0}
    if not differences and a != b:
        differences.append(("INIT", "".join(map(str, a)), "".join(map(str, b)),
                            sum(x != y for x, y in zip(a, b, strict=True))))
    if expected.kind == "CARRY":
        amounts["parameters"] = 1
        if expected.parameters["INJECT"] != found.parameters["INJECT"]:
            differences.append(("INJECT", expected.parameters["INJECT"],
                                found.parameters["INJECT"], 1))
        # A chain begins with an open carry input, which must then have no influence.
        carry = expected.inputs["FCI"]
        if carry is not None or any(a[::2]):
            amounts["inputs"] += 1
            if carry != found.inputs["FCI"]:
                differences.append(("input FCI", _named(carry), _named(found.inputs["FCI"]), 1))
    return differences, amounts
