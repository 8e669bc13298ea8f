# SPDX-License-Identifier: Apache-2.0
"""Sum of two branches of different scales."""

from .requantise import requantise

__all__ = ["aligned_sum", "residual_add"]

WIDE = (1 << 62) - 1


def aligned_sum(a, b, *, a_multiplier, a_shift, b_multiplier, b_shift):
    """``round(a * a_multiplier / 2 ** a_shift) + round(b * b_multiplier / 2 ** b_shift)``: int64.

    Each branch is rounded once, half to even, to the common scale.
    """
    a, b = (
        requantise(x, multiplier=multiplier, shift=shift, low=-WIDE, high=WIDE)
        for x, multiplier, shift in ((a, a_multiplier, a_shift), (b, b_multiplier, b_shift))
    )
    return a + b


def residual_add(a, b, *, a_multiplier, a_shift, b_multiplier, b_shift, low=-128, high=127):
    """``clamp(round(a * b_a / 2 ** c_a) + round(b * b_b / 2 ** c_b), low, high)`` [1]_.

    Parameters
    ----------
    a, b : integer tensors of one shape
    a_multiplier, a_shift, b_multiplier, b_shift : int
        From the scale of each branch to that of the result, see `requantise`.
    low, high : int
        Limits of the result.

    Returns
    -------
    int64 tensor

    .. [1] HAWQ-V3 (Yao et al., 2021), "Residual connection"; both rounded, then added in integers.
    """
    total = aligned_sum(
        a, b, a_multiplier=a_multiplier, a_shift=a_shift, b_multiplier=b_multiplier, b_shift=b_shift
    )
    return total.clamp(low, high)
