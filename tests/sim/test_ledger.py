# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.sim.ledger import Arrow, Comparison, Ledger


def test_counts_and_first_difference(compared):
    comparison = Comparison()
    comparison.add([[1, 2], [3, 4]], [[1, 2], [3, 5]], lambda at: {"layer": "fc1", "sample": at[0]})
    comparison.add([7], [8])
    assert (comparison.compared, comparison.mismatches) == (5, 2)
    assert comparison.first == {
        "layer": "fc1", "element": 1, "cycle": None, "sample": 1, "expected": 4, "found": 5
    }
    compared(comparison.compared)


def test_first_is_the_earliest_where_the_order_is_known():
    comparison = Comparison()
    comparison.add([0, 0, 0], [1, 0, 1], order=[9, 1, 5])
    assert comparison.first["element"] == 2
    comparison.add([0, 0], [1, 1], lambda at: {"layer": "b"}, order=[7, 4])
    assert (comparison.first["layer"], comparison.first["element"]) == ("b", 1)
    comparison.add([0], [1], order=[4])
    assert comparison.first["layer"] == "b"


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match=r"Shapes differ: \(2,\) expected, \(1,\) found"):
        Comparison().add([1, 2], [1])


def test_nan_differs():
    comparison = Comparison()
    comparison.add([np.nan], [np.nan])
    assert comparison.mismatches == 1


@pytest.mark.parametrize("compared_, mismatches, ran, status", [
    (5, 0, True, "exact"),
    (5, 1, True, "differs"),
    (0, 0, True, "differs"),
    (0, 0, False, "not run"),
])
def test_status(compared_, mismatches, ran, status):
    arrow = Arrow("golden", "rtl", "batch", compared=compared_, mismatches=mismatches, ran=ran)
    assert arrow.status == status
    assert Ledger("x", {}, [arrow]).exact == (status == "exact")


def test_json():
    arrow = Arrow("golden", "rtl", "batch", compared=3, seconds=1.5)
    content = Ledger("x", {"torch": "2"}, [arrow]).to_json()
    assert (content["format"], content["subject"], content["tools"]) == (1, "x", {"torch": "2"})
    (entry,) = content["arrows"]
    assert list(entry)[:4] == ["from", "to", "method", "status"]
    assert {"compared", "mismatches", "first", "seconds", "why"} <= set(entry)
