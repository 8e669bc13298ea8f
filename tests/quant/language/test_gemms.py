# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
import torch

from carrysave.quant.formats import Block, Group, Int, Pair, get
from carrysave.quant.golden.minifloat_mac import minifloat_mac
from carrysave.quant.golden.mixpe import mixpe_groups
from carrysave.quant.golden.mx_dot import mx_dot
from carrysave.quant.golden.olive import olive
from carrysave.quant.language import KINDS, quantise_gemm

# Of codes; the real scales are the test's own business.
FORMATS = {
    "mixpe-w4a8": (Int(8), Group(Int(4), 64, scale_bits=8)), "olive4": (get("olive4"),) * 2,
    "mxfp4": (get("mxfp4"),) * 2, "mxint8": (get("mxint8"),) * 2, "int8": (Int(8),) * 2,
    "fp8": (get("e4m3"),) * 2,
}


def matrices(m, n, k, seed=0):
    """Activations with an outlier in one channel, weights, float32."""
    rng = np.random.default_rng(seed)
    activations, weights = rng.normal(size=(m, k)), 0.1 * rng.standard_t(3, size=(n, k))
    activations[:, k // 3] *= 30
    return activations.astype(np.float32), weights.astype(np.float32)


def one(fmt, encoded, row):
    """One row of an encoded matrix."""
    if isinstance(fmt, Block):
        return encoded._replace(codes=encoded.codes[row], scales=encoded.scales[row])
    return encoded.words[row] if isinstance(fmt, Pair) else encoded[row]


def slow(result, i, j):
    """An element of the golden result, by the unit's own golden function."""
    (a_format, a), (w_format, w) = (
        (x.format, x.encoded) for x in (result.activations, result.weights)
    )
    if isinstance(w_format, Group):
        sums = mixpe_groups(
            torch.from_numpy(a_format.decode(a[i])), w_format.element.decode(w.codes[j]),
            size=w_format.size, scales=torch.from_numpy(w.scales[j]),
        )
        return int(sums)
    a, w = one(a_format, a, i), one(w_format, w, j)
    if isinstance(a_format, Block):
        return int(mx_dot(a_format, a, w_format, w).numpy().view(np.uint32))
    if isinstance(a_format, Pair):
        return int(olive(a_format, a, w_format, w))
    return int(minifloat_mac(a_format, a, w_format, w))


@pytest.mark.parametrize("k", [64, 128, 131])
@pytest.mark.parametrize("kind", KINDS)
def test_golden(kind, k, compared):
    m, n = 5, 7
    result = quantise_gemm(*matrices(m, n, k), kind)
    assert (result.activations.format, result.weights.format) == FORMATS[kind]
    assert result.golden.dtype == torch.int64
    expected = [[slow(result, i, j) for j in range(n)] for i in range(m)]
    assert result.golden.tolist() == expected
    compared(m * n)


def nearest(fmt, x):
    """The finite value of a scalar format nearest to a Fraction; ties to the even code."""
    codes = fmt.codes()
    codes = codes[~fmt.is_nan(codes)]
    if isinstance(fmt, Int):
        return max(-128, min(round(x), 127))
    return min(
        (abs(Fraction(float(value)) - x), int(code) & 1, abs(value), value)
        for code, value in zip(codes, fmt.values(codes), strict=True)
    )[3]


@pytest.mark.parametrize("kind, side, by_rows, most", [
    ("mixpe-w4a8", "activations", True, 127), ("int8", "activations", True, 127),
    ("int8", "weights", True, 127), ("fp8", "activations", False, 448),
    ("fp8", "weights", False, 448),
])
def test_codes_of_scalar_formats(kind, side, by_rows, most, compared):
    """Each number over its scale, rounded once; the greatest gets the greatest value."""
    a, w = matrices(4, 3, 70, seed=1)
    operand = getattr(quantise_gemm(a, w, kind), side)
    x = {"activations": a, "weights": w}[side].astype(np.float64)
    fmt = operand.format
    scale = np.abs(x).max(axis=1 if by_rows else None, keepdims=True) / most
    assert operand.unit.tolist() == (scale * 2.0**fmt.lsb).tolist()
    values = fmt.values(operand.codes)
    assert np.abs(values).max(axis=1 if by_rows else None).tolist() == (
        [most] * len(x) if by_rows else most
    )
    scale = np.broadcast_to(scale, x.shape)
    for place in np.ndindex(x.shape):
        ratio = Fraction(float(x[place])) / Fraction(float(scale[place]))
        assert values[place] == nearest(fmt, ratio)
        compared(1)


@pytest.mark.parametrize("kind", ["mxfp4", "mxint8", "olive4", "mixpe-w4a8"])
def test_codes_of_compound_formats(kind, compared):
    """What the format's own encoder gives; of `Pair` at the scale that it finds."""
    a, w = matrices(4, 3, 128, seed=2)
    result = quantise_gemm(a, w, kind)
    for x, operand, axis in (a, result.activations, None), (w, result.weights, "channel"):
        fmt = operand.format
        if isinstance(fmt, Int):
            continue
        if isinstance(fmt, Pair):
            scale = fmt.scale(x, axis=axis).reshape(-1, 1)
            assert operand.unit.tolist() == scale.tolist()
            x = x / scale
        expected, found = fmt.encode(x), operand.encoded
        assert len(expected) == len(found)
        for this, that in zip(expected, found, strict=True):
            assert np.asarray(this).tolist() == np.asarray(that).tolist()
        compared(x.size)


@pytest.mark.parametrize("kind", KINDS)
def test_units(kind, compared):
    """Result and operands in real numbers: the product of what the codes stand for."""
    a, w = matrices(5, 7, 128, seed=3)
    result = quantise_gemm(torch.from_numpy(a), torch.from_numpy(w), kind)
    left, right = result.activations.values(), result.weights.values()
    assert (left.shape, right.shape) == (a.shape, w.shape)
    product, found = left @ right.T, result.values()
    last = 2.0**-21 if kind.startswith("mx") else 2.0**-48  # FP32 and float64 sums
    assert (np.abs(found - product) <= last * (np.abs(left) @ np.abs(right).T)).all()
    exact = a.astype(float) @ w.T.astype(float)
    error = np.sqrt(((found - exact) ** 2).sum() / (exact**2).sum())
    assert abs(result.relative_error(a, w) - error) < 1e-12
    bound = {"int8": 0.08, "fp8": 0.06, "mxint8": 0.02, "mixpe-w4a8": 0.25}.get(kind, 0.5)
    assert 0 < error < bound
    compared(found.size)


def test_zeros(compared):
    for kind in KINDS:
        result = quantise_gemm(np.zeros((2, 64)), np.zeros((3, 64)), kind)
        assert result.golden.tolist() == [[0] * 3] * 2
        assert not result.values().any()
        compared(6)


@pytest.mark.parametrize("kind", KINDS)
def test_real_activations(block_11, kind, compared):
    """All of a real product where sums are integers, some of it where FP32 adds."""
    product = block_11[1]
    result = quantise_gemm(product.activations, product.weights, kind)
    a, w = result.activations, result.weights
    if isinstance(a.format, Block):
        places = [(i, j) for i in range(0, 64, 7) for j in range(0, 192, 21)]
        assert [int(result.golden[place]) for place in places] == [
            slow(result, *place) for place in places
        ]
        compared(len(places))
    else:
        expected = a.format.decode(a.encoded) @ w.format.decode(w.encoded).T
        assert result.golden.tolist() == expected.tolist()
        compared(expected.size)
    assert 0 < result.relative_error(product.activations, product.weights) < 0.2


A, W = np.ones((2, 64)), np.ones((3, 64))


@pytest.mark.parametrize("a, w, kind, error, text", [
    (A, W, "mxfp5", ValueError, "Kind must be one of mxfp4, "),
    (A, W, "olive", ValueError, "Kind must be one of olive4, "),
    (A[0], W, "int8", ValueError,
     "Activations must have two axes, neither empty, not shape (64,)"),
    (A, W[:0], "int8", ValueError,
     "Weights must have two axes, neither empty, not shape (0, 64)"),
    (A, W[:, 1:], "int8", ValueError,
     "Activations and weights must have the same K, not 64 and 63"),
    (A.astype(int), W, "int8", TypeError, "Activations must be floats, not int64"),
    (A, W > 0, "int8", TypeError, "Weights must be floats, not bool"),
    (A, W * np.inf, "fp8", ValueError, "Weights must be finite: 192 are not"),
    (np.where(np.eye(2, 64), np.nan, A), W, "mxfp4", ValueError,
     "Activations must be finite: 2 are not"),
])
def test_wrong(a, w, kind, error, text):
    with pytest.raises(error) as caught:
        quantise_gemm(a, w, kind)
    assert str(caught.value).startswith(text)
