# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: one flipped bit in a memory image, to see the ledger find it."""

import re
from dataclasses import replace

from .errors import BadInput

__all__ = ["inject"]

MEMORIES = ("weight", "scale", "bias")


def _flip(value, bit, width, signed):
    flipped = (value ^ (1 << bit)) & ((1 << width) - 1)
    return flipped - (1 << width) if signed and flipped >> (width - 1) else flipped


def inject(program, fault):
    """A program with one flipped bit.

    Parameters
    ----------
    program : Program
    fault : str
        ``memory:index`` or ``memory:index:bit``: memory ``weight``, ``scale`` or ``bias``; index of
        the element in the order in which the engine reads them; bit 0 where it is left out.

    Returns
    -------
    Program
    """
    match = re.fullmatch(r"(\w+):(\d+)(?::(\d+))?", fault)
    if not match or match[1] not in MEMORIES:
        raise BadInput(
            f"--inject: must be MEMORY:INDEX[:BIT] with MEMORY one of {', '.join(MEMORIES)}, "
            f"not {fault!r}"
        )
    memory, index, bit = match[1], int(match[2]), int(match[3] or 0)
    columns = program.config.columns
    width, count = {
        "weight": (4, len(program.weights) * columns),
        "scale": (program.scale_bits, len(program.scales)),
        "bias": (program.sum_shape.width, len(program.biases)),
    }[memory]
    if index >= count or bit >= width:
        raise BadInput(
            f"--inject: {memory} has indices 0 to {count - 1} and bits 0 to {width - 1}, "
            f"not {index} and {bit}"
        )
    if memory == "weight":
        weights = [list(word) for word in program.weights]
        word, column = divmod(index, columns)
        weights[word][column] = _flip(weights[word][column], bit, width, True)
        return replace(program, weights=weights)
    if memory == "scale":
        scales = list(program.scales)
        scales[index] = _flip(scales[index], bit, width, False)
        return replace(program, scales=scales)
    biases = list(program.biases)
    biases[index] = _flip(biases[index], bit, width, True)
    return replace(program, biases=biases)
