# SPDX-License-Identifier: Apache-2.0
"""Fixed point by its definition, in rational arithmetic; one thread."""

from fractions import Fraction
from math import ceil, floor, trunc

import pytest
import torch

from carrysave.quant.data import Unavailable

HALF = Fraction(1, 2)
ROUND = {
    "TRN": floor,
    "TRN_ZERO": trunc,
    "RND": lambda x: floor(x + HALF),
    "RND_MIN_INF": lambda x: ceil(x - HALF),
    "RND_INF": lambda x: floor(x + HALF) if x > 0 else ceil(x - HALF),
    "RND_ZERO": lambda x: ceil(x - HALF) if x > 0 else floor(x + HALF),
    "RND_CONV": round,
}


@pytest.fixture(scope="session")
def exact_round():
    """Call ``exact_round(x, rounding)``: the integer of a Fraction, HLS names."""
    return lambda x, rounding: ROUND[rounding](x)


@pytest.fixture(scope="session")
def fixed_reference():
    """Call ``fixed_reference(x, fmt)``: the integer of a Fraction in a `Fixed`."""

    def cast(x, fmt):
        n, size = ROUND[fmt.rounding](x / Fraction(2) ** fmt.lsb), 1 << fmt.width
        least = -size // 2 if fmt.signed else 0
        greatest = least + size - 1
        match fmt.overflow:
            case "WRAP":
                return (n - least) % size + least
            case "WRAP_SM":  # up to the greatest, back down to the least, and so on
                n = (n + size // 2) % (2 * size) - size // 2
                return n if n < size // 2 else size - 1 - n
            case "SAT_SYM":
                return max(-greatest if fmt.signed else 0, min(n, greatest))
            case "SAT_ZERO":
                return n if least <= n <= greatest else 0
        return max(least, min(n, greatest))

    return cast


@pytest.fixture(scope="session")
def reachable():
    """Call ``reachable(f, ...)`` for its result; skips the test where what it needs is not."""

    def call(function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Unavailable as error:
            pytest.skip(str(error))

    return call


@pytest.fixture(scope="module")
def one_thread():
    """The order of float sums follows the threads; with two test processes, one is faster too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
