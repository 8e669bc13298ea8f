# SPDX-License-Identifier: Apache-2.0
"""Real tensors, and how far from them a format's are."""

import math
from typing import NamedTuple

import numpy as np

__all__ = ["MINILM", "PARTS", "SMOLLM2", "TOKENS", "Error", "error", "minilm", "smollm2"]

SMOLLM2 = (1, 11, 28)  # blocks
PARTS = ("q", "o", "down")  # of each: what enters attention, leaves it, leaves the network
MINILM = tuple(f"encoder.layer.{layer}.{part}.weight" for layer in (0, 5) for part in (
    "attention.self.query", "attention.output.dense", "output.dense"))
TOKENS = 64  # of which the activations are


class Error(NamedTuple):
    """``relative``: Frobenius norm of the difference over that of the tensor. ``qsnr``: in dB."""

    relative: float
    qsnr: float


def error(x, found):
    """How far an array is from what it stands for.

    ``QSNR = 10 log10(sum(x ** 2) / sum((x - found) ** 2))`` [1]_; infinite where nothing differs.

    .. [1] Darvish Rouhani et al., With shared microexponents, a little shifting goes a long way.
       ISCA 2023, section 3.

    Parameters
    ----------
    x, found : float arrays of one shape
        ``x`` not all zero.

    Returns
    -------
    Error
    """
    x, found = np.asarray(x, np.float64), np.asarray(found, np.float64)
    if x.shape != found.shape:
        raise ValueError(f"Found must have the shape {x.shape}, not {found.shape}")
    signal, noise = float((x**2).sum()), float(((x - found) ** 2).sum())
    if signal == 0:
        raise ValueError("X must have an element that is not 0")
    return Error(math.sqrt(noise / signal), 10 * math.log10(signal / noise) if noise else math.inf)


def smollm2(*, root=None):
    """Weights and activations of SmolLM2: yields ``(name, kind, matrix)``, float32.

    Of the matrices `PARTS` of the blocks `SMOLLM2`; activations are what enters them, of the first
    `TOKENS` tokens of the address of 2009, the model in float64.
    """
    from ..language import block_gemms

    for block in SMOLLM2:
        for gemm in block_gemms(block, tokens=TOKENS, root=root):
            if gemm.name.rsplit(".", 1)[1] in PARTS:
                yield gemm.name, "weights", gemm.weights.numpy()
                yield gemm.name, "activations", gemm.activations.numpy()


def minilm(*, root=None):
    """Weights of MiniLM, likewise: the matrices `MINILM`."""
    from ..language.minilm import weights

    for name, matrix in weights(root=root).items():
        if name in MINILM:
            yield name.removesuffix(".weight"), "weights", matrix
