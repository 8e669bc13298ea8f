# SPDX-License-Identifier: Apache-2.0
"""What number formats cost in accuracy: on real tensors, and in a language model."""

from .rounded import fingerprint, rounded, scales, unsuited
from .tensors import error

__all__ = ["error", "fingerprint", "rounded", "scales", "unsuited"]
