# SPDX-License-Identifier: Apache-2.0
"""Load a bitstream into a board, with openFPGALoader."""

import re
from pathlib import Path

from .tools import ToolError, ToolMissing, run_tool

__all__ = ["command", "load"]

TOOL = "openfpgaloader-cli"


def command(board, bitstream, *, flash=False):
    """The command that loads a bitstream.

    Parameters
    ----------
    board : Board
    bitstream : path
    flash : bool
        Into the flash memory, so that it is there after power-off. iCE40 boards know no other way.

    Returns
    -------
    list of str
    """
    keep = flash or board.family.name == "ice40"
    return [TOOL, "-b", board.loader, *(["-f"] if keep else []), str(bitstream)]


def load(board, bitstream, *, flash=False, timeout=300):
    """Load a bitstream into the board that is plugged in.

    Parameters
    ----------
    board, bitstream, flash
        As of :func:`command`.
    timeout : float
        Seconds.

    Returns
    -------
    str
        What the tool printed.

    Raises
    ------
    ToolError
        If there is no such board, or it does not answer.
    """
    args = command(board, Path(bitstream).resolve(), flash=flash)
    try:
        return run_tool(args, cwd=Path(bitstream).resolve().parent, timeout=timeout)
    except ToolError as error:
        library = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object", error.log)
        if library:
            raise ToolMissing(
                f"{TOOL} needs {library[1]}, which was not found: install libftdi1 and hidapi "
                "(Debian, Ubuntu: apt-get install libftdi1-2 libhidapi-hidraw0)") from None
        raise
