# SPDX-License-Identifier: Apache-2.0
"""Run Yosys passes (pyosys) in a process of their own: a failing pass ends its process."""

import importlib.util
import json
import subprocess
import sys

from .process import MissingTool, run_process

__all__ = ["YosysError", "run_yosys"]

PROGRAM = """
import json, sys
from pyosys import libyosys
design = libyosys.Design()
for line in json.load(sys.stdin):
    libyosys.run_pass(line, design)
"""


class YosysError(RuntimeError):
    """A pass failed, crashed, or took too long. ``log`` holds everything Yosys printed."""

    def __init__(self, message, log=""):
        super().__init__(message)
        self.log = log


class YosysMissing(YosysError, MissingTool):
    """Yosys is not installed."""


def run_yosys(script, *, cwd, timeout=600):
    """Run passes on an empty design and return the log.

    Files are named relative to ``cwd``, so that neither log nor output depends on where it lies.

    Parameters
    ----------
    script : str or list of str
        Passes, one per line or element.
    cwd : path
        Working directory.
    timeout : float
        Seconds for the whole script.

    Returns
    -------
    str
        The log.

    Raises
    ------
    YosysError
        With the last error line of Yosys.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise YosysMissing("Yosys was not found: install the Python package pyosys")
    lines = script.splitlines() if isinstance(script, str) else list(script)
    # -P: files in the working directory must not shadow modules.
    args = [sys.executable, "-P", "-c", PROGRAM]
    try:
        result = run_process(args, cwd=cwd, timeout=timeout, env={"PYTHONHASHSEED": "0"},
                             stdin=json.dumps([line for line in lines if line.strip()]))
    except subprocess.TimeoutExpired as error:
        raise YosysError(f"Yosys did not finish within {timeout:g} s", error.output) from None
    log = result.stdout
    if result.returncode != 0:
        errors = [line for line in log.splitlines() if "ERROR:" in line or "Assert" in line]
        reason = errors[-1].strip() if errors else f"it ended with status {result.returncode}"
        raise YosysError(f"Yosys failed: {reason}", log)
    return log
