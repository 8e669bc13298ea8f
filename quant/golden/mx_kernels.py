# SPDX-License-Identifier: Apache-2.0
"""Compiled loops for MX blocks, over which NumPy and torch would pass many times.

Each does in one pass what `Block.encode` and `mx_dot` define; tests hold them to those.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

__all__ = ["add_sums", "by_rows", "dot", "encode_fixed", "encode_minifloat"]

# Of float32. Without a type, integers widen to 64 bits, of which half as many fit a register.
i32 = np.int32
MAGNITUDE, MANTISSA, INFINITY, SHIFT = i32(0x7FFFFFFF), i32(0x7FFFFF), i32(0x7F800000), i32(23)


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


@njit(nogil=True, inline="always")
def _float(bits):
    return i32(bits).view(np.float32)


@njit(nogil=True, inline="always")
def _bits(value):
    return np.float32(value).view(i32)


@njit(nogil=True, cache=True)
def _scale(x, emax, carry):
    """E8M0 code of a block of float32 bit patterns; 255 with a NaN or an infinity."""
    greatest = i32(0)
    for i in range(len(x)):
        greatest = max(greatest, i32(x[i] & MAGNITUDE))
    if greatest >= INFINITY:
        return 255
    if greatest == 0:
        return 0
    exponent = (greatest >> SHIFT) + ((greatest & MANTISSA) >= carry)
    return min(max(exponent - emax, 0), 254)


@njit(nogil=True, cache=True)
def _reciprocal(scale):
    """``2 ** (127 - scale)``, exact."""
    return _float((254 - scale) << 23 if scale < 254 else 1 << 22)


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
    least, top, sign, gap, one = i32(least), i32(top), i32(sign), i32(23 - m), i32(1 << m)
    for row in range(first, last):
        for block in range(x.shape[1] // size):
            source = x[row, block * size : (block + 1) * size]
            target = codes[row, block * size : (block + 1) * size]
            scale = _scale(source, emax, carry)
            scales[row, block] = scale
            if scale == 255:
                target[:] = 0
                continue
            factor = _reciprocal(scale)
            for i in range(size):
                value = np.float32(_float(source[i] & MAGNITUDE) * factor)
                shift = max(i32(_bits(value) >> SHIFT), least)
                magic = i32(i32(shift + gap) * i32(1 << 23))
                rounded = i32(_bits(value + _float(magic)) - magic)
                code = min(i32(i32(i32(shift - least) * one) + rounded), top)
                target[i] = np.uint8(code if source[i] >= 0 else i32(code + sign))


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
    low, high, mask = i32(low), i32(high), i32(mask)
    magic = np.float32(12582912.0)  # 1.5 * 2 ** 23: the last bit of a sum is worth 1
    one = np.float32(1 << fraction)
    for row in range(first, last):
        for block in range(x.shape[1] // size):
            source = x[row, block * size : (block + 1) * size]
            target = codes[row, block * size : (block + 1) * size]
            scale = _scale(source, emax, carry)
            scales[row, block] = scale
            if scale == 255:
                target[:] = 0
                continue
            factor = _reciprocal(scale)
            for i in range(size):
                scaled = np.float32(np.float32(_float(source[i]) * factor) * one)
                rounded = np.float32(scaled + magic)
                code = min(max(i32(_bits(rounded) - _bits(magic)), low), high)
                target[i] = np.uint8(code & mask)


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _block_sum(x, y):
    """Sum of products, exact in float64, so that its order does not matter."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@njit(nogil=True, cache=True)
def _odd_sum(high, low):
    """``high + low`` rounded to odd, so that it can be rounded once more."""
    total = high + low
    back = total - high
    error = (high - (total - back)) + (low - back)
    if error != 0 and np.float64(total).view(np.int64) & 1 == 0:
        total = np.nextafter(total, np.inf if error > 0 else -np.inf)
    return total


@njit(nogil=True, cache=True)
def add_sums(first, last, high, low, total):
    """``total += high + low``: the sum of two float64 arrays rounded once to float32."""
    for row in range(first, last):
        for column in range(total.shape[1]):
            total[row, column] += np.float32(_odd_sum(high[row, column], low[row, column]))


@njit(nogil=True, cache=True)
def dot(first, last, high, low, split, a_scales, codes, scales, table, size, result):
    """Products of a few vectors with many coded rows, blocks combined in FP32, ascending k.

    Parameters
    ----------
    high, low : float64 arrays, shape (M, K)
        Elements of the vectors; if ``split``, they are the sums of both.
    a_scales : float64 array, shape (M, blocks)
    codes, scales : uint8 array, shape (N, K), and float64 array, shape (N, blocks)
        The rows.
    table : float64 array
        Value of each code.
    result : float32 array, shape (M, N)
    """
    y = np.empty(size)
    for row in range(first, last):
        for vector in range(high.shape[0]):
            total = np.float32(0)
            for block in range(high.shape[1] // size):
                start = block * size
                for i in range(size):
                    y[i] = table[codes[row, start + i]]
                exact = _block_sum(high[vector, start : start + size], y)
                if split:
                    exact = _odd_sum(exact, _block_sum(low[vector, start : start + size], y))
                total += np.float32(exact * (a_scales[vector, block] * scales[row, block]))
            result[vector, row] = total
