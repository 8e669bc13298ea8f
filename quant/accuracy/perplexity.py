# SPDX-License-Identifier: Apache-2.0
"""SmolLM2 with activations in few bits: rotation, smoothing, perplexity."""

import torch

from ..formats.rounding import choice
from ..language import SmolLM2, address
from ..language.smollm2 import multiply
from .rounded import rounded

__all__ = [
    "CALIBRATION", "LENGTH", "TRANSFORMS", "Activations", "calibrated", "hadamard", "perplexity",
    "smoothing", "texts",
]

LENGTH = 512  # tokens of a text
CALIBRATION = 2010  # year of the address whose first text smoothing is calibrated on
TRANSFORMS = ("none", "hadamard64", "smooth")
SIZE = 64
SHARED = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "mlp", "up": "mlp"}  # one input


def hadamard(x):
    """``x`` times an orthogonal Hadamard matrix, 64 by 64, on each 64 elements of the last axis.

    ``(x R) (w R).T = x w.T``; R spreads an outlier over 64 elements [1]_. R is its own inverse.

    .. [1] Ashkboos et al., QuaRot: Outlier-free 4-bit inference in rotated LLMs. NeurIPS 2024.
    """
    rotation = torch.ones(1, 1, dtype=x.dtype)
    while len(rotation) < SIZE:
        rotation = torch.kron(torch.tensor([[1, 1], [1, -1]], dtype=x.dtype), rotation)
    return (x.unflatten(-1, (-1, SIZE)) @ (rotation / SIZE**0.5)).flatten(-2)


def smoothing(activations, weights, *, alpha=0.5):
    """By what activations are divided, and weights multiplied, channel by channel.

    ``s[j] = activations[j] ** alpha / weights[j] ** (1 - alpha)`` [1]_; 1 where either is nearly 0.

    .. [1] Xiao et al., SmoothQuant: Accurate and efficient post-training quantization for large
       language models. ICML 2023, equation 4.

    Parameters
    ----------
    activations, weights : float tensors, shape (K,)
        Greatest magnitudes of each channel; weights over all matrices that the activations enter.

    Returns
    -------
    tensor, shape (K,)
    """
    dead = (activations <= 1e-9) | (weights <= 1e-9)
    one = torch.ones_like(activations)
    activations, weights = (torch.where(dead, one, x) for x in (activations, weights))
    return activations**alpha / weights ** (1 - alpha)


class Activations:
    """A ``linear`` for `SmolLM2.forward`: activations rounded, weights as they are.

    ``rounded(x / s) @ (weights * s).T`` or ``rounded(x R) @ (weights R).T``.

    Parameters
    ----------
    fmt : format
    scale : str
        One of ``scales(fmt)``; a row is a token, the tensor all texts.
    transform : {"none", "hadamard64", "smooth"}
    smooth : dict, optional
        As `calibrated` gives it.
    """

    def __init__(self, fmt, scale, *, transform="none", smooth=None):
        self.fmt, self.scale = fmt, scale
        self.transform = choice("Transform", transform, TRANSFORMS)
        if (smooth is None) == (transform == "smooth"):
            raise ValueError("Smooth must be given with the transform smooth, and only then")
        self.smooth = smooth
        self._seen = self._rounded = None

    def __call__(self, name, x, weights):
        turn = {"none": lambda x: x, "hadamard64": hadamard, "smooth": lambda x: x}[self.transform]
        factors = 1 if self.smooth is None else self.smooth[_input(name)]
        if x is not self._seen:  # q, k and v share theirs, as do gate and up
            matrix = turn(x / factors).flatten(0, -2).numpy()
            found = torch.from_numpy(rounded(matrix, self.fmt, self.scale))
            self._seen, self._rounded = x, found.to(x.dtype).reshape(x.shape)
        return multiply(name, self._rounded, turn(weights * factors))


def _input(name):
    """Name of what enters a matrix."""
    block, part = name.rsplit(".", 1)
    return f"{block}.{SHARED.get(part, part)}"


def texts(model, tokens, *, year=2009, root=None):
    """The first tokens of an address, in texts of 512: int64 tensor, shape (texts, length)."""
    if not 2 <= tokens <= LENGTH and (tokens <= 0 or tokens % LENGTH):
        raise ValueError(f"Tokens must be 2 to {LENGTH}, or a multiple of {LENGTH}, not {tokens}")
    found = model.tokens(address(year, root=root))
    if tokens > len(found):
        raise ValueError(f"Tokens must be at most {len(found)}, those of the text, not {tokens}")
    return found[:tokens].reshape(-1, min(tokens, LENGTH))


def calibrated(model, *, root=None):
    """`smoothing` of what enters each matrix, of 512 tokens of another address: by its name."""
    activations, weights = {}, {}

    def watched(name, x, matrix):
        key = _input(name)
        activations[key] = x.flatten(0, -2).abs().amax(0)
        most = matrix.abs().amax(0)
        weights[key] = torch.maximum(weights.get(key, most), most)
        return multiply(name, x, matrix)

    with torch.no_grad():
        model.hidden(texts(model, LENGTH, year=CALIBRATION, root=root), linear=watched)
    return {key: smoothing(activations[key], weights[key]) for key in activations}


def perplexity(fmt, scale, *, transform="none", tokens=4 * LENGTH, smooth=None, root=None):
    """Perplexity of SmolLM2 with rounded activations, on the first tokens of the 2009 address.

    What enters the seven matrices of each block is rounded; the weights are dequantised Q4_1, and
    neither they nor the output's are rounded again.

    Parameters
    ----------
    fmt, scale, transform
        As `Activations` has them.
    tokens : int
        2 to 512, or a multiple of 512: texts of 512.
    smooth : dict, optional
        Of `calibrated`, to be used again.

    Returns
    -------
    float
    """
    model = SmolLM2(root=root)
    inputs = texts(model, tokens, root=root)
    if transform == "smooth" and smooth is None:
        smooth = calibrated(model, root=root)
    linear = Activations(fmt, scale, transform=transform, smooth=smooth)
    with torch.no_grad():
        return model.perplexity(inputs, linear=linear)
