# SPDX-License-Identifier: Apache-2.0
"""What a unit is: its docstring, ports and parameters, for exports and pages."""

import dataclasses
import inspect
import re

from amaranth.hdl import Shape
from amaranth.lib import data

from .quant import formats
from .sim.payload import layout_of

__all__ = ["Docs", "declaration", "docs", "format_of", "leaves", "ports", "value"]


@dataclasses.dataclass(frozen=True)
class Docs:
    """A unit's docstring taken apart; single backquotes, ``[1]_`` as ``[1]``.

    Attributes
    ----------
    summary : str
        One line.
    equation : list of str
        Paragraphs between the summary and the fields.
    latency, throughput, backpressure : str
        Fields, with the unit's latency put in.
    sources : list of str
        ``[1] …``.
    """

    summary: str
    equation: list
    latency: str
    throughput: str
    backpressure: str
    sources: list


def docs(unit):
    """The :class:`Docs` of a component."""
    text = inspect.getdoc(type(unit)) or type(unit).__name__
    text = re.sub(r"``(.*?)``", r"`\1`", text, flags=re.DOTALL)
    text = re.sub(r"(?<!\.\. )\[(\d+)\]_", r"[\1]", text)
    text = re.sub(r":\w+:`~?\.?([^`]*)`", r"`\1`", text)
    body = re.split(r"^Parameters\n-+$", text, maxsplit=1, flags=re.MULTILINE)[0]
    body, *sources = re.split(r"^\.\. (?=\[\d+\] )", body, flags=re.MULTILINE)
    fields = {
        name.lower(): one_line(value)
        for name, value in re.findall(r"^:(\w+): ((?:.+\n?)(?: +.+\n?)*)", body, re.MULTILINE)
    }
    paragraphs = [one_line(part) for part in body.split("\n\n")
                  if part.strip() and not part.lstrip().startswith(":")]
    latency = fields.get("latency", "`latency` cycles")
    cycles = f"{unit.latency} cycle{'' if unit.latency == 1 else 's'}"
    latency = re.sub(r"`latency`( cycles?)?", cycles, latency)
    return Docs(paragraphs[0], paragraphs[1:], latency, fields.get("throughput", ""),
                fields.get("backpressure", ""), [one_line(source) for source in sources])


def one_line(text):
    return " ".join(text.split())


def declaration(unit, parameters):
    """How a unit is made, as Python writes it."""
    return f"{type(unit).__name__}({', '.join(f'{k}={v!r}' for k, v in parameters.items())})"


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A number in a payload, or a regular array of them.

    Attributes
    ----------
    name : str
        With dots; ``payload`` where that is one number.
    offset : int
        Of its first element's bit 0.
    shape : Shape
        Of one element.
    dims, strides : tuple of int
        Lengths of the array layouts around it, outermost first, and the bits from one element to
        the next.
    """

    name: str
    offset: int
    shape: Shape
    dims: tuple = ()
    strides: tuple = ()


def leaves(shape):
    """The :class:`Leaf` s of a payload's shape, in order of their offsets."""
    found = []

    def walk(shape, name, offset, dims, strides):
        shape = layout_of(shape)
        if isinstance(shape, data.ArrayLayout):
            stride = Shape.cast(shape.elem_shape).width
            walk(shape.elem_shape, name, offset, (*dims, shape.length), (*strides, stride))
        elif isinstance(shape, data.Layout):
            for key, field in shape:
                walk(field.shape, f"{name}.{key}".lstrip("."), offset + field.offset, dims, strides)
        else:
            found.append(Leaf(name or "payload", offset, shape, dims, strides))

    walk(shape, "", 0, (), ())
    return sorted(found, key=lambda leaf: leaf.offset)


def format_of(unit, stream, leaf):
    """Name of the number format of a leaf of a stream; None where the unit names none."""
    formats = unit.formats
    for name in (leaf.name, f"{stream}.{leaf.name}", leaf.name.rpartition(".")[2]):
        if name in formats:
            return formats[name]
    return formats.get(stream) if leaf.name == "payload" else None


def ports(unit):
    """Fields of both streams' payloads, as dicts.

    ``field``; ``bits`` of the payload; ``elements``; ``width`` in bits of one; ``number``, signed
    or unsigned; ``format``, a name or None.
    """
    rows = []
    for stream in ("i", "o"):
        for leaf in leaves(getattr(unit, stream).p.shape()):
            last = leaf.offset + leaf.shape.width + sum(
                (length - 1) * stride
                for length, stride in zip(leaf.dims, leaf.strides, strict=True)) - 1
            rows.append({
                "field": f"{stream}.{leaf.name}",
                "bits": f"{last}:{leaf.offset}" if last > leaf.offset else str(last),
                "elements": " × ".join(map(str, leaf.dims)), "width": leaf.shape.width,
                "number": "signed" if leaf.shape.signed else "unsigned",
                "format": format_of(unit, stream, leaf),
            })
    return rows


def value(parameter):
    """A preset's parameter as Python writes it, formats of the registry by their names."""
    if getattr(parameter, "name", None) in formats.names():
        return f"formats.get({parameter.name!r})"
    return repr(parameter)
