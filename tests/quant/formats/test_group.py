# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest

from carrysave.quant.formats import Group, Int


def encode_row(group, row, exponent):
    """Codes as values, scales and zero points of one row: rationals, group by group."""
    codes, scales, zeros = [], [], []
    unit, element = Fraction(2) ** -exponent, group.element
    for start in range(0, len(row), group.size):
        values = [Fraction(value) for value in row[start : start + group.size]]
        scale = round(ideal_scale(group, values) / unit)
        scale = min(max(scale, 1), 2**group.scale_bits - 1)
        zero = 0
        if group.zero_point:
            zero = element.min - round(min(0, *values, 0) / (scale * unit))
            zero = min(max(zero, element.min), element.max)
        scales.append(scale)
        zeros.append(zero)
        for value in values:
            code = round(value / (scale * unit)) + zero
            codes.append(min(max(code, element.min), element.max))
    return codes, scales, zeros


def ideal_scale(group, values):
    if group.zero_point:
        return (max(0, *values, 0) - min(0, *values, 0)) / (group.element.max - group.element.min)
    return max(abs(value) for value in values) / group.element.max


def exponent_of(group, rows):
    """Greatest x for which the largest scale still fits, found one by one."""
    ideal = max(ideal_scale(group, [Fraction(value) for value in row[start : start + group.size]])
                for row in rows for start in range(0, len(row), group.size))
    limit, x = 2**group.scale_bits - 1, 0
    if ideal == 0:
        return 0
    while ideal * Fraction(2) ** x > limit:
        x -= 1
    while ideal * Fraction(2) ** (x + 1) <= limit:
        x += 1
    return x


def check(group, values):
    """Compare with rationals; returns the number of elements."""
    values = np.asarray(values, np.float64)
    encoded = group.encode(values)
    rows = values.reshape(-1, values.shape[-1]).tolist()
    exponent = exponent_of(group, rows)
    expected = [encode_row(group, row, exponent) for row in rows]

    assert encoded.exponent == exponent
    assert encoded.codes.shape == values.shape
    assert encoded.scales.shape == (*values.shape[:-1], group.groups(values.shape[-1]))
    k = values.shape[-1]
    codes = group.element.decode(encoded.codes).reshape(-1, k).tolist()
    scales = encoded.scales.reshape(len(rows), -1).tolist()
    assert codes == [codes for codes, _, _ in expected]
    assert scales == [scales for _, scales, _ in expected]
    if group.zero_point:
        zeros = encoded.zeros.reshape(len(rows), -1).tolist()
        assert zeros == [zeros for _, _, zeros in expected]
    else:
        assert encoded.zeros is None

    decoded = group.decode(encoded)
    assert decoded.dtype == np.int64
    assert decoded.reshape(-1, k).tolist() == [
        [(code - zeros[i // group.size]) * scales[i // group.size] for i, code in enumerate(codes)]
        for codes, scales, zeros in expected
    ]
    unit = 2.0**-exponent
    assert group.values(encoded).tolist() == (decoded * unit).tolist()
    return values.size


@pytest.mark.parametrize("size", [1, 4, 7, 16, 64])
@pytest.mark.parametrize("k", [1, 5, 16, 33])
def test_random(size, k, compared):
    rng = np.random.default_rng(100 * size + k)
    for deviation in (1e-3, 0.3, 50):
        values = rng.normal(size=(6, k)) * deviation * 2 ** rng.uniform(-9, 0, size=(6, 1))
        compared(check(Group(Int(4), size), values))


@pytest.mark.parametrize(
    "element", [Int(2), Int(3, narrow=True), Int(4, signed=False), Int(8), Int(24), Int(32)],
    ids=lambda e: e.name,
)
@pytest.mark.parametrize("scale_bits", [1, 2, 5, 8, 16])
def test_elements_and_scales(element, scale_bits, compared):
    rng = np.random.default_rng(scale_bits)
    compared(check(Group(element, 4, scale_bits), rng.normal(size=(8, 10))))


@pytest.mark.parametrize("x", [-30, 0, 12])
def test_midpoints_go_to_even(x, compared):
    # The group's largest magnitude is 7 S, so that the scale is S and the others can be ties.
    halves = np.arange(-14, 15) / 2
    for scale in (1, 37, 128, 255):
        rows = [[7.0 * 255] * 4, *([7.0 * scale, *halves[i : i + 3] * scale] for i in range(27))]
        values = np.ldexp(np.array(rows), -x)
        encoded = Group(Int(4), 4).encode(values)
        assert encoded.exponent == x and set(encoded.scales[1:].flat) == {scale}
        compared(check(Group(Int(4), 4), values))


@pytest.mark.parametrize("element", [Int(4, signed=False), Int(4), Int(3, narrow=True), Int(8)],
                         ids=lambda e: e.name)
@pytest.mark.parametrize("size", [1, 4, 7, 64])
def test_zero_points(element, size, compared):
    rng = np.random.default_rng(size)
    for scale_bits in (1, 5, 8, 16):
        group = Group(element, size, scale_bits, zero_point=True)
        for offset in (-30, -1, 0, 0.4, 2):  # on both sides of 0, and on one only
            values = rng.normal(offset, 1, size=(5, 33)) * 2 ** rng.uniform(-9, 0, size=(5, 1))
            compared(check(group, values))


def test_zero_point_ties(compared):
    group = Group(Int(4, signed=False), 4, zero_point=True)
    halves = np.arange(-16, 31) / 2
    for scale in (1, 37, 128, 255):
        # The range is 15 S, from -k S or half a step below: codes and zero points can be ties.
        rows = [[15.0 * 255, 0, 0, 0]]
        for low in (0, -3, -7.5, -8.5, -15):
            rows += [[low * scale, (15 + low) * scale, *(halves[i : i + 2] * scale)]
                     for i in range(46) if low <= halves[i] and halves[i + 1] <= 15 + low]
        encoded = group.encode(rows)
        assert encoded.exponent == 0 and set(encoded.scales[1:].flat) == {scale}
        compared(check(group, rows))


def test_zero_point_range_is_exact(compared):
    """The range of a group, a difference, is not rounded before its scale is."""
    tiny = 2.0**-60
    rows = [[15 * 255.0, 0], [37.5, 0], [37.5, -tiny], [37.5 - 2**-47, -(2**-47)],
            [37.5 - 2**-47, -(2**-47) - tiny], [37.5 - 2**-47, -(2**-47) + tiny]]
    group = Group(Int(4, signed=False), 2, zero_point=True)
    assert group.encode(rows).scales.ravel().tolist() == [255, 2, 3, 2, 3, 2]
    compared(check(group, rows))


def test_scale_tie_goes_to_even(compared):
    values = [[7 * 255.0, 0], [7 * 2.5, 1], [7 * 3.5, 1], [-7 * 0.5, 1], [7 * 1.5, 2]]
    encoded = Group(Int(4), 2).encode(values)
    assert encoded.scales.ravel().tolist() == [255, 2, 4, 1, 2]
    compared(check(Group(Int(4), 2), values))


def test_saturation_is_to_the_element():
    # Scale bits of 1 leave the scale 1 for each group: the code is what gives.
    encoded = Group(Int(4), 1, 1).encode([[7.0, -7.0, 3.0]])
    assert Int(4).decode(encoded.codes).tolist() == [[7, -7, 3]]
    encoded = Group(Int(4), 2).encode([[7 * 255.0, 0], [7 * 1.45, -7 * 1.45]])
    assert Int(4).decode(encoded.codes).tolist() == [[7, 0], [7, -8]]


def test_zero_groups(compared):
    group = Group(Int(4), 4)
    encoded = group.encode(np.zeros((2, 6)))
    assert encoded.exponent == 0
    assert not encoded.codes.any() and (encoded.scales == 1).all()
    values = np.array([[0, 0, 0, 0, 0.3, -0.1], [0.2, 0, 0, 0.1, 0, 0]])
    assert group.encode(values).scales[0, 0] == 1 and not group.encode(values).codes[0, :4].any()
    compared(check(group, values))


@pytest.mark.parametrize("magnitude", [1e-300, 1e-30, 1e30, 2e307])
def test_huge_and_small(magnitude, compared):
    rng = np.random.default_rng(1)
    compared(check(Group(Int(4), 4), rng.uniform(-8, 8, size=(9, 11)) * magnitude))


def test_huge_beside_small(compared):
    values = [[1e300, -1e300, 1e-300, 0, 1e-300, -1e-300, 5e-324, 0]]
    assert Group(Int(4), 4).encode(values).codes[0, 4:].tolist() == [0, 0, 0, 0]
    compared(check(Group(Int(4), 4), values))


@pytest.mark.parametrize("size", [2, 5, 16])
def test_powers_of_two_and_the_edge_of_the_scale(size, compared):
    edge = 7 * 255.0
    for largest in (edge, np.nextafter(edge, 0), np.nextafter(edge, 1e9), 7.0, 7 * 256.0, 7 * 0.5):
        compared(check(Group(Int(4), size), [[largest, 1.0, -2.0, 3.5, 0.25]]))


def test_more_axes(compared):
    compared(check(Group(Int(4), 3), np.random.default_rng(2).normal(size=(2, 3, 8))))
    compared(check(Group(Int(4), 3), np.random.default_rng(3).normal(size=8)))


def test_decode_of_every_code_and_scale(compared):
    codes, scales = np.meshgrid(np.arange(16), np.arange(256))
    group = Group(Int(4), 1)
    decoded = group.decode((codes, scales, 3))
    assert decoded.tolist() == [
        [(code - 16 * (code > 7)) * scale for code in range(16)] for scale in range(256)
    ]
    compared(decoded.size)


def test_expand_and_groups():
    group = Group(Int(4), 4)
    assert [group.groups(k) for k in (1, 4, 5, 8)] == [1, 1, 2, 2]
    assert group.expand(np.array([[3, 5]]), 6).tolist() == [[3, 3, 3, 3, 5, 5]]


def test_zero_point_of_a_span_beyond_float64():
    with pytest.raises(ValueError) as caught:
        Group(zero_point=True).encode([1.7e308, -1.7e308])
    assert str(caught.value) == "Values of a group must not span more than float64 holds"


@pytest.mark.parametrize("values, shape", [(1.0, "()"), ([], "(0,)"), ([[], []], "(2, 0)")])
def test_no_values(values, shape):
    with pytest.raises(ValueError) as caught:
        Group().encode(values)
    assert str(caught.value) == f"Values must have at least one element along K, not {shape}"


def test_properties():
    assert Group(Int(4, signed=False), 128, zero_point=True).name == "uint4g128z"
    group = Group(Int(4), 16, 8)
    assert (group.name, group.bits, group.scale_max) == ("int4g16", 4, 255)
    assert group == Group()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_not_finite(value):
    with pytest.raises(ValueError) as caught:
        Group().encode([[0, value]])
    assert str(caught.value) == "Values must be finite numbers"


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        (("int4",), TypeError, "Element must be an Int, not 'int4'"),
        ((Int(4), 4.0), TypeError, "Size must be an integer, not 4.0"),
        ((Int(4), True), TypeError, "Size must be an integer, not True"),
        ((Int(4), 0), ValueError, "Size must be 1 to 65536, not 0"),
        ((Int(4), 65537), ValueError, "Size must be 1 to 65536, not 65537"),
        ((Int(4), 4, "8"), TypeError, "Scale bits must be an integer, not '8'"),
        ((Int(4), 4, 0), ValueError, "Scale bits must be 1 to 16, not 0"),
        ((Int(4), 4, 17), ValueError, "Scale bits must be 1 to 16, not 17"),
        ((Int(4), 4, 8, 1), TypeError, "Zero point must be True or False, not 1"),
    ],
)
def test_parameters_wrong(arguments, error, text):
    with pytest.raises(error) as caught:
        Group(*arguments)
    assert str(caught.value) == text


def test_subnormal():
    with pytest.raises(ValueError) as caught:
        Group(Int(4), 2).encode([0.0, 1e-310, 0.0])
    assert str(caught.value) == "Values must not all be below 2 ** -1000, as 1e-310"
