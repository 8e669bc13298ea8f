# SPDX-License-Identifier: Apache-2.0
from bisect import bisect_right
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import inf, nan

import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
from gfloat import RoundMode, encode_ndarray, round_ndarray
from gfloat.types import Domain, FormatInfo

from carrysave.quant import formats
from carrysave.quant.formats import ROUNDINGS, Minifloat

ML_DTYPES = {
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e3m4": ml_dtypes.float8_e3m4,
    "e4m3_ieee": ml_dtypes.float8_e4m3,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e4m3b11_fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e4m3_fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2": ml_dtypes.float8_e5m2,
    "e5m2_fnuz": ml_dtypes.float8_e5m2fnuz,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
}
GFLOAT_ROUNDINGS = {
    "half_even": RoundMode.TiesToEven,
    "half_away": RoundMode.TiesToAway,
    "floor": RoundMode.TowardNegative,
    "zero": RoundMode.TowardZero,
}
FP16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def gfloat_info(fmt):
    m = fmt.mantissa_bits
    high_nans = {"none": 0, "ieee": (1 << m) - 1, "ocp": 1, "fnuz": 0}[fmt.specials]
    return FormatInfo(
        fmt.name, fmt.bits, m + 1, bias=fmt.bias, is_signed=True,
        domain=Domain.Extended if fmt.specials == "ieee" else Domain.Finite,
        has_nz=fmt.specials != "fnuz", num_high_nans=high_nans, has_subnormals=True,
        is_twos_complement=False,
    )


def fp32_patterns(fmt, count=1_000_000):
    """Random float32 bit patterns: one half any, one half near the format, some short (ties)."""
    rng = np.random.default_rng(fmt.bits * 100 + abs(fmt.lsb))
    bits = rng.integers(1 << 32, size=count, dtype=np.uint32)
    near = bits[: count // 2]
    low, high = max(fmt.lsb + 124, 0), min(int(np.log2(fmt.max)) + 130, 255)
    near &= 0x807FFFFF
    near |= rng.integers(low, high, size=near.size, dtype=np.uint32) << np.uint32(23)
    # Ties are as frequent as in fp16: the mantissa keeps one bit more than the format has.
    near[: count // 8] &= 0xFFFFFFFF << (22 - getattr(fmt, "mantissa_bits", 0)) & 0xFFFFFFFF
    return bits.view(np.float32)


def cast(values, dtype, fmt):
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return values.astype(dtype).view(fmt.codes().dtype)


def same_codes(fmt, codes, oracle, values):
    """Equal codes; of NaN, of which a format may have many, that it is NaN."""
    number = ~np.isnan(values) & ~fmt.is_nan(oracle)
    np.testing.assert_array_equal(codes[number], oracle[number])
    assert fmt.is_nan(codes[~number]).all() and fmt.is_nan(oracle[~number]).all()
    return codes.size


@pytest.mark.parametrize("name", [*ML_DTYPES, "e8m0"])
def test_every_code_decodes_as_ml_dtypes(name, compared):
    fmt = formats.get(name)
    codes = fmt.codes()
    with np.errstate(invalid="ignore"):
        oracle = codes.view(ML_DTYPES.get(name, ml_dtypes.float8_e8m0fnu)).astype(np.float64)
    values = fmt.values(codes)
    np.testing.assert_array_equal(values, oracle)
    assert (np.signbit(values) == np.signbit(oracle))[~np.isnan(oracle)].all()
    assert (fmt.is_nan(codes) == np.isnan(oracle)).all()
    assert (fmt.is_inf(codes) == np.isinf(oracle)).all()
    finite = np.isfinite(oracle)
    unit = Fraction(2) ** fmt.lsb
    assert [n * unit for n in fmt.decode(codes)[finite].tolist()] == oracle[finite].tolist()
    assert not fmt.decode(codes)[~finite].any()
    assert (fmt.min, fmt.max) == (oracle[finite].min(), oracle[finite].max())
    compared(len(codes))


@pytest.mark.parametrize("kind", ["fp16", "fp32"])
@pytest.mark.parametrize("name", ML_DTYPES)
def test_encode_as_ml_dtypes(name, kind, compared):
    fmt = formats.get(name)
    values = FP16 if kind == "fp16" else fp32_patterns(fmt)
    if fmt.nan_code is None:
        values = values[~np.isnan(values)]
    overflow = "saturate" if fmt.nan_code is None else "ieee"
    # Code for code: signs and payloads of NaN too. fp16 keeps payloads when cast to itself.
    codes, oracle = fmt.encode(values, overflow=overflow), cast(values, ML_DTYPES[name], fmt)
    if name == "fp16":
        compared(same_codes(fmt, codes, oracle, values))
    else:
        np.testing.assert_array_equal(codes, oracle)
        compared(codes.size)


def test_infos_are_those_of_gfloat():
    named = [getattr(gfloat.formats, f"format_info_{name}") for name in (
        "ocp_e2m1", "ocp_e2m3", "ocp_e3m2", "ocp_e4m3", "ocp_e5m2", "bfloat16", "binary16")]
    for info, name in zip(named, ("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "bf16", "fp16"),
                          strict=True):
        ours = gfloat_info(formats.get(name))
        ours.name = info.name
        assert ours == info


@pytest.mark.parametrize("rounding", GFLOAT_ROUNDINGS)
@pytest.mark.parametrize("name", [*ML_DTYPES, "e1m2", "e3m0"])
def test_encode_as_gfloat(name, rounding, compared):
    fmt = formats.get(name)
    count = 1_000_000 if rounding == "half_even" else 100_000
    with np.errstate(invalid="ignore"):
        values = np.concatenate([FP16.astype(np.float64),
                                 fp32_patterns(fmt, count).astype(np.float64)])
    if fmt.nan_code is None:
        values = values[~np.isnan(values)]
    info, mode = gfloat_info(fmt), GFLOAT_ROUNDINGS[rounding]
    for overflow in ("saturate",) if fmt.nan_code is None else ("saturate", "ieee"):
        rounded = round_ndarray(info, values, mode, overflow == "saturate")
        oracle = encode_ndarray(info, rounded).astype(fmt.codes().dtype)
        codes = fmt.encode(values, rounding=rounding, overflow=overflow)
        compared(same_codes(fmt, codes, oracle, values))


def test_fp32_as_numpy(compared):
    fmt = formats.get("fp32")
    bits = np.random.default_rng(32).integers(1 << 32, size=300_000, dtype=np.uint32)
    low = bits.view(np.float32)[np.isfinite(bits.view(np.float32))]
    with np.errstate(over="ignore"):
        middle = (low.astype(np.float64) + np.nextafter(low, np.float32(inf))) / 2
        near = [np.nextafter(middle, towards) for towards in (-inf, inf)]
        values = np.concatenate([low, middle, *near])
        oracle = values.astype(np.float32)
    np.testing.assert_array_equal(fmt.encode(values, overflow="ieee"), oracle.view(np.uint32))
    np.testing.assert_array_equal(fmt.values(oracle.view(np.uint32)), oracle.astype(np.float64))
    compared(2 * values.size)


class Reference:
    """SPECS, section 1, in rationals. Magnitudes go one code beyond the greatest."""

    def __init__(self, fmt):
        e, self.m, self.kind = fmt.exponent_bits, fmt.mantissa_bits, fmt.specials
        self.unit = Fraction(2) ** (1 - fmt.bias - self.m)
        self.sign = 1 << (e + self.m)
        self.top = {"none": self.sign - 1, "ocp": self.sign - 2, "fnuz": self.sign - 1,
                    "ieee": ((1 << e) - 1 << self.m) - 1}[self.kind]
        # What overflows: Inf, or else NaN, which in fnuz has one sign only.
        self.special = {"ieee": self.top + 1, "ocp": self.top + 1, "fnuz": self.sign}
        self.magnitude = cache(self.magnitude)

    def magnitude(self, code):
        exponent, mantissa = divmod(code, 1 << self.m)
        significand = mantissa + (1 << self.m) * (exponent > 0)
        return significand * self.unit * 2 ** (max(exponent, 1) - 1)

    def decode(self, code):
        """Value of a code; 0 if it is not finite."""
        sign, code = divmod(code, self.sign)
        return 0 if code > self.top else self.magnitude(code) * (-1) ** sign

    def locate(self, values):
        """Codes of the magnitudes below or at values, and places between these and the next.

        A place is 0 on the magnitude itself, 1, 2, 3 below, on and above the midpoint.
        """
        found = []
        for value in map(abs, values):
            at = bisect_right(range(self.top + 2), value, key=self.magnitude) - 1
            low, high = self.magnitude(at), self.magnitude(at + 1)
            middle = (low + high) / 2
            found.append((at, (value > low) + (value >= middle) + (value > middle)))
        return np.array(found, np.int64).T

    def encode(self, located, negative, rounding, overflow):
        at, place = located
        ties_away = {"half_even": at % 2 == 1, "half_up": ~negative, "half_down": negative,
                     "half_away": True, "half_zero": False}
        if rounding in ties_away:
            code = at + ((place == 3) | ((place == 2) & ties_away[rounding]))
        else:
            code = at + ((rounding == "floor") & negative & (place > 0))
        stays = {"floor": ~negative, "zero": True}.get(rounding, False) | (overflow == "saturate")
        beyond = np.where(stays, self.top, self.special.get(self.kind, 0))
        code = np.where(code > self.top, beyond, code)
        signed = negative & ~((self.kind == "fnuz") & ((code == 0) | (code == self.sign)))
        return np.where(signed, code + self.sign, code)

    def check(self, fmt, values):
        """Compare `encode` with all options on floats; returns how many codes were compared."""
        located = self.locate([Fraction(value) for value in values.tolist()])
        options = [(rounding, overflow) for rounding in ROUNDINGS
                   for overflow in ("saturate", "ieee")[: 1 + (self.kind != "none")]]
        for rounding, overflow in options:
            codes = fmt.encode(values, rounding=rounding, overflow=overflow)
            expected = self.encode(located, np.signbit(values), rounding, overflow)
            np.testing.assert_array_equal(codes, expected, f"{fmt}, {rounding}, {overflow}")
        return len(options) * len(values)


def points(magnitudes, dtype):
    """Floats at every value and every midpoint, and both neighbours of each, of both signs."""
    middles = [(a + b) / 2 for a, b in pairwise(magnitudes)]
    x = np.array([float(value) for value in [*magnitudes, *middles]], dtype)
    x = np.concatenate([np.nextafter(x, dtype(-inf)), x, np.nextafter(x, dtype(inf))])
    return np.concatenate([x, -x, np.finfo(dtype).max * np.array([1, -1], dtype)])


ODD = [
    (e, m, ((1 << (e - 1)) - 1, -9, 23, 40)[(e + m) % 4], kind)
    for kind in ("none", "ieee", "ocp", "fnuz") for e in range(1, 7) for m in range(6)
    if (e, m) != (1, 0) or kind in ("none", "fnuz")
]


@pytest.mark.parametrize("kind", ["none", "ieee", "ocp", "fnuz"])
def test_odd_parameters(kind, compared):
    for fmt in [Minifloat(*odd) for odd in ODD if odd[3] == kind]:
        reference = Reference(fmt)
        decoded = [reference.decode(code) for code in range(1 << fmt.bits)]
        assert [n * reference.unit for n in fmt.decode(fmt.codes()).tolist()] == decoded
        assert (fmt.max, fmt.min) == (max(decoded), min(decoded))
        assert int(max(fmt.decode(fmt.codes()))).bit_length() == fmt.integer_bits
        compared(len(decoded))
        magnitudes = [reference.magnitude(code) for code in range(reference.top + 2)]
        compared(reference.check(fmt, points(magnitudes, np.float32)))
        compared(reference.check(fmt, points(magnitudes, np.float64)))


@pytest.mark.parametrize("fmt", [
    Minifloat(11, 49, 1023, "ieee"), Minifloat(8, 23, 127, "ieee"), Minifloat(2, 49, -900, "ocp"),
    Minifloat(11, 0, 1060, "fnuz"), Minifloat(10, 30, 1000), Minifloat(6, 9, 1050, "ieee"),
    Minifloat(8, 2, 100), Minifloat(1, 20, 7, "ocp"),
], ids=lambda fmt: fmt.name)
def test_wide_parameters(fmt, compared):
    reference, rng = Reference(fmt), np.random.default_rng(0)
    codes = {0, 1, 2, reference.top, *rng.integers(reference.top, size=300).tolist()}
    near = [[reference.magnitude(code), reference.magnitude(code + 1)] for code in codes]
    near = np.concatenate([points(two, np.float64) for two in near if two[1] < 2**1023])
    compared(reference.check(fmt, near))
    codes = np.array([*codes], np.uint64)
    for bits in (codes, codes | np.uint64(reference.sign)):
        expected = [reference.decode(code) for code in bits.tolist()]
        number = ~fmt.is_nan(bits)  # -0 of fnuz
        assert (fmt.values(bits) == [float(value) for value in expected])[number].all()
        assert [n * reference.unit for n in fmt.decode(bits).tolist()] == expected
        compared(len(expected))


@pytest.mark.parametrize("scale", [
    1, -3, 2.0**-4, -(2.0**-9), 0.1, Fraction(1, 3), Fraction(-7, 96), Fraction(10**30, 3**70)])
@pytest.mark.parametrize("name", ["e2m1", "e4m3", "e5m2_fnuz", "e3m0", "fp16", "e7m12_ieee"])
def test_encode_integers(name, scale, compared):
    fmt, rng = formats.get(name), np.random.default_rng(0)
    reference = Reference(fmt)
    # Half integers of the scale are ties where it divides the least step.
    reach = int(4 * Fraction(fmt.max) / abs(Fraction(scale))) + 2
    wide = [int(rng.integers(1 << 62)) * reach >> 62 for _ in range(200)]
    ties = [round((reference.magnitude(c) + reference.magnitude(c + 1)) / 2 / Fraction(scale))
            for c in rng.integers(reference.top, size=200).tolist()]
    integers = np.array([0, 1, -1, *wide, *(-n for n in wide), *ties, *(n + 1 for n in ties)])
    if reach < 1 << 62:
        integers = integers.astype(np.int64)
    products = [n * Fraction(scale) for n in integers.tolist()]
    located, negative = reference.locate(products), np.array([p < 0 for p in products])
    for rounding in ROUNDINGS:
        for overflow in ("saturate", "ieee")[: 1 + (fmt.specials != "none")]:
            codes = fmt.encode_integers(integers, scale, rounding=rounding, overflow=overflow)
            expected = reference.encode(located, negative, rounding, overflow)
            np.testing.assert_array_equal(codes, expected)
            compared(codes.size)


@pytest.mark.parametrize("fmt", [
    *(formats.get(name) for name in ("e2m1", "e4m3", "e5m2", "e3m0", "e4m3_fnuz", "e3m4")),
    Minifloat(6, 5, 31, "ocp"),
    # At the edges of what fits the table of bfloat16 values, and beyond.
    Minifloat(7, 5, 116, "ieee"), Minifloat(7, 5, 1), Minifloat(7, 5, 0), Minifloat(8, 2, 100),
], ids=lambda fmt: fmt.name)
def test_large_arrays_as_small_ones(fmt, compared):
    bits = np.random.default_rng(7).integers(1 << 64, size=15_000, dtype=np.uint64)
    magnitudes = [Reference(fmt).magnitude(code) for code in range(0, fmt.max_code, 1 + fmt.bits)]
    for values in (fp32_patterns(fmt, 30_000), bits.view(np.float64), FP16,
                   np.resize(points(magnitudes, np.float64), 15_000)):
        if fmt.nan_code is None:
            values = np.nan_to_num(values, posinf=inf, neginf=-inf)
        for rounding in ROUNDINGS:
            for overflow in ("saturate", "ieee")[: 1 + (fmt.nan_code is not None)]:
                how = {"rounding": rounding, "overflow": overflow}
                small = [fmt.encode(part, **how) for part in np.array_split(values, 20)]
                np.testing.assert_array_equal(fmt.encode(values, **how), np.concatenate(small))
        compared(values.size)


@pytest.mark.parametrize("name, overflow, codes", [  # of 0, -0, Inf, -Inf, NaN
    ("e4m3", "saturate", [0, 0x80, 0x7E, 0xFE, 0x7F]),
    ("e4m3", "ieee", [0, 0x80, 0x7F, 0xFF, 0x7F]),
    ("e5m2", "saturate", [0, 0x80, 0x7B, 0xFB, 0x7E]),
    ("e5m2", "ieee", [0, 0x80, 0x7C, 0xFC, 0x7E]),
    ("e4m3_fnuz", "saturate", [0, 0, 0x7F, 0xFF, 0x80]),
    ("e4m3_fnuz", "ieee", [0, 0, 0x80, 0x80, 0x80]),
    ("e2m1", "saturate", [0, 8, 7, 15]),
    ("e4m0_ieee", "ieee", [0, 16, 15, 31]),
])
@pytest.mark.parametrize("copies", [1, 2000])
def test_zeros_infinities_nan(name, overflow, codes, copies):
    values = np.array([0.0, -0.0, inf, -inf, nan])[: len(codes)]
    encoded = formats.get(name).encode(np.tile(values, copies), overflow=overflow)
    assert encoded.tolist() == codes * copies


@pytest.mark.parametrize("name, overflow, text", [
    ("e2m1", "saturate", "Values must be numbers: e2m1 has no code for NaN"),
    ("e4m0_ieee", "ieee", "Values must be numbers: e4m0_ieee has no code for NaN"),
    ("e2m3", "ieee", "Overflow must be 'saturate', not 'ieee': e2m3 has neither Inf nor NaN"),
    ("e4m3", "wrap", "Overflow must be one of saturate, ieee, not 'wrap'"),
])
def test_encode_refuses(name, overflow, text):
    with pytest.raises(ValueError) as caught:
        formats.get(name).encode([nan], overflow=overflow)
    assert str(caught.value) == text


def test_rounding_by_either_name_or_refused():
    for plain, hls in ROUNDINGS.items():
        x = np.linspace(-3, 3, 97)
        e2m1 = formats.get("e2m1")
        assert (e2m1.encode(x, rounding=plain) == e2m1.encode(x, rounding=hls)).all()
    with pytest.raises(ValueError) as caught:
        e2m1.encode([1.0], rounding="half_evn")
    assert str(caught.value) == (
        "Rounding must be one of half_even, half_zero, half_down, half_up, half_away, floor, zero, "
        "not 'half_evn'"
    )


@pytest.mark.parametrize("parameters, error, text", [
    ((0, 2), ValueError, "Exponent bits must be 1 to 11, not 0"),
    ((12, 2), ValueError, "Exponent bits must be 1 to 11, not 12"),
    ((4.0, 3), TypeError, "Exponent bits must be an integer, not 4.0"),
    ((4, 50), ValueError, "Mantissa bits must be 0 to 49, not 50"),
    ((4, True), TypeError, "Mantissa bits must be an integer, not True"),
    ((4, 3, 1.5), TypeError, "Bias must be an integer, not 1.5"),
    ((4, 3, 1075), ValueError, "Bias must be -1023 to 1074, not 1075"),
    ((4, 3, 7, "fn"), ValueError, "Specials must be one of fnuz, none, ieee, ocp, not 'fn'"),
    ((1, 0, 0, "ieee"), ValueError,
     "Specials must leave a finite number above 0 in e1m0, not 'ieee'"),
    ((11, 49), ValueError, "Bias must leave all values of e11m49 within float64, not 1023"),
    ((4, 3, 1073), ValueError, "Bias must leave all values of e4m3 within float64, not 1073"),
])
def test_parameters_refused(parameters, error, text):
    with pytest.raises(error) as caught:
        Minifloat(*parameters)
    assert str(caught.value) == text


@pytest.mark.parametrize("values, text", [
    (["1"], "Values must be real numbers, not <U1"),
    ([1j], "Values must be real numbers, not complex128"),
    (np.array([1], np.longdouble), f"Values must be float64 or smaller, not {np.longdouble}"),
])
def test_values_refused(values, text):
    with pytest.raises(TypeError) as caught:
        formats.get("e4m3").encode(values)
    assert str(caught.value) == text.replace("<class 'numpy.longdouble'>",
                                             str(np.dtype(np.longdouble)))
