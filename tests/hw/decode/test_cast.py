# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest

from carrysave.hw.decode import cast as hw_cast
from carrysave.hw.decode.cast import Cast
from carrysave.quant import formats
from carrysave.quant.formats import Int, Log2, Minifloat
from carrysave.quant.golden.casts import cast as golden
from carrysave.sim.prove import prove
from carrysave.sim.reference import reference
from carrysave.sim.units import run_vectors

from ..units import check, check_everywhere

get = formats.get
E2M1, E4M3, E5M2 = get("e2m1"), get("e4m3"), get("e5m2")
CASTS = [
    (E2M1, E4M3, {}), (E2M1, E5M2, {"shift": 9}), (E4M3, E2M1, {}), (E4M3, E2M1, {"shift": -40}),
    (E5M2, E4M3, {"overflow": "ieee"}), (E5M2, get("e4m3_fnuz"), {"overflow": "ieee"}),
    (E5M2, get("e4m3_fnuz"), {}), (get("e4m3_fnuz"), E5M2, {"shift": -12}),
    (Int(8), get("e3m2"), {"shift": -3}), (get("flint4"), get("e3m0"), {"shift": -1}),
    (E4M3, Minifloat(3, 0, specials="ieee"), {"overflow": "ieee"}), (get("nf4"), E4M3, {}),
    (get("e8m0"), E5M2, {"overflow": "ieee"}), (Minifloat(3, 4, bias=2), Minifloat(1, 3), {}),
    (E2M1, get("fp16"), {"shift": 3}),
]


def codes_of(source, target):
    codes = source.codes()
    return codes if target.nan_code is not None else codes[~source.is_nan(codes)]


def name(value):
    return "_".join(map(str, value.values())) if isinstance(value, dict) else value.name


@pytest.mark.parametrize("source, target, how", CASTS, ids=name)
def test_every_code(source, target, how, compared):
    codes = codes_of(source, target)
    wanted = golden(codes, source, target, **how)
    check(Cast(source, target, **how), [{"codes": [code]} for code in codes.tolist()],
          [{"codes": [code]} for code in wanted.tolist()])
    compared(len(codes))


def test_fp16_to_e4m3(compared):
    arrows = run_vectors(Cast(get("fp16"), E4M3, lanes=3, registers=1, shift=-2))
    assert [arrow.mismatches for arrow in arrows] == [0, 0]
    assert arrows[0].compared == 1 << 16
    compared(arrows[0].compared)


@pytest.mark.parametrize("source, target, how", CASTS[3:8:2], ids=name)
def test_proved(source, target, how, compared):
    unit = Cast(source, target, **how)
    assert [prove(core).status for core in reference(unit).cores(unit)] == ["proved"]
    compared(len(source.codes()))


def test_fp4_to_fp8_is_exact(compared):
    codes = E2M1.codes()
    assert (E4M3.values(golden(codes, E2M1, E4M3)) == E2M1.values(codes)).all()
    compared(len(codes))


def test_everywhere(compared):
    unit = Cast(E4M3, E2M1, lanes=2, registers=1)
    codes = codes_of(E4M3, E2M1)[::3]
    wanted = golden(codes, E4M3, E2M1)
    inputs, wanted = ([{"codes": [code, code]} for code in each.tolist()]
                      for each in (codes, wanted))
    assert check_everywhere(unit, inputs, wanted)[0] == unit.latency == 1
    compared(len(wanted))


def test_a_lost_sign_of_zero_is_found(monkeypatch, compared):
    right = hw_cast.round_code
    monkeypatch.setattr(hw_cast, "round_code", lambda m, sign, significand, *rest: right(
        m, sign & significand.any(), significand, *rest))
    codes = E2M1.codes()
    wanted = golden(codes, E2M1, E4M3)
    assert np.count_nonzero(codes == 8) == 1
    with pytest.raises(AssertionError, match=r"^1 of 16 differ; output 8: "):
        check(Cast(E2M1, E4M3), [{"codes": [code]} for code in codes.tolist()],
              [{"codes": [code]} for code in wanted.tolist()])
    compared(len(codes))


@pytest.mark.parametrize("kwargs, error, message", [
    ({"source": 4}, TypeError, "Source must be a scalar format, not 4"),
    ({"source": Log2(4, sqrt2=True)}, ValueError,
     "Source must have values without roots, not logsqrt2_4"),
    ({"target": Int(4)}, TypeError, f"Target must be a Minifloat, not {Int(4)!r}"),
    ({"overflow": "wrap"}, ValueError, "Overflow must be one of saturate, ieee, not 'wrap'"),
    ({"target": E2M1, "overflow": "ieee"}, ValueError,
     "Overflow must be 'saturate', not 'ieee': e2m1 has neither Inf nor NaN"),
    ({"shift": 2000}, ValueError, "Shift must be -1024 to 1024, not 2000"),
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"registers": 2}, ValueError, "Registers must be 0 to 1, not 2"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Cast(**{"source": E2M1, "target": E4M3, **kwargs})
