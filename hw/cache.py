# SPDX-License-Identifier: Apache-2.0
"""Results of tools, kept by a hash of everything that they depend on."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "cached", "digest"]

SUMS = "sha256.json"


def digest(data):
    """SHA-256 of bytes or text, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def cache_folder():
    """The user's cache folder for builds."""
    return Path(platformdirs.user_cache_dir("carrysave", appauthor=False))


def intact(folder):
    """Whether a cached folder holds exactly the files that were put into it."""
    try:
        sums = json.loads((folder / SUMS).read_text())
        return all(digest((folder / name).read_bytes()) == found for name, found in sums.items())
    except (OSError, ValueError):
        return False


def cached(kind, inputs, produce, *, root=None):
    """A folder of files made from ``inputs``: from the cache, or made now.

    Whoever makes the same at the same time does no harm: a folder appears complete or not at all.

    Parameters
    ----------
    kind : str
        Name of the step.
    inputs : JSON-serialisable
        All that the result depends on, versions of tools included.
    produce : callable
        Called with an empty folder to fill. What it raises goes to the caller, nothing is kept.
    root : path, optional
        Cache folder, :func:`cache_folder` by default.

    Returns
    -------
    (Path, bool)
        The folder, not to be written to; and whether it had been there.
    """
    parent = Path(root or cache_folder()) / kind
    folder = parent / digest(json.dumps(inputs, sort_keys=True))[:32]
    if intact(folder):
        return folder, True
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=parent))
    try:
        produce(work)
        sums = {path.name: digest(path.read_bytes()) for path in sorted(work.iterdir())}
        (work / SUMS).write_text(json.dumps(sums, indent=1))
        try:
            os.rename(work, folder)
        except OSError:
            # Another build was faster, or a damaged folder lies there.
            if not intact(folder):
                shutil.rmtree(folder)
                os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder, False
