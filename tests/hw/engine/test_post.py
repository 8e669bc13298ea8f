# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.sim import Simulator

from carrysave.hw.array.output_stationary import OutputStationaryArray
from carrysave.hw.engine.post import Post
from carrysave.hw.engine.program import EngineConfig, compile_network
from carrysave.quant.golden.group_dot import group_dot

from .engines import random_inputs, random_network


def stimulus(network, program, x):
    """Group sums of each layer in the order of the array, and the writes that must come."""
    rows, columns = program.config.rows, program.config.columns
    trace, layers = network.run(x), []
    for number, (layer, entry) in enumerate(zip(network.layers, program.layers, strict=True)):
        inputs = trace.activations[number]
        sums = group_dot(inputs, layer.weights.long(), size=layer.group.size).tolist()
        results = trace.activations[number + 1].tolist()
        groups = len(sums[0][0])

        def pick(table, row, column, outputs=entry.outputs):
            return table[row][column] if column < outputs else None

        transfers, writes = [], []
        for tile in range(entry.tiles):
            places = [
                (row, tile * columns + column)
                for row in range(rows // program.drains) for column in range(columns)
            ]
            for g in range(groups):
                for row, column in places:
                    of_chains = [
                        (pick(sums, d * rows // program.drains + row, column) or [0] * groups)[g]
                        for d in range(program.drains)
                    ]
                    transfers.append({"sums": of_chains, "tag": {
                        "first": int(g == 0), "last": int(g == groups - 1)}})
            for row, column in places:
                values = [
                    pick(results, d * rows // program.drains + row, column) or 0
                    for d in range(program.drains)
                ]
                writes.append({"final": int(number == len(program.layers) - 1), "row": row,
                               "index": column, "values": values})
        layers.append((transfers, writes))
    return layers


def run(program, layers, *, stall=0.0, seed=0, passes=2):
    """Writes of each layer; its last must say that the layer is done, and no other."""
    array = OutputStationaryArray(program.config.rows, program.config.columns, group=program.group)
    post, rng, found = Post(program, array.sum_shape), random.Random(seed), []

    async def cycle(ctx, writes):
        """One clock cycle; returns whether the input was taken and whether the layer is done."""
        _, _, ready, write, final, row, index, values, done = await ctx.tick().sample(
            post.i.ready, post.write, post.final, post.row, post.index, post.values,
            post.layer_done)
        if write:
            writes.append({"final": final, "row": row, "index": index, "values": list(values)})
        assert write or not done
        return ready, done

    async def bench(ctx):
        for _ in range(passes):
            ctx.set(post.restart, 1)
            await cycle(ctx, [])
            ctx.set(post.restart, 0)
            for transfers, expected in layers:
                writes, ends = [], []
                for transfer in transfers:
                    ctx.set(post.i.valid, 0)
                    while rng.random() < stall:
                        ends += [len(writes)] if (await cycle(ctx, writes))[1] else []
                    ctx.set(post.i.valid, 1)
                    ctx.set(post.i.payload, transfer)
                    taken, done = await cycle(ctx, writes)
                    assert taken
                    ends += [len(writes)] if done else []
                ctx.set(post.i.valid, 0)
                for _ in range(6):
                    ends += [len(writes)] if (await cycle(ctx, writes))[1] else []
                assert ends == [len(expected)]
                found.append(writes)

    sim = Simulator(post)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return found


CASES = [  # widths, sizes, rows, columns, drains
    ((1, 1), (1,), 1, 1, 1), ((6, 4), (2,), 2, 3, 1), ((6, 5, 7), (4,), 4, 3, 2),
    ((9, 4, 8, 3), (3, 2), 3, 2, 3), ((12, 2, 2, 2), (5,), 4, 5, 4), ((20, 9), (20,), 1, 4, 1),
]


@pytest.mark.parametrize("widths, sizes, rows, columns, drains", CASES, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_writes(widths, sizes, rows, columns, drains, stall, compared):
    network = random_network(widths, sizes=sizes, relu=(True, False))
    program = compile_network(network, EngineConfig(rows=rows, columns=columns, drains=drains))
    layers = stimulus(network, program, random_inputs(rows, widths[0], seed=3))
    found = run(program, layers, stall=stall)
    assert found == [writes for _, writes in layers] * 2
    compared(drains * sum(len(writes) for writes in found))


def test_a_wrong_sum_is_found(compared):
    network = random_network((6, 5, 7), sizes=(4,))
    program = compile_network(network, EngineConfig(rows=2, columns=3))
    layers = stimulus(network, program, random_inputs(2, 6))
    layers[1][0][0]["sums"][0] += 1
    found = run(program, layers, passes=1)
    assert found[0] == layers[0][1]
    differ = [k for k, pair in enumerate(zip(found[1], layers[1][1], strict=True))
              if pair[0] != pair[1]]
    assert differ == [0]
    compared(len(found[0]) + len(found[1]))
