# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import Block, BlockCodes
from carrysave.quant.golden.mx_dot import mx_dot
from carrysave.quant.golden.mx_gemm import VECTORS, mx_gemm, quantise

MX = ("mxint8", "mxint4", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4")
FORMATS = (*MX, "bfp8", "nvfp4", "nvint4")


def equal(a, b):
    return np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("rule", ["floor", "ceil"])
@pytest.mark.parametrize("name", FORMATS)
def test_quantise_is_encode(name, rule, compared):
    preset = formats.get(name)
    fmt = Block(preset.element, preset.scale, preset.size, rule)
    rng = np.random.default_rng(7)
    patterns = rng.integers(0, 1 << 32, (20_000, 32), dtype=np.uint32).view(np.float32)
    scaled = rng.normal(size=(20_000, 32)) * 2.0 ** rng.integers(-140, 120, (20_000, 1))
    subnormal = rng.integers(0, 1 << 23, (5_000, 32)) >> rng.integers(0, 23, (5_000, 1))
    subnormal = subnormal.astype(np.uint32).view(np.float32)
    patterns[~np.isfinite(patterns) & (rng.random((20_000, 1)) < 0.8)] = 1
    zeros = np.zeros((3, 32), np.float32)
    x = np.concatenate([patterns, scaled.astype(np.float32), subnormal, zeros])
    found, expected = quantise(x, fmt), fmt.encode(x)
    assert np.array_equal(found.codes, expected.codes)
    assert np.array_equal(found.scales, expected.scales)
    assert (found.k, found.tensor_scale) == (expected.k, expected.tensor_scale)
    compared(x.size)


@pytest.mark.parametrize("rule", ["floor", "ceil"])
@pytest.mark.parametrize("name", MX)
def test_quantise_every_tie(name, rule, compared):
    """Each middle between two values of the element and its neighbours, in blocks of known X."""
    preset = formats.get(name)
    fmt = Block(preset.element, preset.scale, preset.size, rule)
    values = np.unique(fmt.element.values(fmt.element.codes()))
    values = values[np.isfinite(values)]
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    points = np.concatenate([values.astype(np.float32), middles,
                             *(np.nextafter(middles, np.float32(s)) for s in (-1e9, 1e9))])
    blocks = np.full((len(points), 32), np.float32(fmt.element.max))
    blocks[:, 5] = points
    for scale in (1, 2.0**-100, 2.0**60):
        found, expected = quantise(blocks * np.float32(scale), fmt), fmt.encode(blocks * scale)
        assert np.array_equal(found.codes, expected.codes)
        assert np.array_equal(found.scales, expected.scales)
    compared(3 * len(points))


def row(x, i):
    return x._replace(codes=x.codes[i], scales=x.scales[i])


def definition(a_format, a, b_format, b):
    return np.array([
        [float(mx_dot(a_format, row(a, i), b_format, row(b, j))) for j in range(len(b.codes))]
        for i in range(len(a.codes))
    ], np.float32)


@pytest.mark.parametrize("spread", [0, 3, 60])
@pytest.mark.parametrize("a_name", FORMATS)
def test_product_is_the_dot_of_each_pair(a_name, spread, compared):
    rng = np.random.default_rng(spread)
    a_format, count, m, n, k = formats.get(a_name), 0, VECTORS + 2, 4, 90
    for b_name in FORMATS:
        b_format = formats.get(b_name)
        if a_format.size != b_format.size:
            continue
        x, y = (rng.normal(size=(rows, k)) * 2.0 ** rng.integers(-spread, spread + 1, (rows, 1))
                * 2.0 ** rng.integers(-3, 4, (rows, k)) for rows in (m, n))
        x[3], y[2, :40] = 0, 0
        if spread == 60:  # FP32's subnormals, and its infinities
            x[5] *= 2.0**-60
            y[1] *= 2.0**-60
            x[6] *= 2.0**50
            y[3] *= 2.0**50
        if spread == 3:
            x[7, 3] = np.nan
        a, b = a_format.encode(x), b_format.encode(y)
        expected = definition(a_format, a, b_format, b)
        with np.errstate(over="ignore"):
            assert equal(mx_gemm(a_format, a, b_format, b).numpy(), expected)
            few = row(a, slice(2, 2 + VECTORS))
            assert equal(mx_gemm(a_format, few, b_format, b).numpy(), expected[2 : 2 + VECTORS])
        count += expected.size
    compared(count)


def test_sums_that_float64_cannot_hold(compared):
    """E5M2: the greatest products beside the least, of both signs, in one block."""
    fmt = formats.get("mxfp8_e5m2")
    rng = np.random.default_rng(5)
    codes = rng.choice([0x7B, 0xFB, 0x7A, 0x01, 0x81, 0x02, 0x03], size=(40, 64)).astype(np.uint8)
    codes[:, 1] = codes[:, 0] ^ 0x80  # the great ones cancel in part
    a = BlockCodes(codes, rng.integers(120, 134, (40, 2)).astype(np.uint8), 64)
    b = row(a, slice(0, 9))
    b = b._replace(codes=b.codes ^ (b.codes[:, :1] & 0x80))
    expected = definition(fmt, a, fmt, b)
    assert equal(mx_gemm(fmt, a, fmt, b).numpy(), expected)
    assert equal(mx_gemm(fmt, b, fmt, a).numpy()[:VECTORS], expected.T[:VECTORS])
    compared(expected.size)


def test_sums_are_not_rounded_twice(compared):
    """2 ** 62 + 2 ** 38 + 1: float64 drops the last bit, and what is left is a tie of float32."""
    fmt = formats.get("mxfp8_e5m2")
    x, y = np.zeros((2, 40, 32), np.uint8)
    x[:, :3], y[:, :3] = (0x78, 0x78, 0x01), (0x78, 0x18, 0x01)  # 2 ** 31, 2 ** 31 or 2 ** 7, 1
    x[1::2, 2] ^= 0x80  # 2 ** 62 + 2 ** 38 - 1
    x[2::4, :3] ^= 0x80
    a, b = (BlockCodes(codes, np.full((40, 1), 127, np.uint8), 32) for codes in (x, y))
    up, down = (2.0**62 + 2.0**39) * 2.0**-32, 2.0**62 * 2.0**-32
    assert definition(fmt, row(a, slice(0, 4)), fmt, row(b, slice(0, 1)))[:, 0].tolist() == [
        up, down, -up, down]
    for left, right in ((a, b), (row(a, slice(0, 8)), b), (b, a), (row(b, slice(0, 8)), a)):
        found = mx_gemm(fmt, left, fmt, right).numpy()
        assert equal(found[:8, :8], definition(fmt, row(left, slice(0, 8)), fmt,
                                               row(right, slice(0, 8))))
    compared(4 * 64)


def test_codes_of_infinities():
    fmt = formats.get("mxfp8_e5m2")
    one, inf = np.full(32, 0x3C, np.uint8), np.uint8(0x7C)
    codes = np.stack([one, one, one])
    codes[1, 4], codes[2, 4:6] = inf, (inf, inf ^ 0x80)
    x = BlockCodes(codes, np.full((3, 1), 127, np.uint8), 32)
    found = mx_gemm(fmt, x, fmt, row(x, slice(0, 1)))
    assert equal(found.numpy()[:, 0], np.array([32, np.inf, np.nan]))
    assert equal(definition(fmt, x, fmt, row(x, slice(0, 1)))[:, 0], found.numpy()[:, 0])


def test_large(compared):
    """More rows and columns than one tile; against the exact product where nothing rounds."""
    fmt = formats.get("mxint8")
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-63, 64, (rows, 96)) / 64 for rows in (1100, 1030))
    x[:, ::32] = y[:, ::32] = 1
    found = mx_gemm(fmt, fmt.encode(x), fmt, fmt.encode(y)).numpy()
    assert np.array_equal(found, (x @ y.T).astype(np.float32))
    compared(found.size)


def test_axes_and_padding(compared):
    fmt = formats.get("mxfp4")
    x, y = np.ones((2, 3, 40), np.float32), np.ones((5, 40), np.float32)
    assert quantise(x, fmt).padding == 24
    found = mx_gemm(fmt, quantise(x, fmt), fmt, quantise(y, fmt))
    assert found.shape == (2, 3, 5) and (found == 40).all()
    compared(found.numel())


def test_wrong():
    fmt = formats.get("mxfp4")
    x = fmt.encode(np.ones((2, 3, 32)))
    with pytest.raises(ValueError, match="^B must have two axes, not 3$"):
        mx_gemm(fmt, x, fmt, x)
    with pytest.raises(TypeError, match="^Format must be a Block, not Int"):
        quantise(np.ones(32), "int8")
    wide = Block(formats.get("e6m5"))
    x = wide.encode(np.ones((1, 32)))
    with pytest.raises(ValueError, match="^Blocks of 32 products of e6m5 and e6m5 are too wide$"):
        mx_gemm(wide, x, wide, x)
