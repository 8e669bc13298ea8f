# SPDX-License-Identifier: Apache-2.0
"""Tables of the ledgers of several units."""

import io

import pytest
from rich.console import Console

from carrysave import unit_view
from carrysave.sim.ledger import Arrow, Ledger


def arrow(target="rtl", method="random", **more):
    return Arrow("golden", target, method, compared=7, **more)


@pytest.mark.parametrize("others, state", [
    ([], "exact"),
    ([arrow(method="sat", ran=False, why="time")], "not all proved"),
    ([arrow("bitstream", "batch", ran=False, why="large")], "no bitstream"),
    ([arrow("bitstream", "batch", ran=False, detail={"missing": True})], "not run"),
    ([arrow("bitstream", "batch", ran=False), arrow("netlist", mismatches=1)], "differs"),
])
def test_state(others, state):
    plain = Ledger("unit-a", {}, [arrow()]).to_json()
    found = Ledger("unit-b", {}, [arrow(), *others]).to_json()
    console = Console(file=io.StringIO(), width=100)
    for part in unit_view.show_ledgers([(plain, False), (found, False)]):
        console.print(part)
    lines = console.file.getvalue().splitlines()
    (first,) = [line for line in lines if "unit-a" in line]
    (second,) = [line for line in lines if "unit-b" in line and "│" not in line][:1]
    assert first.strip().endswith("exact") and second.strip().endswith(state)
