# SPDX-License-Identifier: Apache-2.0
import warnings
from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise
from math import inf, nan

import gfloat.formats
import numpy as np
import pytest
import torch
from gfloat import RoundMode, encode_ndarray, round_ndarray
from gfloat.block import compute_scale_amax

from carrysave.quant import formats
from carrysave.quant.formats import ROUNDINGS, Block, Exponent, Fixed, Int, Minifloat, bfp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of extensions for GPUs, and of deprecated parts of torch
    from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx

TORCHAO = {
    "mxfp4": torch.float4_e2m1fn_x2, "mxfp6_e2m3": "fp6_e2m3", "mxfp6_e3m2": "fp6_e3m2",
    "mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2,
}
GFLOAT = {
    "mxfp4": gfloat.formats.format_info_mxfp4_e2m1,
    **{name: getattr(gfloat.formats, f"format_info_{name}") for name in (
        "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8")},
}


def mixed_blocks(rng, count):
    """Blocks of 32 float32 numbers: every exponent and its limits, ties, zeros, NaN, Inf."""
    bits = rng.integers(1 << 32, size=(count, 32), dtype=np.uint32)
    # The greatest exponent is any, the others are up to 15 below; some mantissas are short, so that
    # there are ties, or next to it.
    below = bits >> 23 & bits >> 27 & 15
    top = rng.integers(255, size=(count, 1), dtype=np.uint32)
    exponents = top - np.minimum(top, below)
    short = rng.choice(np.array([0, 0xFFFF, 0x3FFFF, 0x7FFFF, 0xFFFFF], np.uint32), (count, 1))
    rest = short * rng.choice(np.array([0, 0, 1], np.uint32), (count, 1))
    mantissas = bits & 0x7FFFFF & ~short | rest | (rng.integers(2, size=(count, 1)) & short & 1)
    x = (bits & 0x80000000 | exponents << 23 | mantissas).astype(np.uint32).view(np.float32)
    parts = iter(np.split(x, range(count // 50, count // 2, count // 50)))
    for _ in range(10):
        part = next(parts)
        part[:] = rng.standard_normal(part.shape, np.float32)
        part *= np.exp2(rng.integers(-60, 60, size=(len(part), 1))).astype(np.float32)
    for _ in range(3):  # subnormals, down to the least
        part = next(parts).view(np.uint32)
        part &= 0x80000000 | 0x7FFFFF >> rng.integers(23, size=(len(part), 1), dtype=np.uint32)
    next(parts).view(np.uint32)[:] &= 0x80000000  # 0, -0
    next(parts).view(np.uint32)[:] |= 0x7E800000  # exponents 253 to 255
    part = next(parts)
    part.view(np.uint32)[:] = rng.integers(1 << 32, size=part.shape, dtype=np.uint32)
    for specials in ([nan], [inf], [-inf], [nan, inf], [-nan, -inf]):
        part = next(parts)
        for special in specials:
            part[np.arange(len(part)), rng.integers(32, size=len(part))] = special
    return x


@pytest.fixture(scope="module")
def million():
    """A million blocks, in parts; torch keeps to one core meanwhile."""
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    torch.set_num_threads(1)
    yield [mixed_blocks(rng, 20_000) for _ in range(50)]
    torch.set_num_threads(threads)


def test_mixed_blocks_are_mixed(million):
    x = np.concatenate(million)
    assert x.shape == (1_000_000, 32)
    amax = np.abs(x).max(axis=1)
    assert (amax == 0).mean() > 0.01 and np.isnan(amax).mean() > 0.03 and np.isinf(amax).any()
    assert ((amax > 0) & (amax < 2**-126)).mean() > 0.04
    exponents = np.frexp(amax[np.isfinite(amax) & (amax > 0)])[1]
    assert (np.bincount(exponents + 148) > 300).all() and np.ptp(exponents) == 148 + 128


@pytest.mark.parametrize("name", TORCHAO)
def test_as_torchao(name, million, compared):
    """Equal but for three differences, all of which are known.

    torchao divides by 2 ** -126 at least, so that elements under the scale 2 ** -127 come out half
    as great. Inf without NaN gives a scale as if 2 ** 128 were the greatest. In a block with NaN
    it divides by Inf, so that what is finite becomes 0 or -0, and the rest NaN, or in formats
    without NaN any code.
    """
    fmt = formats.get(name)
    element, emax, kinds = fmt.element, fmt.emax, np.zeros(4, int)
    for x in million:
        scales, codes = (part.view(torch.uint8).numpy() for part in to_mx(
            torch.from_numpy(x), TORCHAO[name], 32, scaling_mode=ScaleCalculationMode.FLOOR))
        scales = scales[:, 0]
        if name == "mxfp4":
            codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(x.shape)
        ours = fmt.encode(x)
        least = ours.scales[:, 0] == 0
        infinite, has_nan = np.isinf(x).any(axis=1), np.isnan(x).any(axis=1)
        infinite &= ~has_nan
        usual = ~(least | infinite | has_nan)
        same = ~(infinite | has_nan)
        np.testing.assert_array_equal(ours.scales[same, 0], scales[same])
        np.testing.assert_array_equal(ours.codes[usual], codes[usual])

        halves = x[least] * np.float32(2.0**126)
        np.testing.assert_array_equal(codes[least], element.encode(halves))
        assert (scales[infinite] == 255 - emax).all()
        beyond = element.encode(x[infinite] * np.float32(2.0 ** (emax - 128)))
        np.testing.assert_array_equal(codes[infinite], beyond)
        assert (scales[has_nan] == 255).all()
        finite = np.isfinite(x[has_nan])
        zeros = np.signbit(x[has_nan]) * np.uint8(1 << (element.bits - 1))
        np.testing.assert_array_equal(codes[has_nan][finite], zeros[finite])
        assert element.nan_code is None or element.is_nan(codes[has_nan][~finite]).all()
        assert (ours.scales[~same] == 255).all() and not ours.codes[~same].any()
        kinds += [kind.sum() for kind in (usual, least, infinite, has_nan)]
        compared(len(x))
    assert kinds.sum() == 1_000_000 and (kinds > [600_000, 50_000, 20_000, 20_000]).all()


@pytest.mark.parametrize("name", GFLOAT)
def test_as_gfloat(name, million, compared):
    """Scales by e8m0's rounding to 0, elements by saturating rounding: equal throughout.

    Values are compared, which say as much as codes; and -128 of MXINT8 is -127 here.
    """
    fmt, info = formats.get(name), GFLOAT[name]
    values = fmt.element.values(fmt.element.codes()).astype(np.float32)
    for x in million:
        sound = np.isfinite(x).all(axis=1)
        ours, x = fmt.encode(x), x[sound]
        scales = ours.scales[sound, 0]
        amax = np.abs(x).max(axis=1).astype(np.float64)
        power = round_ndarray(info.stype, np.where(amax == 0, 2**-127, amax), RoundMode.TowardZero)
        power = np.where(amax == 0, 0, power)
        power = np.clip(power * 2.0**-info.etype.emax, 2.0**-127, 2.0**127)
        np.testing.assert_array_equal(scales, encode_ndarray(info.stype, power))
        # By the other function of gfloat; in float32 its logarithm would not be exact.
        for row in range(0, len(x), 400):
            assert compute_scale_amax(info.etype.emax, x[row].astype(np.float64)) == power[row]

        scaled = x * np.float32(2) ** (np.float32(127) - scales.astype(np.float32))[:, None]
        rounded = round_ndarray(info.etype, scaled, RoundMode.TiesToEven, True)
        if name == "mxint8":
            rounded = np.maximum(rounded, np.float32(-127 / 64))
        elements = values[ours.codes[sound]]
        np.testing.assert_array_equal(elements, rounded)
        assert (np.signbit(elements) == np.signbit(rounded)).all()
        compared(len(ours.codes))


class Listed:
    """The values that a format gives, in halves of ``2 ** lsb``: midpoints are integers too."""

    def __init__(self, fmt):
        codes = np.arange(1 << fmt.bits)
        codes = codes[~(fmt.is_nan(codes) | fmt.is_inf(codes))]
        least = getattr(fmt, "narrow", False) or getattr(fmt, "overflow", "") == "SAT_SYM"
        self.odd = {2 * n: code % 2 for code, n in zip(codes.tolist(), fmt.decode(codes).tolist(),
                                                       strict=True)}
        self.halves = sorted(self.odd)[least:]
        self.unit = Fraction(2) ** (fmt.lsb - 1)
        self.top = self.halves[-1] * self.unit

    def rounded(self, x, step, rounding):
        """Halves that a number is rounded to, where each is worth a rational ``step``."""
        n, d = x.as_integer_ratio()
        x, rest = divmod(n * step.denominator, d * step.numerator)
        at = bisect_right(self.halves, x)
        if at in (0, len(self.halves)):
            return self.halves[0 if at == 0 else -1]
        low, high = self.halves[at - 1 : at + 1]
        if rounding in ("floor", "zero"):
            return high if rounding == "zero" and x < 0 and (x, rest) != (low, 0) else low
        if (2 * x, rest) != (low + high, 0):
            return low if 2 * x < low + high else high
        up = {"half_even": self.odd[low], "half_up": True, "half_down": False,
              "half_away": x > 0, "half_zero": x < 0}
        return high if up[rounding] else low


def floor_log2(x):
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def power_of_two(fmt, amax):
    """Scale of a block, by comparing rationals."""
    low = -fmt.scale.bias
    top = Fraction(fmt.element.max)
    if amax == 0:
        exponent = low
    elif fmt.rule == "floor":
        exponent = floor_log2(amax) - floor_log2(top)
    else:
        exponent = floor_log2(amax / top)
        exponent += top * Fraction(2) ** exponent < amax
    return Fraction(2) ** min(max(exponent, low), low + fmt.scale.nan_code - 1)


def fp32(x):
    """A rational rounded to fp32, half to even."""
    near = np.float32(float(x))
    near = [near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(inf))]
    return min(near, key=lambda y: (abs(Fraction(float(y)) - x), int(y.view(np.uint32)) & 1))


def check(fmt, values, rounding="half_even", tensor_scale=None):
    """Compare finite blocks with rationals; returns the number of blocks."""
    encoded = fmt.encode(values, rounding=rounding, tensor_scale=tensor_scale)
    k = values.shape[-1]
    padded = np.pad(values, [(0, 0), (0, -k % fmt.size)])
    assert (encoded.k, encoded.padding) == (k, padded.shape[-1] - k)
    blocks, element = padded.reshape(-1, fmt.size), Listed(fmt.element)
    amax = [Fraction(x) for x in np.abs(blocks).max(axis=1).tolist()]
    if fmt.two_level:
        scale, greatest = Listed(fmt.scale), max(amax)
        if tensor_scale is None:
            tensor_scale = float(fp32(greatest / (element.top * scale.top))) if greatest else 1.0
            tensor_scale = tensor_scale or 2.0**-149
        step = scale.unit * Fraction(tensor_scale) * element.top
        scales = [scale.rounded(x, step, "half_even") * scale.unit for x in amax]
    else:
        tensor_scale, scales = 1.0, [power_of_two(fmt, x) for x in amax]
    units = [scale * Fraction(tensor_scale) for scale in scales]
    assert encoded.tensor_scale == tensor_scale
    assert fmt.scale.values(encoded.scales).ravel().tolist() == scales
    assert fmt.scale_values(encoded).ravel().tolist() == units
    steps = [element.unit * unit for unit in units]
    halves = [[element.rounded(x, step, rounding) if step else 0 for x in block]
              for block, step in zip(blocks.tolist(), steps, strict=True)]
    assert (2 * fmt.element.decode(encoded.codes)).reshape(-1, fmt.size).tolist() == halves
    if isinstance(fmt.element, Minifloat):
        signs = np.signbit(blocks) & (np.array(units) != 0)[:, None]
        elements = fmt.element.values(encoded.codes).reshape(-1, fmt.size)
        np.testing.assert_array_equal(np.signbit(elements), signs)
    halves = np.array(halves).reshape(padded.shape)[:, :k]
    assert (2 * fmt.decode(encoded) == halves).all()
    steps = np.repeat(np.array(steps).reshape(len(padded), -1), fmt.size, axis=1)[:, :k]
    assert (fmt.values(encoded)[::9] == halves[::9] * steps[::9]).all()
    return len(blocks)


def near(x, dtype):
    return np.concatenate([np.nextafter(x, dtype(-inf)), x, np.nextafter(x, dtype(inf))])


EXPONENTS = [
    *(formats.get(name) for name in ("mxint8", "mxint6", "mxint4", "bfp8", "bfp6", "bfp4")),
    *(Block(formats.get(name).element, rule="ceil")
      for name in ("mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8")),
    Block(Int(5), Exponent(5), 7, "ceil"), bfp(3, 4), Block(Minifloat(3, 0), Exponent(10), 5),
    # Elements that float32 does not hold.
    Block(Minifloat(5, 3, -110)), Block(Minifloat(5, 2, 140), rule="ceil"),
    Block(Fixed(6, -120, rounding="half_even", overflow="SAT"), size=8),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", EXPONENTS, ids=lambda fmt: fmt.name)
def test_powers_of_two_by_rationals(fmt, dtype, compared):
    rng = np.random.default_rng(1)
    x = mixed_blocks(rng, 300)
    x = x[np.isfinite(x).all(axis=1)].astype(dtype)
    # The greatest at the limits of `ceil` and of `floor`; and every tie below it.
    element = Listed(fmt.element)
    middles = np.array([(a + b) / 2 for a, b in pairwise(element.halves)])
    least = 2.0 ** -(fmt.emax + 1 - fmt.element.lsb)  # halves, as parts of 2 ** emax
    tops = np.array([element.halves[-1] * least, 1], dtype)
    for top in near(tops, dtype):
        ties = near((rng.choice(middles, 31) * least).astype(dtype), dtype).reshape(3, 31)
        row = np.insert(ties[[1, 0, 2] * 2], 0, np.resize([top, -top], 6), axis=1)
        x = np.concatenate([x, row * np.exp2(rng.integers(-80, 80, (6, 1))).astype(dtype)])
    if dtype == np.float64:
        x = np.concatenate([x, x * 2.0**200, x * 2.0**-200, x * (1 + 2.0**-40)])
        ends = np.resize([1e300, -5e-324, 5e-324], (1, 32))  # far below the least element
        x = np.concatenate([ends, x[::4], np.full((1, 32), 1e308), np.full((1, 32), -5e-324)])
    x = x[np.isfinite(x).all(axis=1)]
    compared(check(fmt, x))
    for rounding in ROUNDINGS:
        compared(check(fmt, x[::9], rounding))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30, 3e-42])
@pytest.mark.parametrize("fmt", [
    formats.get("nvfp4"), formats.get("nvint4"),
    Block(Minifloat(2, 3), Minifloat(5, 2, 15, "ieee"), 9),
    Block(Int(8), Minifloat(4, 3, 8, "fnuz"), 64),
    Block(Int(18), Minifloat(4, 8, None, "ieee"), 5),
    Block(Minifloat(2, 13), formats.get("e4m3"), 7),
], ids=lambda fmt: fmt.name)
def test_two_levels_by_rationals(fmt, size, dtype, compared):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(250, 32)) * np.exp2(rng.uniform(-12, 0, size=(250, 1))) * size
    x[::50], x[1::50, ::2], x[2::50] = 0, -0.0, x[2::50] * 2.0**-20
    x = x.astype(dtype)
    compared(check(fmt, x))
    compared(check(fmt, x, tensor_scale=float(np.float32(size / 1000))))
    for rounding in ROUNDINGS:
        compared(check(fmt, x[::9], rounding))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["nvfp4", "nvint4"])
def test_two_levels_ties(name, dtype, compared):
    """Ties of the scale, and ties of the elements under an exact scale, with both neighbours."""
    fmt, rng = formats.get(name), np.random.default_rng(3)
    element, scale = Listed(fmt.element), Listed(fmt.scale)
    scales = np.array([n for n in scale.halves if n >= 0]) * float(scale.unit) / 8
    middles = (scales[1:] + scales[:-1]) / 2 * fmt.element.max
    x = near(middles.astype(dtype), dtype)[:, None] * np.eye(1, 16, 5, dtype=dtype)
    middles = np.array([(a + b) / 2 for a, b in pairwise(element.halves)]) * float(element.unit)
    ties = near(rng.choice(middles, (len(scales), 15)).astype(dtype), dtype)
    ties = np.insert(ties, 3, fmt.element.max, axis=1) * np.tile(scales, 3)[:, None].astype(dtype)
    x = np.concatenate([x, ties])
    for rounding in ROUNDINGS:
        compared(check(fmt, x, rounding, tensor_scale=0.125))


@pytest.mark.parametrize("name", [name for name in formats.names()
                                  if isinstance(formats.get(name), Block)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_infinity_and_zero(name, dtype):
    fmt = formats.get(name)
    size, nan_code = fmt.size, fmt.scale.nan_code
    x = np.ones((5, 2 * size), dtype)
    x[0, 3], x[1, size], x[2, -1], x[3, :2], x[4] = nan, inf, -inf, [nan, inf], 0
    encoded = fmt.encode(x)
    bad = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [0, 0]], bool)
    np.testing.assert_array_equal(encoded.scales == nan_code, bad)
    bad_elements = np.repeat(bad, size, axis=1)
    assert not encoded.codes[bad_elements].any() and encoded.codes[:4][~bad_elements[:4]].all()
    np.testing.assert_array_equal(np.isnan(fmt.values(encoded)), bad_elements)
    assert not encoded.scales[4].any() and not encoded.codes[4].any()
    for zeros in (np.zeros((2, size), dtype), np.zeros((3, 0), dtype)):
        encoded = fmt.encode(zeros)
        assert not encoded.scales.any() and not encoded.codes.any()
        assert fmt.values(encoded).tolist() == zeros.tolist()
        assert (encoded.tensor_scale, encoded.padding) == (1, 0)


@pytest.mark.parametrize("k, padding", [(1, 31), (31, 1), (32, 0), (33, 31), (100, 28)])
@pytest.mark.parametrize("lead", [(), (3,), (2, 1)])
def test_padding(k, padding, lead):
    fmt = formats.get("mxfp4")
    x = np.random.default_rng(4).normal(size=(*lead, k))
    encoded = fmt.encode(x)
    assert (encoded.k, encoded.padding) == (k, padding)
    assert encoded.codes.shape == (*lead, k + padding)
    assert encoded.scales.shape == (*lead, fmt.blocks(k)) == (*lead, (k + padding) // 32)
    assert fmt.decode(encoded).shape == fmt.values(encoded).shape == x.shape
    whole = fmt.encode(np.concatenate([x, np.zeros((*lead, padding))], axis=-1))
    np.testing.assert_array_equal(encoded.codes, whole.codes)
    np.testing.assert_array_equal(encoded.scales, whole.scales)


def test_names_and_properties():
    emax = {"mxint8": 0, "mxfp4": 2, "mxfp6_e2m3": 2, "mxfp6_e3m2": 4, "mxfp8_e4m3": 8,
            "mxfp8_e5m2": 15}  # SPECS, section 2
    for name, exponent in emax.items():
        fmt = formats.get(name)
        assert (fmt.name, fmt.size, fmt.emax, fmt.two_level) == (name, 32, exponent, False)
    nvfp4 = formats.get("nvfp4")
    assert (nvfp4.bits, nvfp4.bits_per_value, nvfp4.two_level) == (4, 4.5, True)
    assert formats.get("mxfp8_e4m3").bits_per_value == 8.25
    assert Block(Int(5), Exponent(5), 7, "ceil").name == "block7_int5_ue5m0_ceil"
    assert bfp(16, 8) == formats.get("bfp8") and formats.get("bfp8").name == "bfp8"


MXFP4, NVFP4 = formats.get("mxfp4"), formats.get("nvfp4")


@pytest.mark.parametrize("call, error, text", [
    (lambda: Block("e2m1"), TypeError,
     "Element must be a Minifloat, an Int or a Fixed, not 'e2m1'"),
    (lambda: Block(Int(4), Int(8)), TypeError,
     f"Scale must be an Exponent or a Minifloat, not {Int(8)!r}"),
    (lambda: Block(Minifloat(8, 23)), ValueError,
     "Element must have at most 17 mantissa bits, not 23"),
    (lambda: Block(Int(19)), ValueError, "Element must have at most 18 bits, not 19"),
    (lambda: Block(Fixed(8, 2)), ValueError, "Element must saturate, not WRAP"),
    (lambda: Block(Int(4), Minifloat(5, 10, 15, "ieee")), ValueError,
     "Scale must have at most 8 mantissa bits, not 10"),
    (lambda: Block(Int(4), Minifloat(2, 1)), ValueError, "Scale must have a NaN: e2m1 has none"),
    (lambda: Block(Int(4), size=0), ValueError, "Size must be 1 to 65536, not 0"),
    (lambda: Block(Int(4), size=32.0), TypeError, "Size must be an integer, not 32.0"),
    (lambda: Block(Int(4), rule="even"), ValueError,
     "Rule must be one of floor, ceil, not 'even'"),
    (lambda: MXFP4.encode(1.0), ValueError, "Values must have an axis K, not shape ()"),
    (lambda: MXFP4.encode([1.0], tensor_scale=1.0), ValueError,
     "Tensor scale must be None: mxfp4 has none"),
    (lambda: MXFP4.encode([1.0], rounding="up"), ValueError,
     "Rounding must be one of half_even, half_up, half_down, half_away, half_zero, floor, zero, "
     "not 'up'"),
    *((lambda s=s: NVFP4.encode([1.0], tensor_scale=s), ValueError,
       f"Tensor scale must be a positive fp32 number, not {s!r}")
      for s in (0.1, 0.0, -1.0, 1e300, inf, nan)),
    (lambda: NVFP4.encode([1e300]), ValueError,
     "Values must be small enough for an fp32 scale of the tensor in nvfp4, not 1e+300"),
])
def test_refused(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
