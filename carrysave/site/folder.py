# SPDX-License-Identifier: Apache-2.0
"""A folder that is written as a whole, or not at all."""

import contextlib
import os
import shutil
from pathlib import Path

from ..errors import BadInput

__all__ = ["MARKER", "check_folder", "replaced"]

MARKER = ".carrysave-site"


def check_folder(out):
    """Raise BadInput where ``out`` is something that is not to be deleted."""
    out = Path(out)
    try:
        if out.is_symlink() or out.exists() and not out.is_dir():
            raise BadInput(f"--out: must be a folder, or not be there, not {str(out)!r}")
        if out.is_dir() and not (out / MARKER).is_file() and any(out.iterdir()):
            raise BadInput(f"--out: {out} must be a site, or empty: it has files and no {MARKER}, "
                           "and is left alone")
    except OSError as error:
        raise BadInput(f"--out: {out} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def replaced(out):
    """A new folder beside ``out``, to be filled; it takes the place of ``out`` at the end.

    If anything is raised meanwhile, ``out`` stays as it is.
    """
    check_folder(out)
    out = Path(os.path.abspath(out))
    part, old = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            part.mkdir()
            yield part
            (part / MARKER).write_text("Written by `carrysave report`, which may delete it.\n",
                                       encoding="utf-8")
            check_folder(out)  # somebody may have put something there meanwhile
            if out.exists():
                out.rename(old)
            part.rename(out)
        except OSError as error:
            raise BadInput(f"--out: {error.filename or out} cannot be written: {error.strerror}"
                           ) from None
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for rest in part, old:
            shutil.rmtree(rest, ignore_errors=True)
