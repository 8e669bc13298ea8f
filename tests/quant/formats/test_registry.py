# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import (
    AbFloat,
    Exponent,
    Fixed,
    Group,
    Int,
    Log2,
    Minifloat,
    Pair,
    bfp,
)


def test_listed_names(compared):
    names = formats.names()
    assert len(set(names)) == len(names)
    for name in names:
        assert formats.get(name).name == name
        assert formats.get(name) is formats.get(name)
    compared(len(names))


@pytest.mark.parametrize("name, fmt", [
    ("int5", Int(5)), ("uint1", Int(1, signed=False)), ("int32n", Int(32, narrow=True)),
    ("e3m3", Minifloat(3, 3)), ("e4m3", Minifloat(4, 3, 7, "ocp")), ("e8m0", Exponent()),
    ("e4m3_none", Minifloat(4, 3)), ("e4m3_fnuz", Minifloat(4, 3, 8, "fnuz")),
    ("e3m2_fnuz", Minifloat(3, 2, 4, "fnuz")), ("e5m2b-3", Minifloat(5, 2, -3, "ieee")),
    ("e4m3b11_fnuz", Minifloat(4, 3, 11, "fnuz")), ("e2m1b0_ocp", Minifloat(2, 1, 0, "ocp")),
    ("fp16", Minifloat(5, 10, 15, "ieee")), ("bf16", Minifloat(8, 7, 127, "ieee")),
    ("fp32", Minifloat(8, 23, 127, "ieee")), ("e8m0_none", Minifloat(8, 0)),
    ("q12.4", Fixed(12, 4)), ("uq12.-4", Fixed(12, -4, False)), ("q4.9", Fixed(4, 9)),
    ("abfloat_e3m2b1", AbFloat(3, 2, 1)), ("abfloat_e3m2b1max56", AbFloat(3, 2, 1, 56)),
    ("log2_3", Log2(3)), ("logsqrt2_8", Log2(8, sqrt2=True)),
    ("int4g32", Group(Int(4), 32)), ("uint3g7z", Group(Int(3, signed=False), 7, zero_point=True)),
    ("int4ng64", Group(Int(4, narrow=True), 64)), ("uint4g8s12z", Group(
        Int(4, signed=False), 8, 12, True)),
    ("bfp5g16", bfp(16, 5)), ("ue5m0", Exponent(5)), ("ue4m0b-2", Exponent(4, -2)),
    ("olive4", Pair(Int(4, narrow=True), AbFloat(2, 1, 2))),
])
def test_names_of_families(name, fmt):
    assert formats.get(name) == fmt
    assert fmt.name == name


@pytest.mark.parametrize("name, same", [
    ("e5m10", "fp16"), ("e4m3_ocp", "e4m3"), ("e4m3b7", "e4m3"), ("e2m1_none", "e2m1"),
    ("bfp8g16", "bfp8"), ("e4m3b8_fnuz", "e4m3_fnuz"),
])
def test_other_spellings(name, same):
    assert formats.get(name) == formats.get(same)
    assert formats.get("bfp5g8") == bfp(8, 5)


@pytest.mark.parametrize("e", range(1, 7))
def test_every_small_minifloat(e, compared):
    for m in range(6):
        for kind in ("none", "ieee", "ocp", "fnuz"):
            for bias in (None, 0, -7, 5, 1 << (e - 1)):
                if (e, m) == (1, 0) and kind in ("ieee", "ocp"):
                    continue
                fmt = Minifloat(e, m, bias, kind)
                assert formats.get(fmt.name) == fmt
                compared(1)


@pytest.mark.parametrize("name, why", [
    ("int44", "Bits must be 2 to 32, not 44"), ("int1", "Bits must be 2 to 32, not 1"),
    ("uint4n", "Narrow must be False where signed is False, not True"),
    ("e12m1", "Exponent bits must be 1 to 11, not 12"),
    ("e0m3_fnuz", "Exponent bits must be 1 to 11, not 0"),
    ("e999999m1_fnuz", "Exponent bits must be 1 to 11, not 999999"),
    ("e4m60", "Mantissa bits must be 0 to 49, not 60"),
    ("bfp1g16", "Mantissa bits must be 2 to 18, not 1"),
    ("e1m0_ieee", "Specials must leave a finite number above 0 in e1m0, not 'ieee'"),
    ("e4m3b9999", "Bias must be -1023 to 1074, not 9999"),
    ("log2_9", "Bits must be 2 to 8, not 9"), ("int4g0", "Size must be 1 to 65536, not 0"),
    ("abfloat_e2m1b2max95", "Limit must be a value of abfloat_e2m1b2max95, not 95"),
    ("bfp32g16", "Mantissa bits must be 2 to 18, not 32"),
])
def test_impossible_parameters(name, why):
    with pytest.raises(ValueError) as caught:
        formats.get(name)
    assert str(caught.value).startswith("Format must be one of ")
    assert str(caught.value).endswith(f", not {name!r} ({why})")


@pytest.mark.parametrize("name, near", [
    ("mxfp5", "mxfp4, mxfp8_e5m2, mxfp8_e4m3, mxfp6_e3m2, mxfp6_e2m3"),
    ("olive", "olive8, olive4, olive4_flint"), ("e4m3_iee", "e4m3_ieee"), ("", "int2"), (8, "q8.3"),
    ("int0000004", "int4"), ("int4\n", "int4"),
])
def test_unknown_names(name, near):
    with pytest.raises(ValueError) as caught:
        formats.get(name)
    message = str(caught.value)
    assert message.startswith(f"Format must be one of {near}, ")
    assert message.endswith(f", not {name!r}")
    listed = message.removeprefix("Format must be one of ").removesuffix(f", not {name!r}")
    assert set(listed.split(", ")) <= set(formats.names())


def test_all_listed_encode_and_decode(compared):
    """Every listed format takes zeros and ones, and gives them back where it has them."""
    for name in formats.names():
        fmt = formats.get(name)
        x = np.array([[0.0, 1.0, 0.5, 0.25] * 8])
        values = fmt.values(fmt.encode(x))
        assert values.shape == x.shape and np.isfinite(values).all()
        compared(x.size)
