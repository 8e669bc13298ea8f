# SPDX-License-Identifier: Apache-2.0
"""Mistakes of the user: one line, exit status 2."""

__all__ = ["BadInput"]


class BadInput(Exception):
    """Names the field, what was found and what is allowed."""
