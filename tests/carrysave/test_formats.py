# SPDX-License-Identifier: Apache-2.0
"""Descriptions of formats against their codecs; the command; the pages; the README's example."""

import doctest
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from carrysave import formats as described
from carrysave.formats import describe, documentation
from carrysave.quant import formats
from carrysave.quant.formats import (
    AbFloat,
    Block,
    BlockCodes,
    Codebook,
    Exponent,
    Fixed,
    Group,
    GroupCodes,
    Int,
    Minifloat,
    Pair,
    pack_blocks,
)

ROOT = Path(__file__).parents[2]
ODD_NAMES = (
    "e3m3", "q12.4", "uq1.0", "q53.-200", "bfp5g16", "bfp2g1", "uint1", "int32n", "e1m0", "e5m0",
    "e5m0_ieee", "e2m0_fnuz", "e8m23_fnuz", "e4m11_ocp", "e1m49", "log2_8", "logsqrt2_2",
    "abfloat_e1m0b0", "abfloat_e5m8b16", "int4ng32", "uint16g65536z", "int16n",
)
ODD = [
    Codebook((0.0, 0.0)), Codebook((-1.0, -2.0), "negative"), Codebook(tuple(range(11)), "short"),
    Codebook(tuple(range(300)), "long"), Codebook((1e300, -1e-300, 0.1), "wide"),
    Exponent(2), Exponent(10, 512), Fixed(8, 3, overflow="SAT_SYM"),
    Fixed(40, 3, overflow="SAT_SYM"), Pair(Int(4), AbFloat(2, 1, 0)), Pair(Int(3), AbFloat(1, 1)),
    Block(Minifloat(3, 2), Minifloat(5, 3, specials="ieee"), 7), Block(Int(5), Exponent(10), 3),
    Group(Int(4), 8, 16, True),
]
LISTED = [formats.get(name) for name in formats.names()]
ALL = [*LISTED, *map(formats.get, ODD_NAMES), *ODD]
NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def called(fmt):
    return fmt.name


def scalars():
    """Every scalar format, those inside of others included."""
    found = {}
    for fmt in ALL:
        names = {Pair: ("normal", "outlier"), Block: ("element", "scale"), Group: ("element",)}
        parts = [getattr(fmt, name) for name in names.get(type(fmt), ())] or [fmt]
        found.update({repr(part): part for part in parts})
    return list(found.values())


def loaded(fmt):
    """The description as a reader of JSON has it."""
    return json.loads(json.dumps(describe(fmt), allow_nan=False))


def number(value):
    return NUMBERS[value] if isinstance(value, str) else float(value)


def same(a, b):
    """Equal floats, signs of zeros included, in NaN's place NaN."""
    return a == b and math.copysign(1, a) == math.copysign(1, b) or a != a and b != b


def from_steps(description):
    """All values that the steps walk through, ascending; each sum is exact in float64."""
    parts = [np.array([description["range"]["max"]], float)]
    for row in description["steps"]:
        parts.append(row["from"] + np.arange(row["gaps"]) * float(row["step"]))
        assert row["from"] + row["gaps"] * row["step"] == row["to"]
    values = np.concatenate(parts)
    return np.unique(np.append(values, -values if description["symmetric"] else [])).tolist()


def produced(fmt):
    """Values that encoding gives, ascending, and their codes."""
    codes = fmt.codes()
    values = fmt.values(codes)
    finite = np.isfinite(values)
    kept = np.unique(fmt.encode(values[finite]))
    return np.unique(fmt.values(kept)).tolist(), set(kept.tolist())


@pytest.mark.parametrize("fmt", scalars(), ids=called)
def test_table_is_the_codec(fmt, compared):
    found = loaded(fmt)
    rows = found["table"]
    codes = np.array([row["code"] for row in rows], np.int64)
    if fmt.bits <= 8:
        assert codes.tolist() == list(range(len(fmt.codes())))
    else:
        assert {0, (1 << fmt.bits) - 1} <= set(codes) or isinstance(fmt, Codebook)
        assert {found["range"]["min"], found["range"]["max"]} <= {row["value"] for row in rows}
    assert found["codes"] == 2**fmt.bits
    values, (signs, exponents, integers) = fmt.values(codes), fmt.operands(codes)
    for place, row in enumerate(rows):
        assert same(number(row["value"]), float(values[place]))
        fields = [row[name] for name in ("sign", "exponent", "integer")]
        if not math.isfinite(values[place]):
            assert fields == [None] * 3
            continue
        assert fields == [signs[place], exponents[place], integers[place]]
        exact = (-1) ** fields[0] * fields[2] * Fraction(2) ** (fields[1] + found["lsb"])
        if row.get("times_sqrt2"):
            assert float(exact) * math.sqrt(2) == row["value"]
        else:
            assert exact == Fraction(row["value"])
    compared(len(rows))


@pytest.mark.parametrize("fmt", [f for f in scalars() if f.bits <= 16], ids=called)
def test_numbers_are_the_codec(fmt, compared):
    found, (values, kept) = loaded(fmt), produced(fmt)
    span = found["range"]
    assert found["distinct"] == len(values)
    assert found["symmetric"] == (values == [-value for value in values[::-1]])
    assert (span["min"], span["max"]) == (values[0], values[-1])
    assert span["least_positive"] == min((value for value in values if value > 0), default=None)
    if not found["name"].startswith("logsqrt2") and found["name"] != "wide":  # gaps are rounded
        assert from_steps(found) == values
        assert span["least_step"] == min(np.diff(values), default=None)
    marked = {}
    for special in found["specials"]:
        first, last = special["codes"]
        assert marked.keys().isdisjoint(range(first, last + 1))
        marked.update(dict.fromkeys(range(first, last + 1), special["is"]))
    for code, value in enumerate(fmt.values(fmt.codes()).tolist()):
        expected = (
            "nan" if value != value else str(value) if math.isinf(value)
            else "unused" if code not in kept
            else "-0" if same(value, -0.0) else None
        )
        assert marked.pop(code, None) == expected, code
    assert set(marked.values()) <= {"invalid"}
    assert len(marked) == (1 << fmt.bits) - len(fmt.codes())
    compared(1 << fmt.bits)


@pytest.mark.parametrize("name", [
    "int2", "int2n", "uint1", "int9n", "uint16", "q8.3", "uq6.9", "q5.-2", "e1m0", "e2m1", "e3m0",
    "e5m0_ieee", "e2m0_fnuz", "e4m3", "e4m3_ieee", "e4m3_fnuz", "e4m3b11_fnuz", "e5m2", "e1m4_ocp",
    "e1m4_none", "fp16", "bf16", "e4m11_ocp", "e9m6b300",
])
def test_rule_for_wide_formats_on_narrow_ones(name, compared):
    fmt = formats.get(name)
    by_rule, by_code = described._by_rule(fmt), described._by_code(fmt)
    assert by_rule == by_code
    compared(by_rule["distinct"])


def test_wide_formats(compared):
    found = loaded(formats.get("fp32"))
    assert found["range"] == {
        "min": -float(np.finfo(np.float32).max), "max": float(np.finfo(np.float32).max),
        "least_positive": 2.0**-149, "least_step": 2.0**-149,
        "greatest_subnormal": 2.0**-126 - 2.0**-149, "least_normal": 2.0**-126,
    }
    assert found["distinct"] == 2**32 - 2**24 - 1  # without NaN and Inf; 0 once
    assert sum(row["gaps"] for row in found["steps"]) == 0x7F7FFFFF
    assert {s["is"]: s["codes"] for s in found["specials"]}["-0"] == [1 << 31, 1 << 31]
    compared(len(found["steps"]))


@pytest.mark.parametrize("fmt", [f for f in ALL if isinstance(f, Pair)], ids=called)
def test_pairs_are_the_codec(fmt, compared):
    found = loaded(fmt)
    normal, outlier = (
        {row["code"]: row["value"] for row in found["parts"][name]["table"]}
        for name in ("normal", "outlier")
    )
    (special,) = found["specials"]
    identifier, last = special["codes"]
    assert special["is"] == "identifier" and identifier == last
    words = np.arange(found["codes"])
    decoded = fmt.decode(words).reshape(-1, 2).tolist()
    assert len(words) == 1 << sum(field["bits"] for field in found["layout"])
    right_bits, left_bits = (field["bits"] for field in found["layout"])
    values = set()
    for word, (left, right) in zip(words.tolist(), decoded, strict=True):
        halves = word & ((1 << left_bits) - 1), word >> right_bits
        for (half, other), value in zip((halves, halves[::-1]), (left, right), strict=True):
            if half == identifier:
                assert value == 0
            else:
                assert value == (outlier if other == identifier else normal)[half]
            values.add(value)
    assert (min(values), max(values)) == (found["range"]["min"], found["range"]["max"])
    assert len(values) == found["distinct"]
    assert from_steps(found) == sorted(values)
    compared(len(words))


@pytest.mark.parametrize("fmt", [f for f in ALL if isinstance(f, Block)], ids=called)
def test_blocks_are_stored_as_described(fmt, compared):
    found = loaded(fmt)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << fmt.bits, fmt.size)
    scale = np.array([rng.integers(0, 1 << fmt.scale.bits)])
    stored = pack_blocks(fmt, BlockCodes(codes, scale, fmt.size))[0]
    assert len(stored) == found["storage"]["bytes"]
    seen = {"scale": np.zeros(1, np.int64), "elements": np.zeros(fmt.size, np.int64)}
    for field in found["storage"]["fields"]:
        low, high = field["bits"]
        part = stored[field["byte"] : field["byte"] + field["bytes"]]
        bits = np.unpackbits(part, bitorder="little").astype(np.int64)
        count = len(seen[field["field"]])
        width = len(bits) if field["field"] == "scale" else high - low + 1
        plane = bits[: count * width].reshape(count, width)
        seen[field["field"]] |= (plane << np.arange(width)).sum(-1) << low
    assert seen["scale"].tolist() == scale.tolist()
    assert seen["elements"].tolist() == codes.tolist()
    assert found["bits_per_value"] * fmt.size == fmt.bits * fmt.size + fmt.scale.bits
    element, scale = fmt.element, fmt.scale
    top = Fraction(float(element.max)) * Fraction(float(scale.max))
    assert Fraction(found["range"]["max"]) == top
    compared(fmt.size)


@pytest.mark.parametrize("fmt", [f for f in ALL if isinstance(f, Group)], ids=called)
def test_groups_reach_their_range(fmt, compared):
    found = loaded(fmt)
    ends = np.array([fmt.element.min, fmt.element.max])
    codes = fmt.element.encode(ends.astype(float))
    reached = [
        fmt.decode(GroupCodes(codes, np.array([fmt.scale_max]), 0, np.array([zero])))
        for zero in (ends if fmt.zero_point else [0])
    ]
    assert np.min(reached) == found["range"]["min"] and np.max(reached) == found["range"]["max"]
    stored = sum(field["bits"] for field in found["storage"]["fields"])
    assert found["bits_per_value"] * fmt.size == stored
    compared(len(reached))


@pytest.mark.parametrize("fmt", ALL, ids=called)
def test_rules_are_those_of_the_codec(fmt, compared):
    rules = loaded(fmt)["encode"]
    candidates = {
        "rounding": [*formats.ROUNDINGS, "nearest"],
        "overflow": ["saturate", "ieee", "WRAP", "SAT"],
        "rule": ["larger", "left", "right"],
    }
    compared(len(candidates))
    for name, words in candidates.items():
        if name not in rules:
            with pytest.raises(TypeError):
                fmt.encode([1.0], **{name: words[0]})
            continue
        assert rules[name]["default"] in rules[name]["allowed"]
        for word in words:
            if word in rules[name]["allowed"]:
                fmt.encode([1.0], **{name: word})
            else:
                with pytest.raises(ValueError):
                    fmt.encode([1.0], **{name: word})
        default = fmt.encode([0.3, -7.7], **{name: rules[name]["default"]})
        assert str(default) == str(fmt.encode([0.3, -7.7]))
    for text, value in rules["becomes"].items():
        if value is None:
            with pytest.raises(ValueError):
                fmt.encode([float(text)])
        else:
            assert same(float(fmt.values(fmt.encode([float(text)]))[0]), number(value))


# What docstrings say.

class Told:
    """A format of [1]_, with ``code``.

    More of it [2]_.

    .. [1] Someone et al., A title: with a part.
       CONF 2020.
    .. [2] Another.
    .. [3] For a choice.

    Parameters
    ----------
    a, b : int
        Both, ``1``
        to 2.
    c : {"x", "y"}
        ``x``: the first. ``y``: the second [3]_.
    d : int
    """


def test_documentation(compared):
    assert documentation(Told) == {
        "summary": "A format of, with `code`.",
        "text": ["A format of [1], with `code`.", "More of it [2]."],
        "parameters": {"a": "Both, `1` to 2.", "b": "Both, `1` to 2.", "d": "",
                       "c": "`x`: the first. `y`: the second [3]."},
        "references": {"[1]": "Someone et al., A title: with a part. CONF 2020.",
                       "[2]": "Another.", "[3]": "For a choice."},
    }
    assert described._meaning("`x`: the first. `y`: the second [3].", "x") == "the first."
    compared(1)


@pytest.mark.parametrize("fmt", LISTED, ids=called)
def test_says_what_it_is_and_where_from(fmt, compared):
    found = loaded(fmt)
    assert found["what"] and found["definition"] and found["declaration"] == repr(fmt)
    assert found["sources"] or isinstance(fmt, Int)
    said = " ".join([*found["definition"], *(p["meaning"] for p in found["parameters"])])
    for source in found["sources"]:
        assert source.startswith(("[", "QLoRA")) and source.partition(" ")[0] in said + "QLoRA's"
    assert describe(fmt, full=False).items() <= describe(fmt).items()
    compared(1)


def test_sources_are_those_that_apply(compared):
    marks = {
        name: [source.partition(" ")[0] for source in describe(formats.get(name))["sources"]]
        for name in ("fp16", "e4m3_fnuz")
    }
    assert marks == {"fp16": ["[1]", "[2]"], "e4m3_fnuz": ["[1]", "[2]", "[3]", "[4]"]}
    compared(2)


# The command.

def run(*args, cwd=ROOT, status=0):
    result = subprocess.run([sys.executable, *map(str, args)], cwd=cwd, capture_output=True,
                            text=True, timeout=120)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def command(*args, **options):
    return run("-m", "carrysave.main", "formats", *args, **options)


def test_command_prints_json(tmp_path, compared):
    result = command("--json", cwd=tmp_path)
    listed = json.loads(result.stdout)
    assert listed == [describe(formats.get(name), full=False) for name in formats.names()]
    assert not result.stderr
    for name in "e4m3", "olive4", "bfp5g16":
        assert json.loads(command(name, "--json", cwd=tmp_path).stdout) == loaded(formats.get(name))
    compared(len(listed) + 3)


def test_command_prints_text(tmp_path, compared):
    listed = command(cwd=tmp_path).stdout.splitlines()
    first = [line.split(" ")[0] for line in listed]
    assert set(formats.names()) <= set(first)
    page = command("e3m3", cwd=tmp_path).stdout
    assert page.startswith("e3m3  bias 3\nMinifloat(exponent_bits=3, mantissa_bits=3, bias=3")
    assert all(f"\n{title}\n" in page for title in (
        "Layout", "Range", "Special codes", "Codes", "Number line", "Encoding", "Sources"))
    compared(len(listed))


@pytest.mark.parametrize("name, message", [
    ("e4m", "Format must be one of e4m3, "),
    ("", "Format must be one of int2, "),
    ("[bold]", "not '[bold]'"),
    ("e12m3", "(Exponent bits must be 1 to 11, not 12)"),
    ("q99.3", "(Width must be 1 to 53, not 99)"),
    ("int4g0", "(Size must be 1 to 65536, not 0)"),
    ("bfp40g16", "not 'bfp40g16'"),
    ("log2_9", "(Bits must be 2 to 8, not 9)"),
])
def test_command_refuses(name, message, tmp_path, compared):
    for options in [], ["--json"]:
        result = command(name, *options, cwd=tmp_path, status=2)
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ") and message in line and not result.stdout
    compared(2)


def test_command_starts_without_the_heavy_packages(tmp_path, compared):
    result = run(
        "-c",
        "import sys\n"
        "from carrysave.main import main\n"
        "sys.argv = ['carrysave', 'formats', 'e4m3', '--json']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print([n for n in ('torch', 'amaranth', 'matplotlib', 'scipy') if n in sys.modules],\n"
        "      file=sys.stderr)\n",
        cwd=tmp_path)
    assert result.stderr == "[]\n"
    compared(1)


# Pages and README.

def test_pages_are_current(compared):
    run(ROOT / "scripts/formats.py", "--check")
    pages = {path.name for path in (ROOT / "reports/formats").iterdir()}
    assert pages == {f"{name}.md" for name in formats.names()} | {"README.md"}
    compared(len(pages))


def test_readme_example_runs(compared):
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False,
                                     encoding="utf-8")
    assert not failed
    compared(tried)
