# SPDX-License-Identifier: Apache-2.0
"""What the chain of a board says where a tool is missing, or a bitstream cannot be read."""

import pytest

from carrysave import chain as chains
from carrysave import flow
from carrysave.chain import SOURCES, BoardChain
from carrysave.config import load_config
from carrysave.fpga import boards
from carrysave.fpga.tools import ToolError, ToolMissing
from carrysave.ledger_view import status_of
from carrysave.sim import verilator
from carrysave.sim.ledger import Arrow, Ledger


def fail(error):
    def run(*_, **__):
        raise error

    return run


@pytest.fixture
def chain(prepared):
    """A chain whose synthesis and routing are never looked at."""
    chain = BoardChain(prepared, boards.get("icebreaker"), lambda line: None)
    chain.place = lambda board, synthesis: None
    chain._synthesis = lambda: None
    return chain


@pytest.mark.parametrize("target", SOURCES)
def test_a_tool_that_is_not_installed(chain, monkeypatch, target):
    monkeypatch.setattr(BoardChain, "level", fail(ToolMissing("icebox: install IceStorm")))
    (arrow,) = chain.get(target)
    assert (arrow.source, arrow.target, arrow.on) == (SOURCES[target], target, "icebreaker")
    assert (arrow.status, arrow.why) == ("not run", "icebox: install IceStorm")


def test_a_missing_tool_is_a_failure_under_chain_only():
    ran = Arrow("golden", "rtl", "batch", compared=1)
    ledger = Ledger("x", {}, [ran, Arrow("rtl", "netlist", "batch", ran=False,
                                         detail={"missing": True})])
    assert [status_of(ledger, chain) for chain in (None, False, True)] == [0, 0, 1]
    left_out = Ledger("x", {}, [ran, Arrow("rtl", "netlist", "batch", ran=False)])
    assert status_of(left_out, True) == 0


def test_a_bitstream_that_cannot_be_taken_apart_is_a_difference(chain, prepared, monkeypatch):
    monkeypatch.setattr(chains.levels, "routed", lambda *_: chain.prepared)
    monkeypatch.setattr(chains, "netlist_design", lambda netlist: None)
    monkeypatch.setattr(chains.levels, "decompiled", fail(ToolError("tile R3C4: no such route")))
    real = chain.level
    chain.level = lambda name: real(name) if name == "bitstream" else None
    (arrow,) = chain.get("bitstream")
    assert (arrow.status, arrow.why) == ("differs", "tile R3C4: no such route")
    assert arrow.mismatches == arrow.compared == 30 * 4


def test_no_compiler(bees, monkeypatch):
    """Everything that is simulated is not run, and says what to install; nothing is raised."""
    monkeypatch.setattr(verilator, "find_compiler", fail(
        verilator.CompilerMissing("No C++ compiler was found: install g++ or clang++")))
    config = load_config(bees)
    ledger, run = flow.verify(flow.prepare(config), netlists=False)
    assert run is None
    simulated = [arrow for arrow in ledger.arrows if arrow.source == "golden"]
    assert simulated and all(
        arrow.status == "not run" and "install g++" in arrow.why for arrow in simulated)
    assert status_of(ledger, True) == 1
