# SPDX-License-Identifier: Apache-2.0
import itertools
import random
import re

import pytest
from amaranth.hdl import signed, unsigned

from carrysave.hw.post.argmax import ArgMax
from carrysave.quant.golden.argmax import argmax

from ..units import check, check_everywhere


def stimulus(vectors):
    inputs, expected = [], []
    for vector in vectors:
        for k, value in enumerate(vector):
            transfer = {"value": value, "last": int(k == len(vector) - 1)}
            inputs.append(transfer)
            expected.append({**transfer, "best": int(argmax(vector[: k + 1]))})
    return inputs, expected


def random_vectors(length, count, *, low, high, seed=0):
    """Vectors of up to ``length`` values; half of them full of equal ones."""
    rng = random.Random(seed)
    vectors = []
    for k in range(count):
        size = rng.randint(1, length) if k % 3 else length
        values = [rng.randint(low, high) for _ in range(size)]
        vectors.append(rng.choices(values[:2], k=size) if k % 2 else values)
    return vectors


@pytest.mark.parametrize("shape, values", [
    (signed(2), range(-2, 2)), (unsigned(2), range(4)), (signed(1), range(-1, 1)),
])
def test_every_vector(shape, values, compared):
    vectors = [v for n in range(1, 5) for v in itertools.product(values, repeat=n)]
    inputs, expected = stimulus(vectors)
    cycles = check(ArgMax(shape, 4), inputs, expected)
    assert cycles == list(range(ArgMax.latency, ArgMax.latency + len(inputs)))
    compared(len(expected))


@pytest.mark.parametrize("width", [8, 25, 32])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 16, 17])
def test_random_and_extremes(width, length, compared):
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    vectors = [[low] * length, [high] * length, [0] * length,
               [*[low] * (length - 1), high], [high, *[low] * (length - 1)],
               *random_vectors(length, 12, low=low, high=high)]
    inputs, expected = stimulus(vectors)
    assert max(transfer["best"] for transfer in expected) == length - 1
    check(ArgMax(signed(width), length), inputs, expected, stall=0.5)
    compared(len(expected))


def test_every_simulator(compared):
    inputs, expected = stimulus(random_vectors(6, 60, low=-(1 << 24), high=(1 << 24) - 1))
    cycles = check_everywhere(ArgMax(signed(25), 6), inputs, expected)
    assert cycles == list(range(1, len(inputs) + 1))
    compared(len(expected))


def test_the_last_of_equals_is_found_wrong():
    inputs, expected = stimulus([[3, 5, 5, 1]])
    expected[2]["best"] = expected[3]["best"] = 2
    with pytest.raises(AssertionError, match=r"^2 of 4 differ; output 2: "):
        check(ArgMax(signed(8), 4), inputs, expected)


@pytest.mark.parametrize("length", [0, -3, 2.0, True])
def test_length_wrong(length):
    message = re.escape(f"Length must be a positive integer, not {length!r}")
    with pytest.raises(TypeError, match=f"^{message}$"):
        ArgMax(signed(8), length)
