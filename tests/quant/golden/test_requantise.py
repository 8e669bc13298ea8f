# SPDX-License-Identifier: Apache-2.0
import random
from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from carrysave.quant.golden.requantise import (
    Requantiser,
    count_differing,
    requantise,
    search,
)

ROUND = {"half_even": round, "half_up": lambda value: floor(value + Fraction(1, 2))}


@pytest.mark.parametrize("rounding", ROUND)
@pytest.mark.parametrize("low, high", [(-128, 127), (0, 127), (-8, 7)])
def test_rationals(rounding, low, high, compared):
    rng = random.Random(low)
    pairs = [(1, 0), (3, 0), (1, 1), (3, 1), (1, 6), (5, 7), (255, 16), (65535, 24), (93, 13)]
    pairs += [(rng.randrange(1, 1 << 8), rng.randrange(16)) for _ in range(12)]
    z = list(range(-700, 701))
    for b, c in pairs:
        found = requantise(
            torch.tensor(z), multiplier=b, shift=c, low=low, high=high, rounding=rounding
        )
        assert found.dtype == torch.int64
        expected = [ROUND[rounding](Fraction(value * b, 1 << c)) for value in z]
        assert found.tolist() == [min(max(value, low), high) for value in expected]
        compared(len(z))


@pytest.mark.parametrize("rounding", ROUND)
def test_wide_products(rounding, compared):
    rng = random.Random(1)
    for _ in range(200):
        b, c = rng.randrange(1, 1 << 16), rng.randrange(63)
        z = [rng.randrange(-(1 << 46), 1 << 46) for _ in range(10)]
        # At and beside the ties, where there are any of this size.
        step = Fraction(1 << c, 2 * b)
        z += [x for k in range(-5, 6) for x in [floor(k * step)] if abs(x) < 1 << 46]
        found = requantise(z, multiplier=b, shift=c, rounding=rounding)
        expected = [ROUND[rounding](Fraction(value * b, 1 << c)) for value in z]
        assert found.tolist() == [min(max(value, -128), 127) for value in expected]
        compared(len(z))


def test_half_even_is_torch_round(compared):
    z = torch.arange(-(2**15), 2**15)
    for b, c in ((1, 9), (37, 14), (255, 17), (128, 16)):
        expected = torch.round(z.double() * b / 2**c).clamp(-128, 127).long()
        assert torch.equal(requantise(z, multiplier=b, shift=c), expected)
        compared(len(z))


def test_shape_is_kept():
    for shape in ((), (0,), (2, 3)):
        assert requantise(torch.ones(shape).int(), multiplier=2, shift=1).shape == shape


def test_rounding_unknown():
    with pytest.raises(ValueError) as caught:
        requantise([1], multiplier=1, shift=1, rounding="up")
    assert str(caught.value) == "Rounding must be one of half_even, half_up, not 'up'"
    with pytest.raises(ValueError) as caught:
        search(1, z_min=0, z_max=1, rounding="up")
    assert str(caught.value) == "Rounding must be one of half_even, half_up, not 'up'"


def test_product_too_wide():
    assert requantise([2**61 - 1, 1 - 2**61], multiplier=2, shift=60).tolist() == [4, -4]
    for z in -(2**61), 2**61:
        with pytest.raises(ValueError) as caught:
            requantise([0, z], multiplier=2, shift=60)
        assert str(caught.value) == f"Product of {2**61} and 2 exceeds 62 bits"


@pytest.mark.parametrize("rounding", ROUND)
@pytest.mark.parametrize("shift", range(63))
def test_greatest_products(rounding, shift, compared):
    z = [2**62 - 1, 2**62 - 2, 2**61, 2**61 + 1, 2**61 - 1]
    z += [-value for value in z]
    found = requantise(z, multiplier=1, shift=shift, rounding=rounding)
    expected = [ROUND[rounding](Fraction(value, 1 << shift)) for value in z]
    assert found.tolist() == [min(max(value, -128), 127) for value in expected]
    compared(len(z))


@pytest.mark.parametrize("shift", [-1, 63, 64])
def test_shift_wrong(shift):
    with pytest.raises(ValueError) as caught:
        requantise([1], multiplier=1, shift=shift)
    assert str(caught.value) == f"Shift must be 0 to 62, not {shift}"


# The search. Every accumulator of the range is tried, in exact integer arithmetic.


def staircase(m, z, *, low, high, rounding):
    """``clamp(round(z * m))`` of a Fraction, on an int64 array of z."""
    twice = 2 * m.numerator * z
    floors, rest = np.divmod(twice, 2 * m.denominator)
    up = rest >= m.denominator
    if rounding == "half_even":
        up &= (rest > m.denominator) | (floors % 2 == 1)
    return np.clip(floors + up, low, high)


def case(seed):
    """Seeded multiplier, range, limits, rounding and width."""
    rng = random.Random(seed)
    kind = rng.choice(["ratio", "dyadic", "half", "float", "large"])
    m = {
        "ratio": lambda: Fraction(rng.randrange(1, 400), rng.randrange(1, 4000)),
        "dyadic": lambda: Fraction(rng.randrange(1, 512), 1 << rng.randrange(4, 12)),
        "half": lambda: Fraction(2 * rng.randrange(20) + 1, 2 * rng.randrange(1, 60)),
        "float": lambda: Fraction(round(2 ** rng.uniform(-9, 1) * 2**20), 2**20),
        "large": lambda: Fraction(rng.randrange(50, 9000), rng.randrange(1, 30)),
    }[kind]()
    ends = sorted(rng.choice([-300, -77, -5, 0, 1, 40, 301]) for _ in range(2))
    if rng.random() < 0.5:
        ends = [-rng.randrange(1, 400), rng.randrange(1, 400)]
    low, high = rng.choice([(-128, 127), (0, 127), (-8, 7), (-2, 1)])
    rounding = rng.choice(["half_even", "half_up"])
    return m, ends[0], ends[1], rng.choice([2, 3, 4, 5, 6]), low, high, rounding


def all_results(z, bits, shifts, *, low, high, rounding):
    """Results of every multiplier of that width with every shift: array over (b, c, z)."""
    b, c = np.arange(1, 1 << bits)[:, None, None], np.arange(shifts + 1)[:, None]
    floors, rest = np.divmod(2 * b * z, 2 << c)
    up = rest >= 1 << c
    if rounding == "half_even":
        up = up & ((rest > 1 << c) | (floors % 2 == 1))
    return np.clip(floors + up, low, high)


def test_search_against_every_multiplier(compared):
    exact = approximate = 0
    max_shift = 17
    for seed in range(300):
        m, z_min, z_max, bits, low, high, rounding = case(seed)
        rule = {"low": low, "high": high, "rounding": rounding}
        found = search(m, z_min=z_min, z_max=z_max, bits=bits, max_shift=max_shift, **rule)
        z = np.arange(z_min, z_max + 1)
        wanted = staircase(m, z, **rule)
        results = all_results(z, bits, max_shift, **rule)
        differing = (results != wanted).sum(axis=2)
        assert found.reachable == len(z)
        assert 1 <= found.multiplier < 1 << bits and 0 <= found.shift <= max_shift
        assert found.differing == differing[found.multiplier - 1, found.shift], seed
        equal = (differing == 0).any(axis=1)
        if equal.any():
            assert found.differing == 0, seed
            assert found.multiplier == equal.argmax() + 1, seed
            exact += 1
        else:
            assert found.differing > 0, seed
            distance = abs(Fraction(found.multiplier, 1 << found.shift) - m)
            assert distance == min(
                abs(Fraction(b, 1 << c) - m)
                for b in range(1, 1 << bits)
                for c in range(max_shift + 1)
            ), seed
            approximate += 1
        compared(len(z))
    assert exact > 75 and approximate > 75


def test_search_with_floats_and_wide_multipliers(compared):
    rng = random.Random(7)
    exact = 0
    for _ in range(40):
        m = 2 ** rng.uniform(-12, -4)
        z_min, z_max = -rng.randrange(100, 9000), rng.randrange(100, 9000)
        rounding = rng.choice(["half_even", "half_up"])
        bits = rng.choice([8, 16])
        found = search(m, z_min=z_min, z_max=z_max, bits=bits, rounding=rounding)
        z = range(z_min, z_max + 1)
        result = requantise(
            torch.arange(z_min, z_max + 1),
            multiplier=found.multiplier,
            shift=found.shift,
            rounding=rounding,
        )
        # Of the exact z * m only its place among the half-integers counts: an integer comparison.
        numerator, denominator = m.as_integer_ratio()
        expected = []
        for value in z:
            whole, rest = divmod(value * numerator, denominator)
            tie = whole & 1 if rounding == "half_even" else 1
            whole += 2 * rest > denominator or (2 * rest == denominator and tie)
            expected.append(min(max(whole, -128), 127))
        differing = int((result != torch.tensor(expected)).sum())
        assert found.differing == differing and found.reachable == len(z)
        exact += found.differing == 0
        compared(len(z))
    assert 10 < exact < 30


def exact_staircase(m, z, *, low, high):
    """``clamp(round_half_even(z * m))`` of a float below 2 ** 25, on int64 z below 2 ** 30.

    The product has up to 83 bits: two digits, of which the lower one only breaks ties.
    """
    numerator, denominator = m.as_integer_ratio()
    shift = denominator.bit_length() - 1
    numerator, shift = (numerator << max(29 - shift, 0)), max(shift, 29)
    upper, lower = numerator >> 27, numerator & ((1 << 27) - 1)
    lower = z * lower
    upper = z * upper + (lower >> 27)
    sticky = (upper << 1) | (lower & ((1 << 27) - 1) != 0)
    places = shift - 27 + 1
    whole = sticky >> places
    rest = sticky - (whole << places)
    half = 1 << (places - 1)
    return np.clip(whole + ((rest > half) | ((rest == half) & (whole & 1 == 1))), low, high)


def test_staircase_of_floats(compared):
    """The reference itself against rational arithmetic, ties among it."""
    rng = random.Random(3)
    for _ in range(300):
        m = 2 ** rng.uniform(-30, 3) if rng.random() < 0.6 else rng.randrange(1, 64) / 2 ** 6
        z = np.array([rng.randrange(-(2**rng.randint(1, 30)), 2**29) for _ in range(20)])
        expected = [min(max(round(Fraction(m) * n), -128), 127) for n in z.tolist()]
        assert exact_staircase(m, z, low=-128, high=127).tolist() == expected
        compared(len(z))


def test_search_of_a_thousand_floats(one_thread, compared):
    """Every accumulator of every range; the count of differing ones is the true one."""
    rng, proved, differing = random.Random(11), 0, 0
    for _ in range(1000):
        ends = sorted(rng.choice([-1, 1]) * int(2 ** rng.uniform(0, 18)) for _ in range(2))
        low, high = rng.choice([(-128, 127), (0, 127), (-8, 7), (0, 255)])
        # From all results alike to nearly all clamped.
        m = high / max(-ends[0], ends[1]) * 2 ** rng.uniform(-9, 5)
        found = search(m, z_min=ends[0], z_max=ends[1], bits=rng.choice([8, 12, 16, 24]), low=low,
                       high=high)
        z = np.arange(ends[0], ends[1] + 1)
        result = requantise(torch.from_numpy(z), multiplier=found.multiplier, shift=found.shift,
                            low=low, high=high).numpy()
        wrong = int((result != exact_staircase(m, z, low=low, high=high)).sum())
        assert (found.differing, found.reachable) == (wrong, len(z)), (m, ends)
        proved += wrong == 0
        differing += wrong
        compared(len(z))
    assert proved > 600 and 1000 - proved > 100 and differing > 1000


def test_a_multiplier_for_each_channel(compared):
    rng = random.Random(5)
    multipliers = [rng.randrange(1 << rng.randint(1, 24)) for _ in range(40)]
    shifts = [rng.randrange(40) for _ in multipliers]
    z = torch.tensor([[rng.randrange(-(2**30), 2**30) >> rng.randrange(30) for _ in multipliers]
                      for _ in range(50)])
    for rounding in ROUND:
        found = requantise(z, multiplier=torch.tensor(multipliers), shift=torch.tensor(shifts),
                           rounding=rounding)
        for channel, (b, c) in enumerate(zip(multipliers, shifts, strict=True)):
            alone = requantise(z[:, channel], multiplier=b, shift=c, rounding=rounding)
            assert torch.equal(found[:, channel], alone)
            compared(len(alone))


def test_channels_refused():
    for b, c, text in (
        ([1, 2**30], [0, 1], f"Product of {2**32} and {2**30} exceeds 62 bits"),
        ([1, -1], [0, 1], f"Multiplier must be 0 to {2**62 - 1}, not -1"),
        ([1, 1], [0, 63], "Shift must be 0 to 62, not 63"),
    ):
        with pytest.raises(ValueError) as caught:
            requantise([[2**40, 2**32]], multiplier=b, shift=c)
        assert str(caught.value) == text


def test_search_of_a_power_of_two():
    found = search(2.0**-9, z_min=-(2**20), z_max=2**20)
    assert found == Requantiser(multiplier=1, shift=9, differing=0, reachable=2**21 + 1)


def test_search_where_a_tie_decides():
    # z = 1 gives exactly one half: even says 0, up says 1.
    even = search(0.5, z_min=0, z_max=1, bits=4)
    up = search(0.5, z_min=0, z_max=1, bits=4, rounding="half_up")
    assert requantise(1, multiplier=even.multiplier, shift=even.shift) == 0
    assert requantise(1, multiplier=up.multiplier, shift=up.shift, rounding="half_up") == 1
    assert even.differing == up.differing == 0


def test_search_of_one_accumulator():
    assert search(Fraction(1, 3), z_min=0, z_max=0) == Requantiser(1, 0, 0, 1)


@pytest.mark.parametrize("m", [0, -0.25, Fraction(-1, 3)])
def test_search_not_positive(m):
    with pytest.raises(ValueError) as caught:
        search(m, z_min=0, z_max=1)
    assert str(caught.value) == f"Multiplier must be positive, not {float(m)!r}"


def test_search_of_no_accumulators():
    with pytest.raises(ValueError) as caught:
        search(0.1, z_min=2, z_max=1)
    assert str(caught.value) == "Range of accumulators must not be empty: 2 to 1"


def test_product_of_the_least_integer():
    for multiplier in 1, 2:
        with pytest.raises(ValueError) as caught:
            requantise([-(2**63)], multiplier=multiplier, shift=1)
        assert str(caught.value) == f"Product of {2**63} and {multiplier} exceeds 62 bits"


@pytest.mark.parametrize("rounding", ROUND)
@pytest.mark.parametrize("low, high", [(-128, 127), (0, 127), (-8, 7)])
def test_count_differing(rounding, low, high, compared):
    rng, counts = random.Random(high - low), []
    for _ in range(60):
        exact = Fraction(rng.randrange(1, 400), rng.randrange(1, 4000))
        factor = rng.choice([1, 1 + Fraction(1, 1000), Fraction(9, 10), 2, Fraction(1, 3)])
        other = exact * factor
        z_min = rng.randrange(-3000, 2000)
        z = np.arange(z_min, z_min + rng.randrange(1, 3000))
        a, b = (
            staircase(m, z, low=low, high=high, rounding=rounding).tolist() for m in (exact, other)
        )
        for one, two in ((exact, other), (other, exact)):
            found = count_differing(
                one, two, z_min=z_min, z_max=int(z[-1]), low=low, high=high, rounding=rounding
            )
            assert found == sum(x != y for x, y in zip(a, b, strict=True))
        counts.append(found)
        compared(2 * len(z))
    assert 0 in counts and max(counts) > 0
