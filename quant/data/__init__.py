# SPDX-License-Identifier: Apache-2.0
"""Data sets: shipped ones by name, the user's own from an ``.npz`` file."""

from .data import Data, DataError, load, read_npz

__all__ = ["Data", "DataError", "load", "read_npz"]
