# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from carrysave.quant.golden.exact import dot, matmul

WIDTHS = (1, 2, 4, 8, 11, 12, 16, 20, 24, 26, 30, 31, 40, 52, 62, 63)


def objects(x):
    return x if isinstance(x, np.ndarray) else x.numpy().astype(object)


def operand(bits, rows, k, generator):
    """Random integers of a width, the first row all the most negative one."""
    x = torch.randint(-(2**bits), 2**bits - 1, (rows, k), generator=generator)
    x[0] = -(2**bits)
    return x


@pytest.mark.parametrize("k", [1, 3, 33, 1500])
@pytest.mark.parametrize("a_bits", WIDTHS)
def test_equal_to_unbounded_integers(a_bits, k, compared):
    generator = torch.Generator().manual_seed(a_bits * 10000 + k)
    count = 0
    for b_bits in WIDTHS:
        a, b = operand(a_bits, 3, k, generator), operand(b_bits, 4, k, generator)
        expected = objects(a) @ objects(b).T
        found = matmul(a, b)
        wide = k << (a_bits + b_bits) >= 1 << 63
        assert isinstance(found, np.ndarray if wide else torch.Tensor)
        assert (objects(found) == expected).all()
        assert (objects(dot(a[:, None], b)) == expected).all()
        count += expected.size
    compared(count)


@pytest.mark.parametrize("k", [1023, 1024, 1025, 4096, 70000])
def test_longest_sum_that_a_float_holds(k, compared):
    """int8 by int8: 1024 products of -128 fill float32's integers exactly."""
    a, b = (torch.full((2, k), -128, dtype=torch.int8) for _ in range(2))
    a[1, -1] = b[1, -1] = 1  # an odd sum
    found = matmul(a, b)
    even, odd = (k << 14), (k - 1 << 14) + 1
    mixed = (k - 1 << 14) - 128
    assert found.tolist() == [[even, mixed], [mixed, odd]]
    compared(found.numel())


def test_integers_beyond_int64(compared):
    a = np.array([[(n << 200) + 7 for n in range(row, row + 5)] for row in (-9, 3)], object)
    assert (matmul(a, a) == a @ a.T).all()
    assert (dot(a, a) == (a * a).sum(axis=1)).all()
    small = np.array([[3, -4]], object)
    assert matmul(small, small).tolist() == [[25]]
    compared(7)


@pytest.mark.parametrize("m, k, n", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_empty(m, k, n):
    found = matmul(torch.ones(m, k).int(), torch.ones(n, k).int())
    assert found.shape == (m, n) and found.dtype == torch.int64 and not found.any()


@pytest.mark.parametrize("bad, kind", [(torch.ones(2, 2), "float32"), ([[True]], "bool")])
def test_wrong_kind(bad, kind):
    for function in dot, matmul:
        with pytest.raises(TypeError, match=f"^a must be integers, not torch.{kind}$"):
            function(bad, torch.ones(2, 2).int())
