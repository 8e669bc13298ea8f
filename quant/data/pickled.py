# SPDX-License-Identifier: Apache-2.0
"""Pickles read as data: what they would call is named, and nothing of it is called."""

import pickletools

import numpy as np

from .errors import DataError

__all__ = ["Made", "array", "read"]

ALLOWED = {  # what a pickle of tables of numbers names; it may name nothing else
    "__builtin__ object", "__builtin__ slice", "_codecs encode", "copy_reg _reconstructor",
    "numpy dtype", "numpy ndarray", "numpy.core.multiarray _reconstruct",
    "pandas.core.frame DataFrame", "pandas.core.indexes.base Index",
    "pandas.core.indexes.base _new_Index", "pandas.core.indexes.range RangeIndex",
    "pandas.core.internals.managers BlockManager",
}
NUMBERS = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


class Made:
    """An object that unpickling would make: of ``name`` called with ``args``, then ``state``."""

    def __init__(self, name, args):
        self.name, self.args, self.state = name, args, None


def read(content):
    """The object in a pickle of protocol 1: lists, tuples, dictionaries, numbers, text, `Made`.

    Raises
    ------
    DataError
        It is damaged, names something that is not in ``ALLOWED``, or uses an operation that tables
        of numbers do not need.
    """
    try:
        return _run(pickletools.genops(content))
    except DataError:
        raise
    # Damage shows as whatever the operation at hand cannot do.
    except Exception as error:
        raise DataError(f"Pickle is damaged: {error or type(error).__name__}") from None


def _run(operations):
    stack, marks, memo = [], [], {}
    for operation, arg, position in operations:
        match operation.name:
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "NONE" | "INT" | "BININT" | "BININT1" | "BININT2" | "BINUNICODE":
                stack.append(arg)
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "TUPLE" | "APPENDS" | "SETITEMS":
                start = marks.pop()
                items = stack[start:]
                del stack[start:]
                if operation.name == "TUPLE":
                    stack.append(tuple(items))
                elif operation.name == "APPENDS":
                    stack[-1].extend(items)
                else:
                    stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "GLOBAL":
                if arg not in ALLOWED:
                    raise DataError(f"Pickle must hold tables of numbers, but at byte {position} "
                                    f"names {arg!r}")
                stack.append(arg)
            case "REDUCE":
                args = stack.pop()
                stack.append(Made(stack.pop(), args))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case name:
                raise DataError(f"Pickle must hold tables of numbers, but at byte {position} "
                                f"has the operation {name}")
    raise DataError("Pickle has no end")


def array(made):
    """NumPy array of a `Made` one of numbers."""
    try:
        _, shape, kind, fortran, encoded = made.state
        if made.name != "numpy.core.multiarray _reconstruct" or kind.args[0] not in NUMBERS:
            raise ValueError(f"{made.name} of {kind.args[0]}")
        text, codec = encoded.args
        content = text.encode("latin1" if codec == "latin1" else "ascii")
        dtype = np.dtype(kind.args[0]).newbyteorder(kind.state[1])
        return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"Pickle must hold an array of numbers, not {error}") from None
