# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from carrysave.quant.formats import get
from carrysave.quant.golden.minifloat_mac import minifloat_mac

NAMES = ("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "e3m0", "e4m3_fnuz", "int8", "uint4", "q8.3")


def finite(fmt):
    codes = fmt.codes()
    return codes[~(fmt.is_nan(codes) | fmt.is_inf(codes))]


@pytest.mark.parametrize("names", list(product(NAMES, NAMES)), ids="-".join)
def test_every_pair_of_codes(names, compared):
    a_format, b_format = map(get, names)
    a, b = np.meshgrid(finite(a_format), finite(b_format), indexing="ij")
    found = np.asarray(minifloat_mac(a_format, a[..., None], b_format, b[..., None]))
    # Values of 8 bits and their products are exact in float64.
    expected = a_format.values(a) * b_format.values(b)
    unit = a_format.lsb + b_format.lsb
    assert np.array_equal(np.ldexp(found.astype(np.float64), unit), expected)
    compared(found.size)


@pytest.mark.parametrize("names", [("e4m3", "e4m3"), ("e5m2", "e5m2"), ("e2m1", "e4m3"),
                                   ("fp16", "fp16"), ("bf16", "e5m2"), ("int8", "fp16")])
@pytest.mark.parametrize("result", ["e4m3", "fp16", "e5m2", "fp32", "q16.8"])
def test_sum_rounded_once(names, result, compared):
    a_format, b_format, to = *map(get, names), get(result)
    rng = np.random.default_rng(1)
    a, b = (rng.choice(finite(f), (60, 17)) for f in (a_format, b_format))
    totals = minifloat_mac(a_format, a, b_format, b)
    found = minifloat_mac(a_format, a, b_format, b, result=to)
    for total, code, x, y in zip(np.asarray(totals).tolist(), found.tolist(),
                                 a_format.values(a).tolist(), b_format.values(b).tolist(),
                                 strict=True):
        exact = sum(Fraction(p) * Fraction(q) for p, q in zip(x, y, strict=True))
        assert total * Fraction(2) ** (a_format.lsb + b_format.lsb) == exact
        assert code == nearest(to, exact)
    compared(len(found))


def nearest(fmt, exact):
    """Code by the exact rational: the codec's own float is only a first guess."""
    if fmt.name.startswith("q"):
        kept = (exact / Fraction(2) ** fmt.lsb).__floor__() % (1 << fmt.bits)  # TRN, WRAP
        return kept
    guess = int(fmt.encode(np.float64(float(exact)))) & ((1 << (fmt.bits - 1)) - 1)
    near = [c for c in (guess - 1, guess, guess + 1) if 0 <= c <= fmt.max_code]
    gaps = {c: abs(Fraction(float(fmt.values(np.array(c)))) - abs(exact)) for c in near}
    best = [c for c in near if gaps[c] == min(gaps.values())]
    code = best[0] if len(best) == 1 or best[0] % 2 == 0 else best[1]
    return code | (1 << (fmt.bits - 1) if exact < 0 else 0)


def test_not_finite():
    with pytest.raises(ValueError, match="^B must be finite: a code of e5m2 is NaN or Inf$"):
        minifloat_mac(get("e4m3"), [1], get("e5m2"), [0x7C])
