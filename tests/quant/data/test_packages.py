# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import shutil
import stat
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from carrysave.quant.data import DataError, Unavailable, packages
from carrysave.quant.data.packages import Package, digest, fetch

FILES = {"a.txt": b"one", "b.txt": b"", "c.bin": bytes(range(256)) * 99}


def sum_of(files):
    """The digest by its definition."""
    parts = [f"{name} {len(content)}\n".encode() + content for name, content in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


TEXTS = sum_of(sorted(FILES.items())[:2])
NPM = Package("npm", "@our/texts", "1.2.0", "package/data/*.txt", TEXTS)
DEBIAN = Package("debian", "texts", None, "usr/share/datasets/texts/*.txt", TEXTS)


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Call ``client(name, script)`` for a program that is found first; None: for no program."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name, script):
        if script is None:
            monkeypatch.setenv("PATH", str(folder))
            return
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return make


@pytest.fixture
def archive(tmp_path):
    """A tar archive of `FILES` as npm packs it."""
    path = tmp_path / "ready.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in FILES.items():
            source = tmp_path / "source" / "package" / "data" / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
            tar.add(source, f"package/data/{name}")
        tar.add(source, "package/other/d.txt")
    return path


def check(folder, compared):
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {name: FILES[name] for name in ("a.txt", "b.txt")}
    compared(len(found))


def refused(package, root, error=Unavailable):
    """The one line that says why a package cannot be had; nothing is left behind."""
    with pytest.raises(error) as caught:
        fetch(package, root=root)
    assert not list(Path(root, "data").glob("*"))
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_digest(tmp_path, compared):
    for count, name in enumerate(sorted(FILES)):
        assert digest(tmp_path) == sum_of(sorted(FILES.items())[:count])
        (tmp_path / name).write_bytes(FILES[name])
    assert digest(tmp_path, "*.txt") == TEXTS
    (tmp_path / "a folder").mkdir()
    assert digest(tmp_path) == sum_of(sorted(FILES.items()))
    compared(len(FILES) + 2)


def test_fetched_once(client, archive, tmp_path, compared):
    client("npm", f"echo $* >>'{tmp_path}/calls' && cp '{archive}' texts.tgz && echo texts.tgz")
    for _ in range(3):
        folder = fetch(NPM, root=tmp_path / "cache")
        assert folder == tmp_path / "cache" / "data" / "npm-our-texts-1.2.0"
        check(folder, compared)
    calls = (tmp_path / "calls").read_text()
    assert calls == "pack --ignore-scripts --fetch-retries 1 @our/texts@1.2.0\n"
    assert os.listdir(tmp_path / "cache" / "data") == [folder.name]


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "a.txt").write_bytes(b"0ne"),
    lambda folder: (folder / "b.txt").unlink(),
    lambda folder: (folder / "b.txt").rename(folder / "d.txt"),
    lambda folder: (folder / "e.txt").write_bytes(b""),
])
def test_damaged_cache_is_fetched_anew(client, archive, tmp_path, damage, compared):
    client("npm", f"cp '{archive}' texts.tgz")
    damage(fetch(NPM, root=tmp_path))
    check(fetch(NPM, root=tmp_path), compared)


def test_another_process_is_faster(client, archive, tmp_path, compared):
    """The folder appears while this process fetches."""
    ready = fetch_into = tmp_path / "cache" / "data" / NPM.label
    client("npm", f"cp '{archive}' texts.tgz && mkdir '{ready}' && "
                  f"cp '{tmp_path}'/source/package/data/*.txt '{fetch_into}'")
    check(fetch(NPM, root=tmp_path / "cache"), compared)


def test_installed_by_debian(client, tmp_path, compared):
    client("apt-get", "echo E: not to be called >&2; exit 100")
    folder = tmp_path / "usr/share/datasets/texts"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    assert fetch(DEBIAN, root=tmp_path / "cache", system=tmp_path) == folder
    assert not (tmp_path / "cache").exists()
    (folder / "a.txt").write_bytes(b"other")
    assert "not to be called" in refused(DEBIAN, tmp_path / "cache")
    compared(2)


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")
def test_debian(client, archive, tmp_path, compared):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: texts\nVersion: 1\nArchitecture: all\nMaintainer: Me <me@example.org>\n"
        "Description: texts\n"
    )
    shutil.copytree(tmp_path / "source/package/data", tree / "usr/share/datasets/texts")
    packages._run(["dpkg-deb", "--build", str(tree), "texts.deb"], DEBIAN, cwd=tmp_path)
    client("apt-get", f"test \"$*\" = 'download texts' && cp '{tmp_path}/texts.deb' .")
    check(fetch(DEBIAN, root=tmp_path / "cache", system=tmp_path), compared)


def test_pypi(monkeypatch, tmp_path, compared):
    """Real pip, from a folder; the archive's own hash first."""
    wheel = tmp_path / "our_texts-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        for name in FILES:
            content.writestr(f"our_texts/{name}", FILES[name])
        content.writestr("our_texts-1.2.0.dist-info/METADATA",
                         "Metadata-Version: 2.1\nName: our-texts\nVersion: 1.2.0\n")
        content.writestr("our_texts-1.2.0.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        content.writestr("our_texts-1.2.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = Package("pypi", "our-texts", "1.2.0", "our_texts/*.txt", TEXTS, archive=found)
    check(fetch(package, root=tmp_path / "cache"), compared)
    text = refused(replace(package, archive="0" * 64), tmp_path / "other")
    assert "`pip download --no-deps our-texts==1.2.0` failed: ERROR: " in text
    text = refused(replace(package, version="9.9"), tmp_path / "other")
    assert "`pip download --no-deps our-texts==9.9` failed: ERROR: Could not find" in text


def test_other_files_than_known(client, archive, tmp_path):
    client("npm", f"cp '{archive}' texts.tgz")
    text = refused(replace(NPM, sha256="0" * 64), tmp_path / "cache", DataError)
    assert text == (
        "@our/texts is not the package known: SHA-256 of its files package/data/*.txt is "
        f"{TEXTS}, not {'0' * 64}"
    )


def test_damaged_archive(client, archive, tmp_path, compared):
    content = archive.read_bytes()
    client("npm", f"cp '{archive}' texts.tgz")
    for length in range(0, len(content) - 20, 40):
        archive.write_bytes(content[:length])
        text = refused(NPM, tmp_path / "cache", DataError)
        assert text.startswith(("@our/texts came damaged: ", "@our/texts is not the package"))
        compared(1)


@pytest.mark.parametrize("script, why", [
    (None, "npm is not installed"),
    ("exit 7", "exit status 7"),
    ("echo first >&2; echo >&2; echo last >&2; exit 1", "last"),
    ("echo hm >&2; echo npm error code E404 >&2; echo npm error log >&2; exit 1",
     "npm error code E404"),
])
def test_npm_fails(client, tmp_path, script, why):
    client("npm", script)
    assert refused(NPM, tmp_path / "cache") == (
        f"@our/texts is needed, and `npm pack @our/texts@1.2.0` failed: {why}"
    )


def test_debian_says_how_to_install(client, tmp_path):
    client("apt-get", "echo W: hm >&2; echo E: Unable to locate package texts >&2; exit 100")
    assert refused(DEBIAN, tmp_path / "cache") == (
        "texts is needed, and `apt-get download texts` failed: E: Unable to locate package texts; "
        "or install it: sudo apt-get update && sudo apt-get install texts"
    )


def test_time_limit(client, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "SECONDS", 0.2)
    client("npm", "exec sleep 20")
    assert "failed: not done within 0.2 s" in refused(NPM, tmp_path / "cache")


@pytest.mark.parametrize("script, count", [("true", 0), ("touch a b", 2)])
def test_no_archive(client, tmp_path, script, count):
    client("npm", script)
    assert refused(NPM, tmp_path / "cache", DataError) == (
        f"@our/texts is needed, and `npm pack @our/texts@1.2.0` left {count} files, not one"
    )


def test_cache_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^@our/texts cannot be kept in .*file/data: "):
        fetch(NPM, root=tmp_path / "file")


def test_pip_is_that_of_this_python(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    package = Package("pypi", "our-texts", "1.2.0", "*", TEXTS, archive="0" * 64)
    assert refused(package, tmp_path / "cache").endswith("python is not installed")
