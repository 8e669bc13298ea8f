# SPDX-License-Identifier: Apache-2.0
import io

from rich.console import Console

from carrysave.accuracy import COLUMNS, Found
from carrysave.accuracy_view import describe, show


def row(**given):
    return {**dict.fromkeys(COLUMNS, ""), "transform": "none", "bits": "4.25", "scale": "own",
            "format": "mxfp4", **given}


FOUND = Found([
    row(subject="a b weights", qsnr_db="10.00", relative_error="0.3", values="8"),
    row(subject="a c weights", qsnr_db="13.00", relative_error="0.2", values="8"),
    row(subject="a c activations", qsnr_db="inf", relative_error="0", values="8"),
    row(subject="a perplexity 512 tokens", perplexity="1.5e+05"),
    row(subject="a perplexity 512 tokens", perplexity="23.05", transform="smooth"),
    row(subject="har accuracy 9 windows", accuracy="88.12", transform="qat"),
    row(subject="har accuracy 9 windows", accuracy="77.78", transform="ptq"),
], 2, ["weights of [har]: left out"])


def test_a_line_for_each_format_and_scale(compared):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(show(FOUND, "out/t.csv"), highlight=False)
    text = console.export_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("mxfp4"))
    assert line.split() == ["mxfp4", "own", "4.25", "11.5", "inf", "1.5e+05", "23.05", "77.78",
                            "→", "88.12"]
    head = next(line for line in text.splitlines() if line.strip().startswith("format"))
    assert head.split()[-4:] == ["activations", "perplexity", "smooth", "har"]
    assert "weights of [har]: left out" in text
    assert "2 rows measured, 5 known; all in out/t.csv" in text
    compared(len(FOUND.rows))


def test_numbers(compared):
    found = describe(FOUND)
    assert (found["measured"], found["known"], found["skipped"]) == (2, 5, FOUND.skipped)
    assert [each["qsnr_db"] for each in found["rows"]] == [10, 13] + [None] * 5
    assert [each["perplexity"] for each in found["rows"]][2:6] == [None, 150000, 23.05, None]
    assert [each["accuracy"] for each in found["rows"]][4:] == [None, 88.12, 77.78]
    assert found["rows"][0]["values"] == 8 and isinstance(found["rows"][0]["values"], int)
    compared(len(found["rows"]))
