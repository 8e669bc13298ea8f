# SPDX-License-Identifier: Apache-2.0
"""The rounding rules by name, and exact rounding of floats and of ratios.

A rule has a plain name and the name that high-level synthesis gives it (``ap_fixed``, UG1399);
either is accepted wherever a rounding is asked for.
"""

from difflib import get_close_matches
from fractions import Fraction

import numpy as np

__all__ = [
    "OVERFLOWS", "ROUNDINGS", "choice", "odd_float", "odd_integers", "odd_quotient", "odd_sum",
    "round_floats", "rounding_name",
]

ROUNDINGS = {
    "half_even": "RND_CONV",  # to nearest, ties to even
    "half_up": "RND",  # ties towards plus infinity
    "half_down": "RND_MIN_INF",  # ties towards minus infinity
    "half_away": "RND_INF",  # ties away from zero
    "half_zero": "RND_ZERO",  # ties towards zero
    "floor": "TRN",  # towards minus infinity
    "zero": "TRN_ZERO",  # towards zero
}
OVERFLOWS = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM", "WRAP_SM")
_PLAIN = {hls: plain for plain, hls in ROUNDINGS.items()}


def choice(name, value, allowed):
    """``value`` if it is one of ``allowed``; else a ValueError with the nearest ones first."""
    if value in allowed:
        return value
    near = get_close_matches(str(value), allowed, cutoff=0.6)
    listed = ", ".join([*near, *(item for item in allowed if item not in near)])
    raise ValueError(f"{name} must be one of {listed}, not {value!r}")


def rounding_name(value):
    """Plain name of a rounding given by either name."""
    return _PLAIN[value] if value in _PLAIN else choice("Rounding", value, list(ROUNDINGS))


def round_floats(x, rounding):
    """Nearest integers, as floats, of finite floats; exact, plain names only."""
    if rounding == "half_even":
        return np.rint(x)
    if rounding == "floor":
        return np.floor(x)
    if rounding == "zero":
        return np.trunc(x)
    whole = np.trunc(x)
    rest = np.abs(x - whole)  # exact, which x - floor(x) is not
    away = {"half_up": x > 0, "half_down": x < 0, "half_away": True, "half_zero": False}[rounding]
    return whole + np.copysign((rest > 0.5) | ((rest == 0.5) & away), x)


def odd_integers(integers, scale=1):
    """Floats that round to any format as ``integers * scale`` does.

    The product is rounded to odd: cut off at 53 bits, with the last bit set where anything was
    lost. Rounding that once more, to 50 bits or fewer, gives what one rounding would have [1]_.

    .. [1] Boldo and Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms using
       rounding to odd. IEEE Transactions on Computers 57 (2008).

    Parameters
    ----------
    integers : integer array, or object array of Python integers
    scale : int, float or Fraction
        Taken at its exact value; its magnitude, if a power of two, 2**-900 to 2**900.
    """
    scale = Fraction(scale)
    if scale == 0:
        raise ValueError("Scale must not be 0")
    integers = np.asarray(integers)
    if integers.dtype.kind not in "iuO":
        raise TypeError(f"Integers must be integers, not {integers.dtype}")
    exponent = scale.numerator.bit_length() - scale.denominator.bit_length()
    small = integers.dtype != np.uint64 and integers.dtype.kind != "O"
    if small and abs(scale) == Fraction(2) ** exponent and abs(exponent) <= 900:
        n = integers.astype(np.int64)
        magnitude = np.abs(n).view(np.uint64)  # of -2 ** 63 too
        excess = np.maximum(np.frexp(magnitude.astype(np.float64))[1] - 53, 0).astype(np.uint64)
        kept = magnitude >> excess
        kept |= (kept << excess) != magnitude
        odd = np.ldexp(kept.astype(np.float64), excess.astype(np.int32) + exponent)
        odd = np.copysign(odd, n)
        return odd if scale > 0 else 0 - odd
    out = [odd_float(int(n) * scale) for n in integers.reshape(-1).tolist()]
    return np.array(out, np.float64).reshape(integers.shape)


def odd_float(x):
    """A Fraction rounded to odd at 53 bits."""
    if x == 0:
        return 0.0
    p, q = abs(x.numerator), x.denominator
    exponent = p.bit_length() - q.bit_length() - 53
    kept, rest = divmod(p << max(-exponent, 0), q << max(exponent, 0))
    while kept >> 53:
        rest |= kept & 1
        kept, exponent = kept >> 1, exponent + 1
    if exponent < -1074:
        raise ValueError(f"Integers times scale must be 0 or at least 2 ** -1022, not {float(x)!r}")
    if exponent > 1023 - 53:
        raise ValueError("Integers times scale must be below 2 ** 1023")
    return float(np.copysign(np.ldexp(float(kept | (rest != 0)), exponent), float(x.numerator)))


def odd_sum(x, y):
    """``x + y`` rounded to odd at 53 bits, see `odd_integers`; float64 arrays without overflow."""
    total = x + y
    back = total - x
    lost = (x - (total - back)) + (y - back)  # exact: Knuth's TwoSum
    even = (lost != 0) & (total.view(np.int64) & 1 == 0)
    return np.where(even, np.nextafter(total, np.copysign(np.inf, lost)), total)


def odd_quotient(x, divisor, *, bits=36):
    """``x / divisor`` rounded to odd, see `odd_integers`.

    At least ``63 - bits`` bits are kept: for results of at most ``61 - bits`` bits.

    Parameters
    ----------
    x : float64 array
        Finite.
    divisor : float64 array, broadcast to ``x``
        Positive, of at most ``bits`` significant bits.
    bits : int
        12 to 52.
    """
    significand, exponent = np.frexp(np.asarray(x, np.float64))
    divisor, shift = np.frexp(np.asarray(divisor, np.float64))
    # The quotient of integers of 53 + 10 bits and of ``bits``; the remainder says the rest.
    n = np.abs(np.ldexp(significand, 53)).astype(np.int64) << 10
    d = np.ldexp(divisor, bits).astype(np.int64)
    quotient, rest = np.divmod(n, d)
    odd = np.ldexp((quotient | (rest != 0)).astype(np.float64), exponent - shift - 63 + bits)
    return np.copysign(odd, x)
