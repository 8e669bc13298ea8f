# SPDX-License-Identifier: Apache-2.0
"""An accelerator forgets what it held before a reset; its board is asked about block RAM."""

from carrysave import initial
from carrysave.chain import netlist_design
from carrysave.fpga import boards
from carrysave.fpga.synthesis import synthesise
from carrysave.sim.ledger import Arrow


def test_states_and_resets(prepared, compared):
    for _ in range(2):  # the second time from the cache
        arrows = initial.initial_arrows(prepared.subject, prepared.program)
        assert [(arrow.method, arrow.status) for arrow in arrows] == [
            ("initial state", "exact"), ("reset", "exact")]
        compared(sum(arrow.compared for arrow in arrows))
    states, resets = arrows
    assert states.detail["registers"] > 100 and states.detail["memories"] == 5
    # Every cycle of 6 bytes, a cycle of each bit of 13.
    assert resets.detail["resets"] > 10 * (6 * 4 + 13)


def test_what_differs_is_not_kept(prepared, compared):
    sent, runs = initial.frames(prepared.subject, prepared.program), []

    def run():
        runs.append(Arrow("golden", "rtl", "reset", compared=2, mismatches=1, first={"element": 1}))
        return runs[-1:]

    for k in range(2):
        arrow, = initial._known({"step": "test"}, sent, run)
        assert arrow == runs[k] and arrow.status == "differs"
        compared(arrow.compared)
    assert len(runs) == 2


def test_block_ram_that_starts_late(prepared, monkeypatch):
    board = boards.get("icebreaker")
    netlist = netlist_design(synthesise(prepared.accelerator(board), board).netlist)

    def memory_arrow(design, frames, *, cycles, **kwargs):
        assert design is netlist and len(frames) == 2 and "late.v" in late(design, cycles).sources
        return Arrow("golden", "netlist", "memory start", compared=1, detail=kwargs)

    late = initial.initial_board.late_memory
    monkeypatch.setattr(initial.initial_board, "memory_arrow", memory_arrow)
    arrow = initial.memory_arrow(
        prepared.subject, prepared.program, netlist, divisor=4, startup=181,
        clock_hz=board.clock_hz, on="no board of the cache")
    assert arrow.detail == {"divisor": 4, "startup": 181, "on": "no board of the cache"}
