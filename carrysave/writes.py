# SPDX-License-Identifier: Apache-2.0
"""What an engine writes while it runs: every result of every layer, and its cycle."""

import numpy as np

from .hw.engine.graph_program import GraphProgram, Unit
from .sim.batch import SimulationError

__all__ = ["elements", "monitored", "written"]

COMMON = ("phase", "layer", "step", "write", "final", "index", "values")


def monitored(program):
    """Names of the ports of an engine's ``monitor``."""
    return (*COMMON, "rows" if isinstance(program, GraphProgram) else "row")


def elements(program):
    """Results of each layer for a sample."""
    if isinstance(program, GraphProgram):
        return [len(_elements(program, layer)[0]) for layer in program.layers]
    return [layer.outputs for layer in program.layers]


def written(program, records, batches, samples):
    """Results in the order of the network's elements.

    Parameters
    ----------
    program : Program or GraphProgram
    records : dict of arrays
        The monitor, cycle by cycle.
    batches, samples : int

    Returns
    -------
    values, cycles : list of int64 arrays, (samples, elements of the layer)

    Raises
    ------
    SimulationError
        A layer wrote more or less often than it should.
    """
    find = _of_graph if isinstance(program, GraphProgram) else _of_stack
    at = np.flatnonzero(records["write"])
    values, cycles = [], []
    for index, layer in enumerate(program.layers):
        mine = at[records["layer"][at] == index]
        found = find(program, layer, records, mine, batches)
        values.append(found[0][:samples])
        cycles.append(found[1][:samples])
    return values, cycles


def _count(layer, found, expected):
    if found != expected:
        raise SimulationError(f"layer {layer.name} wrote {found} times, not {expected}")


def _of_stack(program, layer, records, at, batches):
    rows, drains = program.config.rows, program.drains
    per_batch = layer.tiles * program.chain
    _count(layer, len(at), batches * per_batch)
    shape = (batches, rows, layer.tiles * program.config.columns)
    values, cycles = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    batch = np.repeat(np.arange(batches), per_batch)
    written = np.asarray(records["values"][at], np.int64)
    for d in range(drains):
        row = d * (rows // drains) + records["row"][at]
        values[batch, row, records["index"][at]] = written[:, d]
        cycles[batch, row, records["index"][at]] = at
    shape = (batches * rows, shape[-1])
    return [x.reshape(shape)[:, : layer.outputs] for x in (values, cycles)]


def _of_graph(program, layer, records, at, batches):
    rows, lanes = program.config.rows, program.config.lanes
    words = layer.pixels * layer.out_words
    per_batch = words * (1 if layer.unit is Unit.MAX else rows)
    _count(layer, len(at), batches * per_batch)
    values = np.zeros((batches, rows, words * lanes), np.int64)
    cycles = np.zeros_like(values)
    batch = np.repeat(np.arange(batches), per_batch)
    word = records["index"][at].astype(np.int64) - layer.out_base
    written = np.asarray(records["values"][at], np.int64).reshape(len(at), rows, lanes)
    mask = np.asarray(records["rows"][at], np.int64)
    for row in range(rows):
        here = np.flatnonzero(mask >> row & 1)
        for lane in range(lanes):
            values[batch[here], row, word[here] * lanes + lane] = written[here, row, lane]
            cycles[batch[here], row, word[here] * lanes + lane] = at[here]
    places, _ = _elements(program, layer)
    return [x.reshape(batches * rows, -1)[:, places] for x in (values, cycles)]


def _elements(program, layer):
    """Where in a layer's words its elements are, and the shape of a sample."""
    network, lanes = program.network, program.config.lanes
    names = [each.name for each in network.layers]
    shape = network.shapes[names.index(layer.name) + 1]
    channels = shape[-1]
    wide = -(-channels // lanes) * lanes
    pixels = int(np.prod(shape[:-1]))
    places = np.arange(pixels)[:, None] * wide + np.arange(channels)
    return places.reshape(-1), shape
