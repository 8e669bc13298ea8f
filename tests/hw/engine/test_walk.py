# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import pytest
from amaranth.sim import Simulator

from carrysave.hw.engine.walk import TileWalk


def words(columns, rows):
    """``(address, row, tile_end)``: each tile once per row, then the next tile."""
    for tile in itertools.count():
        for row, column in itertools.product(range(rows), range(columns)):
            end = row == rows - 1 and column == columns - 1
            yield tile * columns + column, row, int(end)


def check(walk, *, steps, restarts, seed=0):
    """Advance at random, restart now and then; returns the number of cycles compared."""
    rng = random.Random(seed)
    found, ahead = [], []

    async def bench(ctx):
        expected = words(walk.columns, walk.rows)
        word = next(expected)
        for _ in range(steps):
            advance, restart = rng.random() < 0.7, rng.random() < restarts
            ctx.set(walk.advance, advance)
            ctx.set(walk.restart, restart)
            _, _, *now, next_address = await ctx.tick().sample(
                walk.address, walk.row, walk.tile_end, walk.ahead)
            found.append((tuple(now), word))
            if restart:
                expected = words(walk.columns, walk.rows)
            if restart or advance:
                word = next(expected)
            ahead.append((next_address, word[0]))

    sim = Simulator(walk)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    for pairs in found, ahead:
        assert [got for got, _ in pairs] == [wanted for _, wanted in pairs]
    return len(found)


@pytest.mark.parametrize("columns", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("restarts", [0.0, 0.05])
def test_walk(columns, rows, restarts, compared):
    steps = 4 * columns * rows + 20  # 20 more, as it does not always advance
    depth = columns * (steps // (columns * rows) + 1)
    compared(check(TileWalk(columns, rows=rows, depth=depth), steps=steps, restarts=restarts))


def test_a_wrong_number_of_columns_is_found():
    walk = TileWalk(3, rows=2, depth=64)
    walk.rows = 3  # what is expected now
    with pytest.raises(AssertionError):
        check(walk, steps=40, restarts=0)


def test_table_of_one_word(compared):
    compared(check(TileWalk(1, rows=3, depth=1), steps=3, restarts=0))
