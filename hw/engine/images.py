# SPDX-License-Identifier: Apache-2.0
"""What enters and leaves the streams of a matrix engine: panels, results."""

import numpy as np

from ...quant.formats import BlockCodes, GroupCodes, Pair

__all__ = ["Operand", "input_words", "operand_of", "order_of_visits", "read_results"]


class Operand:
    """A matrix as an engine takes it: codes, and those of its scales.

    Parameters
    ----------
    codes : integer array, shape (rows, K)
        Of the format's elements; of outlier-victim pairs the halves of the words.
    scales : integer array, shape (rows, groups), optional
    bias : integer array, shape (rows,), optional
    """

    def __init__(self, codes, scales=None, bias=None):
        self.codes, self.scales, self.bias = (
            None if x is None else np.asarray(x).astype(np.int64) for x in (codes, scales, bias))


def operand_of(fmt, encoded, bias=None):
    """An encoded matrix, of shape (rows, K), as an `Operand`.

    Parameters
    ----------
    fmt : format
    encoded : array or tuple
        As ``fmt.encode`` gives it.
    bias : integer array, optional
    """
    if isinstance(encoded, (BlockCodes, GroupCodes)):
        return Operand(encoded.codes, encoded.scales, bias)
    if isinstance(fmt, Pair):
        words = np.asarray(encoded[0] if isinstance(encoded, tuple) else encoded).astype(np.int64)
        halves = np.stack([words & (1 << fmt.bits) - 1, words >> fmt.bits], -1)
        return Operand(halves.reshape(len(words), -1), None, bias)
    return Operand(encoded, None, bias)


def order_of_visits(layer):
    """Indices ``m``, ``n``, ``k`` of the tiles and panels in the order of the nest: arrays."""
    grid = np.indices(layer.counts[::-1]).reshape(len(layer.counts), -1)
    return {name: index for name, index in zip(layer.order, grid[::-1], strict=True)}


def input_words(config, layers, operands):
    """The stream of a program.

    Parameters
    ----------
    config : GemmConfig
    layers : list of Layer
    operands : list of (Operand, Operand)
        A of shape (m, k) and B of shape (n, k) for each layer.

    Returns
    -------
    uint8 array, shape (words, config.bus / 8)
        Little end first.
    """
    parts = []
    for layer, pair in zip(layers, operands, strict=True):
        places = order_of_visits(layer)
        needed = []
        for operand, matrix, name, other in (("a", pair[0], "m", "n"), ("w", pair[1], "n", "m")):
            panels = _panels(config, layer, operand, matrix,
                             layer.counts[layer.order.index(name)])
            resident = getattr(layer, f"{operand}_resident")
            first = (places[other] == 0) | (not resident)
            needed.append((first, places[name], panels))
        for visit in range(layer.visits):
            for first, tile, panels in needed:
                if first[visit]:
                    parts.append(panels[tile[visit], places["k"][visit]])
    return np.concatenate(parts)


def _panels(config, layer, operand, matrix, tiles):
    """Words of all panels of an operand: a dict by tile and panel of K."""
    size = config.rows if operand == "a" else config.columns
    kind, lanes = config.kind, config.kind.lanes
    fmt = kind.activations if operand == "a" else kind.weights
    blocks = layer.counts[layer.order.index("k")]
    element = getattr(fmt, "element", fmt)
    length = layer.steps * lanes
    codes = _padded(matrix.codes, tiles * size, blocks * length)
    # Lines: for each step the lanes of each row.
    lines = codes.reshape(tiles, size, blocks, layer.steps, lanes).transpose(0, 2, 3, 1, 4)
    words = [_to_words(lines.reshape(*lines.shape[:3], -1), element.bits, config.bus)]
    if getattr(config, f"{operand}_scale_bits"):
        bits = fmt.scale.bits if config.kind.scaling == "block" else fmt.scale_bits
        scales = _padded(matrix.scales, tiles * size, blocks * layer.groups)
        scales = scales.reshape(tiles, size, blocks, layer.groups).transpose(0, 2, 3, 1)
        words.append(_to_words(scales, bits, config.bus))
    if operand == "w" and config.bias:
        bias = np.zeros(tiles * size, np.int64)
        if matrix.bias is not None:
            bias[:len(matrix.bias)] = matrix.bias
        bias = np.broadcast_to(bias.reshape(tiles, 1, 1, size), (tiles, blocks, 1, size))
        words.append(_to_words(bias, config.sum_shape.width, config.bus))
    return {(tile, block): np.concatenate([part[tile, block] for part in words])
            for tile in range(tiles) for block in range(blocks)}


def _padded(codes, rows, columns):
    """With zeros to this shape, or without those of a last block that is not whole."""
    codes = codes[:, :columns]
    result = np.zeros((rows, columns), np.int64)
    result[:codes.shape[0], :codes.shape[1]] = codes
    return result


def _to_words(values, bits, bus):
    """Lines (…, lines, values) as words (…, words, bytes), each line from a new word."""
    shifts = np.arange(bits)
    stream = (values[..., None] >> shifts & 1).astype(np.uint8)
    stream = stream.reshape(*values.shape[:-1], -1)
    pad = -stream.shape[-1] % bus
    stream = np.pad(stream, [(0, 0)] * (stream.ndim - 1) + [(0, pad)])
    packed = np.packbits(stream, axis=-1, bitorder="little")
    return packed.reshape(*values.shape[:-2], -1, bus // 8)


def read_results(config, layers, words):
    """Results of a program.

    Parameters
    ----------
    config : GemmConfig
    layers : list of Layer
    words : uint8 array, shape (words, config.bus / 8)
        As the engine sends them.

    Returns
    -------
    list of int64 array, shape (m, n)
        Object arrays of Python integers where results are wider than 64 bits.
    """
    per_chain, found, at = config.columns // config.chains, [], 0
    position = np.arange(config.chain)
    rows = config.rows - 1 - position % config.rows
    columns = (np.arange(config.chains)[None] + 1) * per_chain - 1 \
        - (position // config.rows)[:, None]
    for layer in layers:
        places = order_of_visits(layer)
        complete = places["k"] == places["k"].max()
        m, n = places["m"][complete], places["n"][complete]
        count = len(m) * config.chain * config.result_beats
        lines = words[at:at + count].reshape(len(m), config.chain, -1)
        at += count
        size = config.result_bits // 8
        lines = lines[..., :config.chains * size].reshape(*lines.shape[:2], config.chains, size)
        values = _to_integers(lines, config.sum_shape.signed)
        result = np.zeros(((m.max() + 1) * config.rows, (n.max() + 1) * config.columns),
                          values.dtype)
        result[m[:, None, None] * config.rows + rows[None, :, None],
               n[:, None, None] * config.columns + columns[None]] = values
        found.append(result[:layer.m, :layer.n])
    return found


def _to_integers(raw, signed):
    """Little-endian bytes (…, size) as integers."""
    size = raw.shape[-1]
    if size > 8:
        flat = [int.from_bytes(row.tobytes(), "little", signed=signed)
                for row in raw.reshape(-1, size)]
        return np.array(flat, object).reshape(raw.shape[:-1])
    fill = (raw[..., -1:] >> 7) * np.uint8(255) if signed else np.zeros_like(raw[..., -1:])
    raw = np.concatenate([raw, np.repeat(fill, 8 - size, axis=-1)], axis=-1)
    return np.ascontiguousarray(raw).view("<i8")[..., 0]
