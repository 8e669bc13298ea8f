# SPDX-License-Identifier: Apache-2.0
"""Transfers that try a unit out: every code, long random groups, the worst case."""

import dataclasses
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from .payload import layout_of, to_ints
from .reference import reference

__all__ = ["EXHAUSTIVE_BITS", "Stimulus", "draw", "exhaustive", "random", "restricted", "stimuli",
           "worst"]

EXHAUSTIVE_BITS = 16
TERMS = 1_000_000
COMBINATIONS = 4096  # of codes that are the same in all lanes
CONTROL = ("clear", "last")


@dataclasses.dataclass(frozen=True)
class Stimulus:
    """Transfers for ``i``.

    Attributes
    ----------
    method : {"exhaustive", "random"}
    what : str
        In words.
    inputs : dict of arrays, or array
        As :func:`.payload.pack` takes them.
    """

    method: str
    what: str
    inputs: Any

    def __len__(self):
        return len(_first(self.inputs))


@dataclasses.dataclass(frozen=True)
class Field:
    """A number in the payload, or an array of them.

    Attributes
    ----------
    path : tuple of str
        Empty for a payload that is one number.
    dims : tuple of int
        Lengths of the array layouts around it.
    codes : array or None
        Allowed codes; None where they are too many to list and all are allowed.
    """

    path: tuple
    shape: Shape
    dims: tuple
    codes: np.ndarray | None

    @property
    def limits(self):
        width, signed = self.shape.width, self.shape.signed
        return (-(1 << width - 1) if signed else 0), (1 << width - signed) - 1

    def draw(self, rng, count):
        """Random codes, shape (count, *dims)."""
        size = (count, *self.dims)
        if self.codes is not None:
            return self.codes[rng.integers(len(self.codes), size=size)]
        low, high = self.limits
        if self.shape.width <= 63:
            return rng.integers(low, high, size=size, endpoint=True)
        words = rng.integers(1 << 32, size=(*size, -(-self.shape.width // 32)), dtype=np.uint32)
        words[..., -1] &= np.uint32(0xFFFFFFFF >> (-self.shape.width % 32))
        numbers = to_ints(words.reshape(-1, words.shape[-1]))
        return np.array([number + low for number in numbers], object).reshape(size)


def fields(unit):
    """The :class:`Field` s of a unit's payload, other than ``clear`` and ``last``."""
    module = reference(unit)
    domain = module.domain(unit) if hasattr(module, "domain") else {}
    found = []

    def walk(shape, path, dims):
        shape = layout_of(shape)
        if isinstance(shape, data.ArrayLayout):
            walk(shape.elem_shape, path, (*dims, shape.length))
        elif isinstance(shape, data.Layout):
            for key, field in shape:
                walk(field.shape, (*path, key), dims)
        elif path[-1:] == () or path[-1] not in CONTROL:
            codes = domain.get(".".join(path))
            if codes is None and shape.width <= EXHAUSTIVE_BITS:
                low = -(1 << shape.width - 1) if shape.signed else 0
                codes = np.arange(low, low + (1 << shape.width))
            found.append(Field(path, shape, dims, None if codes is None else np.asarray(codes)))

    walk(unit.i.p.shape(), (), ())
    return found


def restricted(unit):
    """Where in the payload not all codes are allowed: offset, width and codes of each place."""
    module = reference(unit)
    domain = module.domain(unit) if hasattr(module, "domain") else {}

    def walk(shape, path, offset):
        shape = layout_of(shape)
        if isinstance(shape, data.Layout):
            for key, field in shape:
                inner = path if isinstance(shape, data.ArrayLayout) else (*path, key)
                yield from walk(field.shape, inner, offset + field.offset)
        elif ".".join(path) in domain:
            codes = {int(code) % (1 << shape.width) for code in domain[".".join(path)]}
            yield offset, shape.width, sorted(codes)

    return list(walk(unit.i.p.shape(), (), 0))


def _first(values):
    while isinstance(values, dict):
        values = next(iter(values.values()))
    return values


def is_grouped(unit):
    """Whether ``last`` says which transfers give a result."""
    shape = layout_of(unit.i.p.shape())
    return isinstance(shape, data.Layout) and any(key == "last" for key, _ in shape)


def _payload(unit, arrays, *, clear=None, last=None):
    """Arrays by path as nested dicts, with control where the unit has it."""
    if () in arrays:
        return arrays[()]
    inputs = {}
    for path, array in arrays.items():
        place = inputs
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = array
    if is_grouped(unit):
        count = len(_first(inputs))
        inputs["clear"] = np.zeros(count, np.int64) if clear is None else clear
        inputs["last"] = np.ones(count, np.int64) if last is None else last
    return inputs


def _rows(unit):
    """Entries of the fields that come by lane: one per lane, or per word where words hold two."""
    return getattr(unit, "words", unit.lanes)


def _by_lane(unit, field):
    """Whether a field has one entry per lane."""
    return bool(field.dims) and field.dims[0] == _rows(unit)


def exhaustive_bits(unit):
    """Input bits per lane: of the fields that each lane has, or of all where there are no lanes."""
    found = fields(unit)
    lanes = [field for field in found if _by_lane(unit, field)] or found
    return sum(field.shape.width * int(np.prod(field.dims[1:] if _by_lane(unit, field)
                                               else field.dims)) for field in lanes)


def exhaustive(unit, seed=0):
    """Every combination of the codes of a lane, each lane in another order; groups of one.

    Fields that all lanes share are random. None where a lane has more than 16 bits.
    """
    if exhaustive_bits(unit) > EXHAUSTIVE_BITS:
        return None
    rng = np.random.default_rng(seed)
    found = fields(unit)
    lanes = [field for field in found if _by_lane(unit, field)]
    rows = _rows(unit) if lanes else 1
    swept = lanes or found
    slots = [(field, k) for field in swept
             for k in range(int(np.prod(field.dims[1:] if lanes else field.dims)))]
    grid = np.meshgrid(*[field.codes for field, _ in slots], indexing="ij")
    grid = [axis.reshape(-1) for axis in grid]
    count = len(grid[0])
    # Lane 0 counts up, the others are shuffled: a fault in one lane cannot hide behind another's.
    orders = np.stack(
        [np.arange(count), *(rng.permutation(count) for _ in range(rows - 1))], axis=1)
    arrays = {field.path: field.draw(rng, count) for field in found if field not in swept}
    for field in swept:
        columns = [axis[orders] for (owner, _), axis in zip(slots, grid, strict=True)
                   if owner is field]
        arrays[field.path] = np.stack(columns, axis=-1).reshape(count, *field.dims)
    return Stimulus("exhaustive", f"all {count} combinations of codes in every lane",
                    _payload(unit, {field.path: arrays[field.path] for field in found}))


def draw(unit, rng, count):
    """Payloads of so many transfers, without ``clear`` and ``last``."""
    module = reference(unit)
    if hasattr(module, "stimulus"):
        inputs = module.stimulus(unit, rng, count)
        return {key: value for key, value in inputs.items() if key not in CONTROL} \
            if isinstance(inputs, dict) else inputs
    return _payload(unit, {field.path: field.draw(rng, count) for field in fields(unit)})


def random(unit, terms=TERMS, seed=0, *, longest=None):
    """Random transfers of at least so many terms, in groups of random length where there are such.

    Groups have up to ``longest`` transfers, by default as many as the unit allows; the last
    transfer ends one.
    """
    rng = np.random.default_rng([seed, 1])
    count = -(-terms // unit.lanes)
    inputs = draw(unit, rng, count)
    if is_grouped(unit):
        clear = (rng.random(count) < 0.02).astype(np.int64)
        last = np.zeros(count, np.int64)
        longest = min(unit.group, longest or unit.group)
        # As many of a few transfers as of many.
        most = np.exp2(rng.uniform(0, np.log2(longest + 1), size=count)).astype(np.int64)
        lengths = rng.integers(1, most, size=count, endpoint=True)
        ends = np.cumsum(lengths) - 1
        last[ends[ends < count]] = 1
        last[-1] = 1
        inputs = {**inputs, "clear": clear, "last": last}
    return Stimulus("random", f"{count * unit.lanes:,} random terms", inputs)


def corners(unit):
    """Transfers with the same extreme codes in all lanes, one of each combination.

    Extreme codes are the ends of a field's range and its neighbours, and for listed codes of a
    format those of the greatest and least value.
    """
    found = fields(unit)
    extremes = []
    for field in found:
        low, high = field.limits
        codes = [low, low + 1, -1, 0, 1, high - 1, high, high >> 1, (high >> 1) + 1]
        codes = sorted({code for code in codes if low <= code <= high})
        if field.codes is not None:
            allowed = set(field.codes.tolist())
            sample = sorted({int(x) for x in field.codes[[0, -1, len(field.codes) // 2 - 1]]})
            codes = sorted({code for code in codes if code in allowed} | set(sample))
        extremes.append(codes)
    # Thin out, if there are too many.
    while np.prod([len(codes) for codes in extremes]) > COMBINATIONS:
        longest = max(extremes, key=len)
        longest.pop(len(longest) // 2)
    grid = np.meshgrid(*[np.array(codes, object if max(map(abs, codes)) >= 1 << 63 else np.int64)
                         for codes in extremes], indexing="ij")
    arrays = {}
    for field, axis in zip(found, grid, strict=True):
        column = axis.reshape(-1, *[1] * len(field.dims))
        arrays[field.path] = np.broadcast_to(column, (axis.size, *field.dims)).copy()
    return _payload(unit, arrays)


def worst(unit):
    """The same codes in all lanes at once, and full groups of the greatest and least terms.

    The codes are the corners, or all codes of a lane where they are few, up to 4096 of them. The
    golden function finds the greatest and the least terms of all: groups of them, as long as the
    unit allows, fill the sum. Units without groups get the corners themselves.
    """
    inputs = corners(unit)
    if not is_grouped(unit):
        return Stimulus("random", "corners", inputs)
    swept = exhaustive(unit)
    if swept is not None:
        found = fields(unit)
        same = {field.path: _at(swept.inputs, field.path) for field in found}
        same = {path: np.repeat(array[:, :1], _rows(unit), axis=1)
                if _by_lane(unit, field) else array
                for (path, array), field in zip(same.items(), found, strict=True)}
        inputs = _payload(unit, same)
    results = reference(unit).expected(unit, inputs)
    picks = set()
    for values in _numbers(results):
        picks |= {int(np.argmax(values)), int(np.argmin(values))}
    count = len(_first(inputs))
    single = np.random.default_rng(2).permutation(count)[:COMBINATIONS]
    full = np.repeat(sorted(picks), unit.group)
    inputs = _take(inputs, np.concatenate([single, full]))
    last = np.concatenate(
        [np.ones_like(single), np.arange(len(full)) % unit.group == unit.group - 1])
    return Stimulus("random", f"{len(single)} combinations in all lanes at once, worst case: "
                    f"{len(picks)} full groups",
                    {**inputs, "clear": np.zeros_like(last), "last": last})


def _numbers(results):
    """Every array of numbers of the results, one column each."""
    if isinstance(results, dict):
        for values in results.values():
            yield from _numbers(values)
    else:
        yield from np.asarray(results).reshape(len(results), -1).T


def _at(inputs, path):
    for key in path:
        inputs = inputs[key]
    return inputs


def _take(inputs, order):
    if isinstance(inputs, dict):
        return {key: _take(value, order) for key, value in inputs.items()}
    return np.asarray(inputs)[order]


def join(*parts):
    """Payloads one after the other."""
    if isinstance(parts[0], dict):
        return {key: join(*[part[key] for part in parts]) for key in parts[0]}
    return np.concatenate([np.asarray(part) for part in parts])


def stimuli(unit, terms=TERMS, seed=0):
    """All that a unit is run on: every code where they are few, worst case, random groups."""
    swept = exhaustive(unit, seed)
    filled, drawn = worst(unit), random(unit, terms, seed)
    both = Stimulus("random", f"{drawn.what}, {filled.what}", join(filled.inputs, drawn.inputs))
    return [both] if swept is None else [swept, both]
