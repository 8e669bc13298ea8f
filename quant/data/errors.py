# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with data."""

__all__ = ["DataError", "Unavailable"]


class DataError(ValueError):
    """Data that cannot be used; the message says what and why."""


class Unavailable(DataError):
    """Data that cannot be fetched here and now."""
