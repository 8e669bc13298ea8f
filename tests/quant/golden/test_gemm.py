# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from carrysave.quant import formats
from carrysave.quant.golden.gemm import gemm
from carrysave.quant.golden.mixpe import mixpe_groups

SCALAR = ("int4", "int8", "uint4", "uint8", "int4n", "int16", "e2m1", "e3m2", "e4m3", "e5m2",
          "e3m4", "e4m3_fnuz", "fp16", "bf16", "q8.3", "uq6.9", "flint4", "abfloat_e2m1b2",
          "log2_4", "nf4", "e8m0")


def random_codes(fmt, shape, rng):
    codes = fmt.codes()
    codes = codes[~(fmt.is_nan(codes) | fmt.is_inf(codes))]
    return rng.choice(codes, size=shape)


def exact(fmt, codes):
    """Integers of codes, unbounded, from their values: independent of ``decode``."""
    integers = [_integer(value, fmt.lsb) for value in fmt.values(codes).flat]
    return np.array(integers, object).reshape(codes.shape)


def _integer(value, lsb):
    numerator, denominator = float(value).as_integer_ratio()
    shifted = numerator << max(-lsb, 0)
    assert shifted % (denominator << max(lsb, 0)) == 0
    return shifted // (denominator << max(lsb, 0))


@pytest.mark.parametrize("a_name", SCALAR)
def test_every_pair_of_formats(a_name, compared):
    a_format, count = formats.get(a_name), 0
    rng = np.random.default_rng(len(a_name))
    a = random_codes(a_format, (2, 3, 21), rng)
    a_exact = exact(a_format, a).reshape(6, 21)
    for b_name in SCALAR:
        b_format = formats.get(b_name)
        b = random_codes(b_format, (4, 21), rng)
        found = gemm(a, b, a_format=a_format, b_format=b_name)
        expected = (a_exact @ exact(b_format, b).T).reshape(2, 3, 4)
        assert found.shape == (2, 3, 4)
        assert np.asarray(found).astype(object).tolist() == expected.tolist()
        count += expected.size
    compared(count)


@pytest.mark.parametrize("shape", [(1024, 1024, 64), (7, 5000, 9), (1, 1, 1)])
def test_bytes_at_full_size(shape, compared):
    m, k, n = shape
    rng = np.random.default_rng(k)
    a, b = rng.integers(0, 256, (m, k), np.uint8), rng.integers(0, 16, (n, k), np.uint8)
    a[0], b[0] = 0x80, 0x8
    found = gemm(torch.from_numpy(a), b, a_format="int8", b_format="int4")
    expected = a.view(np.int8).astype(np.int64) @ ((b.astype(np.int64) ^ 8) - 8).T
    assert found.tolist() == expected.tolist()
    compared(found.numel())


@pytest.mark.parametrize("k", [1024, 1030, 1040, 2050])
def test_bytes_of_greatest_magnitude(k, compared):
    """Sums beside 2 ** 24, where float32 ends: even ones, and odd."""
    a = np.full((2, k), 0x80, np.uint8)
    a[1, -1] = 1
    even, mixed, odd = k << 14, (k - 1 << 14) - 128, (k - 1 << 14) + 1
    found = gemm(a, a, a_format="int8", b_format="int8")
    assert found.tolist() == [[even, mixed], [mixed, odd]]
    compared(4)


@pytest.mark.parametrize("fmt", [
    formats.Group(formats.Int(4), 16), formats.Group(formats.Int(4), 7),
    formats.Group(formats.Int(4, signed=False), 32, zero_point=True),
    formats.Group(formats.Int(3), 5, zero_point=True),
], ids=lambda fmt: fmt.name)
def test_groups_with_scales_and_zero_points(fmt, compared):
    rng = np.random.default_rng(1)
    weights = fmt.encode(rng.normal(size=(6, 75)) + 0.3)
    activations = torch.from_numpy(rng.integers(-128, 128, (5, 75)))
    found = gemm(activations, weights, b_format=fmt)
    zeros = None if weights.zeros is None else torch.from_numpy(weights.zeros)
    expected = mixpe_groups(activations[:, None], fmt.element.decode(weights.codes), size=fmt.size,
                            scales=torch.from_numpy(weights.scales), zeros=zeros)
    assert torch.equal(found, expected)
    compared(found.numel())


@pytest.mark.parametrize("name", ["olive4", "olive4_flint", "olive8"])
def test_pairs(name, compared):
    fmt = formats.get(name)
    rng = np.random.default_rng(2)
    x = fmt.encode(rng.normal(size=(4, 51)) * fmt.max / 8)
    y = fmt.encode(rng.normal(size=(3, 51)) * fmt.max / 8)
    found = gemm(x, y, a_format=fmt, b_format=fmt)
    assert found.tolist() == (fmt.decode(x) @ fmt.decode(y).T).tolist()
    compared(found.numel())


def test_blocks():
    fmt = formats.get("nvfp4")
    x = fmt.encode(np.ones((2, 3, 32)))
    found = gemm(x, fmt.encode(np.ones((4, 32))), a_format="nvfp4", b_format=fmt)
    assert found.shape == (2, 3, 4) and found.dtype == torch.float32


CODES = np.ones((2, 32), np.uint8)
BLOCKS = formats.get("mxfp4").encode(np.ones((2, 32)))


@pytest.mark.parametrize("a, b, a_format, b_format, error, text", [
    (CODES, CODES, "int44", None, ValueError, "Format must be one of int4, "),
    (CODES, BLOCKS, "int8", "mxfp4", TypeError,
     "Formats must both be blocks, or neither: not int8 and mxfp4"),
    (CODES, BLOCKS, None, "mxfp4", TypeError,
     "Formats must both be blocks, or neither: not integers and mxfp4"),
    (CODES, BLOCKS, "mxfp4", "mxfp4", TypeError, "A must be BlockCodes, not ndarray"),
    (CODES, CODES, None, "int4g128", TypeError, "B must be GroupCodes, not ndarray"),
    (CODES, CODES, "logsqrt2_4", None, TypeError,
     "A must be of a format of integers, not logsqrt2_4"),
    (CODES + 16, CODES, "int4", None, ValueError, "Codes of int4 must be 0 to 15, not 17 to 17"),
    (CODES * 0x7F, CODES, "e4m3", None, ValueError,
     "A must be finite: a code of e4m3 is NaN or Inf"),
    (CODES, CODES * 0x7C, None, "e5m2", ValueError,
     "B must be finite: a code of e5m2 is NaN or Inf"),
    (CODES * 1.0, CODES, None, None, TypeError, "A must be integers, not torch.float64"),
    (CODES * 1.0, CODES, "int4", None, TypeError, "Codes must be integers, not float64"),
    (CODES, CODES[:, 1:], None, None, ValueError, "A and B must have the same K, not 32 and 31"),
    (CODES, CODES[0], None, None, ValueError,
     "A and B must have shapes (…, K) and (N, K), not (2, 32) and (32,)"),
])
def test_wrong(a, b, a_format, b_format, error, text):
    with pytest.raises(error) as caught:
        gemm(a, b, a_format=a_format, b_format=b_format)
    assert str(caught.value).startswith(text)
