# SPDX-License-Identifier: Apache-2.0
"""Numbers and codes as text."""

from decimal import Decimal
from fractions import Fraction

__all__ = [
    "SPECIALS", "approximate", "both", "code_text", "exact", "odd_bits", "plural", "spans",
]

SPECIALS = {
    "nan": "NaN", "inf": "Inf", "-inf": "-Inf", "-0": "-0", "identifier": "identifier",
    "unused": "never encoded", "invalid": "no value",
}


def exact(x, room=10, odd_bits=64):
    """A value in as many characters, exact: as a decimal, or as an integer times a power of two.

    Where that integer has more than ``odd_bits``, as in codebooks, as Python writes the float.
    """
    if x is None:
        return "–"
    if isinstance(x, str):
        return SPECIALS[x]
    decimal = format(Decimal(x), "f")
    if len(decimal) <= room:
        return decimal
    n, d = Fraction(x).as_integer_ratio()
    twos = (n & -n).bit_length() - 1
    odd, power = n >> twos, f"2^{twos - d.bit_length() + 1}"
    if odd.bit_length() > odd_bits:
        return repr(x)
    return {1: power, -1: f"-{power}"}.get(odd, f"{odd}·{power}")


def approximate(x):
    """A value in at most 8 characters or so: exact, or to four digits."""
    text = exact(x, 7)
    return f"{x:.4g}" if "·" in text or len(text) > 7 else text


def both(x, odd_bits):
    """A value, and where it has many digits also as an integer times a power of two."""
    text = exact(x, 6, odd_bits)
    if "^" not in text or abs(x) >= 1 << 1023:
        return text
    decimal = format(Decimal(x), "f")
    return f"{text} = {decimal}" if len(decimal) <= 12 else f"{text} ≈ {float(x):.4g}"


def odd_bits(description):
    """Longest integer that `exact` may write: what comes from tables of floats has no short one."""
    tables = description["class"] == "Codebook" or description["name"].startswith("logsqrt2")
    return 8 if tables else 64


def code_text(code, bits):
    """A code in binary, or longer ones in hexadecimal."""
    return f"{code:0{bits}b}" if bits <= 5 else f"0x{code:0{-(-bits // 4)}X}"


def plural(number, what):
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spans(numbers):
    """Integers as text, neighbours that follow each other as ``first…last``."""
    parts, numbers = [], list(dict.fromkeys(numbers))
    while numbers:
        step = 1 if len(numbers) < 2 or numbers[1] > numbers[0] else -1
        end = 1
        while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        run, numbers = numbers[:end], numbers[end:]
        parts.append(str(run[0]) if end == 1 else f"{run[0]}…{run[-1]}")
    return " ".join(parts)
