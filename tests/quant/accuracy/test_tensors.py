# SPDX-License-Identifier: Apache-2.0
import csv
import math
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from carrysave.quant.accuracy import error
from carrysave.quant.accuracy.tensors import MINILM, minilm
from carrysave.quant.language import block_gemms

TABLE = Path(__file__).parents[3] / "reports" / "accuracy.csv"


def test_error_by_its_definition(compared):
    """Of integers, whose sums are exact."""
    rng = np.random.default_rng(0)
    x, found = rng.integers(-100, 101, (2, 7, 9))
    signal = Fraction(int((x**2).sum()))
    noise = Fraction(int(((x - found) ** 2).sum()))
    relative, qsnr = error(x.astype(float), found.astype(float))
    assert relative == math.sqrt(noise / signal)
    assert qsnr == 10 * math.log10(signal / noise)
    compared(x.size)


def test_error_of_the_same():
    assert error(np.ones(3), np.ones(3)) == (0, math.inf)


def test_error_wrong():
    with pytest.raises(ValueError, match=r"^Found must have the shape \(3,\), not \(4,\)$"):
        error(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match=r"^X must have an element that is not 0$"):
        error(np.zeros(3), np.ones(3))


def committed(fmt, scale, subject):
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file)
                if (row["format"], row["scale"], row["subject"]) == (fmt, scale, subject)]
    assert len(rows) == 1
    return rows[0]


def check(x, by, subject, scale):
    """A row of the table, by ml_dtypes and the definition."""
    x = x.astype(np.float64)
    found = (x / by).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * by
    relative = math.sqrt(((x - found) ** 2).sum() / (x**2).sum())
    row = committed("e4m3", scale, subject)
    assert row["values"] == str(x.size)
    assert row["relative_error"] == f"{relative:.4g}"
    assert row["qsnr_db"] == f"{-20 * math.log10(relative):.2f}"
    return x.size


def test_committed_rows_of_smollm2(reachable, compared):
    for gemm in reachable(block_gemms, 1):
        if gemm.name.endswith(".down"):
            for kind in "weights", "activations":
                x = getattr(gemm, kind).numpy()
                by = np.abs(x.astype(np.float64)).max() / 448
                compared(check(x, by, f"smollm2 {gemm.name} {kind}", "tensor"))


def test_committed_rows_of_minilm(reachable, compared):
    found = list(reachable(lambda: list(minilm())))
    assert [f"{name}.weight" for name, _, _ in found] == sorted(MINILM)
    for name, kind, x in found:
        by = np.abs(x.astype(np.float64)).max(axis=1, keepdims=True) / 448
        compared(check(x, by, f"minilm {name} {kind}", "row"))
