# SPDX-License-Identifier: Apache-2.0
import random
import re

import pytest
import torch

from carrysave.hw.array.output_stationary import OutputStationaryArray
from carrysave.hw.pe import mixpe as hw_mixpe
from carrysave.hw.post.group_scale import GroupScale
from carrysave.quant.golden.mixpe import mixpe

from ..units import cells, check, check_everywhere

SHAPES = [  # rows, columns, drains, longest group
    (1, 1, 1, 1), (1, 1, 1, 5), (2, 3, 1, 16), (2, 3, 2, 4), (4, 5, 2, 9), (3, 2, 3, 2),
    (4, 1, 4, 128), (1, 9, 1, 20), (6, 2, 3, 3),
]


def stimulus(unit, sizes, *, seed=0, fill=None):
    """Transfers of groups of some sizes, and the sums that leave the chains.

    ``fill`` is an activation and a weight for all places; random ones otherwise.
    """
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    inputs, expected = [], []
    for size in sizes:
        a = torch.randint(-128, 128, (unit.rows, size), generator=generator)
        w = torch.randint(-8, 8, (unit.columns, size), generator=generator)
        if fill:
            a, w = (torch.full_like(x, value) for x, value in zip((a, w), fill, strict=True))
        tag = rng.randrange(4)
        inputs += [
            {"activations": a[:, k].tolist(), "weights": w[:, k].tolist(),
             "last": int(k == size - 1), "tag": tag if k == size - 1 else rng.randrange(4)}
            for k in range(size)
        ]
        sums = mixpe(a[:, None], w[None]).tolist()
        for t in range(unit.chain):
            row, column = divmod(t, unit.columns)
            rows = range(row, unit.rows, unit.rows // unit.drains)
            expected.append({"sums": [sums[r][column] for r in rows], "tag": tag})
    return inputs, expected


def schedule(unit, sizes):
    """Cycle of each output where nothing stalls: a group's sums leave once the chains are free."""
    cycles, start, free = [], 0, 0
    for size in sizes:
        load = max(start + size, free)
        cycles += [load + 1 + t for t in range(unit.chain)]
        start, free = load, load + unit.chain
    return cycles


def make(rows, columns, drains, group):
    return OutputStationaryArray(rows, columns, drains=drains, group=group)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_groups(shape, stall, compared):
    unit = make(*shape)
    rng = random.Random(2)
    sizes = [rng.randint(1, shape[3]) for _ in range(12)] + [shape[3]] * 2
    inputs, expected = stimulus(unit, sizes)
    cycles = check(unit, inputs, expected, stall=stall)
    if not stall:
        assert cycles == schedule(unit, sizes)
        assert cycles[0] == sizes[0] - 1 + unit.latency
    compared(len(expected))


@pytest.mark.parametrize("rows, columns, drains", [(2, 4, 1), (2, 4, 2), (3, 5, 3)])
def test_never_waits_for_groups_as_long_as_the_chain(rows, columns, drains, compared):
    chain = rows // drains * columns
    unit = make(rows, columns, drains, chain)
    assert unit.chain == chain
    inputs, expected = stimulus(unit, [chain] * 6)
    # All inputs in a row: the chains are never empty once they have begun.
    assert check(unit, inputs, expected) == list(range(chain + 1, 7 * chain + 1))
    compared(len(expected))


@pytest.mark.parametrize("group", [1, 16, 128])
@pytest.mark.parametrize("fill", [(-128, -8), (-128, 7), (127, -8), (127, 7)], ids=str)
def test_longest_groups_of_extremes(group, fill, compared):
    unit = make(2, 2, 1, group)
    inputs, expected = stimulus(unit, [group] * 3, fill=fill)
    assert expected[0]["sums"] == [group * fill[0] * fill[1]]
    check(unit, inputs, expected)
    compared(len(expected))


def test_every_simulator(compared):
    unit = make(4, 3, 2, 8)
    inputs, expected = stimulus(unit, [8, 6, 1, 2, 8, 8, 3, 5, 8, 7, 1, 1, 4, 8])
    check_everywhere(unit, inputs, expected)
    compared(len(expected))


def test_no_multiplier(compared):
    found = cells(make(3, 4, 1, 16))
    assert "$mul" not in found
    assert found["$add"] + found["$sub"] >= 3 * 4 * 4
    assert cells(GroupScale(make(3, 4, 1, 16).sum_shape))["$mul"] == 1
    compared(found.total())


def test_a_wrong_element_is_found(monkeypatch):
    inputs, expected = stimulus(make(2, 3, 1, 4), [4] * 5)
    short = make(2, 3, 1, 4)
    short.chain = 5  # the last sum of each group is lost
    with pytest.raises(TimeoutError, match=r"^25 of 30 outputs after "):
        check(short, inputs, expected)
    monkeypatch.setattr(hw_mixpe, "shift_add", lambda b, a: a * b + 1)
    with pytest.raises(AssertionError, match=r"^30 of 30 differ"):
        check(make(2, 3, 1, 4), inputs, expected)


@pytest.mark.parametrize("error, args, kwargs, message", [
    (TypeError, (0, 1), {}, "Rows must be a positive integer, not 0"),
    (TypeError, (1, 1.5), {}, "Columns must be a positive integer, not 1.5"),
    (TypeError, (True, 1), {}, "Rows must be a positive integer, not True"),
    (TypeError, (2, 2), {"drains": 0}, "Drains must be a positive integer, not 0"),
    (TypeError, (2, 2), {"group": 0}, "Group must be a positive integer, not 0"),
    (ValueError, (4, 2), {"drains": 3}, "Drains must divide the 4 rows, not 3"),
    (ValueError, (2, 2), {"drains": 4}, "Drains must divide the 2 rows, not 4"),
])
def test_parameters_wrong(error, args, kwargs, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        OutputStationaryArray(*args, **kwargs)
