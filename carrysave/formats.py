# SPDX-License-Identifier: Apache-2.0
"""What a number format is: the one source of what terminal, JSON and reference pages show."""

import inspect
import itertools
import re
from dataclasses import fields
from fractions import Fraction
from functools import lru_cache

import numpy as np

from .quant import formats as quant
from .quant.formats.pair import RULES
from .quant.formats.rounding import rounding_name

__all__ = ["TABLE_BITS", "describe", "documentation"]

LISTED = (  # keys of a short description
    "name", "class", "what", "declaration", "sources", "bits", "bits_per_value", "unit", "range",
    "specials",
)
KNOWN = {  # what formats are known as
    "e2m1": "OCP MX FP4", "e2m3": "OCP MX FP6", "e3m2": "OCP MX FP6",
    "e4m3": "OCP FP8", "e5m2": "OCP FP8",
    "fp16": "IEEE binary16", "bf16": "bfloat16", "fp32": "IEEE binary32",
    "e4m3_fnuz": "Graphcore, AMD FP8", "e5m2_fnuz": "Graphcore, AMD FP8",
    "e4m3b11_fnuz": "HFP8 as in XLA",
}
TABLE_BITS = 8  # codes of up to so many bits are all in the table, of others only the corners
LISTED_BITS = 16  # codes of up to so many bits are looked at one by one
PARTS = {"Pair": ("normal", "outlier"), "Block": ("element", "scale"), "Group": ("element",)}


def describe(fmt, *, full=True):
    """Everything there is to say about a format, as JSON has it.

    Values are numbers, equal to what ``fmt.values`` gives; NaN and infinities are ``"nan"``,
    ``"inf"`` and ``"-inf"``. Codes are integers, ranges of codes ``[first, last]``. None stands for
    what is not there, and in ``becomes`` for what the codec refuses.

    Returns
    -------
    dict
        In short ``name, class, what, declaration, sources, bits, bits_per_value, unit, range,
        specials``; ``unit`` says what a value of 1 is where the format leaves that to the tensor.
        In full also ``definition, parameters, encode, parts``; of scalars and pairs ``lsb,
        integer_bits, layout, codes, distinct, symmetric, steps``, of scalars ``table``, of blocks
        and groups ``storage``. ``steps`` are runs of equal gaps between neighbours, from 0 on where
        the values are ``symmetric``.
    """
    kind = type(fmt).__name__
    docs = documentation(type(fmt))
    parts = {name: describe(getattr(fmt, name), full=full) for name in PARTS.get(kind, ())}
    parameters = [
        {"name": field.name, "value": _parameter(getattr(fmt, field.name)),
         "meaning": _meaning(docs["parameters"].get(field.name, ""), getattr(fmt, field.name))}
        for field in fields(fmt) if field.repr
    ]
    said = " ".join([*docs["text"], *(parameter["meaning"] for parameter in parameters)])
    sources = [f"{mark} {text}" for mark, text in docs["references"].items() if mark in said]
    if isinstance(fmt, quant.Codebook) and fmt.source:
        sources.append(fmt.source)
    shape = {"Pair": _pair, "Block": _block, "Group": _group}.get(kind, _scalar)
    description = {
        "name": fmt.name,
        "class": kind,
        "what": KNOWN.get(fmt.name) or _what(fmt),
        "declaration": repr(fmt),
        "parameters": parameters,
        "definition": docs["text"],
        "sources": sources,
        "bits": fmt.bits,
        "bits_per_value": fmt.bits,
        **shape(fmt, parts),
    }
    if not full:
        return {key: description[key] for key in LISTED}
    if shape == _scalar:
        description["table"] = _table(fmt, description["specials"])
    return {**description, "encode": _encode(fmt), "parts": parts}


@lru_cache
def documentation(cls):
    """A docstring taken apart: ``summary``, ``text`` by paragraphs, ``parameters``, ``references``.

    Backquotes stay, single ones everywhere; ``[1]_`` becomes ``[1]``.
    """
    doc = re.sub(r"``(.*?)``", r"`\1`", inspect.getdoc(cls) or "", flags=re.DOTALL)
    doc = re.sub(r"\[(\d+)\]_", r"[\1]", doc)
    body, _, rest = doc.partition("\nParameters\n----------\n")
    body, *references = re.split(r"^\.\. (?=\[\d+\] )", body, flags=re.MULTILINE)
    text = [" ".join(paragraph.split()) for paragraph in body.split("\n\n") if paragraph.strip()]
    parameters, names = {}, []
    for line in rest.splitlines():
        if not line.startswith(" "):
            names = line.partition(" :")[0].split(", ")
        for name in names:
            parameters[name] = " ".join([*parameters.get(name, "").split(), *(
                line.split() if line.startswith(" ") else ()
            )])
    return {
        "summary": re.sub(r" \[\d+\]", "", text[0]),
        "text": text,
        "parameters": parameters,
        "references": {
            mark: " ".join(reference) for mark, *reference in map(str.split, references)
        },
    }


def _meaning(text, value):
    """What a docstring says of a parameter; of choices "`name`: …" only the one taken."""
    choices = dict(re.findall(r"`(\w+)`: (.*?)(?= `\w+`: |$)", text))
    return choices.get(value, text) if isinstance(value, str) else text


def _parameter(value):
    if isinstance(value, tuple):
        return [_number(entry) for entry in value]
    return value if isinstance(value, (bool, int, str, type(None))) else repr(value)


def _number(x):
    """A number for JSON, exact: an integer if it is a small one other than -0, else a float."""
    if isinstance(x, (int, Fraction)) and abs(x) >= 1 << 1023:
        return int(x)
    x = float(x)
    if not np.isfinite(x):
        return str(x)
    whole = x.is_integer() and abs(x) < 2**53 and not (x == 0 and np.signbit(x))
    return int(x) if whole else x


def _what(fmt):
    """One line."""
    match fmt:
        case quant.Int():
            return f"{fmt.min} to {fmt.max}"
        case quant.Minifloat() | quant.Exponent():
            return f"bias {fmt.bias}"
        case quant.Fixed():
            return f"{fmt.fraction} fraction bits"
        case quant.Flint():
            return "integer and float"
        case quant.AbFloat():
            return f"no 0, bias {fmt.bias}"
        case quant.Log2():
            return "1, 1/√2, 1/2 … 0" if fmt.sqrt2 else "1, 1/2, 1/4 … 0"
        case quant.Codebook():
            return fmt.source.partition(". ")[0] or f"{len(fmt.entries)} values"
        case quant.Pair():
            return f"{fmt.normal.name}, {fmt.outlier.name}"
        case quant.Block():
            return f"{fmt.size} × {fmt.element.name} · {fmt.scale.name}"
        case quant.Group():
            zero = ", zero point" if fmt.zero_point else ""
            return f"{fmt.size} × {fmt.element.name} · {fmt.scale_bits}-bit scale{zero}"
    raise TypeError(f"Format must be one of carrysave.quant.formats, not {fmt!r}")


# Scalar formats.

def _scalar(fmt, _):
    spread = _by_code(fmt) if fmt.bits <= LISTED_BITS else _by_rule(fmt)
    if isinstance(fmt, quant.Minifloat):
        normal = 1 << fmt.mantissa_bits
        for name, code in ("greatest_subnormal", normal - 1), ("least_normal", normal):
            if 0 < code <= fmt.max_code:
                spread["range"][name] = _number(fmt.values(np.array(code)))
    return {
        "unit": None,
        "lsb": fmt.lsb,
        "integer_bits": fmt.integer_bits,
        "layout": [{"field": name, "bits": bits} for name, bits in _layout(fmt) if bits],
        "codes": 1 << fmt.bits,
        **spread,
    }


def _layout(fmt):
    """Fields of a code, the most significant first."""
    match fmt:
        case quant.Minifloat() | quant.AbFloat():
            return [("sign", 1), ("exponent", fmt.exponent_bits), ("mantissa", fmt.mantissa_bits)]
        case quant.Fixed():
            whole = min(max(fmt.integer, 0), fmt.width)
            return [("integer", whole), ("fraction", fmt.width - whole)]
        case quant.Flint():
            return [("sign", 1), ("magnitude", 3)]
        case quant.Int():
            return [("two's complement" if fmt.signed else "unsigned", fmt.bits)]
        case quant.Exponent():
            return [("exponent", fmt.bits)]
        case quant.Log2():
            return [("logarithm", fmt.bits)]
    return [("place", fmt.bits)]


def _by_code(fmt):
    """Values, gaps and special codes, from all codes."""
    codes = fmt.codes().astype(np.int64)
    values = fmt.values(codes)
    finite = np.isfinite(values)
    used = np.isin(codes, fmt.encode(values[finite]))
    marks = {
        "inf": np.isposinf(values),
        "-inf": np.isneginf(values),
        "nan": np.isnan(values),
        "-0": (values == 0) & np.signbit(values) & used,
        "unused": finite & ~used,
    }
    specials = [
        {"is": name, "codes": run}
        for name, marked in marks.items() for run in _runs(codes[marked], values[marked])
    ]
    if len(codes) < 1 << fmt.bits:
        specials.append({"is": "invalid", "codes": [len(codes), (1 << fmt.bits) - 1]})
    return {**_spread(values[used & finite]), "specials": specials}


def _spread(values):
    """How values lie: their number, range and gaps."""
    numbers = np.unique(values + 0.0)  # -0 is 0
    symmetric = np.array_equal(numbers, -numbers[::-1])
    shown = numbers[numbers >= 0] if symmetric else numbers
    gaps = np.diff(shown)
    ends = [*(np.flatnonzero(np.diff(gaps)) + 1).tolist(), len(gaps)]
    steps = [
        (shown[start], shown[end], gaps[start], end - start)
        for start, end in itertools.pairwise([0, *ends]) if end > start
    ]
    positive = min(numbers[numbers > 0], default=None)
    return {
        "distinct": len(numbers),
        "symmetric": symmetric,
        "range": _range(numbers[0], numbers[-1], positive, min(np.diff(numbers), default=None)),
        "steps": _steps(steps),
    }


def _by_rule(fmt):
    """What `_by_code` finds, for formats with too many codes: integers, fixed point, floats."""
    top, unit, specials = 1 << (fmt.bits - 1), Fraction(2) ** fmt.lsb, []
    if isinstance(fmt, quant.Minifloat):
        symmetric, finite, normal = True, fmt.max_code, 1 << fmt.mantissa_bits
        nan = finite + 1
        if fmt.inf_code is not None:
            nan = fmt.inf_code + 1
            specials = [("inf", nan - 1, nan - 1), ("-inf", top + nan - 1, top + nan - 1)]
        if fmt.specials == "fnuz":
            specials = [("nan", top, top)]
        else:
            specials += [("nan", start + nan, start + top - 1) for start in (0, top) if nan < top]
            specials.append(("-0", top, top))
        # Below twice the least normal codes are integers; each further exponent doubles the step.
        steps, code, step = [], 0, unit
        while code < finite:
            end = min(finite, code + (normal if code else 2 * normal))
            ends = (Fraction(float(fmt.values(np.array(at)))) for at in (code, end))
            steps.append((*ends, step, end - code))
            code, step = end, step * 2
        high = steps[-1][1]
        low = -high
    else:
        symmetric = fmt.signed and (
            fmt.narrow if isinstance(fmt, quant.Int) else fmt.overflow == "SAT_SYM"
        )
        high = top - 1 if fmt.signed else 2 * top - 1
        low = (-high if symmetric else -top) if fmt.signed else 0
        start = 0 if symmetric else low
        steps = [(start * unit, high * unit, unit, high - start)]
        low, high = low * unit, high * unit
        if symmetric:
            specials = [("unused", top, top)]
    apart = sum(last - first + 1 for _, first, last in specials)
    return {
        "distinct": (1 << fmt.bits) - apart,
        "symmetric": symmetric,
        "range": _range(low, high, unit, unit),
        "steps": _steps(steps),
        "specials": [{"is": name, "codes": [first, last]} for name, first, last in specials],
    }


def _steps(steps):
    return [
        {"from": _number(start), "to": _number(end), "step": _number(step), "gaps": gaps}
        for start, end, step, gaps in steps
    ]


def _range(low, high, positive, step):
    found = {"min": low, "max": high, "least_positive": positive, "least_step": step}
    return {name: None if value is None else _number(value) for name, value in found.items()}


def _runs(codes, values):
    """Ranges ``[first, last]`` of codes that follow each other and have the same value."""
    same = (values[1:] == values[:-1]) | np.isnan(values[1:])
    breaks = np.flatnonzero((np.diff(codes) != 1) | ~same) + 1
    return [[int(run[0]), int(run[-1])] for run in np.split(codes, breaks) if len(run)]


def _table(fmt, specials):
    """Rows of the table of codes: all of them, or the corners."""
    codes = fmt.codes() if fmt.bits <= TABLE_BITS else _corners(fmt, specials)
    signs, exponents, integers = (array.tolist() for array in fmt.operands(codes))
    rows = []
    for place, (code, value) in enumerate(
        zip(codes.tolist(), fmt.values(codes).tolist(), strict=True)
    ):
        known = np.isfinite(value)  # the fields of NaN and Inf are no operands
        rows.append({
            "code": code,
            "sign": signs[place] if known else None,
            "exponent": exponents[place] if known else None,
            "integer": integers[place] if known else None,
            "value": _number(value),
        })
    if isinstance(fmt, quant.Log2) and fmt.sqrt2:
        for row, odd in zip(rows, fmt.is_odd(codes).tolist(), strict=True):
            row["times_sqrt2"] = odd
    return rows


def _corners(fmt, specials):
    top = 1 << (fmt.bits - 1)
    codes = {0, 1, 2, top - 1, top, top + 1, 2 * top - 1}
    codes |= {code for special in specials for code in special["codes"]}
    ends = np.array([float(fmt.min), float(fmt.max), 1.0])
    codes |= {int(code) for code in fmt.encode(ends, overflow="saturate")}
    if isinstance(fmt, quant.Minifloat):
        codes |= {(1 << fmt.mantissa_bits) - 1, 1 << fmt.mantissa_bits}
    codes = np.array(sorted(codes), np.int64)
    return codes[codes < len(fmt.codes())] if isinstance(fmt, quant.Codebook) else codes


# Compound formats.

def _pair(fmt, _):
    normal = np.setdiff1d(fmt.normal.codes(), [fmt.identifier])
    values = np.append(fmt.normal.values(normal), fmt.outlier.used()[0])
    return {
        "unit": None,
        "lsb": fmt.lsb,
        "integer_bits": fmt.integer_bits,
        "layout": [{"field": "right", "bits": fmt.bits}, {"field": "left", "bits": fmt.bits}],
        "codes": 1 << 2 * fmt.bits,
        **_spread(values),
        "specials": [{"is": "identifier", "codes": [fmt.identifier] * 2}],
    }


def _block(fmt, parts):
    element, scale = (parts[name]["range"] for name in ("element", "scale"))
    found = [
        None if element[key] is None else Fraction(element[key]) * Fraction(scale[of])
        for key, of in (
            ("min", "max"), ("max", "max"), ("least_positive", "least_positive"),
            ("least_step", "least_positive"),
        )
    ]
    width = -(-fmt.scale.bits // 8)
    storage = [{"field": "scale", "bits": [0, fmt.scale.bits - 1], "byte": 0, "bytes": width}]
    for low, high in _planes(fmt):
        size = -(-fmt.size * (high - low + 1) // 8)
        storage.append({"field": "elements", "bits": [low, high], "byte": width, "bytes": size})
        width += size
    return {
        "bits_per_value": _number(fmt.bits_per_value),
        "unit": "the tensor's fp32 scale" if fmt.two_level else None,
        "range": _range(*found),
        "specials": [special for special in parts["scale"]["specials"] if special["is"] == "nan"],
        "storage": {"bytes": width, "fields": storage},
    }


def _planes(fmt):
    """Bits of an element that are stored together, found by packing each bit of the first one."""
    at = []
    for bit in range(fmt.bits):
        codes = np.zeros(fmt.size, np.int64)
        codes[0] = 1 << bit
        ones = np.unpackbits(quant.pack(codes, fmt.bits), bitorder="little")
        at.append(int(np.flatnonzero(ones)[0]) - bit)
    starts = [bit for bit in range(fmt.bits) if bit == 0 or at[bit] != at[bit - 1]]
    return [(low, high - 1) for low, high in zip(starts, [*starts[1:], fmt.bits], strict=True)]


def _group(fmt, _):
    element = fmt.element
    low, high = element.min, element.max
    if fmt.zero_point:
        low, high = low - high, high - low
    fields = [("elements", element.bits * fmt.size), ("scale", fmt.scale_bits)]
    fields += [("zero point", element.bits)] * fmt.zero_point
    return {
        "bits_per_value": _number(Fraction(sum(bits for _, bits in fields), fmt.size)),
        "unit": "2^-x, x the exponent of the tensor",
        "range": _range(low * fmt.scale_max, high * fmt.scale_max, 1, 1),
        "specials": [],
        "storage": {"fields": [{"field": name, "bits": bits} for name, bits in fields]},
    }


# The codec.

def _encode(fmt):
    """Rules that ``encode`` takes, the default first named, and what becomes of odd values."""
    parameters = inspect.signature(fmt.encode).parameters
    rules = {
        "rounding": quant.ROUNDINGS,
        "overflow": ("saturate", "ieee", *quant.OVERFLOWS),
        "rule": RULES,
    }
    found = {}
    for name, candidates in rules.items():
        if name in parameters:
            default = parameters[name].default
            default = getattr(fmt, name) if default is None else default
            found[name] = {
                "default": rounding_name(default) if name == "rounding" else default,
                "allowed": [rule for rule in candidates if _encodes(fmt, 1.0, **{name: rule})],
            }
    found["becomes"] = {
        name: (result or [None])[0] for name, result in (
            (name, _encodes(fmt, float(name))) for name in ("nan", "inf", "-inf", "-0")
        )
    }
    return found


def _encodes(fmt, x, **rules):
    """The value that ``x`` becomes, in a list; an empty one if the codec refuses it."""
    try:
        return [_number(fmt.values(fmt.encode(np.array([x]), **rules))[0])]
    except ValueError:
        return []
