# SPDX-License-Identifier: Apache-2.0
"""Formats by name."""

import re
from difflib import get_close_matches

from .abfloat import AbFloat
from .block import PRESETS as BLOCKS
from .block import bfp
from .codebook import Codebook
from .fixed import Fixed
from .flint import Flint
from .group import Group
from .integer import Int
from .log2 import Log2
from .minifloat import PRESETS as SPECIALS
from .minifloat import Exponent, Minifloat
from .pair import Pair

__all__ = ["get", "names"]

_NF4_SOURCE = (
    "QLoRA's 4-bit NormalFloat. Dettmers et al., QLoRA: Efficient finetuning of quantized LLMs. "
    "NeurIPS 2023, appendix E."
)
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)
_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)
_LISTED = [
    *(Int(bits, signed=signed) for signed in (True, False) for bits in _WIDTHS),
    *(Minifloat(*pair, specials=kind) for pair, kind in SPECIALS.items() if kind),
    Minifloat(4, 3, specials="ieee"),
    Minifloat(4, 3, 8, "fnuz"),
    Minifloat(4, 3, 11, "fnuz"),
    Minifloat(5, 2, 16, "fnuz"),
    Exponent(),
    Fixed(8, 3),
    Fixed(16, 8),
    Flint(),
    AbFloat(2, 1, 2),
    AbFloat(2, 1, 3),
    AbFloat(4, 3, 4, 1 << 15),
    Log2(4),
    Log2(4, sqrt2=True),
    Codebook(_NF4, "nf4", _NF4_SOURCE),
    Pair(Int(4, narrow=True), AbFloat(2, 1, 2)),
    Pair(Flint(), AbFloat(2, 1, 3)),
    Pair(Int(8, narrow=True), AbFloat(4, 3, 4, 1 << 15)),
    *BLOCKS.values(),
    Group(Int(4), 128),
    Group(Int(4, signed=False), 128, zero_point=True),
]
_REGISTRY = {fmt.name: fmt for fmt in _LISTED}


def _minifloat(e, m, bias, kind):
    e, m = int(e), int(m)
    kind = kind or SPECIALS.get((e, m)) or "none"
    usual = 1 << (e - 1) if kind == "fnuz" and e else None
    return Minifloat(e, m, int(bias) if bias else usual, kind)


# Families: what a name of each form stands for.
_FORMS = [
    (r"(u?)int(\d+)(n?)", lambda u, bits, n: Int(int(bits), signed=not u, narrow=bool(n))),
    (r"e(\d+)m(\d+)(?:b(-?\d+))?(?:_(none|ieee|ocp|fnuz))?", _minifloat),
    (r"(u?)q(\d+)\.(-?\d+)", lambda u, width, i: Fixed(int(width), int(i), not u)),
    (r"abfloat_e(\d+)m(\d+)b(\d+)(?:max(\d+))?",
     lambda e, m, b, top: AbFloat(int(e), int(m), int(b), int(top) if top else None)),
    (r"log(2|sqrt2)_(\d+)", lambda root, bits: Log2(int(bits), sqrt2=root == "sqrt2")),
    (r"(u?)int(\d+)(n?)g(\d+)(?:s(\d+))?(z?)", lambda u, bits, n, size, s, z: Group(
        Int(int(bits), signed=not u, narrow=bool(n)), int(size), int(s or 8), bool(z))),
    (r"ue(\d+)m0(?:b(-?\d+))?", lambda bits, b: Exponent(int(bits), int(b) if b else None)),
    (r"bfp(\d+)g(\d+)", lambda mantissa, size: bfp(int(size), int(mantissa))),
]


def names():
    """Names of all listed formats; `get` makes further ones of the same families."""
    return list(_REGISTRY)


def get(name):
    """Format of a name.

    Either a listed one, or one of a family: ``int5``, ``uint3``, ``int4n`` (narrow), ``e3m3``,
    ``e4m3b11_fnuz``, ``q12.4`` and ``uq12.4`` (`Fixed`), ``log2_3``, ``int4g32`` (`Group`),
    ``bfp5g16`` (`bfp`).

    Raises
    ------
    ValueError
        With the nearest names, and where the family exists with what is wrong in its parameters.
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    why = ""
    for form, make in _FORMS:
        match = re.fullmatch(form, str(name))
        if match and all(len(part or "") <= 6 for part in match.groups()):
            try:
                return make(*match.groups())
            except ValueError as error:
                why = f" ({error})"
    near = get_close_matches(str(name), _REGISTRY, n=5, cutoff=0.4) or names()
    raise ValueError(f"Format must be one of {', '.join(near)}, not {name!r}{why}")
