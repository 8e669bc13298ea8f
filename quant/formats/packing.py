# SPDX-License-Identifier: Apache-2.0
"""How codes are stored: packed into bytes along the last axis, and back.

Codes follow each other least significant bit first, without gaps: two 4-bit codes to a byte, the
first in the low half. 6-bit codes are split as FP6-LLM splits them [1]_: first a plane of their
low 4 bits, then one of their high 2 bits, so that both are read in aligned words.

.. [1] Xia et al., FP6-LLM: Efficiently serving large language models through FP6-centric
   algorithm-system co-design. USENIX ATC 2024, section 5.
"""

import numpy as np

from .block import BlockCodes
from .scalar import code_dtype, integer_parameter

__all__ = ["pack", "pack_blocks", "packed_bytes", "unpack", "unpack_blocks"]


def _planes(bits):
    """Widths of the planes that codes are split into, the lowest bits first."""
    return (4, 2) if bits == 6 else (bits,)


def packed_bytes(k, bits):
    """Bytes that K codes take; each plane begins at a byte."""
    return sum(-(-k * width // 8) for width in _planes(bits))


def pack(codes, bits):
    """Bytes of codes.

    Parameters
    ----------
    codes : unsigned array, shape (…, K)
    bits : int
        Width of a code, 1 to 64.

    Returns
    -------
    uint8 array, shape (…, packed_bytes(K, bits))
        Bits that are left over are 0.
    """
    integer_parameter("Bits", bits, low=1, high=64)
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"Codes must be integers, not {codes.dtype}")
    if codes.ndim == 0:
        raise ValueError("Codes must have an axis K, not shape ()")
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >> bits):
        raise ValueError(f"Codes must be 0 to {(1 << bits) - 1}, "
                         f"not {codes.min()} to {codes.max()}")
    parts, offset = [], 0
    for width in _planes(bits):
        plane = codes.astype(np.uint64) >> np.uint64(offset)
        shifts = np.arange(width, dtype=np.uint64)
        ones = (plane[..., None] >> shifts & np.uint64(1)).astype(np.uint8)
        ones = ones.reshape(*codes.shape[:-1], -1)
        parts.append(np.packbits(ones, axis=-1, bitorder="little"))
        offset += width
    return np.concatenate(parts, axis=-1)


def unpack(packed, bits, k):
    """The K codes that `pack` packed.

    Parameters
    ----------
    packed : uint8 array, shape (…, packed_bytes(k, bits))
    """
    integer_parameter("Bits", bits, low=1, high=64)
    integer_parameter("K", k, low=0, high=1 << 48)
    packed = np.asarray(packed)
    if packed.dtype != np.uint8:
        raise TypeError(f"Packed must be uint8, not {packed.dtype}")
    if packed.ndim == 0 or packed.shape[-1] != packed_bytes(k, bits):
        raise ValueError(f"Packed must have {packed_bytes(k, bits)} bytes along its last axis for "
                         f"{k} codes of {bits} bits, not shape {packed.shape}")
    codes, start, offset = np.zeros((*packed.shape[:-1], k), np.uint64), 0, 0
    for width in _planes(bits):
        size = -(-k * width // 8)
        ones = np.unpackbits(packed[..., start : start + size], axis=-1, count=k * width,
                             bitorder="little")
        ones = ones.reshape(*codes.shape, width).astype(np.uint64)
        shifts = np.arange(width, dtype=np.uint64)
        codes |= (ones << shifts).sum(axis=-1, dtype=np.uint64) << np.uint64(offset)
        start, offset = start + size, offset + width
    return codes.astype(code_dtype(bits))


def pack_blocks(fmt, encoded):
    """Bytes of blocks: each block's scale, little endian, then its elements.

    Returns
    -------
    uint8 array, shape (…, blocks, bytes of a block)
        The scale of the tensor and K are not part of it.
    """
    scales = pack(np.asarray(encoded.scales)[..., None], 8 * -(-fmt.scale.bits // 8))
    blocks = encoded.codes.reshape(*scales.shape[:-1], fmt.size)
    return np.concatenate([scales, pack(blocks, fmt.bits)], axis=-1)


def unpack_blocks(fmt, packed, k=None, tensor_scale=1.0):
    """`BlockCodes` of what `pack_blocks` packed."""
    packed = np.asarray(packed)
    width = -(-fmt.scale.bits // 8)
    size = width + packed_bytes(fmt.size, fmt.bits)
    if packed.ndim < 2 or packed.shape[-1] != size:
        raise ValueError(f"Packed must have shape (…, blocks, {size}), not {packed.shape}")
    scales = unpack(packed[..., :width], 8 * width, 1)[..., 0]
    codes = unpack(packed[..., width:], fmt.bits, fmt.size)
    codes = codes.reshape(*packed.shape[:-2], -1)
    return BlockCodes(codes, fmt.scale.check_codes(scales).astype(code_dtype(fmt.scale.bits)),
                      codes.shape[-1] if k is None else k, tensor_scale)
