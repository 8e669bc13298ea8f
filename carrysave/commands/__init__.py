# SPDX-License-Identifier: Apache-2.0
"""The commands, by subject."""

from . import networks  # isort: skip - first in the help
from . import catalogue, matrix, studies

__all__ = ["catalogue", "matrix", "networks", "studies"]
