# SPDX-License-Identifier: Apache-2.0
"""What the references of the FP32 units share."""

import numpy as np
import torch
from amaranth.hdl import Cat, Module, Mux

from ...quant.formats import Minifloat
from ..prove import Core
from ..symfpu import commands, instance

__all__ = ["SMALL", "codes_of", "ieee_cores", "mantissas", "ordinary_cores", "pairs"]

# Formats for which SAT finds a proof in seconds; the functions are the same for each.
SMALL = Minifloat(4, 3, specials="ieee"), Minifloat(3, 4, specials="ieee")


def codes_of(function, inputs):
    """Codes of a golden function of two float32 tensors; every NaN as 0x7fc00000."""
    a, b = (torch.from_numpy(np.asarray(inputs[name]).astype(np.uint32).view(np.float32))
            for name in ("a", "b"))
    codes = function(a, b).numpy().view(np.uint32)
    return np.where((codes & 0x7FFFFFFF) > 0x7F800000, np.uint32(0x7FC00000), codes)


def mantissas(rng, size):
    """Fields of 23 bits, with few or many ones."""
    full = rng.integers(0, 1 << 23, size=size)
    few = full & rng.integers(0, 1 << 23, size=size) & rng.integers(0, 1 << 23, size=size)
    ends = rng.choice(np.array([0, 1, (1 << 23) - 1, 1 << 22]), size=size)
    return np.choose(rng.integers(0, 4, size=size), [full, few, ~few & (1 << 23) - 1, ends])


def pairs(rng, size, partner):
    """Codes ``a`` and ``b``: mantissas with few or many ones, all exponents.

    ``partner`` gives exponents of ``b`` that are interesting with those of ``a``; three quarters
    of the pairs are within a mantissa's length of it.
    """
    exponent = rng.integers(0, 256, size=size)
    near = partner(exponent) + rng.integers(-26, 26, size=size, endpoint=True)
    close = partner(exponent) + rng.integers(-1, 1, size=size, endpoint=True)
    other = np.choose(rng.integers(0, 4, size=size),
                      [near, near, close, rng.integers(0, 256, size=size)])
    result = {}
    for name, e in ("a", exponent), ("b", np.clip(other, 0, 255)):
        result[name] = rng.integers(0, 2, size=size) << 31 | e << 23 | mantissas(rng, size)
    same = rng.random(size) < 0.05  # differences of nearly equal numbers
    result["b"] = np.where(same, result["a"] ^ rng.integers(0, 8, size=size) ^ 1 << 31, result["b"])
    return result


def ieee_cores(function, operation):
    """The function for small formats, against Yosys' own."""
    for fmt in SMALL:
        yield Core(
            f"{operation}_{fmt.name}", {"a": fmt.bits, "b": fmt.bits},
            lambda a, b, fmt=fmt: _built(function, a, b, fmt),
            lambda a, b, fmt=fmt: instance(operation, fmt, a, b),
            says=f"Yosys' symfpu -op {operation} in {fmt.name}", prepare=commands(operation, fmt))


def ordinary_cores(function, operation, names):
    """The same where those named of ``a``, ``b`` and the result, ``code``, are ordinary numbers:
    neither subnormal nor Inf."""
    def ordinary(code, fmt):
        mantissa, exponent = code[:fmt.mantissa_bits], code[fmt.mantissa_bits:-1]
        return Mux(exponent.all(), mantissa.any(), exponent.any() | ~mantissa.any())

    def where(known, code, fmt):
        return Mux(ordinary(known, fmt), code, 0) if "code" in names else code

    def own(a, b, fmt):
        part, known = instance(operation, fmt, a, b)
        own, code = _built(function, a, b, fmt)
        return {**part, **own}, where(known, code, fmt)

    def other(a, b, fmt):
        part, known = instance(operation, fmt, a, b)
        return part, where(known, known, fmt)

    for fmt in SMALL:
        yield Core(
            f"{operation}_{fmt.name}", {"a": fmt.bits, "b": fmt.bits},
            lambda a, b, fmt=fmt: own(a, b, fmt), lambda a, b, fmt=fmt: other(a, b, fmt),
            lambda fmt=fmt, **codes: Cat(ordinary(code, fmt) for name, code in codes.items()
                                         if name in names).all(),
            says=f"Yosys' symfpu -op {operation} in {fmt.name}, of ordinary numbers",
            prepare=commands(operation, fmt))


def _built(function, a, b, fmt):
    m = Module()
    code = function(m, a, b, fmt)
    return {"part": m}, code
