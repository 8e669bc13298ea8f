# SPDX-License-Identifier: Apache-2.0
"""From a path to an integer network."""

import re
from pathlib import Path

from ..file import NetworkError
from .channelwise import Channelwise
from .file import read_graph
from .quantisers import Quantisers
from .weighted import Weighted

__all__ = ["load_qonnx"]


class _Graph(Quantisers, Weighted, Channelwise):
    """Walks a graph of any operation that is supported."""


def load_qonnx(path):
    """Integer network of a QONNX file.

    Inputs of the network are flat and channel-last; an affine step before the first Quant becomes
    their scaling.

    Parameters
    ----------
    path : path of an .onnx file

    Returns
    -------
    IntegerNetwork
        Each requantiser says for how many reachable accumulators it differs from the real scale.

    Raises
    ------
    NetworkError
        One line that names the file, the node, what was found and what is allowed, or the nearest
        operation that is supported.
    """
    path = Path(path)
    graph = read_graph(path)
    try:
        return _Graph(graph).network(re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:64] or "network")
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
