# SPDX-License-Identifier: Apache-2.0
"""Transfers of operands for units and arrays: uniform codes, or the rows of real matrices."""

from typing import Any, NamedTuple

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from ..hw.array.pe_array import PEArray
from ..quant.formats import Exponent, Minifloat, Pair, get
from .operands import ACTIVATIONS, WEIGHTS, Operands, encode
from .payload import pack
from .reference import reference
from .stimulus import Field, fields, is_grouped

__all__ = ["Operands", "Transfers", "has_operands", "products_of", "real", "uniform"]

SUM = 128  # products of a sum of uniform operands


class Transfers(NamedTuple):
    """``inputs`` as :func:`.payload.pack` takes them; ``expected``, words of all ``outputs``."""

    inputs: Any
    outputs: int
    expected: np.ndarray


def has_operands(unit):
    """Whether a unit or array multiplies activations by weights."""
    return isinstance(unit, PEArray) or getattr(unit, "group", None) is not None


def products_of(unit):
    """Products in a transfer; results where a unit does not multiply."""
    if isinstance(unit, PEArray):
        return unit.rows * unit.columns * unit.kind.lanes
    return unit.lanes * _columns(unit)


def _columns(unit):
    """Weights for each activation."""
    if not has_operands(unit):
        return 1
    (weights,) = [field for field in fields(unit) if field.path[-1] in WEIGHTS]
    return weights.dims[1] if len(weights.dims) > 1 else 1


def uniform(unit, count, seed=0):
    """Every finite code as often as any other; sums of 128 products.

    Of the scales of blocks the 16 codes around 1 take part, and the tensor's is 1.

    Returns
    -------
    Transfers
    """
    rng = np.random.default_rng([seed, 2])
    steps = SUM // unit.kind.lanes if isinstance(unit, PEArray) else -(-SUM // unit.lanes)
    count += -count % steps
    if isinstance(unit, PEArray):
        rows, columns = (
            {name: _drawn(rng, Field((name,), *_leaf(shape), None), fmt, (count, size))
             for name, shape in _members(layout)}
            for layout, fmt, size in zip(unit.kind.layouts(), (
                unit.kind.activations, unit.kind.weights), (unit.rows, unit.columns), strict=True))
        return _of_array(unit, rows, columns, [steps] * (count // steps))
    inputs = {field.path[-1]: _drawn(rng, field, unit.formats.get(field.path[-1]), (count,))
              for field in fields(unit)}
    return _of_unit(unit, inputs, [steps] * (count // steps))


def _members(layout):
    return [(name, field.shape) for name, field in layout]


def _leaf(shape):
    """Shape of the codes of a field, and lengths of the array layouts around them."""
    dims = ()
    while isinstance(shape, data.ArrayLayout):
        dims, shape = (*dims, shape.length), shape.elem_shape
    return Shape.cast(shape), dims


def _drawn(rng, field, fmt, size):
    """Codes of a field, shape (*size, *dims)."""
    count = int(np.prod(size))
    fmt = get(fmt) if isinstance(fmt, str) else fmt
    fmt = getattr(fmt, "element", fmt)
    if field.path == ("tensor_scale",):
        return np.full((*size, *field.dims), int(fmt.encode(np.array(1.0))))
    if field.codes is None and field.shape.width <= 16:
        low = -(1 << field.shape.width - 1) if field.shape.signed else 0
        codes = fmt.words() if isinstance(fmt, Pair) else np.arange(1 << field.shape.width) + low
        field = Field(field.path, field.shape, field.dims, np.asarray(codes).astype(np.int64))
    if isinstance(fmt, (Minifloat, Exponent)):
        if field.codes is not None:
            codes = field.codes[~(fmt.is_nan(field.codes) | fmt.is_inf(field.codes))]
            if field.path[-1].endswith("scale"):
                one = int(fmt.encode(np.array(1.0)))
                codes = codes[(codes >= one - 8) & (codes < one + 8)]
            field = Field(field.path, field.shape, field.dims, codes)
        found = field.draw(rng, count)
        if field.codes is None:
            found = np.where(fmt.is_nan(found) | fmt.is_inf(found), 0, found)
    else:
        found = field.draw(rng, count)
    return found.reshape(*size, *field.dims)


def real(unit, operands, count):
    """Dot products of the rows of real matrices, in the unit's formats, one after the other.

    Dot product p is of the next row of activations and the next row, or rows, of weights, of all
    matrix products in turn; an array has several rows of both. A sum ends with its dot product, or
    where the unit can take no more. Weights have a scale for each row, integers of up to 4 bits one
    for each 64 along K, with a zero point where they are unsigned; activations one for the tensor,
    integers one for each row; formats of pairs those of least squared error; blocks their own;
    floats of 16 bits or more none.

    Parameters
    ----------
    unit : wiring.Component
        That `has_operands`.
    operands : list of Operands
    count : int
        Transfers, and more to the end of the last dot product.

    Returns
    -------
    Transfers
    """
    if isinstance(unit, PEArray):
        kind, sizes = unit.kind, (unit.rows, unit.columns)
        names = [[name for name, _ in layout] for layout in kind.layouts()]
        encoded = [encode(each, kind.activations, kind.weights, lanes=kind.lanes,
                          names=sum(names, [])) for each in operands]
        limit = min(SUM, kind.group or SUM) // kind.lanes
        found = {}
    else:
        found = {field.path[-1]: field for field in fields(unit)}
        (a_format,), (w_format,) = ([get(unit.formats[name]) for name in found if name in side]
                                    for side in (ACTIVATIONS, WEIGHTS))
        encoded = [encode(each, a_format, w_format, lanes=unit.lanes, names=list(found))
                   for each in operands]
        by_row = ("shifts", "a_scale", *ACTIVATIONS)
        names = [[name for name in found if (name in by_row) == chosen] for chosen in (True, False)]
        sizes, limit = (1, _columns(unit)), unit.group
    parts, lengths, total = [], [], 0
    while total < count:
        turn, at = divmod(len(parts), len(encoded))
        product = encoded[at]
        chosen = {}
        for group, size in zip(names, sizes, strict=True):
            for name in group:
                rows = product[name]
                places = (turn * size + np.arange(size)) % len(rows)
                chosen[name] = rows[places].swapaxes(0, 1)  # transfers, rows, …
        steps = len(next(iter(chosen.values())))
        parts.append(chosen)
        lengths += _limited([steps], limit)
        total += steps
    joined = {name: np.concatenate([part[name] for part in parts])
              for name in sum(names, [])}
    if isinstance(unit, PEArray):
        rows, columns = ({name: joined[name] for name in group} for group in names)
        return _of_array(unit, rows, columns, lengths)
    inputs = {}
    for name, values in joined.items():
        values = _signed(values, found[name].shape)
        # Columns come last, in a layout of their own.
        several = len(found[name].dims) > 1
        inputs[name] = np.moveaxis(values, 1, -1) if several else values[:, 0]
    return _of_unit(unit, inputs, lengths)


def _limited(lengths, limit):
    """The same sums in parts of at most so many transfers."""
    return [part for length in lengths for part in (
        [limit] * (length // limit) + [length % limit] * (length % limit > 0))]


def _ends(lengths):
    """Which transfers end a sum."""
    last = np.zeros(sum(lengths), np.int64)
    last[np.cumsum(lengths) - 1] = 1
    return last


def _of_unit(unit, inputs, lengths):
    """`Transfers` of a unit from all fields but its control."""
    if is_grouped(unit):
        last = _ends(_limited(lengths, unit.group))
        inputs = {**inputs, "clear": np.zeros_like(last), "last": last}
    expected = pack(unit.o.p.shape(), reference(unit).expected(unit, inputs), name="expected")
    return Transfers(inputs, len(expected), expected)


def _of_array(array, rows, columns, lengths):
    """`Transfers` of an array from the codes of its rows and columns, by step; see `PEArray`."""
    (a,), (w,) = rows.values(), columns.values()
    last, kind = _ends(lengths), array.kind
    values = [_integers(fmt, codes) for fmt, codes in (
        (kind.activations, a), (kind.weights, w))]
    starts = np.append(0, np.flatnonzero(last)[:-1] + 1)
    products = np.einsum("trl,tcl->trc", *values)
    sums = np.add.reduceat(products, starts, axis=0)[:, ::-1, ::-1]
    expected = sums.transpose(0, 2, 1).reshape(-1, 1)
    # Systolic: row r and column c come r and c cycles later, the last ones after the last step.
    more = max(array.rows, array.columns) - 1
    last = np.append(last, np.zeros(more, np.int64))
    sides = [{name: np.stack([np.roll(np.concatenate([codes, codes[:more]])[:, k], k, axis=0)
                              for k in range(codes.shape[1])], 1)
              for name, codes in side.items()} for side in (rows, columns)]
    for side, layout in zip(sides, kind.layouts(), strict=True):
        for name, shape in _members(layout):
            leaf, _ = _leaf(shape)
            side[name] = _signed(side[name], leaf)
    inputs = {"rows": sides[0], "columns": sides[1], "last": last, "tag": np.zeros_like(last)}
    shape = array.o.p.shape()
    expected = expected.astype(np.int64)
    return Transfers(inputs, len(expected), pack(shape, {
        "sums": expected, "tag": np.zeros(len(expected), np.int64)}, name="expected"))


def _signed(codes, shape):
    """Codes as numbers of a shape."""
    if not shape.signed:
        return codes
    codes = codes & (1 << shape.width) - 1
    return codes - ((codes >> shape.width - 1) << shape.width)


def _integers(fmt, codes):
    """Integers that codes stand for, in units of the format's least."""
    fmt = getattr(fmt, "element", fmt)
    if isinstance(fmt, Pair):
        return fmt.decode(codes)
    return np.asarray(fmt.decode(codes & (1 << fmt.bits) - 1)).astype(np.int64)
