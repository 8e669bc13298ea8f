# SPDX-License-Identifier: Apache-2.0
"""Quantisation to blocks and matrix products of blocks: `mx_dot` at speed."""

import numpy as np
import torch

from ..formats import Block, BlockCodes, Exponent, Fixed, Minifloat, get
from .exact import FLOAT32, FLOAT64
from .fp32 import fp32_multiply
from .mx_dot import same_blocks

__all__ = ["mx_gemm", "quantise"]

TILE = 1024  # rows and columns of the result that are computed at once
VECTORS = 8  # up to so many rows are faster by `mx_kernels.dot`


def quantise(values, fmt):
    """``fmt.encode(values)`` of a `Block` format, by compiled loops where there are such.

    Parameters
    ----------
    values : float tensor or array, shape (…, K)
    fmt : Block or its name

    Returns
    -------
    BlockCodes
    """
    fmt = get(fmt) if isinstance(fmt, str) else fmt
    if not isinstance(fmt, Block):
        raise TypeError(f"Format must be a Block, not {fmt!r}")
    values = np.asarray(values)
    element = fmt.element
    loops = (
        values.dtype == np.float32 and values.ndim and fmt.scale == Exponent()
        and values.shape[-1] % fmt.size == 0 and 0 < values.size
    )
    if loops and isinstance(element, Minifloat):
        loops = element.bits <= 8 and 1 <= fmt.emax < 100 and element.lsb > -100
    elif loops:
        loops = (isinstance(element, Fixed) and element.signed and element.bits <= 8
                 and element.rounding == "RND_CONV" and element.overflow in ("SAT", "SAT_SYM")
                 and fmt.emax == 0 and fmt.rule == "floor")
    if not loops:
        return fmt.encode(values)
    from . import mx_kernels

    rows = np.ascontiguousarray(values).reshape(-1, values.shape[-1]).view(np.int32)
    codes = np.empty(rows.shape, np.uint8)
    scales = np.empty((len(rows), rows.shape[1] // fmt.size), np.uint8)
    most = int(np.float32(element.max).view(np.int32))
    carry = (most & mx_kernels.MANTISSA) + 1 if fmt.rule == "ceil" else 1 << 23
    if isinstance(element, Minifloat):
        m = element.mantissa_bits
        mx_kernels.by_rows(
            mx_kernels.encode_minifloat, len(rows), rows, fmt.size, fmt.emax, carry, m,
            127 + element.lsb + m, element.max_code, 1 << (element.bits - 1), codes, scales,
        )
    else:
        low, high = element.limits
        low = -high if element.overflow == "SAT_SYM" else low
        mx_kernels.by_rows(
            mx_kernels.encode_fixed, len(rows), rows, fmt.size, fmt.emax, carry, element.fraction,
            low, high, (1 << element.bits) - 1, codes, scales,
        )
    shape = values.shape[:-1]
    return BlockCodes(codes.reshape(values.shape), scales.reshape(*shape, -1), values.shape[-1])


def mx_gemm(a_format, a, b_format, b):
    """Matrix product of two encoded tensors: for each pair of rows what `mx_dot` gives.

    Parameters
    ----------
    a_format, b_format : Block
        Of the same block size.
    a, b : BlockCodes
        Shapes (…, K) and (N, K).

    Returns
    -------
    float32 tensor, shape (…, N)
    """
    same_blocks(a_format, a, b_format, b)
    if b.codes.ndim != 2:
        raise ValueError(f"B must have two axes, not {b.codes.ndim}")
    shape = (*a.codes.shape[:-1], len(b.codes))
    a = a._replace(codes=a.codes.reshape(-1, a.codes.shape[-1]),
                   scales=a.scales.reshape(-1, a.scales.shape[-1]))
    size = a_format.size
    most = [int(np.abs(f.element.decode(f.element.codes())).max()) for f in (a_format, b_format)]
    # Digits of a product of scales: a power of two has one.
    digits = 1
    for fmt in a_format, b_format:
        digits *= (2 << fmt.scale.mantissa_bits) - 1 if fmt.two_level else 1
    bound, shift = size * most[0] * most[1] * digits, 0
    if bound > FLOAT64:
        # A is split into two parts of half its bits, whose products are exact in float64.
        shift = -(-most[0].bit_length() // 2)
        if digits > 1 or size * most[1] * max(1 << shift, (most[0] >> shift) + 1) > FLOAT64:
            raise ValueError(f"Blocks of {size} products of {a_format.element.name} and "
                             f"{b_format.element.name} are too wide")
    if len(a.codes) <= VECTORS:
        result = _by_loops(a_format, a, b_format, b, shift)
    else:
        result = _by_tiles(a_format, a, b_format, b, shift=shift, narrow=bound <= FLOAT32)
    if a_format.two_level or b_format.two_level:
        tensor = fp32_multiply(*(torch.tensor(e.tensor_scale) for e in (a, b)))
        result = fp32_multiply(result, tensor)
    return result.reshape(shape)


def _parts(element, shift):
    """Value of each code as a sum of two floats, the second that of its last ``shift`` bits."""
    values = element.values(element.codes())
    if not shift:
        return [values]
    integers = element.decode(element.codes())
    low = (integers & ((1 << shift) - 1)) * 2.0**element.lsb
    return [values - low, low]


def _by_loops(a_format, a, b_format, b, shift):
    """A few vectors by many rows."""
    from . import mx_kernels

    parts = [part[a.codes] for part in _parts(a_format.element, shift)]
    element = b_format.element
    result = np.empty((len(a.codes), len(b.codes)), np.float32)
    mx_kernels.by_rows(
        mx_kernels.dot, len(b.codes), parts[0], parts[-1], len(parts) > 1,
        a_format.scale.values(a.scales), np.ascontiguousarray(b.codes),
        b_format.scale.values(b.scales), element.values(element.codes()), a_format.size, result,
    )
    return torch.from_numpy(result)


def _add_sums(high, low, total):
    """``total += high + low``, the sum rounded once to float32."""
    from . import mx_kernels

    mx_kernels.by_rows(mx_kernels.add_sums, len(total), *(x.numpy() for x in (high, low, total)))


def _by_tiles(a_format, a, b_format, b, *, shift, narrow):
    """Block after block by BLAS, tile after tile so that buffers stay small.

    The scales go into the operands: all products of a block are integers times one unit still.
    """
    scales = []
    for fmt, x in (a_format, a), (b_format, b):
        scale = fmt.scale.values(x.scales)
        # The scale of a block of zeros says nothing, and is far from those of the others.
        used = x.codes.reshape(*x.scales.shape, fmt.size).any(axis=-1) | np.isnan(scale)
        scale = np.where(used, scale, 1)
        finite = scale[np.isfinite(scale) & (scale > 0)]
        least, most = finite.min(initial=1), finite.max(initial=1)
        narrow &= bool(least * 2.0**fmt.element.lsb > 2.0**-60)
        narrow &= bool(most * float(fmt.element.max) < 2.0**55)
        scales.append(scale)
    kind = np.float32 if narrow else np.float64
    element = b_format.element
    parts = [_scaled(part, a.codes, scales[0], kind) for part in _parts(a_format.element, shift)]
    y = _scaled(element.values(element.codes()), b.codes, scales[1], kind)
    result = torch.zeros(len(a.codes), len(b.codes))
    for i, row_sums in enumerate(result.split(TILE)):
        rows = slice(i * TILE, i * TILE + len(row_sums))
        for j, total in enumerate(row_sums.split(TILE, 1)):
            columns = slice(j * TILE, j * TILE + total.shape[1])
            sums = [y.new_empty(total.shape) for _ in parts]
            term = torch.empty(total.shape)
            for block in range(len(y)):
                for part, target in zip(parts, sums, strict=True):
                    torch.mm(part[block, rows], y[block, columns].T, out=target)
                if narrow:
                    total += sums[0]
                elif len(sums) == 1:
                    total += term.copy_(sums[0])
                else:
                    _add_sums(sums[0], sums[1], total)
    return result


def _scaled(values, codes, scale, kind):
    """Scaled elements, shape (blocks, rows, size)."""
    table = torch.from_numpy(values.astype(kind))
    places = torch.from_numpy(np.asarray(codes)).reshape(-1).int()
    elements = table.index_select(0, places).reshape(*scale.shape, -1)
    elements *= torch.from_numpy(scale.astype(kind))[..., None]
    return elements.transpose(0, 1).contiguous()
