# SPDX-License-Identifier: Apache-2.0
"""Real matrices as the codes that units multiply."""

from typing import Any, NamedTuple

import numpy as np

from ..quant.formats import Block, Group, GroupCodes, Int, Minifloat, Pair, get

__all__ = ["ACTIVATIONS", "WEIGHTS", "Operands", "encode"]

GROUP = 64  # integer weights of few bits that share a scale
FEW_BITS = 4
#: What units call the fields of their operands.
ACTIVATIONS, WEIGHTS = ("activations", "a"), ("weights", "b")


class Operands(NamedTuple):
    """A matrix product ``activations @ weights.T`` of real numbers.

    ``activations`` and ``weights`` are float arrays of shapes (M, K) and (N, K). ``known`` maps
    either of these names to ``(format, encoded)``: the codes that hardware really gets, where its
    format is that one or has such elements.
    """

    activations: np.ndarray
    weights: np.ndarray
    known: dict[str, Any] = {}


def encode(operands, a_format, w_format, *, lanes, names):
    """Fields of the transfers of a matrix product.

    Parameters
    ----------
    operands : Operands
    a_format, w_format : format
        Of activations and weights.
    lanes : int
        Products of a dot product in a transfer.
    names : sequence of str
        Of the fields, as units name them.

    Returns
    -------
    dict of str to int64 array, shape (rows, transfers, …)
        Codes without a sign; a field that all rows share has one.
    """
    activations, weights = (_padded(np.asarray(x, np.float64), lanes) for x in operands[:2])
    known = {name: (fmt, encoded) for name, (fmt, encoded) in operands.known.items()
             if activations.shape[1] == operands.activations.shape[1]}
    found = {}
    if "shifts" in names:
        # The exponent bias of each channel, relative to the least: LLM-FP4, section 4.
        most = np.abs(activations).max(axis=0)
        exponents = np.floor(np.log2(np.where(most > 0, most, most.max())))
        shifts = np.clip(exponents - exponents.max() + 7, 0, 7).astype(np.int64)
        activations, known = activations / 2.0**shifts, {}
        found["shifts"] = shifts.reshape(1, -1, lanes)
    a = _encoded(a_format, activations, known.get("activations"), by_rows=False)
    if "positive" in names:
        halves = [_encoded(w_format, half, None, by_rows=True)
                  for half in (np.maximum(weights, 0), np.minimum(weights, 0))]
        w = halves[0]._replace(codes=halves[0].codes | halves[1].codes)
        found |= {name: _scales(half.scales, GROUP, lanes, activations.shape[1])
                  for name, half in zip(("positive", "negative"), halves, strict=True)}
    else:
        w = _encoded(w_format, weights, known.get("weights"), by_rows=True)
    for name, encoded in ("activations", a), ("a", a), ("weights", w), ("b", w):
        if name in names:
            codes = np.asarray(encoded.codes).astype(np.int64)
            entries = lanes // 2 if isinstance(encoded.fmt, Pair) else lanes
            found[name] = codes.reshape(len(codes), -1, entries)
    for name, encoded, values in (("a_scale", a, a.scales), ("b_scale", w, w.scales),
                                  ("scale", w, w.scales), ("zero", w, w.zeros)):
        if name in names:
            found[name] = _scales(values, encoded.size, lanes, activations.shape[1])
    if "tensor_scale" in names:
        scale = get("fp32").encode(np.array(a.tensor_scale * w.tensor_scale))
        steps = activations.shape[1] // lanes
        found["tensor_scale"] = np.full((1, steps), int(scale))
    return found


class _Encoded(NamedTuple):
    fmt: Any
    codes: np.ndarray
    scales: Any = None
    zeros: Any = None
    size: int = 0
    tensor_scale: float = 1.0


def _encoded(fmt, x, known, *, by_rows):
    """A matrix in a format: its codes, without a sign of their own."""
    fmt = fmt.element if isinstance(fmt, Group) else fmt
    if isinstance(fmt, Block):
        found = fmt.encode(x.astype(np.float32))
        return _Encoded(fmt, found.codes, found.scales, None, fmt.size, found.tensor_scale)
    if isinstance(fmt, Pair):
        scale = fmt.scale(x, axis="channel" if by_rows else None)
        return _Encoded(fmt, fmt.encode(x / scale).words)
    known_format, encoded = known or (None, None)
    few = isinstance(fmt, Int) and fmt.bits <= FEW_BITS and by_rows
    group = known_format if isinstance(known_format, Group) else None
    if group is None or group.element != fmt:
        group, encoded = (Group(fmt, GROUP, zero_point=not fmt.signed), None) if few \
            else (None, encoded)
    if group is not None:
        found = group.encode(x) if encoded is None else GroupCodes(*encoded)
        return _Encoded(fmt, np.asarray(found.codes).astype(np.int64) & (1 << fmt.bits) - 1,
                        found.scales, found.zeros, group.size)
    if known_format == fmt:
        return _Encoded(fmt, np.asarray(encoded).astype(np.int64) & (1 << fmt.bits) - 1)
    if isinstance(fmt, Minifloat) and fmt.bits >= 16:
        return _Encoded(fmt, fmt.encode(x))
    by_rows = by_rows or isinstance(fmt, Int)
    most = np.abs(x).max(axis=1 if by_rows else None, keepdims=True)
    unit = np.where(most > 0, most / float(fmt.max), 1)
    return _Encoded(fmt, fmt.encode(x / unit))


def _scales(values, size, lanes, k):
    """A scale of each group along K, as each transfer finds it: shape (rows, transfers)."""
    return np.asarray(values).astype(np.int64)[:, np.arange(0, k, lanes) // size]


def _padded(x, lanes):
    """With zeros up to whole transfers."""
    return np.pad(x, [(0, 0), (0, -x.shape[1] % lanes)])
