# SPDX-License-Identifier: Apache-2.0
"""Repeated arithmetic on Amaranth values, and checks of the parameters of units."""

from amaranth.hdl import Cat, Const, Mux, Shape, Signal, Value

__all__ = [
    "add_carry", "as_signed", "check_choice", "check_int", "check_positive", "negate_if",
    "product_range", "range_shape", "shift_add", "shift_right_jam", "sum_shape", "tree_sum",
    "wire",
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


def range_shape(low, high):
    """Shape that holds all integers from ``low`` to ``high``, which may be wider than a `range`."""
    if low >= 0:
        return Shape(high.bit_length(), False)
    return Shape(max((~low).bit_length(), high.bit_length()) + 1, True)


def sum_shape(low, high, terms):
    """Shape that holds every sum of up to ``terms`` values from ``low`` to ``high``."""
    return range_shape(min(low, 0) * terms, max(high, 0) * terms)


def tree_sum(terms, carries=()):
    """Sum of a list of values as a balanced tree.

    Parameters
    ----------
    terms : list of Value
    carries : list of Value
        Single bits that are added as well, one in each adder as far as there are adders.
    """
    carries = list(carries)

    def tree(terms):
        if len(terms) == 1:
            return terms[0]
        half = len(terms) // 2
        left, right = tree(terms[:half]), tree(terms[half:])
        return add_carry(left, right, carries.pop()) if carries else left + right

    first, *rest = terms
    while len(carries) > len(rest):
        first += carries.pop()
    return tree([first, *rest])


def as_signed(value):
    """The same number, signed."""
    return value if value.shape().signed else Cat(value, 0).as_signed()


def add_carry(a, b, carry):
    """``a + b + carry`` by one adder, which is one bit longer at its low end."""
    if a.shape().signed or b.shape().signed:
        total = Cat(1, as_signed(a)).as_signed() + Cat(carry, as_signed(b)).as_signed()
        return total[1:].as_signed()
    return (Cat(1, a) + Cat(carry, b))[1:]


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


def shift_right_jam(m, value, amount):
    """``value >> amount`` of an unsigned value, its last bit set where any one was lost."""
    stages = (len(value) - 1).bit_length()
    for k, bit in enumerate(amount[:stages]):
        step = 1 << k
        jammed = Cat(value[:step + 1].any(), value[step + 1:])
        value = wire(m, Mux(bit, jammed, value), f"right_{step}")
    return Mux(amount[stages:].any(), value.any(), value) if len(amount) > stages else value


def wire(m, value, name):
    """A value under a name, for what is used several times: expressions are copied at each use."""
    value = Value.cast(value)
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal
