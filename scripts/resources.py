# SPDX-License-Identifier: Apache-2.0
"""Measure what units cost and how fast they are, into ``reports/resources.csv``.

A row for each unit and family; another one with DSP blocks where it has multiplications. 16 lanes
where lanes are a parameter. Fmax: median, least and greatest of three placements between shift
registers; empty where the unit does not fit the device. Rows of units that are not named stay.
"""

import argparse
import csv
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from amaranth.back import rtlil

from carrysave.fpga.characterise import DEVICES, area, speed
from carrysave.fpga.tools import ToolError
from carrysave.hw import catalogue
from carrysave.hw.yosys import YosysError

TABLE = Path(__file__).parents[1] / "reports" / "resources.csv"
COLUMNS = ("unit", "lanes", "family", "dsp", "lut4", "ff", "bram", "carry", "mapping", "fmax_mhz",
           "fmax_min_mhz", "fmax_max_mhz")
LANES = 16
# What the README shows: the plain multiplier, and what there is in its place.
SHOWN = (
    "multiplier-w8a8", "multiplier-w4a8", "dequantise-first-w4a8", "mixpe-w4a8",
    "mixpe-w4a8-booth", "mixpe-w4a8-zero", "packed-w4a8", "lut-w4a8", "bitserial-w4a4",
    "two-scale-w4a8", "mxfp4-dot", "nvfp4-dot", "mxint8-dot", "mxfp8-e4m3-dot",
)


def build(preset):
    """The unit with 16 lanes, if lanes are a parameter of it."""
    return preset.build(**({"lanes": LANES} if "lanes" in preset.parameters else {}))


def measure(name, family, dsp):
    """A row of the table."""
    preset = catalogue.get(name)
    unit = build(preset)
    found = area(unit, family, dsp=dsp)
    fmax = speed(build(preset), family, mapping=found.mapping, dsp=dsp)
    speeds = ("", "", "") if fmax is None else (fmax.median, fmax.min, fmax.max)
    return dict(zip(COLUMNS, (
        name, unit.lanes, family, found.dsp, found.lut4, found.ff, found.bram, found.carry,
        found.mapping, *speeds), strict=True))


def multiplies(name):
    """Whether a unit has multiplications that DSP blocks could do."""
    return re.search(r"^ +cell \$mul ", rtlil.convert(build(catalogue.get(name))), re.M) is not None


def read():
    """Rows of the table, if there is one."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(rows):
    order = {name: k for k, name in enumerate(catalogue.names())}
    rows = [row for row in rows if row["unit"] in order]
    rows.sort(key=lambda row: (order[row["unit"]], list(DEVICES).index(row["family"]),
                               int(row["dsp"])))
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("units", nargs="*", help="by default those that the README shows")
    parser.add_argument("--all", action="store_true", help="every unit of the catalogue")
    parser.add_argument("--jobs", type=int, default=2, help="processes, 2 by default")
    options = parser.parse_args(arguments)
    names = catalogue.names() if options.all else options.units or list(SHOWN)
    jobs = [(name, family, dsp) for name in names for family in DEVICES
            for dsp in ((False, True) if multiplies(name) else (False,))]
    failed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measure, *job): job for job in jobs}
        for future in as_completed(running):
            name, family, dsp = running[future]
            try:
                row = future.result()
            except (YosysError, ToolError) as error:
                failed += 1
                print(f"{name} on {family}: {error}", file=sys.stderr)
                continue
            rows = [old for old in read() if (old["unit"], old["family"], old["dsp"] != "0")
                    != (name, family, row["dsp"] != 0)]
            write([*rows, {key: str(value) for key, value in row.items()}])
            print(*row.values(), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
