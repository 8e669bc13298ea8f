# SPDX-License-Identifier: Apache-2.0
"""Run a tool in its own process group, so that a timeout ends its children as well."""

import os
import signal
import subprocess
import tempfile

__all__ = ["MissingTool", "run_process"]


class MissingTool(RuntimeError):
    """A program or package is not installed. The message says what to install."""


def run_process(args, *, cwd, timeout, env=None, stdin=None):
    """Run a program and wait for it and for what it started.

    Parameters
    ----------
    args : list of str
        Program and arguments; no shell is involved.
    cwd : path
        Working directory.
    timeout : float
        Seconds after which the whole process group is killed.
    env : dict of str to str, optional
        Variables on top of the inherited ones.
    stdin : str, optional
        Text for the standard input; nothing otherwise.

    Returns
    -------
    subprocess.CompletedProcess
        ``returncode``, and both output streams together in ``stdout`` (text).

    Raises
    ------
    subprocess.TimeoutExpired
        After ``timeout``; ``output`` holds what was printed until then.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            args, cwd=cwd, env={**os.environ, **(env or {})}, start_new_session=True,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=output, stderr=subprocess.STDOUT,
        )
        expired = False
        try:
            process.communicate(None if stdin is None else stdin.encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            expired = True
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if expired:
        raise subprocess.TimeoutExpired(args, timeout, output=text)
    return subprocess.CompletedProcess(args, process.returncode, stdout=text)
