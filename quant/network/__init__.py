# SPDX-License-Identifier: Apache-2.0
"""The integer network: a graph of exact layers, and its file format."""

from .file import NetworkError, load, save
from .layers import Add, AveragePool, Conv, Flatten, Linear, MaxPool, Rescale
from .network import InputScaling, IntegerNetwork, Trace

__all__ = [
    "Add", "AveragePool", "Conv", "Flatten", "InputScaling", "IntegerNetwork", "Linear", "MaxPool",
    "NetworkError", "Rescale", "Trace", "load", "save",
]
