# SPDX-License-Identifier: Apache-2.0
"""The boards for the command line: what there is, and loading a build into one."""

from pathlib import Path

from rich import box
from rich.table import Table

from .errors import BadInput, Failure
from .fpga import boards
from .fpga.load import command, load
from .fpga.tools import ToolError
from .hw.cache import digest
from .lock import read

__all__ = ["describe", "flash", "show"]

KBIT = 1024


def describe():
    """All boards, as ``carrysave boards --json`` has them."""
    return [
        {
            "name": board.name, "aliases": list(board.aliases), "title": board.title,
            "family": board.family.name, "device": board.device, "clock_hz": board.clock_hz,
            "lut4": board.lut4, "ff": board.ff, "dsp": board.dsp, "bram": board.bram,
            "bram_bits": board.bram_bits, "loader": board.loader,
        }
        for board in boards.BOARDS
    ]


def show(found):
    """Boards as a table."""
    table = Table(title=f"{len(found)} boards", title_justify="left", box=box.SIMPLE_HEAD,
                  pad_edge=False, padding=(0, 1, 0, 0))
    for name, justify in (("board", "left"), ("what it is", "left"), ("MHz", "right"),
                          ("LUT4", "right"), ("FF", "right"), ("DSP", "right"),
                          ("RAM, Kbit", "right")):
        table.add_column(name, justify=justify, no_wrap=name != "what it is")
    for board in found:
        table.add_row(
            board["name"], board["title"], f"{board['clock_hz'] / 1e6:g}",
            f"{board['lut4']:,}", f"{board['ff']:,}", f"{board['dsp']:,}",
            f"{board['bram_bits'] // KBIT:,}")
    return table


def flash(config, out, *, board=None, keep=False, dry_run=False, progress=None):
    """Load the bitstream of a build.

    Parameters
    ----------
    config : Config
    out : path
        Folder of build folders.
    board : str, optional
        One of the configuration's; needed if there are several.
    keep : bool
        Into the flash memory.
    dry_run : bool
        Only say what would be run.

    Returns
    -------
    dict
        ``board``, ``title``, ``bitstream``, ``sha256``, ``command``.

    Raises
    ------
    BadInput
        If it has not been built, or is not what was built.
    Failure
        If the board cannot be loaded.
    """
    names = [boards.get(name).name for name in config.build.boards]
    try:
        chosen = boards.get(board) if board else None
    except ValueError as error:
        raise BadInput(f"--board: {error}") from None
    if chosen is None and len(names) != 1:
        raise BadInput(f"--board must be one of {', '.join(names)}, as build.boards has several")
    if chosen is None:
        chosen = boards.get(names[0])
    folder = Path(out) / config.name
    known = read(folder / "manifest.json")["boards"].get(chosen.name)
    if known is None:
        raise BadInput(f"--board: {folder} has no bitstream for {chosen.name}; name it in "
                       "build.boards and build")
    bitstream = folder / chosen.name / f"{config.name}{chosen.family.bitstream}"
    try:
        found = digest(bitstream.read_bytes())
    except OSError as error:
        raise BadInput(f"{bitstream}: cannot be read: {error.strerror}; build it first") from None
    if found != known["sha256"]:
        raise BadInput(f"{bitstream}: is not what was built (sha256 {found}, the manifest says "
                       f"{known['sha256']}); build it again")
    if not dry_run:
        if progress:
            progress(f"{chosen.name}: loading {bitstream.name}")
        try:
            load(chosen, bitstream, flash=keep)
        except ToolError as error:
            raise Failure(str(error)) from None
    return {"board": chosen.name, "title": chosen.title, "bitstream": str(bitstream),
            "sha256": found, "command": command(chosen, bitstream, flash=keep)}
