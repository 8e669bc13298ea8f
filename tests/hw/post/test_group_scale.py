# SPDX-License-Identifier: Apache-2.0
import random
import re

import numpy as np
import pytest
from amaranth.hdl import Shape, signed, unsigned

from carrysave.hw.pe.mixpe import MixPE
from carrysave.hw.post.group_scale import GroupScale
from carrysave.quant.golden.group_scale import group_scale
from carrysave.sim.batch import BatchSimulator

from ..units import check, check_everywhere


def stimulus(sums, scales, *, seed=0):
    """Transfers of sums by lane and their scale, and the terms that must come."""
    rng = random.Random(seed)
    tags = [rng.randrange(4) for _ in sums]
    inputs = [{"sums": s, "scale": f, "tag": t} for s, f, t in zip(sums, scales, tags, strict=True)]
    expected = [
        {"terms": group_scale(s, f).tolist(), "tag": t}
        for s, f, t in zip(sums, scales, tags, strict=True)
    ]
    return inputs, expected


def ends(shape):
    return (-(1 << shape.width - 1), (1 << shape.width - 1) - 1, -1, 0, 1)


@pytest.mark.parametrize("lanes, scale_bits, width", [
    (1, 8, 16), (2, 1, 12), (3, 16, 19), (5, 8, 2), (1, 3, 1), (2, 16, 40),
])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_and_extremes(lanes, scale_bits, width, stall, compared):
    rng, shape = random.Random(1), signed(width)
    top = (1 << scale_bits) - 1
    least, greatest = ends(shape)[:2]
    sums = [[s] * lanes for s in ends(shape)[: 5 if width > 1 else 1] for _ in (0, 1, 2)]
    scales = [0, 1, top] * (len(sums) // 3)
    sums += [[rng.randint(least, greatest) for _ in range(lanes)] for _ in range(100)]
    scales += [rng.randint(0, top) for _ in range(100)]
    inputs, expected = stimulus(sums, scales)
    unit = GroupScale(shape, scale_bits=scale_bits, lanes=lanes)
    cycles = check(unit, inputs, expected, stall=stall)
    if not stall:
        assert cycles == list(range(unit.latency, unit.latency + len(inputs)))
    compared(len(inputs))


def test_every_sum_and_scale(compared):
    """Sums of 8 bits and scales of 8 bits, in all three simulators a part of them."""
    unit = GroupScale(signed(8), lanes=2)
    total, scale = (x.reshape(-1) for x in np.mgrid[-128:128, 0:256])
    sums = np.stack([total, -1 - total], axis=1)
    run = BatchSimulator(unit).run(
        {"sums": sums, "scale": scale, "tag": scale % 4}, outputs=1 << 16)
    assert (run.outputs["terms"] == group_scale(sums, scale[:, None]).numpy()).all()
    assert (run.outputs["tag"] == scale % 4).all()
    assert (run.cycles == np.arange(1 << 16) + unit.latency).all()
    some = np.random.default_rng(0).integers(0, 1 << 16, 200)
    inputs, expected = stimulus(sums[some].tolist(), scale[some].tolist())
    assert check_everywhere(unit, inputs, expected) == list(range(1, 201))
    compared(2 * (1 << 16) + len(expected))


def test_term_is_as_wide_as_its_worst_case(compared):
    sums = MixPE(128).sum_shape
    unit = GroupScale(sums, scale_bits=8)
    worst = [group_scale(s, 255).item() for s in ends(sums)[:2]]
    assert unit.term_shape.width >= Shape.cast(range(min(worst), max(worst) + 1)).width
    assert unit.term_shape == signed(27)
    compared(len(worst))


def test_a_wrong_scale_is_found():
    inputs, expected = stimulus([[100], [-3]], [7, 255])
    inputs[1]["scale"] = 254
    with pytest.raises(AssertionError, match=r"^1 of 2 differ; output 1: "):
        check(GroupScale(signed(8)), inputs, expected)


@pytest.mark.parametrize("args, kwargs, message", [
    ((unsigned(8),), {}, "Sum shape must be signed, not unsigned(8)"),
    ((signed(8),), {"scale_bits": 0}, "Scale bits must be 1 to 16, not 0"),
    ((signed(8),), {"scale_bits": 17}, "Scale bits must be 1 to 16, not 17"),
    ((signed(8),), {"scale_bits": 8.0}, "Scale bits must be 1 to 16, not 8.0"),
])
def test_parameters_wrong(args, kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GroupScale(*args, **kwargs)
