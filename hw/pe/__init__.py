# SPDX-License-Identifier: Apache-2.0
"""Processing elements: multiply-accumulate in every format."""

from .mixpe import MixPE

__all__ = ["MixPE"]
