# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import AbFloat, Flint, Int, Pair

OLIVE4, OLIVE4_FLINT, OLIVE8 = (formats.get(f"olive{kind}") for kind in ("4", "4_flint", "8"))
PAIRS = [OLIVE4, OLIVE4_FLINT, OLIVE8]
FLINT = [0, 1, 2, 3, 16, 8, 4, 6]


def normal_value(pair, code):
    """SPECS, sections 1 and 2; None for the identifier."""
    if code == 1 << (pair.bits - 1):
        return None
    if pair == OLIVE4_FLINT:
        return FLINT[code & 7] * (-1) ** (code >> 3)
    return code - (code >> (pair.bits - 1) << pair.bits)


def outlier_value(pair, code, *, clip=True):
    """E2M1 with bias 2 or 3, or E4M3 with bias 4 up to 2 ** 15; 0 for the codes never used."""
    m, bias = {OLIVE4: (1, 2), OLIVE4_FLINT: (1, 3), OLIVE8: (3, 4)}[pair]
    magnitude = code & ((1 << (pair.bits - 1)) - 1)
    value = ((1 << m) + magnitude % (1 << m)) << ((magnitude >> m) + bias) if magnitude else 0
    return (min(value, 1 << 15) if clip else value) * (-1) ** (code >> (pair.bits - 1))


def word_values(pair, word):
    left, right = normal = word & ((1 << pair.bits) - 1), word >> pair.bits
    left_victim, right_victim = (normal_value(pair, code) is None for code in normal)
    if left_victim and right_victim:
        return [0, 0]
    if right_victim:
        return [outlier_value(pair, left), 0]
    if left_victim:
        return [0, outlier_value(pair, right)]
    return [normal_value(pair, left), normal_value(pair, right)]


@pytest.mark.parametrize("pair, doubled, unused, clipped", [
    (OLIVE4, 1, 2, 0), (OLIVE4_FLINT, 1, 2, 0), (OLIVE8, 1, 2, 4 * 63),
], ids=lambda x: getattr(x, "name", x))
def test_every_word(pair, doubled, unused, clipped, compared):
    """All words decode as specified, and come back.

    Three kinds of words are never written, and are counted here: both halves the identifier; an
    outlier of the unused code E = M = 0; an outlier beyond 2 ** 15, which is clipped.
    """
    words = pair.words()
    values = pair.decode(words).reshape(-1, 2)
    expected = [word_values(pair, word) for word in range(1 << 2 * pair.bits)]
    assert values.tolist() == expected
    again = pair.encode(values)
    np.testing.assert_array_equal(pair.decode(again).reshape(-1, 2), values)
    assert again.doubled == 0

    identifier = 1 << (pair.bits - 1)
    kinds = {"doubled": [], "unused": [], "clipped": []}
    for word in range(1 << 2 * pair.bits):
        halves = word & ((1 << pair.bits) - 1), word >> pair.bits
        if halves == (identifier, identifier):
            kinds["doubled"].append(word)
        elif identifier in halves:
            outlier = sum(halves) - identifier
            if outlier == 0:
                kinds["unused"].append(word)
            elif outlier_value(pair, outlier) != outlier_value(pair, outlier, clip=False):
                kinds["clipped"].append(word)
    assert [len(kinds[kind]) for kind in kinds] == [doubled, unused, clipped]
    canonical = np.setdiff1d(words, sum(kinds.values(), []))
    np.testing.assert_array_equal(again.words.ravel()[canonical], canonical)
    assert not np.isin(again.words, sum(kinds.values(), [])).any()
    compared(len(words))


def brute_force(pair, values):
    """Index of the nearest of all values, the larger magnitude first; codes; which are outliers."""
    table = [(value, code, False) for code in range(1 << pair.bits)
             if (value := normal_value(pair, code)) is not None]
    table += [(outlier_value(pair, code), code, True) for code in range(1 << pair.bits)
              if outlier_value(pair, code) and outlier_value(pair, code, clip=False) ==
              outlier_value(pair, code)]
    table.sort(key=lambda row: (-abs(row[0]), row[1]))
    listed, codes, outlier = (np.array(column) for column in zip(*table, strict=True))
    # Integers, in sixteenths: differences are exact.
    sixteenths, inverse = np.unique(np.int32(values * 16), return_inverse=True)
    best = [np.abs(part[:, None] - np.int32(16 * listed)).argmin(axis=1)
            for part in np.array_split(sixteenths, 1 + len(sixteenths) // 4096)]
    index = np.concatenate(best)[inverse]
    return codes[index], outlier[index]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_million_pairs(pair, compared):
    rng = np.random.default_rng(pair.bits)
    spread = rng.choice([0.1, 0.4, 1, 4], size=(1_000_000, 2), p=[0.1, 0.6, 0.2, 0.1])
    values = np.round(rng.normal(size=spread.shape) * spread * pair.normal.max * 16) / 16
    values[::7] = np.round(2 * values[::7]) / 2  # ties
    values[::11, 1] = -values[::11, 0]
    code, outlier = brute_force(pair, values)
    left, right = outlier.T
    larger = np.abs(values[:, 0]) >= np.abs(values[:, 1])
    assert (left & right & (values[:, 0] == -values[:, 1])).any()
    for rule, keep_left in (("larger", larger), ("left", True)):
        left_victim, right_victim = right & ~(left & keep_left), left & ~(right & ~keep_left)
        low = np.where(left_victim, pair.identifier, code[:, 0])
        high = np.where(right_victim, pair.identifier, code[:, 1])
        encoded = pair.encode(values, rule=rule)
        np.testing.assert_array_equal(encoded.words[:, 0], low + (high << pair.bits))
        assert encoded.outliers == outlier.sum() > 0
        assert encoded.doubled == (left & right).sum() > 0
        compared(len(values))


@pytest.mark.parametrize("pair, value, code", [  # ties go to the larger magnitude
    (OLIVE4, 9.5, 12), (OLIVE4, np.nextafter(9.5, 0), 7), (OLIVE4, -80, -96), (OLIVE4, 0.5, 1),
    (OLIVE4_FLINT, 20, 24), (OLIVE4_FLINT, -12, -16), (OLIVE4_FLINT, inf, 192),
    (OLIVE8, 135.5, 144), (OLIVE8, -135.25, -127), (OLIVE8, -inf, -(1 << 15)),
])
def test_ties_and_ends(pair, value, code):
    assert pair.decode(pair.encode([value, 0])).tolist() == [code, 0]
    assert pair.decode(pair.encode([0, value])).tolist() == [0, code]


def test_layout():
    """The left one in the low half; the identifier in the victim's."""
    assert OLIVE4.encode([3, -2]).words.tolist() == [0xE3]
    assert OLIVE4.encode([-96, 1]).words.tolist() == [0x8F]
    assert OLIVE4.encode([1, 12]).words.tolist() == [0x18]
    assert OLIVE4.encode([12, -12]).words.tolist() == [0x81]
    assert OLIVE4.encode([12, 16]).words.tolist() == [0x28]
    assert OLIVE4.encode([12, 16], rule="left").words.tolist() == [0x81]
    assert OLIVE8.encode([1 << 15, 0]).words.tolist() == [0x8040]
    assert OLIVE4.encode([1.0]).words.dtype == np.uint8 and OLIVE8.words().dtype == np.uint16
    codes, outlier = OLIVE4.split([0x8F, 0x18, 0xE3, 0x88])
    assert codes.tolist() == [[15, 0], [0, 1], [3, 14], [0, 0]]
    assert outlier.tolist() == [[True, False], [False, True], [False, False], [False, False]]


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 7), (2, 2, 1)])
def test_odd_k(shape, compared):
    values = np.random.default_rng(5).normal(size=shape) * 20
    encoded = OLIVE4.encode(values)
    padded = OLIVE4.encode(np.concatenate([values, np.zeros((*shape[:-1], 1))], axis=-1))
    np.testing.assert_array_equal(encoded.words, padded.words)
    assert (encoded.k, encoded.padding, padded.padding) == (shape[-1], 1, 0)
    assert encoded.words.shape == (*shape[:-1], (shape[-1] + 1) // 2)
    np.testing.assert_array_equal(OLIVE4.decode(encoded), OLIVE4.decode(padded)[..., :-1])
    np.testing.assert_array_equal(OLIVE4.values(encoded), OLIVE4.decode(encoded))
    compared(values.size)


def errors(pair, values, units):
    """Squared error of each unit, exactly."""
    found = []
    for unit in units:
        decoded = pair.decode(pair.encode(values / unit)).tolist()
        found.append(sum((q * Fraction(unit) - Fraction(x)) ** 2
                         for q, x in zip(decoded, values.tolist(), strict=True)))
    return found


@pytest.mark.parametrize("alphas", [None, [0.3, 1, 3]])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_scale_is_the_best(pair, alphas, compared):
    rng = np.random.default_rng(2)
    values = rng.normal(0.1, 1, size=(4, 24)) * [[0.01], [1], [30], [0]]
    values[:, 5] *= 20
    tried = [k / 100 for k in range(75, 251)] if alphas is None else alphas

    def units(x):
        reach = max(abs(x.mean() + 3 * x.std()), abs(x.mean() - 3 * x.std())) or 1
        return [alpha * (reach / pair.normal.max) for alpha in tried]

    rows = pair.scale(values, axis="channel", alphas=alphas)
    assert rows.shape == (4, 1)
    for row, found in [*zip(values, rows[:, 0], strict=True),
                       (values.ravel(), pair.scale(values, alphas=alphas)[()])]:
        candidates = units(row)
        squares = errors(pair, row, candidates)
        assert found == candidates[squares.index(min(squares))]
        compared(len(tried))


def test_names_and_properties():
    assert [pair.name for pair in PAIRS] == ["olive4", "olive4_flint", "olive8"]
    assert Pair(Int(4, narrow=True), AbFloat(2, 1, 3)).name == "pair_int4n_abfloat_e2m1b3"
    assert [(pair.bits, pair.identifier, pair.max, pair.integer_bits) for pair in PAIRS] == [
        (4, 8, 96, 7), (4, 8, 192, 8), (8, 128, 1 << 15, 16)]
    assert [pair.normal.max for pair in PAIRS] == [7, 16, 127]


@pytest.mark.parametrize("call, error, text", [
    (lambda: Pair(AbFloat(2, 1), AbFloat(2, 1)), TypeError,
     f"Normal must be an Int or a Flint, not {AbFloat(2, 1)!r}"),
    (lambda: Pair(Int(4, signed=False), AbFloat(2, 1)), ValueError,
     "Normal must be signed, of at most 8 bits, not uint4"),
    (lambda: Pair(Int(9), AbFloat(5, 3)), ValueError,
     "Normal must be signed, of at most 8 bits, not int9"),
    (lambda: Pair(Flint(), Flint()), TypeError, f"Outlier must be an AbFloat, not {Flint()!r}"),
    (lambda: Pair(Int(4), AbFloat(2, 2)), ValueError,
     "Outlier must have the 4 bits of the normal format, not 5"),
    (lambda: OLIVE4.encode([1, 2], rule="right"), ValueError,
     "Rule must be one of larger, left, not 'right'"),
    (lambda: OLIVE4.encode(1.0), ValueError, "Values must have an axis K, not shape ()"),
    (lambda: OLIVE4.encode([nan, 0]), ValueError,
     "Values must be numbers: olive4 has no code for NaN"),
    (lambda: OLIVE4.decode([256]), ValueError,
     "Words of olive4 must be 0 to 255, not 256 to 256"),
    (lambda: OLIVE4.decode([1.0]), TypeError, "Words must be integers, not float64"),
    (lambda: OLIVE4.scale([1.0], axis=0), ValueError, "Axis must be None or 'channel', not 0"),
    (lambda: OLIVE4.scale([inf]), ValueError, "Values must be finite numbers, at least one"),
    (lambda: OLIVE4.scale([]), ValueError, "Values must be finite numbers, at least one"),
])
def test_refused(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
