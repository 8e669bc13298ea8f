# SPDX-License-Identifier: Apache-2.0
"""Formats on terminals of any width."""

import io

import pytest
from rich.console import Console

from carrysave.format_view import show_all, show_one
from carrysave.formats import describe
from carrysave.quant import formats
from carrysave.quant.formats import Block, Codebook, Exponent, Fixed, Minifloat

WIDTHS = (1, 20, 40, 60, 80, 120, 200)
ODD = [
    *map(formats.get, ("e3m3", "bfp2g1", "q53.-200", "e8m23_fnuz", "uint16g65536z", "logsqrt2_8")),
    Codebook((0.0, 0.0)), Codebook((-1.0, -2.0), "[b]negative[/b]"), Exponent(2), Exponent(10),
    Fixed(40, 3, overflow="SAT_SYM"), Block(Minifloat(3, 2), Exponent(10), 7),
]
ALL = [*map(formats.get, formats.names()), *ODD]


def printed(page, width):
    console = Console(width=width, file=io.StringIO())
    console.print(page, highlight=False)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_fits_every_terminal(fmt, compared):
    description = describe(fmt)
    for width in WIDTHS:
        lines = printed(show_one(description, width), width)
        assert max(map(len, lines)) <= width
        if width >= 60:
            assert lines[0].startswith(fmt.name)
    compared(len(WIDTHS))


def test_list_fits_every_terminal(compared):
    descriptions = [describe(fmt, full=False) for fmt in ALL]
    for width in WIDTHS:
        lines = printed(show_all(descriptions, width), width)
        assert max(map(len, lines)) <= width
        if width >= 60:
            starts = {line.partition(" ")[0] for line in lines}
            assert starts >= {description["name"] for description in descriptions}
    compared(len(WIDTHS) * len(ALL))


def test_list(compared):
    lines = printed(show_all([describe(formats.get("e4m3")), describe(formats.get("mxfp4"))], 80),
                    80)
    assert [line for line in lines if line.startswith(("format", "e4m3", "mxfp4"))] == [
        "format  bits    step  least>0   greatest  special  what",
        "e4m3       8    2^-9     2^-9        448  NaN -0   OCP FP8",
        "mxfp4   4.25  2^-128   2^-128  1.021e+39  NaN      32 × e2m1 · e8m0",
    ]
    compared(3)


def test_page_of_e2m1(compared):
    lines = [line.rstrip() for line in printed(show_one(describe(formats.get("e2m1")), 80), 80)]
    start = lines.index("Codes")
    assert lines[start + 1 : start + 11] == [
        "  code  <sign, exponent, integer>  value",
        "  ──────────────────────────────────────",
        "  0000  <0, 0, 0>                      0",
        "  0001  <0, 0, 1>                    0.5",
        "  0010  <0, 0, 2>                      1",
        "  0011  <0, 0, 3>                    1.5",
        "  0100  <0, 1, 2>                      2",
        "  0101  <0, 1, 3>                      3",
        "  0110  <0, 2, 2>                      4",
        "  0111  <0, 2, 3>                      6",
    ]
    assert "  greatest            6" in lines and "  NaN       is refused" in lines
    compared(10)
