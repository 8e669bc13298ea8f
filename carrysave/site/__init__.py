# SPDX-License-Identifier: Apache-2.0
"""The report site: tables, pages and figures in a folder that needs nothing else."""

from .build import build_site

__all__ = ["build_site"]
