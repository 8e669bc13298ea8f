# SPDX-License-Identifier: Apache-2.0
from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise
from math import inf, nan

import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import ROUNDINGS, AbFloat, Codebook, Flint

FORMATS = [
    Flint(), AbFloat(2, 1, 2), AbFloat(2, 1, 3), AbFloat(4, 3, 4, 1 << 15), AbFloat(1, 0),
    AbFloat(1, 3, 16), AbFloat(3, 2, 1, 160), AbFloat(5, 5, 2), formats.get("nf4"),
    Codebook([0.5, -3, 2, 2, -3, 0, 7, 1e300], "unsorted"),
    Codebook([-1, -2.5, -1e-300], "negative"), Codebook([0.1, 0.3, 5e-324, 0.7], "positive"),
    Codebook([-2, 3, 9], "no zero"), Codebook([1, np.nextafter(1, 2), np.nextafter(1, 0)], "close"),
    Codebook([4, 4], "one value"), Codebook([np.finfo(float).max, -np.finfo(float).max], "widest"),
]


def used(fmt):
    """Values ascending, and the code of each: the lowest, but no -0 and no unused code."""
    codes = {}
    for code, value in enumerate(fmt.values(fmt.codes()).tolist()):
        unused = isinstance(fmt, AbFloat) and value == 0 or fmt == Flint() and code == 8
        if not unused:
            codes.setdefault(Fraction(value), code)
    return sorted(codes), codes


def nearest(values, x, rounding, places):
    """The value that x is rounded to."""
    at = bisect_right(values, x)
    low, high = values[max(at - 1, 0)], values[min(at, len(values) - 1)]
    if x in (low, high) or low == high:
        return x if x in (low, high) else low
    if rounding == "floor":
        return low
    if rounding == "zero":  # towards 0, but not to the other side of it
        if low < 0 < high:
            return high if x >= 0 else low
        return low if x > 0 else high
    if x - low != high - x:
        return low if x - low < high - x else high
    # Ties. Of -v and v, equally far from 0, half_even and half_zero take v, half_away -v.
    outward = abs(high) > abs(low)
    even = [places[v] % 2 == 0 for v in (low, high)]
    up = {"half_up": True, "half_down": False, "half_away": outward, "half_zero": not outward,
          "half_even": not outward if even[0] == even[1] else even[1]}[rounding]
    return high if up else low


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_values_midpoints_and_neighbours(fmt, rounding, dtype, compared):
    values, codes = used(fmt)
    key = (lambda v: v) if isinstance(fmt, Codebook) else abs
    order = sorted({key(v) for v in values})
    places = {v: order.index(key(v)) for v in values}
    middles = [(a + b) / 2 for a, b in pairwise(values)]
    with np.errstate(over="ignore"):
        x = np.array([float(v) for v in [*values, *middles, 0]]).astype(dtype)
        x = np.concatenate([np.nextafter(x, dtype(-inf)), x, np.nextafter(x, dtype(inf))])
    x = np.concatenate([x, [-np.finfo(dtype).max, np.finfo(dtype).max]]).astype(dtype)
    x = x[np.isfinite(x)]
    expected = [codes[nearest(values, Fraction(v), rounding, places)] for v in x.tolist()]
    assert fmt.encode(x, rounding=rounding).tolist() == expected
    ends = fmt.encode(np.array([-inf, inf], dtype), rounding=rounding).tolist()
    assert ends == [codes[values[0]], codes[values[-1]]]
    assert (fmt.min, fmt.max) == (values[0], values[-1])
    compared(len(x))


@pytest.mark.parametrize("fmt", FORMATS[:2] + FORMATS[8:9], ids=lambda fmt: fmt.name)
def test_refuses(fmt):
    with pytest.raises(ValueError) as caught:
        fmt.encode([0, nan])
    assert str(caught.value) == f"Values must be numbers: {fmt.name} has no code for NaN"
    with pytest.raises(ValueError) as caught:
        fmt.encode([0], overflow="ieee")
    assert str(caught.value) == "Overflow must be one of saturate, not 'ieee'"
