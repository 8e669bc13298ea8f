# SPDX-License-Identifier: Apache-2.0
"""Errors that end a command with a message instead of a traceback."""

__all__ = ["BadInput", "Failure"]


class BadInput(Exception):
    """A mistake of the user, exit status 2: names the field, what was found and what is allowed."""


class Failure(Exception):
    """A step that could not be done, exit status 1: a missed clock, a tool that failed."""
