# SPDX-License-Identifier: Apache-2.0
"""Payloads of Amaranth shapes as NumPy arrays of words, and back."""

from numbers import Integral

import numpy as np
from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data

__all__ = ["pack", "plain", "to_ints", "unpack"]

BLOCK = 1 << 15  # vectors per step: the working set stays in the processor's cache


def layout_of(shape):
    """A shape-castable as a :class:`data.Layout` or a plain :class:`Shape`."""
    while not isinstance(shape, (data.Layout, Shape)):
        shape = shape.as_shape() if isinstance(shape, ShapeCastable) else Shape.cast(shape)
    return shape


def gather(shape, values, name):
    """Bring values of any accepted form to arrays of shape (n, ...), in nested dicts."""
    while isinstance(shape := layout_of(shape), data.ArrayLayout):
        shape = shape.elem_shape  # its axis is in the arrays
    if isinstance(shape, Shape):
        return leaf(shape, values, name)
    if not isinstance(values, dict):
        values = columns(values, name)
    fields = {key: field.shape for key, field in shape}
    union = isinstance(shape, data.UnionLayout)
    if len(values) != (1 if union else len(fields)) or not fields.keys() >= values.keys():
        wanted = "one" if union else "each"
        raise ValueError(f"{name} must have {wanted} of the fields {', '.join(map(str, fields))}, "
                         f"not {', '.join(map(str, values)) or 'none'}")
    return {key: gather(fields[key], value, f"{name}.{key}") for key, value in values.items()}


def columns(values, name):
    """A list of dicts, or of lists of them, as a dict of lists."""
    some = values
    while not isinstance(some, dict):
        if isinstance(some, Integral) or not len(some):
            raise TypeError(f"{name} must be a dict of arrays or a list of dicts")
        some = some[0]

    def pick(item, key):
        if not isinstance(item, dict):
            return [pick(part, key) for part in item]
        if item.keys() != some.keys():
            raise ValueError(f"{name} must have the fields {', '.join(map(str, some))} in each "
                             f"transfer, not {', '.join(map(str, item)) or 'none'}")
        return item[key]

    return {key: pick(values, key) for key in some}


def leaf(shape, values, name):
    """An array of numbers, checked against the range of its shape."""
    wide = shape.width > 64
    if not hasattr(values, "__array__"):  # NumPy would make floats of large integers
        numbers = np.array(list(values))
        values = np.array(list(values), dtype=object) if numbers.dtype.kind in "fO" else numbers
        if values.dtype == object and not all(isinstance(x, Integral) for x in values.flat):
            values = numbers
    values = np.asarray(values)
    if wide and values.dtype == np.uint32:  # words already
        return values
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if not (values.dtype.kind in "iu" or values.dtype == object or values.size == 0):
        raise TypeError(f"{name} must be an array of integers, not of {values.dtype}")
    low = -(1 << shape.width - 1) if shape.signed else 0
    high = (1 << shape.width - shape.signed) - 1
    if values.size and (int(values.min()) < low or int(values.max()) > high):
        bad = np.argwhere((values < low) | (values > high))[0]
        raise ValueError(f"{name} must be in {low} to {high}, not {values[tuple(bad)]} "
                         f"(index {', '.join(map(str, bad))})")
    if not wide:
        return values.astype(np.int64 if shape.signed else np.uint64, copy=False)
    words = (shape.width + 31) // 32
    mask = (1 << shape.width) - 1
    raw = b"".join((int(value) & mask).to_bytes(4 * words, "little") for value in values.flat)
    return np.frombuffer(raw, np.dtype("<u4")).reshape(*values.shape, words)


def first(values):
    """Any array of nested dicts."""
    while isinstance(values, dict):
        values = next(iter(values.values()))
    return values


def select(values, index):
    """Index every array of nested dicts."""
    if isinstance(values, dict):
        return {key: select(value, index) for key, value in values.items()}
    return values[index]


def insert(words, offset, width, values):
    """Put ``width`` bits of each value at a bit offset into rows of 64-bit words."""
    values = values.astype(np.uint64) & np.uint64((1 << width) - 1)
    word, bit = divmod(offset, 64)
    words[word] |= values << np.uint64(bit)
    if bit + width > 64:
        words[word + 1] |= values >> np.uint64(64 - bit)


def extract(words, offset, width):
    """The bits that :func:`insert` put there."""
    word, bit = divmod(offset, 64)
    values = words[word] >> np.uint64(bit)
    if bit + width > 64:
        values = values | words[word + 1] << np.uint64(64 - bit)
    return values & np.uint64((1 << width) - 1)


def pack_into(words, offset, shape, values):
    shape = layout_of(shape)
    if isinstance(shape, data.ArrayLayout):
        size = Shape.cast(shape.elem_shape).width
        for k in range(shape.length):
            pack_into(words, offset + k * size, shape.elem_shape,
                      select(values, (slice(None), k)))
    elif isinstance(shape, data.Layout):
        for key, value in values.items():
            pack_into(words, offset + shape[key].offset, shape[key].shape, value)
    elif shape.width > 64:
        for k in range(values.shape[-1]):
            insert(words, offset + 32 * k, min(32, shape.width - 32 * k), values[..., k])
    elif shape.width:
        insert(words, offset, shape.width, values)


def check_lengths(shape, values, name, dims=()):
    """Every array must have the dimensions of the array layouts it lies in."""
    shape = layout_of(shape)
    if isinstance(shape, data.ArrayLayout):
        check_lengths(shape.elem_shape, values, name, (*dims, shape.length))
    elif isinstance(shape, data.Layout):
        for key, value in values.items():
            check_lengths(shape[key].shape, value, f"{name}.{key}", dims)
    else:
        found = values.shape[1:-1] if shape.width > 64 else values.shape[1:]
        if found != dims:
            raise ValueError(f"{name} must have the shape {('n', *dims)}, not {values.shape}")


def pack(shape, values, *, name="input"):
    """Payloads as little-endian 32-bit words.

    Parameters
    ----------
    shape : shape-castable
        Shape of one payload.
    values : array, list or dict
        One array for a number, shape (n,); a dict of them for a structure, or a list of dicts.
        Each array layout around a number adds an axis after the first. Numbers wider than 64 bits
        are Python integers, or ``uint32`` words in a last axis, least significant first.
    name : str
        What errors call the values.

    Returns
    -------
    uint32 array, shape (n, words)
    """
    width = Shape.cast(shape).width
    if isinstance(values, (list, tuple)) and not values:
        return np.zeros((0, (width + 31) // 32), np.dtype("<u4"))
    values = gather(shape, values, name)
    count = len(first(values))
    check_lengths(shape, values, name)
    result = np.empty((count, (width + 63) // 64), np.dtype("<u8"))
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        words = np.zeros((result.shape[1], len(result[block])), np.uint64)
        pack_into(words, 0, shape, select(values, block))
        result[block] = words.T
    return np.ascontiguousarray(result.view(np.dtype("<u4"))[:, :(width + 31) // 32])


def unpack_from(words, offset, shape):
    shape = layout_of(shape)
    if isinstance(shape, data.ArrayLayout):
        size = Shape.cast(shape.elem_shape).width
        return stack([unpack_from(words, offset + k * size, shape.elem_shape)
                      for k in range(shape.length)])
    if isinstance(shape, data.Layout):
        return {key: unpack_from(words, offset + field.offset, field.shape)
                for key, field in shape}
    width = shape.width
    if width > 64:
        return np.stack([extract(words, offset + k, min(32, width - k)).astype(np.uint32)
                         for k in range(0, width, 32)], axis=-1)
    if width == 0:
        return np.zeros(words.shape[1], np.int64)
    values = extract(words, offset, width)
    if shape.signed:
        unused = np.int64(64 - width)
        return values.view(np.int64) << unused >> unused
    return values if width == 64 else values.view(np.int64)


def stack(values):
    if isinstance(values[0], dict):
        return {key: stack([value[key] for value in values]) for key in values[0]}
    return np.stack(values, axis=1)


def join(blocks):
    if isinstance(blocks[0], dict):
        return {key: join([block[key] for block in blocks]) for key in blocks[0]}
    return np.concatenate(blocks)


def unpack(shape, words):
    """Inverse of :func:`pack`.

    Returns
    -------
    array or dict of arrays
        ``int64``; ``uint64`` for unsigned numbers of 64 bits; ``uint32`` words in a last axis for
        wider ones.
    """
    count = len(words)
    width = Shape.cast(shape).width
    padded = np.zeros((count, 2 * ((width + 63) // 64)), np.dtype("<u4"))
    padded[:, :words.shape[1]] = words
    padded = padded.view(np.dtype("<u8"))
    return join([unpack_from(np.ascontiguousarray(padded[start:start + BLOCK].T), 0, shape)
                 for start in range(0, max(count, 1), BLOCK)])


def to_ints(words):
    """Rows of words as Python integers."""
    return [int.from_bytes(row.tobytes(), "little") for row in np.asarray(words, np.dtype("<u4"))]


def plain(shape, value):
    """One payload, given as an integer of its bits, as plain ints, dicts and lists."""
    shape = layout_of(shape)
    if isinstance(shape, data.ArrayLayout):
        size = Shape.cast(shape.elem_shape).width
        return [plain(shape.elem_shape, value >> k * size) for k in range(shape.length)]
    if isinstance(shape, data.Layout):
        return {key: plain(field.shape, value >> field.offset) for key, field in shape}
    value &= (1 << shape.width) - 1
    return value - (1 << shape.width) if shape.signed and value >> shape.width - 1 else value
