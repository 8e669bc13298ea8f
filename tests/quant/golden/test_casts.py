# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from carrysave.quant.formats import get
from carrysave.quant.golden.casts import cast, preshift, two_scale_dot

MAGNITUDES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


@pytest.mark.parametrize("target", ["e4m3", "e5m2", "fp16"])
def test_fp4_is_exact_while_the_exponent_fits(target, compared):
    codes, to = np.arange(16, dtype=np.uint8), get(target)
    for shift in range(-5, 6):
        found = to.values(cast(codes, get("e2m1"), to, shift=shift))
        expected = [s * x * 2.0**shift for s in (1, -1) for x in MAGNITUDES]
        assert found.tolist() == expected
        assert np.array_equal(np.signbit(found), np.signbit(expected))
    compared(11 * 16)


def test_special_codes():
    e5m2, e4m3 = get("e5m2"), get("e4m3")
    codes = np.array([0x7C, 0xFC, 0x7E], np.uint8)
    assert cast(codes, e5m2, e4m3).tolist() == [0x7E, 0xFE, 0x7F]
    assert cast(codes, e5m2, e4m3, overflow="ieee").tolist() == [0x7F, 0xFF, 0x7F]
    with pytest.raises(ValueError, match="^Values must be numbers: e2m1 has no code for NaN$"):
        cast(codes, e5m2, get("e2m1"))


def test_rounded_once(compared):
    fp16, e2m1 = get("fp16"), get("e2m1")
    codes = fp16.codes()
    codes = codes[~(fp16.is_nan(codes) | fp16.is_inf(codes))]
    found = e2m1.values(cast(codes, fp16, e2m1))
    values = codes.view(np.float16).astype(float)
    gaps = np.abs(found[:, None] - values[:, None])
    least = np.abs(np.array([*MAGNITUDES, *(-m for m in MAGNITUDES)]) - values[:, None]).min(axis=1)
    assert np.array_equal(gaps[:, 0], least)
    compared(len(codes))


def test_preshift():
    values = torch.tensor([[3, -3, 5], [0, 1, -1]])
    assert preshift(values, torch.tensor([0, 1, 4])).tolist() == [[3, -6, 80], [0, 2, -16]]
    with pytest.raises(ValueError, match="^Biases must be 0 or more, not -1$"):
        preshift(values, torch.tensor([0, -1, 0]))


def test_two_scales(compared):
    torch.manual_seed(0)
    a, w = torch.randint(-128, 128, (300, 24)), torch.randint(-8, 8, (300, 24))
    positive, negative = torch.randint(1, 256, (2, 300))
    found = two_scale_dot(a, w, positive=positive, negative=negative).tolist()
    for total, x, q, up, down in zip(found, a.tolist(), w.tolist(), positive.tolist(),
                                     negative.tolist(), strict=True):
        assert total == sum(p * r * (up if r > 0 else down) for p, r in zip(x, q, strict=True))
    compared(300)
