# SPDX-License-Identifier: Apache-2.0
"""Exact integer matrix products by BLAS."""

import numpy as np
import torch

__all__ = ["dot", "integers", "magnitude", "matmul"]

# Sums that stay within a float's integers are exact in any order, with or without FMA.
FLOAT32, FLOAT64 = 1 << 24, 1 << 53
SHORTEST = 128  # a chunk of K below which the next wider arithmetic is faster
LIMB = 24  # bits of the digits that wide integers are cut into


def integers(tensor, name):
    """An integer tensor, or an object array of Python integers where they exceed int64."""
    if isinstance(tensor, np.ndarray) and tensor.dtype == object:
        if max((abs(int(n)) for n in tensor.flat), default=0) >= 1 << 63:
            return tensor
        return torch.from_numpy(tensor.astype(np.int64))
    tensor = torch.as_tensor(tensor)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, not {tensor.dtype}")
    return tensor


def magnitude(tensor):
    """Greatest magnitude, a Python integer."""
    if isinstance(tensor, np.ndarray):
        return max((abs(int(n)) for n in tensor.flat), default=0)
    if not tensor.numel():
        return 0
    low, high = torch.aminmax(tensor)
    return max(-int(low), int(high))


def dot(a, b):
    """``sum(a * b)`` along the last axis, exact.

    Parameters
    ----------
    a, b : integer tensors, or object arrays of Python integers, shapes that broadcast to (…, K)

    Returns
    -------
    int64 tensor, shape (…)
        An object array of Python integers where sums may reach ``2 ** 63``.
    """
    a, b = integers(a, "a"), integers(b, "b")
    k = max(a.shape[-1:] + b.shape[-1:], default=0)
    if k * magnitude(a) * magnitude(b) < 1 << 63:
        return (a.long() * b.long()).sum(dim=-1)
    a, b = (x if isinstance(x, np.ndarray) else x.numpy().astype(object) for x in (a, b))
    return np.asarray((a * b).sum(axis=-1), object)


def matmul(a, b, *, bounds=None):
    """``a @ b.T``, exact.

    The products run in float32 or float64 over chunks of K so short that no sum of one can leave
    the integers that the float holds; wider integers are cut into digits. The bound comes from the
    operands.

    Parameters
    ----------
    a : integer tensor, shape (M, K)
        Or an object array of Python integers.
    b : integer tensor, shape (N, K)
        Likewise. Either may also be a float tensor that holds integers, if ``bounds`` are given.
    bounds : pair of int, optional
        Greatest magnitudes of ``a`` and ``b``, where they are known.

    Returns
    -------
    int64 tensor, shape (M, N)
        An object array of Python integers where sums may reach ``2 ** 63``.
    """
    if bounds is None:
        a, b = integers(a, "a"), integers(b, "b")
        bounds = magnitude(a), magnitude(b)
    (m, k), n = a.shape, b.shape[0]
    product = bounds[0] * bounds[1]
    if not product or not k:
        return torch.zeros(m, n, dtype=torch.int64)
    wide = k * product >= 1 << 63
    for limit, kind in (FLOAT32, torch.float32), (FLOAT64, torch.float64):
        chunk = limit // product
        if chunk >= k:
            return (a.to(kind) @ b.to(kind).T).long()
        if chunk >= SHORTEST and not wide:
            return _by_chunks(a.to(kind), b.to(kind), chunk, k * product)
    # Split the wider operand: high * 2 ** shift + low, low from 0 to 2 ** shift - 1.
    if bounds[0] < bounds[1]:
        result = matmul(b, a, bounds=bounds[::-1])
        return result.T
    shift = LIMB if bounds[0] >> LIMB else max(bounds[0].bit_length() // 2, 1)
    high, low = (part(a, shift) for part in (_high, _low))
    high = matmul(high, b, bounds=((bounds[0] >> shift) + 1, bounds[1]))
    low = matmul(low, b, bounds=((1 << shift) - 1, bounds[1]))
    if not wide:
        return (high << shift) + low
    high, low = (x if isinstance(x, np.ndarray) else x.numpy().astype(object) for x in (high, low))
    return (high << shift) + low


def _by_chunks(a, b, chunk, bound):
    """Sum of products over chunks of K, each exact in the operands' own type."""
    kind = torch.float64 if bound <= FLOAT64 else torch.int64
    total = torch.zeros(a.shape[0], b.shape[0], dtype=kind)
    for start in range(0, a.shape[1], chunk):
        total += (a[:, start : start + chunk] @ b[:, start : start + chunk].T).to(kind)
    return total.long()


def _high(a, shift):
    if isinstance(a, np.ndarray):
        return integers(a >> shift, "a")
    return a.long() >> shift


def _low(a, shift):
    if isinstance(a, np.ndarray):
        return torch.from_numpy((a & ((1 << shift) - 1)).astype(np.int64))
    return a.long() & ((1 << shift) - 1)
