# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from carrysave.fpga import boards

from .echo import Echo


@pytest.mark.parametrize("name, found", [
    ("icebreaker", "icebreaker"), ("ulx3s", "ulx3s"), ("ulx3s-25f", "ulx3s"),
    ("ulx3s-85f", "ulx3s-85f")])
def test_names_and_aliases(name, found):
    assert boards.get(name).name == found
    assert found in boards.names()


@pytest.mark.parametrize("name, hint", [
    ("icebreakr", "; did you mean 'icebreaker'?"), ("", ""), (7, "")])
def test_unknown_board(name, hint):
    with pytest.raises(ValueError) as error:
        boards.get(name)
    known = sorted(key for board in boards.BOARDS for key in (board.name, *board.aliases))
    assert str(error.value) == f"Board must be one of {', '.join(known)}, not {name!r}{hint}"


def test_every_name_is_unique():
    keys = [key for board in boards.BOARDS for key in (board.name, *board.aliases)]
    assert len(keys) == len(set(keys)) > 0


@pytest.mark.parametrize("name, clock_hz, startup, clock, pins", [
    ("icebreaker", 12_000_000, 181, "set_frequency clk12_0__io 12.0\n",
     ["set_io uart_0__rx__io 6\n", "set_io uart_0__tx__io 9\n", "set_io clk12_0__io 35\n"]),
    ("ulx3s", 25_000_000, 0, 'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ;\n',
     [f'LOCATE COMP "{port}" SITE "{site}";\n' for port, site in
      (("uart_0__rx__io", "M1"), ("uart_0__tx__io", "L4"), ("clk25_0__io", "G2"))]),
])
def test_plan(name, clock_hz, startup, clock, pins):
    board = boards.get(name)
    assert (board.clock_hz, board.startup) == (clock_hz, startup)
    plan = boards.plan(Echo(), board)
    assert plan == boards.plan(Echo(), board)
    assert clock in plan.constraints
    for line, port in zip(pins, ("rx", "tx", "clk"), strict=True):
        assert line in plan.constraints and board.pins[port] in line
        assert f"\\{board.pins[port]}\n" in plan.rtlil
    assert os.getcwd() not in plan.rtlil + plan.constraints
    assert plan.route[0] == f"nextpnr-{board.family.name}"


def test_accelerator_without_pins():
    with pytest.raises(TypeError, match=r"^Accelerator must have ports rx and tx, not 3$"):
        boards.BoardTop(3, boards.get("icebreaker"))
