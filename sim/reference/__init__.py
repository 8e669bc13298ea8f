# SPDX-License-Identifier: Apache-2.0
"""How each unit's transfers relate to its golden function, and what its parts must equal.

Each module bears the base name of its unit and has

``expected(unit, inputs)``
    Payloads of ``o`` for payloads of ``i``, both as :func:`.payload.pack` takes them, by the golden
    function.
``cores(unit)``
    Optional: the :class:`.prove.Core` s of the unit, each with an arithmetic specification that
    shares nothing with the golden function.
``domain(unit)``
    Optional: ``{field: codes}`` where not every code may be sent.
``stimulus(unit, rng, count)``
    Optional: random payloads, where evenly spread codes would test little.
"""

import importlib

import numpy as np

__all__ = ["at_last", "exact", "grouped", "narrow_codes", "reference"]


def reference(unit):
    """The module of a unit (component or its class)."""
    kind = unit if isinstance(unit, type) else type(unit)
    return importlib.import_module(f".{kind.__module__.rsplit('.', 1)[-1]}", __package__)


def grouped(terms, inputs):
    """Sums of terms over groups, one per transfer with ``last``; ``clear`` starts a group anew.

    Parameters
    ----------
    terms : integer array or tensor, shape (n, …)
        One per transfer; object arrays of Python integers where they are wider than int64.
    inputs : dict
        With ``clear`` and ``last``, shape (n,).
    """
    terms = np.asarray(terms)
    clear, last = (np.asarray(inputs[name]).astype(bool) for name in ("clear", "last"))
    sums = np.cumsum(terms, axis=0)
    ends = np.flatnonzero(last)
    starts = clear.copy()
    starts[:1] = True
    starts[ends[:-1] + 1 if len(ends) and ends[-1] + 1 == len(terms) else ends + 1] = True
    begin = np.maximum.accumulate(np.where(starts, np.arange(len(terms)), 0))[ends]
    before = sums[begin] - terms[begin]
    return sums[ends] - before


def at_last(values, inputs):
    """For each transfer the value that comes with the last one of its group."""
    ends = np.flatnonzero(np.asarray(inputs["last"]))
    group = np.searchsorted(ends, np.arange(len(values)))
    return np.asarray(values)[np.append(ends, len(values) - 1)[group]]


def exact(unit, terms):
    """Terms as Python integers where the sums of a unit exceed int64."""
    terms = np.asarray(terms)
    return terms if unit.sum_shape.width < 64 else terms.astype(object)


def narrow_codes(**formats):
    """The domain of fields of integers: numbers that narrow formats have.

    Of formats too wide to list, some: as many as 16 bits hold, spread evenly.
    """
    return {
        name: np.arange(fmt.min, fmt.max + 1) if fmt.bits <= 16
        else np.unique(np.linspace(fmt.min, fmt.max, 1 << 16).astype(np.int64))
        for name, fmt in formats.items() if fmt.narrow
    }
