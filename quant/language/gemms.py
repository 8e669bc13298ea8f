# SPDX-License-Identifier: Apache-2.0
"""One matrix product in several low-bit ways: codes of our formats, and the exact result."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ..formats import Block, Group, Int, Pair, get
from ..formats.rounding import choice
from ..golden.gemm import gemm
from ..golden.mx_gemm import quantise

__all__ = ["KINDS", "Gemm", "Operand", "QuantisedGemm", "quantise_gemm"]


class Gemm(NamedTuple):
    """``activations @ weights.T`` in real numbers, shapes (M, K) and (N, K)."""

    name: str
    activations: torch.Tensor
    weights: torch.Tensor


class Kind(NamedTuple):
    """Formats of both operands, and whether each row of one has a real scale of its own."""

    activations: Any
    per_token: bool
    weights: Any
    per_channel: bool


KINDS = {
    "mixpe-w4a8": Kind(Int(8), True, Group(Int(4), 64), False),
    "olive4": Kind(get("olive4"), False, get("olive4"), True),
    "mxfp4": Kind(get("mxfp4"), False, get("mxfp4"), False),
    "mxint8": Kind(get("mxint8"), False, get("mxint8"), False),
    "int8": Kind(Int(8), True, Int(8), True),
    "fp8": Kind(get("e4m3"), False, get("e4m3"), False),
}


@dataclass(frozen=True)
class Operand:
    """An encoded matrix.

    Attributes
    ----------
    format : format
    encoded : uint8 array, shape (rows, K), or PairCodes, GroupCodes, BlockCodes
        What ``format.encode`` gives: codes or words, with the integer scales that the format has.
    unit : float64 array, shape (rows, 1) or (1, 1)
        Real value of 1 in ``format.decode``; of blocks, whose scales are in their codes, 1.
    """

    format: Any
    encoded: Any
    unit: np.ndarray

    @property
    def codes(self):
        """Codes, (rows, K); of pairs words, (rows, ceil(K / 2))."""
        return self.encoded[0] if isinstance(self.encoded, tuple) else self.encoded

    def values(self):
        """What the codes stand for: float64 array, shape (rows, K)."""
        if isinstance(self.format, Block):
            return self.format.values(self.encoded)
        return self.format.decode(self.encoded) * self.unit


@dataclass(frozen=True)
class QuantisedGemm:
    """Codes of both operands, and what hardware has to make of them.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    activations, weights : Operand
        Of M and N rows.
    golden : int64 tensor, shape (M, N)
        Exact sums in units of ``activations.unit * weights.unit``; of blocks codes of FP32: exact
        inside a block, blocks added up in FP32 in ascending order of k.
    """

    kind: str
    activations: Operand
    weights: Operand
    golden: torch.Tensor

    def values(self):
        """What ``golden`` stands for: float64 array, shape (M, N)."""
        if isinstance(self.activations.format, Block):
            return get("fp32").values(self.golden.numpy())
        return self.golden.numpy() * self.activations.unit * self.weights.unit.T

    def relative_error(self, activations, weights):
        """``|values - exact| / |exact|``, Frobenius norms, exact the product of these matrices."""
        exact = np.asarray(activations, np.float64) @ np.asarray(weights, np.float64).T
        return float(np.linalg.norm(self.values() - exact) / np.linalg.norm(exact))


def quantise_gemm(activations, weights, kind):
    """Quantise both operands of a matrix product, and multiply them exactly.

    ``mixpe-w4a8``: the largest activation of each token becomes 127; weights in groups of 64 along
    K, with 8-bit scales. ``int8``: the same of each token and each channel. ``fp8``: the largest
    number of each tensor becomes 448. ``olive4``: the scales of least squared error, one for
    the activations and one for each channel. ``mxfp4``, ``mxint8``: blocks of 32 along K.

    Parameters
    ----------
    activations, weights : float tensors or arrays, shapes (M, K) and (N, K)
    kind : str
        One of `KINDS`.

    Returns
    -------
    QuantisedGemm
    """
    choice("Kind", kind, list(KINDS))
    activations, weights = np.asarray(activations), np.asarray(weights)
    for name, x in ("Activations", activations), ("Weights", weights):
        if x.dtype.kind != "f":
            raise TypeError(f"{name} must be floats, not {x.dtype}")
        if x.ndim != 2 or not x.size:
            raise ValueError(f"{name} must have two axes, neither empty, not shape {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"{name} must be finite: {(~np.isfinite(x)).sum()} are not")
    if activations.shape[1] != weights.shape[1]:
        raise ValueError("Activations and weights must have the same K, "
                         f"not {activations.shape[1]} and {weights.shape[1]}")
    how = KINDS[kind]
    a = _encode(activations, how.activations, by_rows=how.per_token)
    w = _encode(weights, how.weights, by_rows=how.per_channel)
    golden = gemm(a.encoded, w.encoded, a_format=a.format, b_format=w.format)
    if isinstance(a.format, Block):
        golden = torch.as_tensor(golden).view(torch.int32).long() & 0xFFFFFFFF
    return QuantisedGemm(kind, a, w, golden)


def _encode(x, fmt, *, by_rows):
    """`Operand` of a matrix; one real scale, or one for each row, where the format has none."""
    if isinstance(fmt, Block):
        return Operand(fmt, quantise(x, fmt), np.ones((1, 1)))
    if isinstance(fmt, Group):
        encoded = fmt.encode(x)
        return Operand(fmt, encoded, np.full((1, 1), 2.0**-encoded.exponent))
    x = x.astype(np.float64)
    if isinstance(fmt, Pair):
        scale = fmt.scale(x, axis="channel" if by_rows else None).reshape(-1, 1)
    else:
        scale = np.abs(x).max(axis=1 if by_rows else None, keepdims=True) / float(fmt.max)
        scale = np.where(scale > 0, scale, 1)
    return Operand(fmt, fmt.encode(x / scale), scale * 2.0**fmt.lsb)
