# SPDX-License-Identifier: Apache-2.0
"""Our quantisers against those of Brevitas 0.13.4: equal code for code, or differing as pinned.

What differs, and why ours is right:

- ``Fp8e4m3Weight`` and ``Fp8e5m2Weight`` know no NaN or Inf and saturate at 480 and 114688: they
  are our ``e4m3_none`` and ``e5m2_none``. The OCP and FNUZ classes are equal to ours.
- ``MXInt8Weight`` divides by 128 where the greatest element is just below 2 (MX v1.0, 6.3): its
  scale is an octave too small, and elements above half the range are clipped, to -128 too.
- All scales that are powers of two come from a logarithm in floating point: just below 2 ** 10 the
  MX classes round it up and take an octave too much; just above, fixed point loses one.
- MX blocks whose greatest magnitude is below 1e-10 get a scale that is no power of two.
- ``Int8WeightPerTensorFixedPoint`` divides by 128, not by 127, so that 1.0 becomes 127 / 128.
"""

import math
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import (
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
)
from brevitas.quant import float as plain
from brevitas.quant import float_quant_fnuz as fnuz
from brevitas.quant import float_quant_ocp as ocp
from brevitas.quant import mx_quant_ocp as mx
from brevitas.quant.fixed_point import Int8WeightPerChannelFixedPoint

from carrysave.quant.formats import Int, get
from carrysave.quant.train.quantisers import activation_quantiser, weight_quantiser

KINDS = {
    "linear": lambda quantiser: qnn.QuantLinear(40, 6, weight_quant=quantiser),
    "conv2d": lambda quantiser: qnn.QuantConv2d(4, 6, (5, 2), weight_quant=quantiser),
    "transposed": lambda quantiser: qnn.QuantConvTranspose2d(4, 6, (5, 2), weight_quant=quantiser),
}
MX_FLOATS = [("mxfp8_e4m3", 8, 4, 3), ("mxfp8_e5m2", 8, 5, 2), ("mxfp6_e3m2", 6, 3, 2),
             ("mxfp6_e2m3", 6, 2, 3), ("mxfp4", 4, 2, 1)]


def mx_float(base, bits, e, m, **more):
    """Brevitas' MX classes for other floats: of its E4M3, with other widths."""
    widths = {"bit_width": bits, "exponent_bit_width": e, "mantissa_bit_width": m}
    return base.let(**widths, **more)


def layer_of(x, quantiser, *, kind=torch.float64) -> Any:
    """A linear layer with these weights."""
    layer = qnn.QuantLinear(x.shape[1], x.shape[0], bias=False, weight_quant=quantiser).to(kind)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(x))
    return layer


def both(x, theirs, ours, *, kind=torch.float64):
    """Quantised weights by Brevitas and by us, as arrays; theirs as a tensor with its scale too."""
    first, second = layer_of(x, theirs, kind=kind), layer_of(x, ours, kind=kind)
    found = first.quant_weight()
    return found.value.detach().numpy(), second.quant_weight().detach().numpy(), found


def with_limits(fmt, x):
    far = fmt.max * np.array([1.001, 1.03, 1.0625, 1.125, 1.5, 1e3])
    return np.concatenate([x, far, -far])[None]


@pytest.mark.parametrize(
    "name, theirs",
    [
        ("e4m3", ocp.Fp8e4m3OCPWeight),
        ("e5m2", ocp.Fp8e5m2OCPWeight),
        ("e4m3_fnuz", fnuz.Fp8e4m3FNUZWeight),
        ("e5m2_fnuz", fnuz.Fp8e5m2FNUZWeight),
        ("e4m3_none", plain.Fp8e4m3Weight),
        ("e5m2_none", plain.Fp8e5m2Weight),
    ],
)
def test_floats(name, theirs, points, compared):
    fmt = get(name)
    x = with_limits(fmt, points(fmt))
    brevitas, ours, _ = both(x, theirs, weight_quantiser(name, scale=1.0))
    assert np.array_equal(brevitas, ours)
    assert np.array_equal(ours, fmt.values(fmt.encode(x)))
    compared(x.size)


@pytest.mark.parametrize(
    "name, theirs, first, limit",
    [
        ("e4m3", plain.Fp8e4m3Weight, math.nextafter(464, 500), 480),  # a tie goes to 448
        ("e5m2", plain.Fp8e5m2Weight, 61440, 114688),  # a tie goes to 65536
    ],
)
def test_plain_floats_saturate_late(name, theirs, first, limit, points, compared):
    fmt = get(name)
    x = with_limits(fmt, np.concatenate([points(fmt), points(get(name + "_none"))]))
    brevitas, ours, _ = both(x, theirs, weight_quantiser(name, scale=1.0))
    beyond = np.abs(x) >= first
    assert first in x and np.nextafter(first, 0) in x
    assert np.array_equal(brevitas[~beyond], ours[~beyond])
    assert (np.abs(brevitas[beyond]) > fmt.max).all() and np.abs(brevitas).max() == limit
    assert (np.abs(ours[beyond]) == fmt.max).all()
    compared(x.size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name, per, theirs",
    [
        ("e4m3", "tensor", ocp.Fp8e4m3OCPWeightPerTensorFloat),
        ("e4m3", "channel", ocp.Fp8e4m3OCPWeightPerChannelFloat),
        ("e5m2", "tensor", ocp.Fp8e5m2OCPWeightPerTensorFloat),
        ("e5m2", "channel", ocp.Fp8e5m2OCPWeightPerChannelFloat),
        ("e4m3_fnuz", "channel", fnuz.Fp8e4m3FNUZWeightPerChannelFloat),
        ("e5m2_fnuz", "tensor", fnuz.Fp8e5m2FNUZWeightPerTensorFloat),
        ("e4m3_none", "channel", plain.Fp8e4m3WeightPerChannelFloat),
        ("int8n", "tensor", Int8WeightPerTensorFloat),
        ("int8n", "channel", Int8WeightPerChannelFloat),
    ],
)
def test_real_scales(name, per, theirs, kind, compared):
    """``amax / max``: values and scales are equal to the last bit, in float64."""
    for seed in range(10):
        torch.manual_seed(seed)
        first: Any = KINDS[kind](theirs).double()
        second: Any = KINDS[kind](weight_quantiser(name, per=per)).double()
        second.weight = first.weight
        found = first.quant_weight()
        assert torch.equal(found.value, second.quant_weight())
        assert torch.equal(found.scale, second.weight_quant.scale())
        compared(found.value.numel())


def test_activations(compared):
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for theirs, ours in (
        (ocp.Fp8e4m3OCPAct, activation_quantiser("e4m3", scale=1.0)),
        (ocp.Fp8e5m2OCPAct, activation_quantiser("e5m2", scale=1.0)),
        (ocp.Fp8e4m3OCPActPerTensorFloat, activation_quantiser("e4m3")),
        *((mx_float(mx.MXFloat8e4m3Act, *widths, group_dim=-1), activation_quantiser(name))
          for name, *widths in MX_FLOATS),
    ):
        first, second = (qnn.QuantIdentity(act_quant=each).double() for each in (theirs, ours))
        for module in (first, second):
            module(x * 100)  # scales are collected from one batch
            module.eval()
        assert torch.equal(first(x * 100), second(x * 100))
        assert torch.equal(first(x * 200), second(x * 200))
        compared(2 * x.numel())


# Fixed point.


@pytest.mark.parametrize(
    "per, theirs",
    [("tensor", Int8WeightPerTensorFixedPoint), ("channel", Int8WeightPerChannelFixedPoint)],
)
def test_fixed_point(per, theirs, points, compared):
    x = points(get("int8n"))
    x = x[np.abs(x) <= 127]
    x = np.stack([x, x * 2.0**-20, -x * 2.0**9])
    x[:, 0] = 127 * np.array([1, 2.0**-20, 2.0**9])
    ours = weight_quantiser("int8n", scale="power_of_two", per=per)
    for rows in x if per == "tensor" else [x]:
        rows = np.atleast_2d(rows)
        brevitas, values, _ = both(rows, theirs, ours)
        assert np.array_equal(brevitas, values)
        compared(rows.size)


@pytest.mark.parametrize(
    "amax, theirs, ours",
    [
        (127 / 128, -7, -7),
        (math.nextafter(127 / 128, 1), -7, -6),
        (1.0, -7, -6),  # so that 1.0 becomes 127 / 128
        (1.0001, -6, -6),
        (1024.0, 3, 4),
        (math.nextafter(1024, 2000), 3, 4),  # its float logarithm is 10
        (1025.0, 4, 4),
    ],
)
def test_fixed_point_clips(amax, theirs, ours):
    x = np.array([[amax, amax / 3]])
    brevitas, values, found = both(
        x, Int8WeightPerTensorFixedPoint, weight_quantiser("int8n", scale="power_of_two")
    )
    assert found.scale.item() == 2.0**theirs
    int8 = get("int8n")
    assert brevitas.tolist() == (int8.values(int8.encode(x / 2.0**theirs)) * 2.0**theirs).tolist()
    assert values.tolist() == (int8.values(int8.encode(x / 2.0**ours)) * 2.0**ours).tolist()
    assert (brevitas[0, 0] == 127 * 2.0**theirs) == (theirs != ours or amax == 127 / 128)


# MX.


def in_blocks(element, x):
    """Each block begins with the greatest element, and has its own octave."""
    x = x[np.abs(x) <= element.max]
    x = np.pad(x, (0, -len(x) % 31)).reshape(-1, 31)
    x = np.concatenate([np.full((len(x), 1), float(element.max)), x], axis=1)
    return x * 2.0 ** (np.arange(len(x)) % 7 - 3)[:, None]


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
@pytest.mark.parametrize("name, bits, e, m", MX_FLOATS)
def test_mx_floats(name, bits, e, m, kind, points, compared):
    fmt = get(name)
    x = in_blocks(fmt.element, points(fmt.element))
    theirs = mx_float(mx.MXFloat8e4m3Weight, bits, e, m)
    brevitas, ours, found = both(x, theirs, weight_quantiser(name), kind=kind)
    assert np.array_equal(brevitas, ours)
    x = x.astype(brevitas.dtype)
    assert np.array_equal(ours, fmt.values(fmt.encode(x)))
    assert np.array_equal(found.scale_.detach().squeeze(-1), fmt.scale_values(fmt.encode(x)))
    compared(x.size)


@pytest.mark.parametrize("name, bits, e, m", MX_FLOATS)
def test_mx_floats_between_octaves(name, bits, e, m, compared):
    """Random blocks, whose greatest magnitude often lies above the greatest element."""
    x = np.random.default_rng(0).normal(size=(500, 32))
    theirs = mx_float(mx.MXFloat8e4m3Weight, bits, e, m)
    brevitas, ours, _ = both(x, theirs, weight_quantiser(name))
    assert np.array_equal(brevitas, ours)
    compared(x.size)


@pytest.mark.parametrize("name, bits, e, m", MX_FLOATS)
def test_mx_floats_take_an_octave_too_much(name, bits, e, m):
    """Just below 1024 the float logarithm is 10."""
    fmt, below = get(name), math.nextafter(1024, 0)
    theirs = mx_float(mx.MXFloat8e4m3Weight, bits, e, m)
    x = np.array([[below, -300.0] + [0] * 30])
    brevitas, ours, found = both(x, theirs, weight_quantiser(name))
    assert found.scale_.item() == 2.0 ** (10 - fmt.emax)
    assert fmt.scale_values(fmt.encode(x)).item() == 2.0 ** (9 - fmt.emax)
    assert brevitas[0, 0] == 1024 and ours[0, 0] == fmt.element.max * 2.0 ** (9 - fmt.emax) < 1024


@pytest.mark.parametrize("name, bits, e, m", MX_FLOATS)
def test_mx_floats_of_small_blocks(name, bits, e, m):
    """Below 1e-10 their scale follows 1e-10, which is no power of two."""
    fmt = get(name)
    theirs = mx_float(mx.MXFloat8e4m3Weight, bits, e, m)
    for amax, power in ((0, -127), (2.0**-40, -40 - fmt.emax), (2.0**-33, -33 - fmt.emax)):
        x = np.array([[amax] + [0] * 31])
        _, ours, found = both(x, theirs, weight_quantiser(name))
        assert fmt.scale_values(fmt.encode(x)).item() == 2.0**power
        assert ours[0, 0] == amax
        exact = math.frexp(found.scale_.item())[0] == 0.5
        assert exact == (amax > 1e-10)
        if exact:
            assert found.scale_.item() == 2.0**power


def test_mxint8_is_an_octave_too_small(points, compared):
    """SPECS 6: ``amax`` 1.9 gives steps of 2 ** -7 and is clipped; MX v1.0 says 2 ** -6."""
    fmt = get("mxint8")
    x = in_blocks(fmt.element, points(fmt.element))
    brevitas, ours, found = both(x, mx.MXInt8Weight, weight_quantiser("mxint8"))
    amax = np.abs(x).max(axis=1, keepdims=True)
    step = 2.0 ** np.floor(np.log2(amax)) / 128
    assert np.array_equal(found.scale_.detach().squeeze(-1), step)
    assert np.array_equal(fmt.scale_values(fmt.encode(x)) * 2.0**fmt.element.lsb, 2 * step)
    int8 = Int(8)
    assert np.array_equal(brevitas, int8.values(int8.encode(x / step)) * step)
    sym = get("int8n")
    assert np.array_equal(ours, sym.values(sym.encode(x / step / 2)) * 2 * step)
    # Theirs loses what lies above half the range and has a finer step below.
    clipped = np.abs(x) >= 127.5 * step
    assert (np.abs(brevitas)[clipped] <= 128 * step.max()).all() and clipped.sum() > 400
    assert (np.abs(ours - x)[clipped] < np.abs(brevitas - x)[clipped]).mean() > 0.98
    assert brevitas.min() / step.max() == -128
    compared(x.size)


def test_mxint8_of_the_specification():
    x = np.array([[1.9, -1.0, -1.9] + [0] * 29])
    brevitas, ours, found = both(x, mx.MXInt8Weight, weight_quantiser("mxint8"))
    assert found.scale_.item() == 2.0**-7
    assert brevitas[0, :3].tolist() == [127 / 128, -1, -1]
    assert ours[0, :3].tolist() == [122 / 64, -1, -122 / 64]
