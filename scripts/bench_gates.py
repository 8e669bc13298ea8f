# SPDX-License-Identifier: Apache-2.0
"""Measure what the processing elements cost in gates, against limits and rivals.

ECP5 without DSP blocks, in logic sites: a LUT4 is one, a carry cell two, a LUT RAM four. Each
design is mapped in two ways, and the better counts. All are synthesised anew; ``--cached`` takes
what the user's cache holds. Exit status 1 if a limit is missed.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from carrysave.fpga.characterise import area
from carrysave.hw.pe.block_sum import block_sum, block_sum_shape
from carrysave.hw.pe.dequantise_first import DequantiseFirst
from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.pe.multiplier import Multiplier
from carrysave.quant.formats import get

LANES, BLOCK, BITS = 16, 32, 32
# Sites; None for rivals, which have no limit.
ELEMENTS = {
    "int8 × int8, by *": (Multiplier, {}, None),
    "int4 × int8, dequantised first": (DequantiseFirst, {}, None),
    "MixPE W4A8": (MixPE, {}, 1681),
    "MixPE W4A8, Booth": (MixPE, {"recoding": "booth"}, 1016),
}
# A published RTL of the same dots, with the same tools: to be less.
DOTS = {
    "mxfp4": 2106, "mxfp6_e2m3": 5003, "mxfp6_e3m2": 4778, "mxfp8_e4m3": 8956,
    "mxfp8_e5m2": 11924, "mxint8": 10827,
}


class Dot(wiring.Component):
    """The exact sum of a block, combinational."""

    def __init__(self, element, size):
        self.element = element
        codes = data.ArrayLayout(element.bits, size)
        super().__init__({"a": In(codes), "b": In(codes),
                          "o": Out(block_sum_shape(element, element, size))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(block_sum(m, self.a, self.b, self.element, self.element))
        return m


def accumulating(unit, parameters):
    """A unit of 16 lanes with registers after the products and their sum, 32 bits wide."""
    def build(group):
        return unit(group, lanes=LANES, registers=2, **parameters)

    group = 1
    while build(2 * group).sum_shape.width <= BITS:
        group *= 2
    return build(group)


def measure(name, cache):
    if name in ELEMENTS:
        unit = accumulating(*ELEMENTS[name][:2])
    else:
        unit = Dot(get(name).element, BLOCK)
    start = time.monotonic()
    return name, area(unit, "ecp5", cache=cache), time.monotonic() - start


def verdict(name, sites):
    """Whether a limit is kept, and the words for it; ``None`` where there is none."""
    if name in DOTS:
        return sites < DOTS[name], f"below {DOTS[name]:6}"
    limit = ELEMENTS[name][2]
    return (None, "rival") if limit is None else (sites <= limit, f"at most {limit:4}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cached", action="store_true", help="take what the user's cache holds")
    options = parser.parse_args(arguments)
    missed = []
    print(f"{'ECP5 without DSP blocks':34} {'sites':>6} {'merged':>7} {'chains':>7} {'FF':>5} "
          f"{'s':>6}   limit")
    with tempfile.TemporaryDirectory() as fresh, ProcessPoolExecutor(2) as pool:
        cache = None if options.cached else fresh
        names = [*ELEMENTS, *DOTS]
        for name, found, seconds in pool.map(measure, names, [cache] * len(names)):
            kept, limit = verdict(name, found.sites)
            title = f"dot of {BLOCK}, {name}" if name in DOTS else f"{LANES} lanes of {name}"
            word = {None: "", True: "  kept", False: "  MISSED"}[kept]
            print(f"{title:34} {found.sites:6} {found.mappings['merged']:7} "
                  f"{found.mappings['chains']:7} {found.ff:5} {seconds:6.1f}   {limit}{word}",
                  flush=True)
            missed += [name] if kept is False else []
    print("all limits kept" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
