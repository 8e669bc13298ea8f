# SPDX-License-Identifier: Apache-2.0
"""Arrays of equal area on the networks of the MixPE paper: cycles times area, in our gates.

ECP5 without DSP blocks, logic sites as `carrysave.fpga.characterise.area` counts them. Three sizes
of each array are synthesised; from them follow the sites of an element, a row and a column. Every
array is then as large as one of 16 x 16 int8 elements, and the cycles of whole networks on it are
those of `schedule`. Writes ``reports/arrays.csv``.
"""

import csv
import functools
import sys
import warnings
from pathlib import Path

from carrysave.fpga.characterise import area
from carrysave.hw.array.kind import Kind, kind_of
from carrysave.hw.array.pe_array import PEArray
from carrysave.hw.decode.pair import PairDecoder
from carrysave.hw.engine.gemm_config import GemmConfig
from carrysave.hw.engine.schedule import schedule
from carrysave.hw.engine.tiling import array_latency, plan
from carrysave.hw.engine.workloads import MODELS
from carrysave.hw.pe import DequantiseFirst, Multiplier
from carrysave.quant.formats import Group, Int, Pair, get

GROUP = 128  # the paper's
INT4, INT8, GROUPS = Int(4), Int(8), Group(Int(4), GROUP)
# Kind of array; kind whose cycles are its own, where the element has no part in the engine.
ARRAYS = {
    "int8": (kind_of(INT8, INT8), None),
    "dequantise first, in each element":
        (Kind(DequantiseFirst, {"lanes": 1, "registers": 1}), kind_of(INT8, INT8)),
    "dequantise first, before the array":  # what stands before it is left out
        (Kind(Multiplier, {"weight": Int(12), "lanes": 1, "registers": 1}), kind_of(INT8, INT8)),
    "MixPE W4A8": (kind_of(INT8, GROUPS), None),
    "MixPE W4A8, Booth": (kind_of(INT8, GROUPS, element="booth"), None),
    "OliVe 4-bit": (kind_of(get("olive4"), get("olive4"), lanes=2), None),
}
SIZES = ((2, 4), (4, 4), (4, 8))
NETWORKS = {"vit-b": {}, "vit-h": {}, "opt-6.7b": {"tokens": 512}, "llama-2-13b": {"tokens": 512}}
REFERENCE, SIZE = "int8", 16
REPORT = Path(__file__).resolve().parent.parent / "reports" / "arrays.csv"


@functools.cache
def sites(name):
    """Logic sites of an element, of a row's border and of a column's."""
    kind, _ = ARRAYS[name]
    found = {}
    for rows, columns in SIZES:
        unit = PEArray(kind, rows, columns, steps=GROUP // kind.lanes)
        found[rows, columns] = area(unit).sites
    # e * r * c + a * r + b * c from three sizes.
    (small, square, wide) = (found[size] for size in SIZES)
    row = 2 * square - wide  # 16 e + 4 a + 4 b, twice, less 32 e + 4 a + 8 b: 4 a
    column = 2 * small - square  # 8 e + 2 a + 4 b, twice, less 16 e + 4 a + 4 b: 4 b
    return (square - row - column) / 16, row / 4, column / 4


def decoder(kind):
    """Sites of the decoder of a row or column, which only pairs have."""
    if not isinstance(kind.activations, Pair):
        return 0
    return area(PairDecoder(kind.activations, lanes=kind.lanes, parts=True)).sites


def total(name, rows, columns):
    element, row, column = sites(name)
    return element * rows * columns + row * rows + column * columns


def largest(name, budget):
    """Rows and columns of the most elements within an area, at most twice as wide as high."""
    sizes = [(rows, columns) for rows in range(2, 129) for columns in range(rows, 2 * rows + 1)
             if total(name, rows, columns) <= budget]
    return max(sizes, key=lambda size: (size[0] * size[1], -size[1]))


def cycles(kind, rows, columns, network):
    config = GemmConfig(kind, rows, columns, bus=512, a_lines=32768, w_lines=32768,
                        scale_lines=32768, k_max=32768, partial_tiles=64)
    latency, known, found = array_latency(config), {}, 0
    for gemm, repeat in MODELS[network].works(attention=False, **NETWORKS[network]):
        size = gemm[1:]
        if size not in known:
            known[size] = schedule(config, latency, plan(config, [gemm])).total
        found += repeat * known[size]
    return found


def main():
    warnings.filterwarnings("ignore", ".* created but never used")
    budget, rows = total(REFERENCE, SIZE, SIZE), []
    for name, (kind, runs_as) in ARRAYS.items():
        size = largest(name, budget)
        row = {"array": name, "element": round(sites(name)[0], 1), "rows": size[0],
               "columns": size[1], "lanes": kind.lanes, "sites": round(total(name, *size)),
               "decoders": sum(size) * decoder(kind)}
        for network in NETWORKS:
            row[f"{network} cycles"] = cycles(runs_as or kind, *size, network)
        rows.append(row)
        print(row, flush=True)
    reference = rows[0]
    for row in rows:
        for network in NETWORKS:
            key = f"{network} cycles"
            row[f"{network} cycles x area, of int8"] = round(
                row[key] * row["sites"] / (reference[key] * reference["sites"]), 3)
    with REPORT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
