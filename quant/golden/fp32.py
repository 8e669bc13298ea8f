# SPDX-License-Identifier: Apache-2.0
"""IEEE binary32 arithmetic: half to even, subnormals kept."""

import numpy as np
import torch

from ..formats.rounding import odd_integers

__all__ = ["fp32_add", "fp32_from_integers", "fp32_multiply"]


def _operands(a, b):
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    for name, x in ("A", a), ("B", b):
        if x.dtype != torch.float32:
            raise TypeError(f"{name} must be float32, not {x.dtype}")
    return a, b


def fp32_add(a, b):
    """``a + b`` of float32 tensors, rounded once.

    Computed in float64, where the sum of two float32 is rounded so finely that rounding it again
    cannot matter [1]_, so that no mode of the processor that flushes subnormals has a say.

    .. [1] Figueroa, When is double rounding innocuous? SIGNUM Newsletter 30 (1995).
    """
    a, b = _operands(a, b)
    return (a.double() + b.double()).float()


def fp32_multiply(a, b):
    """``a * b`` of float32 tensors, rounded once: the product is exact in float64."""
    a, b = _operands(a, b)
    return (a.double() * b.double()).float()


def fp32_from_integers(integers, exponent=0):
    """``integers * 2 ** exponent`` rounded once to float32.

    Parameters
    ----------
    integers : integer tensor, or object array of Python integers
    exponent : int or integer tensor, broadcast to ``integers``
        -900 to 900.

    Returns
    -------
    float32 tensor
        Infinities where the magnitude rounds to 2 ** 128 or more.
    """
    odd = odd_integers(np.asarray(integers))
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(
            np.asarray(np.ldexp(odd, np.asarray(exponent)).astype(np.float32))
        )
