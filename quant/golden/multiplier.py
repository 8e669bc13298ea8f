# SPDX-License-Identifier: Apache-2.0
"""Plain multiply-accumulate of integers: what the other elements are measured against."""

from .exact import dot

__all__ = ["multiplier"]


def multiplier(a, b):
    """``sum(a[k] * b[k])`` along the last axis of two integer tensors; see `dot`."""
    return dot(a, b)
