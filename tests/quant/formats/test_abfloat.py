# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.quant.formats import AbFloat


@pytest.mark.parametrize("bias, magnitudes", [
    (0, [0, 3, 4, 6, 8, 12, 16, 24]),
    (2, [0, 12, 16, 24, 32, 48, 64, 96]),  # over int4
    (3, [0, 24, 32, 48, 64, 96, 128, 192]),  # over flint4
])
def test_e2m1(bias, magnitudes, compared):
    fmt = AbFloat(2, 1, bias)
    values = magnitudes + [-magnitude for magnitude in magnitudes]
    assert fmt.decode(fmt.codes()).tolist() == fmt.values(fmt.codes()).tolist() == values
    assert fmt.encode(values[1:8] + values[9:]).tolist() == [*range(1, 8), *range(9, 16)]
    compared(len(values))


@pytest.mark.parametrize("e, m, bias, limit", [
    (4, 3, 4, 1 << 15), (4, 3, 4, None), (1, 0, 0, None), (5, 8, 16, None), (3, 2, 1, 7 << 4),
])
def test_every_code(e, m, bias, limit, compared):
    fmt = AbFloat(e, m, bias, limit)
    for code in range(1 << fmt.bits):
        exponent, mantissa = code >> m & (1 << e) - 1, code & (1 << m) - 1
        magnitude = ((1 << m) + mantissa) << (exponent + bias) if exponent or mantissa else 0
        magnitude = min(magnitude, limit or magnitude)
        sign = code >> (e + m)
        value = -magnitude if sign else magnitude
        assert fmt.decode([code]) == value
        operands = [int(part) for part in fmt.operands(code)]
        assert operands[0] == sign and operands[2] << operands[1] == magnitude
        compared(1)
    assert fmt.max == -fmt.min == max(fmt.decode(fmt.codes()))
    assert int(fmt.max).bit_length() == fmt.integer_bits


def test_zero_becomes_the_least():
    fmt = AbFloat(2, 1, 2)
    assert fmt.values(fmt.encode([0.0, -0.0, 1, -1])).tolist() == [12, 12, 12, -12]
    for rounding in ("zero", "half_away", "half_zero"):
        assert fmt.values(fmt.encode([3, -3], rounding=rounding)).tolist() == [12, -12]
    assert fmt.values(fmt.encode([3, -3], rounding="floor")).tolist() == [-12, -12]


def test_names():
    assert AbFloat(2, 1, 2).name == "abfloat_e2m1b2"
    assert AbFloat(4, 3, 4, 1 << 15).name == "abfloat_e4m3b4max32768"


@pytest.mark.parametrize("parameters, error, text", [
    ((0, 1), ValueError, "Exponent bits must be 1 to 5, not 0"),
    ((6, 1), ValueError, "Exponent bits must be 1 to 5, not 6"),
    ((2, 9), ValueError, "Mantissa bits must be 0 to 8, not 9"),
    ((2, 1, -1), ValueError, "Bias must be 0 to 16, not -1"),
    ((2, 1, 2.0), TypeError, "Bias must be an integer, not 2.0"),
    ((2, 1, 2, 95), ValueError, "Limit must be a value of abfloat_e2m1b2max95, not 95"),
    ((2, 1, 2, 1e4), TypeError, "Limit must be an integer, not 10000.0"),
])
def test_parameters_refused(parameters, error, text):
    with pytest.raises(error) as caught:
        AbFloat(*parameters)
    assert str(caught.value) == text
