# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import Codebook

BOOKS = [
    formats.get("nf4"), Codebook([0, 0]), Codebook([3, -1, 2]), Codebook([-24, 40, 8, 0]),
    Codebook(range(-9, 300)),
    Codebook([1e300, -1e-300, 5e-324, 0]), Codebook(np.array([0.1, -0.7], np.float32)),
    Codebook(np.linspace(-1, 1, 1 << 16)),
]


@pytest.mark.parametrize("fmt", BOOKS, ids=lambda fmt: f"{len(fmt.entries)}")
def test_every_code(fmt, compared):
    codes, unit = fmt.codes(), Fraction(2) ** fmt.lsb
    values = fmt.values(codes).tolist()
    assert values == list(fmt.entries)
    integers = fmt.decode(codes).tolist()
    assert [n * unit for n in integers] == [Fraction(value) for value in values]
    assert max(map(abs, integers)).bit_length() == fmt.integer_bits
    # The unit is as great as it can be.
    assert any(n % 2 for n in integers) or not any(integers)
    assert fmt.encode(values).tolist() == [values.index(value) for value in values[:300]] + \
        list(range(300, len(values)))
    assert fmt.bits == max(1, (len(codes) - 1).bit_length())
    compared(len(codes))


def test_nf4_as_qlora(compared):
    """Appendix E of the paper: 0, both ends, and 16 values of which 8 are above 0."""
    values = formats.get("nf4").entries
    assert (values[0], values[7], values[15], len(values)) == (-1, 0, 1, 16)
    assert list(values) == sorted(np.float32(values).astype(np.float64).tolist())
    compared(len(values))


def test_codes_beyond_the_table():
    with pytest.raises(ValueError) as caught:
        BOOKS[2].decode([0, 3])
    assert str(caught.value) == "Codes of codebook must be 0 to 2, not 3"
    with pytest.raises(ValueError) as caught:
        BOOKS[2].decode([-1])
    assert str(caught.value) == "Codes of codebook must be 0 to 3, not -1 to -1"


@pytest.mark.parametrize("entries, error, text", [
    ([1], ValueError, "Entries must be 2 to 65536 numbers, not 1"),
    (np.zeros(65537), ValueError, "Entries must be 2 to 65536 numbers, not 65537"),
    ([0, nan], ValueError, "Entries must be finite numbers"),
    ([0, inf], ValueError, "Entries must be finite numbers"),
    (["a", "b"], TypeError, "Entries must be a list of real numbers, not ['a', 'b']"),
    ([[1, 2]], TypeError, "Entries must be a list of real numbers, not [[1, 2]]"),
])
def test_entries_refused(entries, error, text):
    with pytest.raises(error) as caught:
        Codebook(entries)
    assert str(caught.value) == text
