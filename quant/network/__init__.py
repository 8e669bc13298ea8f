# SPDX-License-Identifier: Apache-2.0
"""The integer network: a stack of exact layers, and its file format."""

from .file import NetworkError, load, save
from .network import InputScaling, IntegerNetwork, Linear, Trace

__all__ = ["InputScaling", "IntegerNetwork", "Linear", "NetworkError", "Trace", "load", "save"]
