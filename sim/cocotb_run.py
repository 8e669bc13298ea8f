# SPDX-License-Identifier: Apache-2.0
"""The reference runs: cocotb on Verilator, for any design with streams or UART pins."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ..hw.process import run_process
from .payload import pack, plain, to_ints
from .verilator import build_cocotb
from .verilog import Design, from_component

__all__ = ["CocotbError", "run_stream", "run_streams", "run_uart"]


class CocotbError(RuntimeError):
    """A cocotb test failed, or none ran. ``log`` holds what it printed."""

    def __init__(self, message, log=""):
        super().__init__(message)
        self.log = log


def run_module(module, design, job, *, build_dir, timeout, seed):
    """Run the one test of a module on a design with a job file; returns its result."""
    import cocotb_tools.config
    import find_libpython
    from cocotb_tools.check_results import get_results

    executable = build_cocotb(design)
    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise CocotbError(f"cocotb needs Python as a shared library; {sys.executable} has none: "
                          "install libpython or another Python")
    with contextlib.ExitStack() as stack:
        if build_dir is None:
            build_dir = stack.enter_context(tempfile.TemporaryDirectory())
        folder = Path(build_dir).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        results, result = folder / "results.xml", folder / "result.json"
        for stale in (results, result):
            stale.unlink(missing_ok=True)
        (folder / "job.json").write_text(json.dumps(job))
        libs = str(cocotb_tools.config.libs_dir)
        env = {
            "COCOTB_TOPLEVEL": design.top, "COCOTB_TEST_MODULES": module,
            "TOPLEVEL_LANG": "verilog", "COCOTB_RESULTS_FILE": str(results),
            "COCOTB_RANDOM_SEED": str(seed), "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "GPI_USERS": f"{libpython};{cocotb_tools.config.pygpi_entry_point()}",
            "PYGPI_PYTHON_BIN": sys.executable, "PATH": os.pathsep.join([os.environ["PATH"], libs]),
        }
        args = [str(executable), f"+job={folder / 'job.json'}", f"+result={result}"]
        try:
            run = run_process(args, cwd=folder, timeout=timeout, env=env)
        except subprocess.TimeoutExpired as error:
            raise CocotbError(f"The cocotb run did not end within {timeout:g} s",
                              error.output) from None
        (folder / "cocotb.log").write_text(run.stdout)
        try:
            tests, failed = get_results(results)
        except RuntimeError:
            tests, failed = 0, 0
        if failed:
            lines = [line.strip() for line in run.stdout.splitlines() if "Error: " in line]
            raise CocotbError(lines[-1] if lines else "The cocotb test failed", run.stdout)
        if tests != 1 or run.returncode != 0 or not result.is_file():
            raise CocotbError(f"The cocotb run ended with status {run.returncode} and {tests} "
                              "tests instead of 1", run.stdout)
        return json.loads(result.read_text())


def as_design(design):
    return design if isinstance(design, Design) else from_component(design)


def sibling(name):
    """Full name of another module of this package."""
    return importlib.util.resolve_name(f".{name}", __package__)


def run_stream(design, inputs, *, outputs, i="i", o="o", stall_i=0.0, stall_o=0.0, seed=0,
               reset_at=None, max_cycles=None, build_dir=None, timeout=600):
    """Send payloads and collect those that come out.

    The same arguments give the same result as :meth:`.batch.BatchSimulator.run` and
    :func:`.bench.run_stream`.

    Parameters
    ----------
    design : Design or wiring.Component
    inputs : array, list or dict
        Payloads, as :func:`.payload.pack` takes them.
    outputs : int
        Transfers to wait for.
    i, o : str
        Names of the streams.
    stall_i, stall_o : float
        Probability that the source, the sink pauses for a cycle.
    seed : int
        Seed of the pauses.
    reset_at : int, optional
        Cycle in which the design is reset; the stimulus then starts afresh.
    max_cycles : int, optional
        Cycles to wait after the start of the stimulus; 1000 and 100 per transfer otherwise.
    build_dir : path, optional
        Keeps job, result and log; a temporary folder otherwise.
    timeout : float
        Seconds.

    Returns
    -------
    list of (int, payload)
        Cycle since the stimulus started, and payload in plain ints, dicts and lists.

    Raises
    ------
    CocotbError
        If outputs are missing, or a valid payload changes before it is taken.
    """
    run = {"stall_i": stall_i, "stall_o": stall_o, "seed": seed, "reset_at": reset_at}
    return run_streams(design, inputs, [run], outputs=outputs, i=i, o=o, max_cycles=max_cycles,
                       build_dir=build_dir, timeout=timeout)[0]


def run_streams(design, inputs, runs, *, outputs, i="i", o="o", max_cycles=None, build_dir=None,
                timeout=600):
    """The same inputs in several runs of one simulation, each from a reset.

    Parameters
    ----------
    design, inputs, outputs, i, o, max_cycles, build_dir, timeout
        As of :func:`run_stream`.
    runs : list of dict
        ``stall_i``, ``stall_o``, ``seed`` and ``reset_at`` of each.

    Returns
    -------
    list
        What :func:`run_stream` returns, for each run.
    """
    design = as_design(design)
    runs = [{"stall_i": 0.0, "stall_o": 0.0, "seed": 0, "reset_at": None, **run} for run in runs]
    if design.reset is None and any(run["reset_at"] is not None for run in runs):
        raise ValueError(f"reset_at needs a reset, and {design.top} has none")
    words = to_ints(pack(design.port(f"{i}__payload").shape, inputs))
    shape = design.port(f"{o}__payload").shape
    names = {f"{side}_{member}": f"{stream}__{member}"
             for side, stream in (("i", i), ("o", o)) for member in ("payload", "valid", "ready")}
    result = run_module(sibling("cocotb_stream"), design, {
        "clock": design.clock, "reset": design.reset, "inputs": words, "outputs": outputs,
        "ports": {key: name for key, name in names.items() if design.has_port(name)}, "runs": runs,
        "max_cycles": 1000 + 100 * max(outputs, len(words)) if max_cycles is None else max_cycles,
    }, build_dir=build_dir, timeout=timeout, seed=0)
    return [[(cycle, plain(shape, payload)) for cycle, payload in run] for run in result]


def run_uart(design, requests, *, divisor, expect, rx="rx", tx="tx", idle=0, max_cycles=None,
             with_cycles=False, build_dir=None, timeout=600):
    """Send requests over the UART pins, each once the one before is answered.

    Parameters
    ----------
    design : Design or wiring.Component
    requests : list of bytes
    divisor : int
        Clock cycles per bit.
    expect : list of int
        Bytes of each answer.
    rx, tx : str
        Names of the design's receive and transmit pins.
    idle : int
        Cycles before the first request.
    max_cycles : int, optional
        Cycles to wait for each answer; otherwise twice what the bytes take on the line, and
        100 000.
    with_cycles : bool
        Return the cycles as well.
    build_dir : path, optional
        Keeps job, result and log; a temporary folder otherwise.
    timeout : float
        Seconds.

    Returns
    -------
    list of bytes
        Answers; with the cycles in which the start bits of each began, if asked for: a list of
        lists, as :meth:`.batch.UartSession.exchange` counts them.

    Raises
    ------
    CocotbError
        If bytes are missing, or one is not framed as it should be.
    """
    if len(requests) != len(expect):
        raise ValueError(f"There must be one number of expected bytes for each of the "
                         f"{len(requests)} requests, not {len(expect)}")
    design = as_design(design)
    limits = [20 * (len(request) + count) * divisor + 100_000 if max_cycles is None else max_cycles
              for request, count in zip(requests, expect, strict=True)]
    result = run_module(sibling("cocotb_uart"), design, {
        "clock": design.clock, "reset": design.reset, "rx": design.port(rx).name,
        "tx": design.port(tx).name, "divisor": divisor, "idle": idle, "limits": limits,
        "requests": [list(request) for request in requests], "expect": list(expect),
    }, build_dir=build_dir, timeout=timeout, seed=0)
    answers = [bytes(value for value, _ in answer) for answer in result]
    if with_cycles:
        return answers, [[cycle for _, cycle in answer] for answer in result]
    return answers
