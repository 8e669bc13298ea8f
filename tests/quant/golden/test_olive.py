# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.quant.formats import get
from carrysave.quant.golden.olive import olive, olive_by_halves

OLIVE4 = {0: 0, **{c: c for c in range(1, 8)}, **{16 - c: -c for c in range(1, 8)}}
OUTLIER4 = {1: 12, 2: 16, 3: 24, 4: 32, 5: 48, 6: 64, 7: 96, 0: 0}


def elements(word):
    """Both elements of a word of olive4, from written-out tables."""
    left, right = word & 15, word >> 4
    if left == right == 8:
        return 0, 0
    if right == 8:
        return (-1) ** (left >> 3) * OUTLIER4[left & 7], 0
    if left == 8:
        return 0, (-1) ** (right >> 3) * OUTLIER4[right & 7]
    return OLIVE4[left], OLIVE4[right]


def test_every_pair_of_words(compared):
    fmt, words = get("olive4"), np.arange(256, dtype=np.uint8)
    a, b = np.meshgrid(words, words, indexing="ij")
    found = olive(fmt, a[..., None], fmt, b[..., None]).tolist()
    table = [elements(word) for word in range(256)]
    assert found == [[x * u + y * v for u, v in table] for x, y in table]
    compared(1 << 16)


def test_eight_bits_on_four_elements(compared):
    """Every word of olive8 by a few, and long sums: the halves give the whole."""
    fmt, rng = get("olive8"), np.random.default_rng(0)
    words = np.arange(1 << 16, dtype=np.uint16)
    few = np.concatenate([rng.choice(words, 60), [0x8080, 0x807F, 0x7F80, 0x80FF, 0x8181]])
    a, b = np.broadcast_arrays(words[:, None], few.astype(np.uint16))
    found = olive_by_halves(fmt, a[..., None], fmt, b[..., None])
    assert np.array_equal(found, olive(fmt, a[..., None], fmt, b[..., None]))
    values, others = (fmt.decode(x.astype(np.uint16)).reshape(-1, 2) for x in (words, few))
    assert np.array_equal(found, values @ others.T)
    x, y = rng.choice(words, (2, 500, 32)).astype(np.uint16)
    assert np.array_equal(olive_by_halves(fmt, x, fmt, y), olive(fmt, x, fmt, y))
    compared(found.numel() + 500)


def test_halves_need_eight_bits():
    with pytest.raises(ValueError, match="^Formats must have 8 bits, not 4$"):
        olive_by_halves(get("olive4"), [0], get("olive4"), [0])
