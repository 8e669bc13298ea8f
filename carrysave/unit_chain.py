# SPDX-License-Identifier: Apache-2.0
"""The chain of a unit: its netlists, and on iCE40 its routed design and its bitstream."""

import dataclasses
import time
from itertools import product

import numpy as np
from amaranth.back import rtlil
from amaranth.hdl import Value

from .fpga import ice40
from .fpga.alone import netlist_alone
from .fpga.characterise import Harness
from .fpga.harnessed import harnessed
from .hw.process import MissingTool
from .quant.formats import Block
from .sim import pins, units
from .sim.batch import BatchSimulator, SimulationError
from .sim.ledger import Arrow, Comparison
from .sim.payload import pack, plain, to_ints
from .sim.same import same
from .sim.stimulus import exhaustive, exhaustive_bits, is_grouped, random, stimuli
from .sim.verilog import from_component

__all__ = ["KINDS", "bitstream_arrows", "netlist_arrows", "pin_arrows", "proof_arrow",
           "run_netlist", "verify"]

FAMILIES = ("ecp5", "ice40")
TERMS = 40_000  # random ones in each netlist
PROVED_BITS = 16  # operand bits of a lane, up to which netlists are proved: 8 by 8
LARGEST = 900  # LUTs and payload bits of a unit whose bitstream is made: half a minute or so
PROVED_CELLS = 300  # LUTs of a unit whose bitstream is proved
CYCLES = 250_000  # of the vectors through a bitstream
RANDOM_CYCLES = 20_000  # of random levels on the pins


def verify(preset, kind, *, timeout=60):
    """Arrows of a unit along the chain.

    Parameters
    ----------
    preset : Preset
    kind : str
        Of `KINDS`.
    timeout : float
        Seconds for each proof.

    Returns
    -------
    list of Arrow
        One that is not run says what is to be installed where a tool is missing.
    """
    try:
        return KINDS[kind](preset, timeout=timeout)
    except MissingTool as error:
        target = "netlist" if kind == "netlist" else "bitstream"
        return [Arrow("rtl", target, "batch", ran=False, why=str(error),
                      detail={"missing": True})]


def netlist_arrows(preset, *, timeout=60):
    """RTL against netlist: on each family, with DSP blocks where there are any; and proofs."""
    unit = preset.build()
    rtl = from_component(unit)
    multiplies = "cell $mul " in rtlil.convert(unit, emit_src=False)
    arrows = []
    for family, dsp in product(FAMILIES, (False, True) if multiplies else (False,)):
        netlist = netlist_alone(unit, family, dsp=dsp)
        if dsp and not netlist.resources["dsp"]:
            continue
        on = f"{family}, DSP" if dsp else family
        arrow = run_netlist(unit, rtl, as_netlist(rtl, netlist), on=on)
        arrow.detail |= {"cells": netlist.cells, "models": netlist.unverified}
        arrows.append(arrow)
        if not dsp and exhaustive_bits(unit) <= PROVED_BITS:
            arrows.append(proof_arrow(preset, family, timeout=timeout))
    return arrows


def as_netlist(design, netlist):
    """A design with the same ports, made of a netlist."""
    return dataclasses.replace(design, sources=netlist.sources, defines=netlist.defines,
                               top="top")


def run_netlist(unit, rtl, netlist, *, on):
    """The same vectors through two designs of a unit, payloads and cycles compared.

    Parameters
    ----------
    unit : wiring.Component
    rtl, netlist : Design
    on : str
        Where the netlist is for.

    Returns
    -------
    Arrow
    """
    start, shape = time.monotonic(), unit.o.p.shape()
    short = random(unit, units.SHORT * unit.lanes, 3, longest=4)
    runs = [(stimulus, {}) for stimulus in stimuli(unit, TERMS)]
    runs += [(short, {"stall_i": stall_i, "stall_o": stall_o, "seed": 3, "reset_at": reset_at})
             for stall_i, stall_o in ((0.5, 0.5), (0.9, 0.0), (0.0, 0.9))
             for reset_at in (None, *(range(unit.latency + 2) if rtl.reset else ()))]
    arrow = Arrow("rtl", "netlist", "batch", on=on,
                  what=f"{', '.join(stimulus.what for stimulus, run in runs if not run)}, and "
                       f"{len(runs)} runs in all with stalls and resets")
    golden, cells = BatchSimulator(rtl), BatchSimulator(netlist, short=True)
    for stimulus, run in runs:
        count = results_of(stimulus)
        good = golden.run(stimulus.inputs, outputs=count, extra=units.EXTRA, **run)
        arrow.compared += count
        try:
            found = cells.run(stimulus.inputs, outputs=count, extra=units.EXTRA, **run,
                              max_cycles=int(good.cycles[-1]) + 2)
        except SimulationError as error:
            arrow.mismatches += count
            arrow.first = arrow.first or units.nowhere(str(error))
            continue
        wrong, first = compare(shape, good, found)
        arrow.mismatches += wrong
        arrow.first = arrow.first or (first and {**first, **run})
    arrow.detail = {"runs": len(runs), "transfers": sum(len(stimulus) for stimulus, _ in runs)}
    arrow.seconds = time.monotonic() - start
    return arrow


def results_of(stimulus):
    """How many results the transfers of a stimulus give."""
    return len(_ends(stimulus))


def _ends(stimulus):
    """Numbers of the transfers that give a result."""
    inputs = stimulus.inputs
    if isinstance(inputs, dict) and "last" in inputs:
        return np.flatnonzero(inputs["last"])
    return np.arange(len(stimulus))


def compare(shape, good, found):
    """Outputs that differ in payload or cycle, and the first of them."""
    expected, words = pack(shape, good.outputs), pack(shape, found.outputs)
    different = (expected != words).any(axis=1) | (good.cycles != found.cycles)
    if not different.any():
        return 0, None
    k = int(np.argmax(different))
    wanted, got = (plain(shape, to_ints(each[k:k + 1])[0]) for each in (expected, words))
    if good.cycles[k] != found.cycles[k]:
        wanted, got = ({"cycle": int(run.cycles[k]), "payload": payload}
                       for run, payload in ((good, wanted), (found, got)))
    return int(different.sum()), {"layer": None, "element": k, "cycle": int(found.cycles[k]),
                                  "expected": wanted, "found": got}


def proof_arrow(preset, family, *, timeout=60):
    """Proof that a netlist is its RTL; of an accumulating unit with as few lanes as it can have.

    At first nothing is taken for granted. Where that takes too long, sums of products are merged
    in the RTL as synthesis does it, and the arrow says so.
    """
    unit = fewest_lanes(preset)
    rtl = from_component(unit)
    lanes = f"{unit.lanes} lane{'s' if unit.lanes > 1 else ''}"
    arrow = Arrow("rtl", "netlist", "proof", on=family,
                  what=f"every output in every cycle, {lanes}", detail={"lanes": unit.lanes})
    netlist = as_netlist(rtl, netlist_alone(unit, family))
    return _proved(arrow, rtl, netlist, timeout)


def _proved(arrow, rtl, other, timeout):
    found = same(rtl, other, timeout=min(timeout, 10))
    arrow.seconds = found.seconds
    if found.status == "not proved":
        found = same(rtl, other, timeout=min(timeout, 40), merged=True)
        arrow.seconds += found.seconds
        arrow.what += ", sums merged"
    if found.status == "not proved":
        arrow.ran, arrow.why = False, f"not proved within {arrow.seconds:.0f} s"
        return arrow
    arrow.compared = 1
    if found.status == "refuted":
        arrow.mismatches = 1
        arrow.first = {**units.nowhere("another output"), "cycle": found.cycle}
    return arrow


def fewest_lanes(preset):
    """The preset's unit as it is; if it accumulates, with as few lanes as it can be made with."""
    unit = preset.build()
    if not is_grouped(unit):
        return unit
    blocks = preset.parameters.get("a_format")  # their size is the number of lanes
    for lanes in (1, 2, 4):
        try:
            if isinstance(blocks, Block):
                return preset.build(a_format=dataclasses.replace(blocks, size=lanes))
            return preset.build(lanes=lanes)
        except (TypeError, ValueError):
            continue
    return unit


def bitstream_arrows(preset, *, timeout=60):
    """Netlist, routed design and bitstream of a unit in a harness on the iCE40 UP5K.

    Not run for a unit of more than `LARGEST` LUTs and payload bits.
    """
    unit = preset.build()
    size = netlist_alone(unit, "ice40").resources["lut4"]
    size_with_pins = size + len(Value.cast(unit.i.p)) + len(Value.cast(unit.o.p))
    if size_with_pins > LARGEST:
        why = f"{size_with_pins:,} LUTs and payload bits; a harness on an UP5K takes {LARGEST}"
        return [Arrow("rtl", "bitstream", "batch", on="ice40", ran=False, why=why,
                      what="pins of a harness")]
    ice40.icebox()  # if that is missing, nothing else is tried
    made = harnessed(unit)
    rtl = from_component(Harness(preset.build()))
    designs = {
        "rtl": rtl,
        "netlist": as_netlist(rtl, made.netlist),
        "routed": decoded(rtl, made.netlist, made.routed()),
        "bitstream": decoded(rtl, made.netlist, made.decompiled()),
    }
    arrows = pin_arrows(unit, designs)
    if size <= PROVED_CELLS:
        arrow = Arrow("rtl", "bitstream", "proof", on="ice40",
                      what="every pin in every cycle, in a harness")
        arrows.append(_proved(arrow, rtl, designs["bitstream"], timeout))
    return arrows


def decoded(rtl, netlist, verilog):
    """A design with the pins of the harness, of Verilog that comes out of the chip's formats."""
    return as_netlist(rtl, dataclasses.replace(netlist, verilog=verilog))


def pin_arrows(unit, designs):
    """Random levels on all pins from one model to the next; vectors through the bitstream.

    Parameters
    ----------
    unit : wiring.Component
    designs : dict of str to Design
        By model, in the order of the chain; each a harness of the unit.

    Returns
    -------
    list of Arrow
    """
    simulators = {model: BatchSimulator(pins.as_pins(design), short=True)
                  for model, design in designs.items()}
    drawn = pins.random_levels(RANDOM_CYCLES)
    seen, arrows = {}, []
    for model, simulator in simulators.items():
        start = time.monotonic()
        seen[model] = _watch(simulator, drawn)
        if len(seen) > 1:
            before = list(seen)[-2]
            arrow = Arrow(before, model, "batch", on="ice40",
                          what=f"every pin in {len(drawn):,} cycles of random levels with stalls "
                               "and resets, in a harness", detail={"cycles": len(drawn)})
            found = Comparison()
            found.add(seen[before], seen[model],
                      lambda index: {"cycle": index[0], "element": pins.OUTPUTS[index[1]]})
            arrow.compared, arrow.mismatches, arrow.first = (
                found.compared, found.mismatches, found.first)
            arrow.seconds = time.monotonic() - start
            arrows.append(arrow)
    return [*arrows, _vectors(unit, simulators["bitstream"])]


def _watch(simulator, levels):
    """Levels of the outputs in every cycle, one column each."""
    weights = 1 << np.arange(len(pins.INPUTS))
    run = simulator.run((levels * weights).sum(axis=1), outputs=len(levels))
    return np.asarray(run.outputs)[:, None] >> np.arange(len(pins.OUTPUTS)) & 1


def _vectors(unit, simulator):
    """Golden function against what comes out of the bitstream."""
    start, count = time.monotonic(), max(16, CYCLES // pins.frame(unit))
    swept = exhaustive(unit)
    chosen = [random(unit, count * unit.lanes, 0, longest=4)]
    if swept is not None and len(swept) <= count:
        chosen.insert(0, swept)
    arrow = Arrow("golden", "bitstream", "exhaustive" if len(chosen) > 1 else "random", on="ice40",
                  what=f"{', '.join(each.what for each in chosen)}, bit by bit over the pins")
    for stimulus in chosen:
        expected = units.pack_outputs(unit, stimulus.inputs)
        seen = _watch(simulator, pins.levels(unit, stimulus.inputs))
        wrong, first = units.compare(
            unit.o.p.shape(), expected, pins.results(unit, seen, _ends(stimulus)))
        arrow.compared += len(expected)
        arrow.mismatches += wrong
        arrow.first = arrow.first or first
    arrow.detail = {"transfers": sum(map(len, chosen)),
                    "terms": sum(map(len, chosen)) * unit.lanes}
    arrow.seconds = time.monotonic() - start
    return arrow


#: What `verify` can do.
KINDS = {"netlist": netlist_arrows, "bitstream": bitstream_arrows}
