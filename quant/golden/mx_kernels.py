# SPDX-License-Identifier: Apache-2.0
"""Compiled loops for MX blocks, over which NumPy and torch would pass many times.

Each does in one pass what `Block.encode` and `mx_dot` define; tests hold them to those.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

__all__ = ["by_rows", "dot", "encode_fixed", "encode_minifloat"]

MAGNITUDE, MANTISSA, INFINITY = 0x7FFFFFFF, 0x7FFFFF, 0x7F800000  # of float32


def by_rows(kernel, rows, *arguments):
    """Call ``kernel(first, last, *arguments)`` on shares of the rows, one for each processor."""
    workers = min(os.cpu_count() or 1, rows)
    edges = [rows * i // workers for i in range(workers + 1)] if rows else [0, 0]
    if workers <= 1:
        kernel(*edges, *arguments)
        return
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(kernel, *edges[i : i + 2], *arguments) for i in range(workers)]:
            done.result()


@njit(nogil=True, cache=True)
def _scale(x, emax, carry):
    """E8M0 code of a block of float32 bit patterns; 255 with a NaN or an infinity."""
    greatest = 0
    for i in range(len(x)):
        greatest = max(greatest, x[i] & MAGNITUDE)
    if greatest >= INFINITY:
        return 255
    if greatest == 0:
        return 0
    exponent = (greatest >> 23) + ((greatest & MANTISSA) >= carry)
    return min(max(exponent - emax, 0), 254)


@njit(nogil=True, cache=True)
def encode_minifloat(first, last, x, size, emax, carry, m, least, top, sign, codes, scales):
    """Blocks of minifloats under E8M0 scales, half to even, saturated.

    Adding a power of two 23 - m places above the last bit to keep rounds a float32 to that bit.

    Parameters
    ----------
    x : int32 array, shape (rows, K)
        Bit patterns of float32; K a multiple of ``size``.
    emax : int
        Exponent of the greatest element, 1 or more.
    carry : int
        Mantissa of amax from which on its exponent counts as one more: 2 ** 23 under "floor".
    m, least, top, sign : int
        Mantissa bits; exponent of the least normal element plus 127; greatest code; sign bit.
    codes, scales : uint8 arrays, shapes (rows, K) and (rows, K // size)
        The results.
    """
    value, magic = np.empty(size, np.float32), np.empty(size, np.float32)
    bits, magic_bits = value.view(np.int32), magic.view(np.int32)
    shift = np.empty(size, np.int32)
    unit = np.empty(1, np.float32)
    for row in range(first, last):
        for block in range(x.shape[1] // size):
            source = x[row, block * size : (block + 1) * size]
            target = codes[row, block * size : (block + 1) * size]
            scale = _scale(source, emax, carry)
            scales[row, block] = scale
            if scale == 255:
                target[:] = 0
                continue
            unit.view(np.int32)[0] = (254 - scale) << 23 if scale < 254 else 1 << 22
            for i in range(size):
                bits[i] = source[i] & MAGNITUDE
            for i in range(size):
                value[i] *= unit[0]
            for i in range(size):
                shift[i] = max(bits[i] >> 23, least)
                magic_bits[i] = (shift[i] + 23 - m) << 23
            for i in range(size):
                value[i] += magic[i]
            for i in range(size):
                code = min(((shift[i] - least) << m) + bits[i] - magic_bits[i], top)
                target[i] = code | (sign if source[i] < 0 else 0)


@njit(nogil=True, cache=True)
def encode_fixed(first, last, x, size, emax, carry, fraction, low, high, mask, codes, scales):
    """Blocks of fixed-point numbers under E8M0 scales, half to even, saturated.

    Parameters
    ----------
    fraction : int
        Bits right of the binary point.
    low, high, mask : int
        Limits of the integers; the bits of a code.

    The others as in `encode_minifloat`.
    """
    value, bits = np.empty(size, np.float32), np.empty(size, np.int32)
    value_bits = value.view(np.int32)
    unit = np.empty(1, np.float32)
    magic = np.float32(12582912.0)  # 1.5 * 2 ** 23: the last bit of a sum is worth 1
    magic_bits = 0x4B400000
    for row in range(first, last):
        for block in range(x.shape[1] // size):
            source = x[row, block * size : (block + 1) * size]
            target = codes[row, block * size : (block + 1) * size]
            scale = _scale(source, emax, carry)
            scales[row, block] = scale
            if scale == 255:
                target[:] = 0
                continue
            unit.view(np.int32)[0] = (254 - scale) << 23 if scale < 254 else 1 << 22
            for i in range(size):
                value_bits[i] = source[i]
            for i in range(size):
                value[i] = value[i] * unit[0] * np.float32(1 << fraction) + magic
            for i in range(size):
                bits[i] = min(max(value_bits[i] - magic_bits, low), high)
            for i in range(size):
                target[i] = bits[i] & mask


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _block_sum(a, codes, table):
    """Sum of products, exact in float64, so that its order does not matter."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * table[codes[i]]
    return total


@njit(nogil=True, cache=True)
def _odd_sum(high, low):
    """``high + low`` rounded to odd, so that it can be rounded once more."""
    total = high + low
    back = total - high
    error = (high - (total - back)) + (low - back)
    if error != 0:
        pair = np.array([total])
        bits = pair.view(np.int64)
        if bits[0] & 1 == 0:
            bits[0] += 1 if (error > 0) == (total > 0) else -1
        total = pair[0]
    return total


@njit(nogil=True, cache=True)
def dot(first, last, a, a_scales, codes, scales, high, low, split, size, result):
    """Products of a few vectors with many coded rows, blocks combined in FP32, ascending k.

    Parameters
    ----------
    a : float64 array, shape (M, K)
        Elements.
    a_scales : float64 array, shape (M, blocks)
    codes, scales : uint8 arrays, shape (N, K), and float64 array, shape (N, blocks)
        The rows.
    high, low : float64 arrays
        The element of each code; if ``split``, as the sum of both.
    result : float32 array, shape (M, N)
    """
    for row in range(first, last):
        for vector in range(a.shape[0]):
            total = np.float32(0)
            for block in range(a.shape[1] // size):
                start = block * size
                x, y = a[vector, start : start + size], codes[row, start : start + size]
                exact = _block_sum(x, y, high)
                if split:
                    exact = _odd_sum(exact, _block_sum(x, y, low))
                total += np.float32(exact * (a_scales[vector, block] * scales[row, block]))
            result[vector, row] = total
