# SPDX-License-Identifier: Apache-2.0
"""Options of decoders: casts between formats, exponent biases of channels, scales of signs."""

import numpy as np
import torch

from .exact import dot, integers

__all__ = ["cast", "preshift", "two_scale_dot"]


def cast(codes, source, target, *, shift=0, **how):
    """Codes of ``target`` for values of ``source`` times ``2 ** shift``, rounded once [1]_.

    FP4 to FP8 with a power-of-two scale is exact while the exponent stays in range.

    Parameters
    ----------
    codes : unsigned array
    source, target : scalar formats
        NaN and Inf are kept where ``target`` has them.
    shift : int
    **how
        ``rounding`` and ``overflow`` as `encode` takes them.

    Returns
    -------
    unsigned array of the shape of ``codes``

    .. [1] Wu et al., ZeroQuant-FP: A leap forward in LLMs post-training W4A8 quantization using
       floating-point formats (2023), section 3.
    """
    return target.encode(np.ldexp(source.values(codes), shift), **how)


def preshift(values, biases):
    """Integers shifted left by the exponent bias of their channel [1]_.

    Parameters
    ----------
    values : integer tensor, shape (..., channels)
    biases : integer tensor, shape (channels,)
        0 or more, relative to the least bias.

    .. [1] Liu et al., LLM-FP4: 4-bit floating-point quantized transformers (EMNLP 2023), section 4.
    """
    values, biases = integers(values, "Values").long(), integers(biases, "Biases").long()
    if biases.numel() and int(biases.min()) < 0:
        raise ValueError(f"Biases must be 0 or more, not {int(biases.min())}")
    return values << biases


def two_scale_dot(activations, weights, *, positive, negative):
    """``sum(a * max(q, 0)) * S+ + sum(a * min(q, 0)) * S-``: a scale for each sign [1]_.

    Parameters
    ----------
    activations, weights : integer tensors, shape (..., K)
        One group along the last axis.
    positive, negative : int or integer tensor, shape (...)
        Scales.

    Returns
    -------
    int64 tensor, shape (...)

    .. [1] Zhang et al., AFPQ: Asymmetric floating point quantization for LLMs (ACL Findings 2024),
       section 3.
    """
    weights = integers(weights, "Weights").long()
    return (
        dot(activations, weights.clamp(min=0)) * torch.as_tensor(positive)
        + dot(activations, weights.clamp(max=0)) * torch.as_tensor(negative)
    )
