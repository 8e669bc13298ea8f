# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.quant.formats import Flint

# SPECS, section 1: magnitude bits, <exponent, integer>, and the magnitude.
TABLE = {
    0b000: (0, 0b00, 0), 0b001: (0, 0b01, 1), 0b010: (0, 0b10, 2), 0b011: (0, 0b11, 3),
    0b110: (1, 2, 4), 0b111: (1, 3, 6), 0b101: (3, 1, 8), 0b100: (4, 1, 16),
}


def test_every_code(compared):
    fmt = Flint()
    for code in range(16):
        sign, (exponent, integer, magnitude) = code >> 3, TABLE[code & 7]
        assert [int(part) for part in fmt.operands(code)] == [sign, exponent, integer]
        value = -magnitude if sign else magnitude
        assert fmt.decode([code]) == fmt.values([code]) == value
        if code != 0b1000:
            assert fmt.encode([value]) == code
        compared(1)
    assert np.signbit(fmt.values([8])) and fmt.encode([-0.0]) == 0
    assert (fmt.name, fmt.bits, fmt.lsb, fmt.max, fmt.min) == ("flint4", 4, 0, 16, -16)


def test_ties_of_half_even_go_to_even_places():
    # Magnitudes 0, 1, 2, 3, 4, 6, 8, 16: places 0 to 7.
    ties = np.array([0.5, 1.5, 2.5, 3.5, 5, 7, 12])
    assert Flint().decode(Flint().encode(ties)).tolist() == [0, 2, 2, 4, 4, 8, 8]
    assert Flint().decode(Flint().encode(-ties)).tolist() == [0, -2, -2, -4, -4, -8, -8]


@pytest.mark.parametrize("bits, error, text", [
    (3, ValueError, "Bits must be 4 to 4, not 3"),
    (4.0, TypeError, "Bits must be an integer, not 4.0"),
])
def test_bits_refused(bits, error, text):
    with pytest.raises(error) as caught:
        Flint(bits)
    assert str(caught.value) == text
