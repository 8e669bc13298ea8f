# SPDX-License-Identifier: Apache-2.0
"""Data sets: known ones by name, the user's own from an ``.npz`` file."""

from .data import Data, load, read_npz
from .errors import DataError, Unavailable

__all__ = ["Data", "DataError", "Unavailable", "load", "read_npz"]
