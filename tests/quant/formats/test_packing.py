# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from carrysave.quant import formats
from carrysave.quant.formats import Block, Exponent, Int, pack, pack_blocks, unpack, unpack_blocks
from carrysave.quant.formats.packing import packed_bytes


def byte_string(codes, width):
    """Codes one after the other, least significant bit first, as one great integer."""
    whole = sum(code << width * k for k, code in enumerate(codes))
    return list(whole.to_bytes(-(-len(codes) * width // 8), "little"))


@pytest.mark.parametrize("bits", [*range(1, 17), 31, 32, 33, 63, 64])
def test_round_trip(bits, compared):
    rng = np.random.default_rng(bits)
    dtype = np.min_scalar_type((1 << bits) - 1)
    for k in (0, 1, 2, 3, 7, 8, 9, 31, 64):
        codes = rng.integers(0, (1 << bits) - 1, size=(2, 3, k), dtype=dtype, endpoint=True)
        packed = pack(codes, bits)
        assert packed.dtype == np.uint8 and packed.shape == (2, 3, packed_bytes(k, bits))
        row = codes[1, 2].tolist()
        if bits == 6:
            expected = byte_string([c & 15 for c in row], 4) + byte_string([c >> 4 for c in row], 2)
        else:
            expected = byte_string(row, bits)
        assert packed[1, 2].tolist() == expected
        again = unpack(packed, bits, k)
        assert again.dtype == dtype
        np.testing.assert_array_equal(again, codes)
        compared(codes.size + 1)


def test_every_code(compared):
    for bits in range(1, 17):
        codes = np.arange(1 << bits)
        np.testing.assert_array_equal(unpack(pack(codes, bits), bits, len(codes)), codes)
        compared(len(codes))


@pytest.mark.parametrize("bits, codes, packed", [
    (1, [1, 0, 0, 1, 1, 0, 0, 0, 1], [0b00011001, 1]),
    (2, [3, 0, 1, 2], [0b10010011]),
    (3, [1, 2, 3], [0b11_010_001, 0b0]),
    (4, [0x1, 0xA, 0xF], [0xA1, 0x0F]),  # the first in the low half
    (6, [0b11_0001, 0b10_0010, 0b01_0011, 0b00_0100], [0x21, 0x43, 0b00_01_10_11]),  # two planes
    (6, [0b10_1111], [0x0F, 0b10]),
    (8, [0x12, 0x34], [0x12, 0x34]),
    (16, [0x1234], [0x34, 0x12]),
])
def test_layout(bits, codes, packed):
    assert pack(codes, bits).tolist() == packed
    assert unpack(np.array(packed, np.uint8), bits, len(codes)).tolist() == codes


@pytest.mark.parametrize("name", [name for name in formats.names()
                                  if isinstance(formats.get(name), Block)])
def test_blocks(name, compared):
    """Each block: its scale, then its elements."""
    fmt = formats.get(name)
    values = np.random.default_rng(0).normal(size=(3, 5 * fmt.size - 3))
    encoded = fmt.encode(values)
    packed = pack_blocks(fmt, encoded)
    assert packed.shape == (3, 5, 1 + fmt.size * fmt.bits // 8)
    np.testing.assert_array_equal(packed[..., 0], encoded.scales)
    elements = unpack(packed[..., 1:], fmt.bits, fmt.size).reshape(3, -1)
    np.testing.assert_array_equal(elements, encoded.codes)
    again = unpack_blocks(fmt, packed, encoded.k, encoded.tensor_scale)
    for one, other in zip(again, encoded, strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.codes.dtype == encoded.codes.dtype and again.padding == 3
    np.testing.assert_array_equal(fmt.values(again), fmt.values(encoded))
    assert unpack_blocks(fmt, packed).k == 5 * fmt.size
    compared(encoded.codes.size)


def test_mxfp4_bytes():
    """A block of 32 takes 17 bytes; 6, -0.5 and 1 under the scale 2 are 7, 9 and 2."""
    encoded = formats.get("mxfp4").encode([12.0, -1, 2] + [0] * 29)
    packed = pack_blocks(formats.get("mxfp4"), encoded)
    assert packed.tolist() == [[128, 0x97, 0x02] + [0] * 14]


def test_wide_scales_are_little_endian():
    fmt = Block(Int(4), Exponent(10, 511), 2)
    packed = pack_blocks(fmt, fmt.encode([2.0**300, 2.0**298]))
    assert packed.tolist() == [[(511 + 298) & 255, 3, 0x14]]
    assert unpack_blocks(fmt, packed).scales.tolist() == [511 + 298]


U8 = np.zeros(3, np.uint8)


@pytest.mark.parametrize("call, error, text", [
    (lambda: pack([1], 0), ValueError, "Bits must be 1 to 64, not 0"),
    (lambda: pack([1], 65), ValueError, "Bits must be 1 to 64, not 65"),
    (lambda: pack([1], 4.0), TypeError, "Bits must be an integer, not 4.0"),
    (lambda: pack([1.0], 4), TypeError, "Codes must be integers, not float64"),
    (lambda: pack(1, 4), ValueError, "Codes must have an axis K, not shape ()"),
    (lambda: pack([3, 16], 4), ValueError, "Codes must be 0 to 15, not 3 to 16"),
    (lambda: pack([-1, 3], 4), ValueError, "Codes must be 0 to 15, not -1 to 3"),
    (lambda: unpack([1, 2], 8, 2), TypeError, "Packed must be uint8, not int64"),
    (lambda: unpack(U8, 4, 7), ValueError,
     "Packed must have 4 bytes along its last axis for 7 codes of 4 bits, not shape (3,)"),
    (lambda: unpack(U8[0], 8, 1), ValueError,
     "Packed must have 1 bytes along its last axis for 1 codes of 8 bits, not shape ()"),
    (lambda: unpack(U8, 8, -1), ValueError, f"K must be 0 to {1 << 48}, not -1"),
    (lambda: unpack(U8, 8, 3.0), TypeError, "K must be an integer, not 3.0"),
    (lambda: unpack_blocks(formats.get("mxfp4"), U8[None]), ValueError,
     "Packed must have shape (…, blocks, 17), not (1, 3)"),
    (lambda: unpack_blocks(formats.get("mxfp4"), np.zeros(17, np.uint8)), ValueError,
     "Packed must have shape (…, blocks, 17), not (17,)"),
    (lambda: unpack_blocks(Block(Int(4), Exponent(10), 2), np.full((1, 3), 4, np.uint8)),
     ValueError, "Codes of ue10m0 must be 0 to 1023, not 1028 to 1028"),
])
def test_refused(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
