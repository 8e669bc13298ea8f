# SPDX-License-Identifier: Apache-2.0
"""``carrysave characterise``: what units and arrays cost and how fast they are, as a table."""

import dataclasses
import functools
import json
import re
import warnings
from pathlib import Path

from .characterise_table import COLUMNS, FAMILIES, KEY, TABLE, read, write
from .characterise_units import ARRAYS, SIZE, build, check, has_lanes, names
from .errors import BadInput, Failure
from .format_numbers import plural
from .fpga import characterise as fpga
from .fpga.tools import ToolError
from .hw.cache import digest
from .hw.process import MissingTool
from .hw.yosys import YosysError
from .workers import finished, workers

__all__ = ["ARRAYS", "COLUMNS", "FAMILIES", "SIZE", "build", "characterise", "names", "read",
           "row_hash", "write"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A row that is to be measured.

    Members
    -------
    unit : str
    lanes : int
        What the unit has: products per cycle.
    chosen : int or None
        What it is built with; None for its own number.
    family : str
    dsp : bool
        Whether DSP blocks may be used.
    seeds : int
        Placements; 0 for none.
    size : int
        Length of its RTLIL, to which time is roughly proportional.
    hash : str
    """

    unit: str
    lanes: int
    chosen: int | None
    family: str
    dsp: bool
    seeds: int
    size: int
    hash: str

    @property
    def key(self):
        """What a row of the table is found by."""
        return self.unit, str(self.lanes), self.family, str(int(self.dsp))

    @property
    def title(self):
        """For people."""
        lanes = "" if self.chosen is None else f", {plural(self.chosen, 'lane')}"
        return f"{self.unit}{lanes}: {self.family}{' with DSP blocks' if self.dsp else ''}"

    @property
    def command(self):
        """The command that measures this row alone."""
        parts = [f"carrysave characterise {self.unit} --family {self.family}"]
        parts += [] if self.chosen is None else [f"--lanes {self.chosen}"]
        if self.family != fpga.GATES:
            parts += ["--dsp" if self.dsp else "--no-dsp",
                      f"--seeds {self.seeds}" if self.seeds else "--no-timing"]
        return " ".join(parts)


def examine(name, chosen):
    """Lanes of a unit, digests and length of its RTLIL, whether it multiplies; or a complaint."""
    warnings.filterwarnings("ignore", ".* created but never used")
    try:
        unit, lanes = build(name, chosen)
    except (TypeError, ValueError) as error:
        return str(error)
    text, harness = fpga.rtlil_of(unit)
    multiplies = re.search(r"^ +cell \$mul ", text, re.MULTILINE) is not None
    return lanes, digest(text), digest(harness), len(text), multiplies


def row_hash(unit, harness, family, *, dsp, seeds):
    """Hash of all that a row depends on; ``unit`` and ``harness`` are digests of RTLIL."""
    inputs = fpga.dependencies(unit, harness, family, dsp=dsp, seeds=range(1, seeds + 1))
    return digest(json.dumps(inputs, sort_keys=True))[:16]


def measure(job, cache=None):
    """The row of a job, a dict of str to str; or, as a str, why there is none."""
    warnings.filterwarnings("ignore", ".* created but never used")
    row = dict.fromkeys(COLUMNS, "")
    try:
        if job.family == fpga.GATES:
            found = fpga.gates(build(job.unit, job.chosen)[0], cache=cache)
            row |= {"nand2": found.nand2, "transistors": found.transistors}
        else:
            found = fpga.area(build(job.unit, job.chosen)[0], job.family, dsp=job.dsp,
                              cache=cache)
            row |= {key: getattr(found, key) for key in ("dsp", "lut4", "bram", "carry")}
            row["seeds"] = job.seeds
        row |= {"ff": found.ff, "mapping": found.mapping}
        if job.seeds:
            speed = fpga.speed(build(job.unit, job.chosen)[0], job.family, dsp=job.dsp,
                               mapping=found.mapping, seeds=range(1, job.seeds + 1), cache=cache)
            if speed is not None:
                row |= {"fmax_mhz": speed.median, "fmax_min_mhz": speed.min,
                        "fmax_max_mhz": speed.max}
        used = fpga.tools(job.family, timing=bool(job.seeds))
    except (YosysError, ToolError, OSError) as error:
        return str(error)
    row |= dict(zip(KEY, job.key, strict=True))
    row |= {"command": job.command, "hash": job.hash,
            "tools": "; ".join(f"{name} {version}" for name, version in used.items())}
    return {key: str(value) for key, value in row.items()}


def characterise(units=(), *, every=False, families=(), lanes=(), dsp=None, timing=True, seeds=5,
                 jobs=None, out=TABLE, cache=None, progress=None):
    """Measure units into a table; rows that are known are not measured again.

    A row is known if it was measured from the same RTLIL, by the same passes, commands and
    versions of tools, with as many seeds or more. Every row is in the file as soon as it is
    measured, so that an interrupted run may be repeated to go on.

    Parameters
    ----------
    units : sequence of str
        Of :func:`names`.
    every : bool
        All of them.
    families : sequence of str
        Of `FAMILIES`; all by default.
    lanes : sequence of int
        Numbers of lanes for units that have them as a parameter; by default what they are listed
        with.
    dsp : bool, optional
        Only with DSP blocks allowed, or only without; both by default, the former for units with
        multiplications.
    timing : bool
        Whether to place and route as well, with so many ``seeds``.
    jobs : int, optional
        Processes; as many as the machine has cores.
    out : path
        The table. Its other rows stay.
    cache : path, optional
    progress : callable, optional

    Returns
    -------
    dict
        As ``characterise --json`` prints it: ``out``; numbers of rows ``measured`` and ``known``;
        ``errors`` and ``left_out``, lists of lines; ``rows``, those that were asked for.

    Raises
    ------
    BadInput
        Before anything is measured, or where the table cannot be read or written.
    Failure
        If a tool is missing, or a process died. Rows that were measured are in the table.
    """
    progress = progress or (lambda line: None)
    out = Path(out)
    units = check(units, every=every, lanes=lanes, seeds=[seeds], jobs=[jobs])
    for family in families:
        if family not in FAMILIES:
            raise BadInput(f"--family must be one of {', '.join(FAMILIES)}, not {family!r}")
    families = [family for family in FAMILIES if family in families] or list(FAMILIES)
    table = {_key(row): row for row in read(out)}
    write(out, list(table.values()))
    errors, left_out = [], []
    with workers(jobs, out) as pool:
        wanted = _plan(pool, units, families, lanes, dsp, seeds if timing else 0, left_out,
                       progress)
        todo = [job for job, hashed in wanted if not _known(table.get(job.key), job, hashed)]
        todo.sort(key=lambda job: job.size)
        progress(f"{len(wanted)} rows, {len(wanted) - len(todo)} known")
        running = {pool.submit(measure, job, cache): job for job in todo}
        for job, row in finished(running, progress, weigh=lambda job: job.size, title=_short):
            if isinstance(row, str):
                errors.append(f"{job.title}: {row}")
            else:
                # Somebody else may have written meanwhile.
                table = {_key(old): old for old in read(out)} | {job.key: row}
                write(out, list(table.values()))
    if not wanted and left_out:
        raise BadInput(left_out[0])
    return {
        "out": str(out), "measured": len(todo) - len(errors), "known": len(wanted) - len(todo),
        "errors": errors, "left_out": left_out,
        "rows": [table[job.key] for job, _ in wanted if job.key in table],
    }


def _plan(pool, units, families, lanes, dsp, seeds, left_out, progress):
    """Jobs, each with a function that gives its hash for another number of seeds."""
    choices = [(name, each) for name in units
               for each in (dict.fromkeys(lanes) if lanes and has_lanes(name) else (None,))]
    progress(f"elaborating {plural(len(choices), 'unit')}")
    found = pool.map(examine, *zip(*choices, strict=True))
    wanted = {}
    for (name, chosen), result in zip(choices, found, strict=True):
        if isinstance(result, str):
            left_out.append(f"{name} with --lanes {chosen}: {result}")
            continue
        number, unit, harness, size, multiplies = result
        if dsp and not multiplies:
            left_out.append(f"{name} has no multiplications for DSP blocks")
        for family in families:
            gates = family == fpga.GATES
            for blocks in (False,) if gates else (False, True):
                if blocks and not multiplies or not gates and dsp not in (None, blocks):
                    continue
                hashed = functools.partial(row_hash, unit, harness, family, dsp=blocks)
                count = 0 if gates else seeds
                try:
                    job = Job(name, number, chosen, family, blocks, count, size,
                              hashed(seeds=count))
                except MissingTool as error:
                    raise Failure(str(error)) from None
                wanted.setdefault(job.key, (job, hashed))
    return list(wanted.values())


def _known(row, job, hashed):
    """Whether a row is what would be measured today, perhaps with more seeds."""
    if row is None or not row["hash"]:
        return False
    seeds = int(row["seeds"] or 0)
    return seeds >= job.seeds and row["hash"] == hashed(seeds=seeds)


def _key(row):
    return tuple(row[name] for name in KEY)


def _short(job, row):
    if isinstance(row, str):
        return f"{job.title}, failed"
    if row["nand2"]:
        return f"{job.title}, {int(row['nand2']):,} NAND2"
    speed = f", {row['fmax_mhz']} MHz" if row["fmax_mhz"] else ""
    return f"{job.title}, {int(row['lut4']):,} LUT4{speed}"
