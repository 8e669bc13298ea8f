# SPDX-License-Identifier: Apache-2.0
"""Numbers as text, read back; pictures, counted."""

import re
from fractions import Fraction

import pytest

from carrysave import format_boxes as boxes
from carrysave import format_line as number_line
from carrysave import format_numbers as numbers
from carrysave import format_text as text
from carrysave.formats import describe
from carrysave.quant import formats

LISTED = formats.names()


def read(shown):
    """The number that `exact` has written."""
    odd, _, power = shown.rpartition("·")
    if "^" in shown:
        sign = "-" if power.startswith("-") else ""
        return Fraction(odd or f"{sign}1") * Fraction(2) ** int(power.partition("^")[2])
    return Fraction(shown)


def scalars():
    for name in (*LISTED, "e3m3", "q53.-200", "e1m49", "uint32", "log2_8"):
        description = describe(formats.get(name))
        yield from description["parts"].values() or [description]


def test_numbers_are_exact(compared):
    shown = 0
    for description in scalars():
        if description["class"] == "Codebook" or description["name"].startswith("logsqrt2"):
            continue
        values = [row["value"] for row in description["table"]]
        values += [row[key] for row in description["steps"] for key in ("from", "to", "step")]
        for value in values:
            if not isinstance(value, str):
                for room in 6, 8, 10:
                    assert read(numbers.exact(value, room)) == Fraction(value)
                    shown += 1
    compared(shown)


@pytest.mark.parametrize("value, expected", [
    (0, "0"), (-0.0, "-0"), (448, "448"), (0.001953125, "2^-9"), (-0.001953125, "-2^-9"),
    (3 * 2.0**-9, "3·2^-9"), (57344, "57344"), (2**127, "2^127"), (0.015625, "0.015625"),
    ("nan", "NaN"), ("-inf", "-Inf"), (None, "–"),
    (3.4028234663852886e38, "16777215·2^104"),
])
def test_exact(value, expected, compared):
    assert numbers.exact(value) == expected
    compared(1)


def test_other_numbers(compared):
    assert numbers.exact(0.1, 10, 8) == "0.1"  # not 3602879701896397·2^-55
    values = (2.0**-149, 3.5, 7 * 2.0**125, 0.07958029955625534)
    assert [numbers.approximate(x) for x in values] == ["2^-149", "3.5", "2.977e+38", "0.07958"]
    assert [numbers.both(x, 64) for x in (448, 2.0**-6, 7 * 2.0**-9, 2.0**-24)] == [
        "448", "2^-6 = 0.015625", "7·2^-9 = 0.013671875", "2^-24 ≈ 5.96e-08"]
    assert numbers.spans([0, 9, 10, 11, 12]) == "0 9…12"
    assert numbers.spans([128, 127, 126]) == "128…126" and numbers.spans([8, 8, 8]) == "8"
    assert numbers.spans([]) == ""
    assert [numbers.code_text(5, bits) for bits in (3, 5, 6, 8, 16)] == [
        "101", "00101", "0x05", "0x05", "0x0005"]
    compared(15)


@pytest.mark.parametrize("source, expected", [
    ("[1] IEEE Std 754-2019.", "IEEE Std 754-2019"),
    ("[1] Guo et al., ANT: A title. MICRO 2022, section IV.", "Guo et al. 2022"),
    ("[3] Noune et al., 8-bit formats. arXiv:2206.02915 (2022).", "Noune et al. 2022"),
    ("[2] NVIDIA, Pretraining (2025), section 3.", "NVIDIA 2025"),
    ("A float. Dettmers et al., QLoRA. NeurIPS 2023.", "Dettmers et al. 2023"),
])
def test_short_sources(source, expected, compared):
    assert text._short(source) == expected
    compared(1)


# Pictures.

def test_boxes(compared):
    layout = describe(formats.get("e4m3"))["layout"]
    assert boxes.code_boxes(layout, 80) == [
        "    7    6        3 2        0"[1:],
        "┌──────┬──────────┬──────────┐",
        "│ sign │ exponent │ mantissa │",
        "└──────┴──────────┴──────────┘",
    ]
    assert boxes.code_boxes(layout, 20) == ["7  sign", "6–3  exponent", "2–0  mantissa"]
    compared(2)


def test_picture_of_e2m1(compared):
    e2m1 = describe(formats.get("e2m1"))
    values, _, unit = number_line.progressions(e2m1)
    assert number_line.linear([("", values, unit)], 30) == [
        "┃───┃─┃─┃┃┃┃┃┃┃┃┃─┃─┃───┃",
        "-6          0           6",
    ]
    assert number_line.logarithmic(e2m1, 30) == [
        "                      n  step",
        "2^-1 ┃─────────────── 1  0.5",
        " 2^0 ┃───────┃─────── 2  0.5",
        " 2^1 ┃───────┃─────── 2  1",
        " 2^2 ┃───────┃─────── 2  2",
    ]
    compared(2)


@pytest.mark.parametrize("name", [name for name in LISTED if name != "logsqrt2_4"])
def test_pictures_show_every_value(name, compared):
    description = describe(formats.get(name))
    shown = description["parts"].get("element", description)
    values, gaps, unit = number_line.progressions(shown)
    assert sum(p.count for p in values) == shown["distinct"]
    low, high = (Fraction(shown["range"][key]) / unit for key in ("min", "max"))
    for cells in 8, 31, 100:
        found = number_line.counts(values, low=low, high=high + 1, cells=cells)
        assert sum(found) == shown["distinct"] and len(found) == cells
    assert sum(p.count for p in gaps) == sum(row["gaps"] for row in shown["steps"])
    for width in 40, 80, 120:
        assert max(map(len, number_line.linear([("", values, unit)], width))) <= width
    if shown["class"] in text.BINADES:
        lines = number_line.logarithmic(shown, 80)
        assert max(map(len, lines)) <= 80
        drawn = [re.search(r" ([\d,]+)  ?", line[20:]) for line in lines[1:] if "⋮" not in line]
        number = sum(int(match[1].replace(",", "")) for match in drawn if match)
        positive = shown["distinct"] // 2 if shown["symmetric"] else shown["distinct"] - (
            shown["range"]["min"] == 0)
        alike = any("⋮" in line for line in lines)
        assert number == positive or alike and number < positive
    compared(3 + len(shown["steps"]))


def test_binades_that_look_alike_are_drawn_once(compared):
    e5m2 = number_line.logarithmic(describe(formats.get("e5m2")), 80)
    assert len(e5m2) == 6 and e5m2[4].strip() == "⋮ 28 binades alike"
    assert len(number_line.logarithmic(describe(formats.get("e4m3")), 80)) == 19
    compared(32)


def test_density(compared):
    assert number_line.axis([1, 0, 1]) == ["┃─┃"]
    assert number_line.axis([0, 1, 2, 15, 255]) == [" ▁▂▄█", "─────"]
    uniform = describe(formats.get("int8"))
    values, _, unit = number_line.progressions(uniform)
    bars, *_ = number_line.linear([("", values, unit)], 78)
    assert set(bars) == {"█"}  # evenly spaced: no pattern that is not there
    compared(3)


# Tables.

@pytest.mark.parametrize("width", [40, 78, 96, 118])
@pytest.mark.parametrize("name", ["e4m3", "int8", "e8m0", "uint5", "e2m1", "q8.3"])
def test_tables_hold_every_code(name, width, compared):
    description = describe(formats.get(name))
    table, *rest = text.code_table(description, width)
    rows = description["table"]
    if rest:  # only the positive half is shown, the other is its mirror
        half = len(rows) // 2
        for row, mirrored in zip(rows[:half], rows[half:], strict=True):
            if row["integer"] is not None:
                assert [mirrored[key] for key in ("exponent", "integer")] == [
                    row[key] for key in ("exponent", "integer")]
                assert mirrored["value"] == -row["value"]
        rows = rows[:half]
    values = [cell for cells in table.rows for cell in cells[2:]]
    assert len(values) == len(rows)
    for value, row in zip(values, rows, strict=True):
        if isinstance(row["value"], str):
            assert value == text.SPECIALS[row["value"]]
        else:
            assert read(value) == Fraction(row["value"])
    compared(len(values))


def test_tables_note_what_is_not_encoded(compared):
    def noted(fmt, identifier=None):
        table, *_ = text.code_table(describe(fmt), 80, identifier)
        return {cells[0]: cells[3] for cells in table.rows if cells[3:] and cells[3]}

    assert noted(formats.AbFloat(2, 2, 0, 20)) == dict.fromkeys(
        ("00000", "01010", "01011", "01100", "01101", "01110", "01111"), "never encoded")
    assert noted(formats.get("int4n"), 8) == {"1000": "identifier"}
    assert noted(formats.get("e2m1")) == {}
    compared(3)
