# SPDX-License-Identifier: Apache-2.0
"""What is left of matrices, against other people's casts."""

import warnings

import ml_dtypes
import numpy as np
import pytest
import torch

from carrysave.quant import formats
from carrysave.quant.accuracy import fingerprint, rounded, scales, unsuited
from carrysave.quant.accuracy.rounded import SCALES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of extensions for GPUs, and of deprecated parts of torch
    from torchao.prototype.mx_formats.mx_tensor import MXTensor, ScaleCalculationMode

SUITED = [name for name in formats.names() if not unsuited(formats.get(name))]
ML_DTYPES = {
    "e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2, "e2m1": ml_dtypes.float4_e2m1fn,
    "e2m3": ml_dtypes.float6_e2m3fn, "e3m2": ml_dtypes.float6_e3m2fn,
}


def matrix(rows=70, k=96, seed=0):
    """Float32, with a column of outliers and a row of zeros."""
    x = np.random.default_rng(seed).standard_t(3, size=(rows, k)).astype(np.float32)
    x[:, 5] *= 100
    x[3] = 0
    return x


def unit(x, scale, most):
    amax = np.abs(x.astype(np.float64)).max(axis=1 if scale == "row" else None, keepdims=True)
    return np.where(amax > 0, amax / most, 1)


@pytest.mark.parametrize("scale", ["tensor", "row"])
@pytest.mark.parametrize("name", ML_DTYPES)
def test_minifloats_as_ml_dtypes(name, scale, compared):
    x, kind = matrix(), ML_DTYPES[name]
    by = unit(x, scale, float(ml_dtypes.finfo(kind).max))
    expected = (x / by).astype(kind).astype(np.float64) * by
    np.testing.assert_array_equal(rounded(x, formats.get(name), scale), expected)
    assert np.abs(expected).max() == np.abs(x).max()
    compared(x.size)


@pytest.mark.parametrize("scale", ["tensor", "row"])
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_as_numpy(bits, scale, compared):
    x = matrix()
    by = unit(x, scale, 2 ** (bits - 1) - 1)
    np.testing.assert_array_equal(
        rounded(x, formats.get(f"int{bits}"), scale), np.rint(x / by) * by)
    compared(x.size)


@pytest.mark.parametrize("name, kind", [
    ("mxfp4", torch.float4_e2m1fn_x2), ("mxfp8_e4m3", torch.float8_e4m3fn),
])
def test_blocks_as_torchao(name, kind, compared):
    x = matrix()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MXTensor.to_mx(torch.from_numpy(x), kind, 32, ScaleCalculationMode.FLOOR)
        expected = theirs.dequantize(torch.float32).double().numpy()
    np.testing.assert_array_equal(rounded(x, formats.get(name), "own"), expected)
    compared(x.size)


@pytest.mark.parametrize("name", ["fp16", "fp32"])
def test_wide_floats_are_used_as_they_are(name, compared):
    x = matrix()
    expected = x.astype({"fp16": np.float16, "fp32": np.float32}[name]).astype(np.float64)
    np.testing.assert_array_equal(rounded(x, formats.get(name), "none"), expected)
    compared(x.size)


def test_the_scale_of_pairs(compared):
    """For rows that of each row; for a tensor, found on every second of 70 rows."""
    x, fmt = matrix(), formats.get("olive4")
    for scale, by in (("row", fmt.scale(x, axis="channel")), ("tensor", fmt.scale(x[::2]))):
        expected = fmt.values(fmt.encode(x.astype(np.float64) / by)) * by
        np.testing.assert_array_equal(rounded(x, fmt, scale), expected)
        compared(x.size)


def test_each_format_has_its_scales(compared):
    assert set().union(*(scales(formats.get(name)) for name in SUITED)) == set(SCALES)
    assert len(SUITED) > 40
    for name in SUITED:
        for scale in scales(formats.get(name)):
            x = matrix(4, 64)
            found = rounded(x, formats.get(name), scale)
            assert found.shape == x.shape and np.isfinite(found).all()
            assert not found[3].any()
            compared(x.size)


def test_unsuited():
    assert unsuited(formats.get("uint4")) == "uint4 has no negative values"
    assert unsuited(formats.get("abfloat_e2m1b2")) == (
        "abfloat_e2m1b2 holds the outliers of pairs alone")
    assert not unsuited(formats.get("uint4g128z"))


def test_another_rounding_is_another_fingerprint(monkeypatch, compared):
    x, fmt = matrix(), formats.get("int8")
    before, left = fingerprint(fmt, "row"), rounded(x, fmt, "row")
    assert fingerprint(fmt, "row") == before != fingerprint(fmt, "tensor")
    encode = type(fmt).encode
    monkeypatch.setattr(type(fmt), "encode", lambda self, x: encode(self, x, rounding="zero"))
    assert fingerprint(fmt, "row") != before
    assert np.abs(x - rounded(x, fmt, "row")).sum() > 1.5 * np.abs(x - left).sum()
    compared(x.size)


def test_fingerprints_differ(compared):
    """But for those of one format under two biases, which a scale makes equal."""
    found = {(name, scale): fingerprint(formats.get(name), scale)
             for name in SUITED for scale in scales(formats.get(name))}
    for scale in "tensor", "row":
        assert found["e4m3_fnuz", scale] == found.pop(("e4m3b11_fnuz", scale))
    assert len(set(found.values())) == len(found)
    compared(len(found))


@pytest.mark.parametrize("x, kind, text", [
    (np.zeros((2, 2), int), TypeError, r"^X must be floats, not int64$"),
    (np.zeros(2), ValueError, r"^X must have two axes, neither empty, not shape \(2,\)$"),
    (np.array([[np.nan, 1]]), ValueError, r"^X must be finite: 1 are not$"),
])
def test_matrix_wrong(x, kind, text):
    with pytest.raises(kind, match=text):
        rounded(x, formats.get("int8"), "row")


def test_scale_wrong():
    with pytest.raises(ValueError, match=r"^Scale must be one of row, tensor, not 'own'$"):
        rounded(matrix(), formats.get("int8"), "own")
