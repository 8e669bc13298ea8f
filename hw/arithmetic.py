# SPDX-License-Identifier: Apache-2.0
"""Repeated arithmetic on Amaranth values, and checks of the parameters of units."""

from amaranth.hdl import Const, Mux, Shape

__all__ = [
    "check_choice", "check_int", "check_positive", "negate_if", "product_range", "shift_add", "sum_shape",
    "tree_sum",
]


def check_positive(name, value):
    """Check a parameter that counts something; TypeError for what does not."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError(f"{name} must be a positive integer, not {value!r}")


def check_int(name, value, low, high):
    """Check an integer parameter with two limits.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value!r}")


def check_choice(name, value, choices):
    """Check a parameter that is one of several words; ValueError lists them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def product_range(a, b):
    """Least and greatest product of two inclusive ranges ``(low, high)``."""
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def sum_shape(low, high, terms):
    """Shape that holds every sum of up to ``terms`` values from ``low`` to ``high``."""
    return Shape.cast(range(min(low, 0) * terms, max(high, 0) * terms + 1))


def tree_sum(terms):
    """Sum of a list of values as a balanced tree."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return tree_sum(terms[:half]) + tree_sum(terms[half:])


def negate_if(condition, magnitude):
    """``condition ? -magnitude : magnitude`` of an unsigned value, one bit wider and signed."""
    return Mux(condition, -magnitude, magnitude)


def shift_add(weight, activation, *, signed=None):
    """``weight * activation`` as a sum of shifted terms, one per bit of the weight.

    Parameters
    ----------
    weight, activation : Value
    signed : bool, optional
        Whether the top bit of the weight counts negative; by its shape otherwise.
    """
    signed = weight.shape().signed if signed is None else signed
    terms = [Mux(bit, activation, 0) << k for k, bit in enumerate(weight)]
    if not signed:
        return tree_sum(terms)
    if len(terms) == 1:
        return Const(0, 1) - terms[0]
    # The top term is taken away in the last pair, so that no negation is needed.
    return _tree_difference(terms)


def _tree_difference(terms):
    """Sum of all terms but the last, minus the last, as a balanced tree."""
    if len(terms) == 2:
        return terms[0] - terms[1]
    half = len(terms) // 2
    last = terms[half:]
    return tree_sum(terms[:half]) + (_tree_difference(last) if len(last) > 1 else -last[0])
