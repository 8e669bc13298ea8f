# SPDX-License-Identifier: Apache-2.0
"""Real operands for :mod:`.energy`: a trained network's, a language model's."""

from importlib.resources import files
from pathlib import Path

import numpy as np

from .errors import Failure
from .sim.trace import Operands

__all__ = ["TRACES", "operands"]

#: Where operands come from; uniform ones from nowhere.
TRACES = ("uniform", "digits", "smollm2")
BLOCK, TOKENS, ROWS = 11, 64, 64


def operands(trace, progress):
    """The matrix products of a trace; none of ``uniform``.

    ``digits``: both layers of the example, as it is trained, on its held-out images. ``smollm2``:
    the seven of block 11, of the first 64 tokens of the address of 2009 and 64 rows of each matrix
    of weights, evenly spaced.

    Returns
    -------
    list of Operands

    Raises
    ------
    Failure
        If data or a package cannot be had.
    """
    try:
        return {"uniform": lambda: [], "digits": lambda: _digits(progress),
                "smollm2": lambda: _smollm2(progress)}[trace]()
    except ModuleNotFoundError as error:
        extra = "language" if trace == "smollm2" else "train"
        raise Failure(f"{error.name} is needed: pip install carrysave[{extra}]") from None


def _digits(progress):
    from .config import load_config
    from .quant.formats import GroupCodes, Int
    from .subject import load_subject

    subject = load_subject(load_config(Path(str(files("carrysave.examples") / "digits.toml"))),
                           progress=lambda line: progress(f"digits: {line}"))
    network, found = subject.network, []
    trace = network.run(subject.x)
    for layer, inputs, unit in zip(network.layers, trace.activations, network.units, strict=False):
        codes = GroupCodes(layer.weights.numpy().astype(np.int64),
                           layer.scales.numpy().astype(np.int64), layer.exponent)
        found.append(Operands(inputs.numpy() * float(unit), layer.group.values(GroupCodes(
            codes.codes & (1 << layer.group.bits) - 1, *codes[1:])),
            {"activations": (Int(8), inputs.numpy()), "weights": (layer.group, codes)}))
    return found


def _smollm2(progress):
    from .quant.data import DataError
    from .quant.language import block_gemms

    progress(f"smollm2: what enters block {BLOCK}")
    try:
        gemms = block_gemms(BLOCK, tokens=TOKENS)
    except DataError as error:
        raise Failure(str(error)) from None
    found = []
    for gemm in gemms:
        weights = gemm.weights.numpy()
        rows = np.arange(ROWS) * len(weights) // ROWS
        found.append(Operands(gemm.activations.numpy().astype(np.float64),
                              weights[rows].astype(np.float64)))
    return found
