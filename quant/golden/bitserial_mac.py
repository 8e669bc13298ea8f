# SPDX-License-Identifier: Apache-2.0
"""ABQ-LLM: products of bit planes by AND and population count."""

from .planes import planes

__all__ = ["bitserial_mac"]


def bitserial_mac(activations, weights, *, activation_bits, weight_bits, signed=(True, True)):
    """``sum over i, j of c[i] * d[j] * popcount(X[i] & W[j])`` [1]_.

    X and W are the bit planes of activations and weights; c and d are powers of two, that of a
    signed operand's top plane negative.

    Parameters
    ----------
    activations, weights : integer tensors, shapes that broadcast to (..., K)
    activation_bits, weight_bits : int
    signed : pair of bool
        Whether activations, and weights, are two's complement.

    Returns
    -------
    int64 tensor, shape (...)

    .. [1] Zeng et al., ABQ-LLM: Arbitrary-bit quantized inference acceleration for large language
       models (AAAI 2025), section 3.
    """
    x, c = planes(activations, bits=activation_bits, signed=signed[0])
    w, d = planes(weights, bits=weight_bits, signed=signed[1])
    return sum(
        ci * dj * (xi & wj).sum(dim=-1)
        for xi, ci in zip(x, c, strict=True) for wj, dj in zip(w, d, strict=True)
    )
