# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: one flipped bit in a memory image, to see the ledger find it."""

import re
from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate

from .errors import BadInput
from .hw.engine.graph_compiler import compile_graph
from .hw.engine.graph_program import GraphProgram

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
        ``memory:index`` or ``memory:index:bit``. The index counts the network's weights (layer,
        output, input), scales (layer, output, group) or biases (layer, output); the bit is the
        highest where it is left out.

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
    memory, index = match[1], int(match[2])
    if isinstance(program, GraphProgram):
        return _into_graph(program, memory, index, match[3])
    width = {"weight": 4, "scale": program.scale_bits, "bias": program.sum_shape.width}[memory]
    bit = width - 1 if match[3] is None else int(match[3])
    count = sum(layer.outputs * _per_output(layer, memory) for layer in program.layers)
    _check(memory, index, bit, count, width)
    word, column = _place(program, memory, index)
    if memory == "weight":
        weights = [list(entry) for entry in program.weights]
        weights[word][column] = _flip(weights[word][column], bit, width, True)
        return replace(program, weights=weights)
    table = list(program.scales if memory == "scale" else program.biases)
    address = word * program.config.columns + column
    table[address] = _flip(table[address], bit, width, memory == "bias")
    return replace(program, **{"scales" if memory == "scale" else "biases": table})


def _check(memory, index, bit, count, width):
    if index >= count or bit >= width:
        raise BadInput(
            f"--inject: {memory} has indices 0 to {count - 1} and bits 0 to {width - 1}, "
            f"not {index} and {bit}"
        )


def _into_graph(program, memory, index, bit):
    """A graph's program with one flipped bit: compiled anew, of the widths that it had."""
    network = program.network
    part = {"weight": "weights", "scale": "scales", "bias": "bias"}[memory]
    layers = list(network.layers)
    counts = [getattr(layer, part).numel() if hasattr(layer, "group") else 0 for layer in layers]
    ends = list(accumulate(counts))
    number = min(bisect_right(ends, index), len(layers) - 1)
    layer = layers[number]
    width = {"weight": layer.group.element.bits if counts[number] else 0,
             "scale": program.scale_bits, "bias": program.sum_shape.width}[memory]
    bit = width - 1 if bit is None else int(bit)
    _check(memory, index, bit, ends[-1], width)
    tensor = getattr(layer, part).clone()
    flat = tensor.view(-1)
    index -= ends[number] - counts[number]
    flat[index] = _flip(int(flat[index]), bit, width, memory != "scale")
    layers[number] = replace(layer, **{part: tensor})
    faulty = compile_graph(replace(network, layers=layers), program.config)
    return replace(faulty, identity=program.identity, network=network,
                   sum_shape=program.sum_shape, scale_bits=program.scale_bits)


def _per_output(layer, memory):
    """Elements of a memory that belong to one output."""
    groups = -(-layer.inputs // layer.group)
    return {"weight": layer.inputs, "scale": groups, "bias": 1}[memory]


def _place(program, memory, index):
    """Word and column of an element, see the compiler: tile by tile, one word per step."""
    columns, base = program.config.columns, 0
    for layer in program.layers:
        per_output = _per_output(layer, memory)
        if index < layer.outputs * per_output:
            output, step = divmod(index, per_output)
            tile, column = divmod(output, columns)
            return base + tile * per_output + step, column
        index -= layer.outputs * per_output
        base += layer.tiles * per_output
    raise IndexError(index)
