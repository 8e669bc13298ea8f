# SPDX-License-Identifier: Apache-2.0
"""ONNX files read with suspicion: sizes, types and names are checked before anything is computed.

Nothing in a file is evaluated, no other file is opened, and annotations are not looked at.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, numpy_helper

from ..file import NetworkError

__all__ = ["DOMAINS", "Graph", "Node", "read_graph"]

FILE_BYTES = 1 << 28
NODES = 10_000
SIZE = 65536  # of an axis of activations
OPSETS = range(7, 27)
QONNX = "qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"
DOMAINS = "", "ai.onnx", *QONNX
WIDTHS = {
    TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.INT32: 4,
    TensorProto.INT64: 8,
}
ATTRIBUTES = {
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s",
    AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints", AttributeProto.TENSOR: "t",
}
# What attributes are made of, where an operation that is supported reads them.
LISTS = "axes", "dilations", "kernel_shape", "pads", "perm", "strides"
KINDS = {
    **dict.fromkeys(LISTS, int),
    **dict.fromkeys((
        "axis", "ceil_mode", "count_include_pad", "group", "keepdims", "narrow", "signed",
        "training_mode", "transA", "transB",
    ), int),
    **dict.fromkeys(("alpha", "beta", "epsilon", "max", "min"), float),
    **dict.fromkeys(("auto_pad", "rounding_mode"), str),
}


def shown(text, most=80):
    """A name from a file on one line."""
    text = repr(str(text))[1:-1]
    return text if len(text) <= most else f"…{text[-most:]}"


@dataclass(frozen=True)
class Node:
    """An operation; attributes are numbers, strings, lists of numbers, and arrays."""

    name: str
    op: str
    domain: str
    inputs: list
    outputs: list
    attributes: dict

    def __str__(self):
        return f"node {shown(self.name)} ({shown(self.op)})"


@dataclass(frozen=True)
class Graph:
    """What a file holds.

    Attributes
    ----------
    nodes : list of Node
        In an order in which each input is known; only those that the output follows from.
    constants : dict of arrays
        float64 or int64.
    input, output : str
    shape : tuple of int
        Of the input without the samples.
    """

    nodes: list
    constants: dict
    input: str
    output: str
    shape: tuple


def read_graph(path):
    """Read and check an ONNX file.

    Raises
    ------
    NetworkError
        One line that names the file, the node or tensor, what was found and what is allowed.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > FILE_BYTES:
            raise NetworkError(f"{path}: must be at most {FILE_BYTES} bytes, not {size}")
        model = onnx.ModelProto()
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read: {error.strerror}") from None
    except DecodeError:
        raise NetworkError(f"{path}: not an ONNX file") from None
    try:
        return _graph(model)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def _graph(model):
    graph = model.graph
    if not graph.node:
        raise NetworkError("not an ONNX file, or one without nodes")
    if len(graph.node) > NODES:
        raise NetworkError(f"there must be at most {NODES} nodes, not {len(graph.node)}")
    if model.functions or graph.sparse_initializer:
        raise NetworkError("functions and sparse tensors are not supported; nearest: plain nodes")
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            raise NetworkError(
                f"opset must be {OPSETS.start} to {OPSETS.stop - 1}, not {opset.version}"
            )
    constants = {}
    for tensor in graph.initializer:
        where = f"tensor {shown(tensor.name)}"
        if tensor.name in constants:
            raise NetworkError(f"{where}: the name occurs twice")
        constants[tensor.name] = _array(tensor, where)
    given = [value for value in graph.input if value.name not in constants]
    for kind, values in ("input", given), ("output", graph.output):
        if len(values) != 1:
            names = ", ".join(shown(value.name) for value in values[:5])
            raise NetworkError(f"there must be one {kind}, not {len(values)} ({names})")
    (entry,), (exit_,) = given, graph.output
    known = {*constants, entry.name}
    nodes = []
    for node in graph.node:
        node = _node(node)
        missing = [name for name in node.inputs if name and name not in known]
        if missing:
            raise NetworkError(
                f"{node}: input {shown(missing[0])} is no tensor that is known before it"
            )
        for name in filter(None, node.outputs):
            if name in known:
                raise NetworkError(f"{node}: output {shown(name)} is written twice")
            known.add(name)
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant(node)
        else:
            nodes.append(node)
    if exit_.name not in known:
        raise NetworkError(f"output {shown(exit_.name)} is written by no node")
    return Graph(_needed(nodes, exit_.name), constants, entry.name, exit_.name, _shape(entry))


def _needed(nodes, output):
    """Nodes that a tensor follows from."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            kept.append(node)
    return kept[::-1]


def _shape(entry):
    """Shape of a sample of the input; the first axis are the samples."""
    tensor, where = entry.type.tensor_type, f"input {shown(entry.name)}"
    if tensor.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise NetworkError(f"{where}: must be a tensor of float or double")
    dims = list(tensor.shape.dim)
    if not 2 <= len(dims) <= 4:
        raise NetworkError(f"{where}: must have 2 to 4 axes, samples first, not {len(dims)}")
    for axis, dim in enumerate(dims[1:], start=1):
        if not 1 <= dim.dim_value <= SIZE:
            found = shown(dim.dim_param) or dim.dim_value or "open"
            raise NetworkError(
                f"{where}: axis {axis} must be a size of 1 to {SIZE}, not {found}; only the "
                "samples may be open"
            )
    return tuple(dim.dim_value for dim in dims[1:])


def _array(tensor, where):
    """A tensor's content: float64 or int64."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise NetworkError(f"{where}: its data lie in another file; nearest: data in the file")
    if tensor.data_type not in WIDTHS:
        kinds = TensorProto.DataType.keys()
        kind = kinds[tensor.data_type] if 0 <= tensor.data_type < len(kinds) else "unknown"
        raise NetworkError(f"{where}: its type must be a float, INT32 or INT64, not {kind}")
    dims = list(tensor.dims)
    count = math.prod(dims)
    if min(dims, default=1) < 1 or len(dims) > 6:
        raise NetworkError(f"{where}: its shape must be of positive sizes, not {dims[:8]}")
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data) / WIDTHS[tensor.data_type]
    else:
        fields = tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data
        held = max(map(len, fields))
    if held != count:
        raise NetworkError(f"{where}: must hold {count} elements, its shape, not {held:g}")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise NetworkError(f"{where}: cannot be read: {shown(error)}") from None
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def _node(proto):
    name = proto.name or next(iter(proto.output), "") or proto.op_type
    attributes = {}
    node = Node(
        name, proto.op_type, proto.domain, list(proto.input), list(proto.output), attributes
    )
    if proto.domain not in DOMAINS:
        raise NetworkError(
            f"{node}: domain {shown(proto.domain)} is not supported; nearest: those of ONNX and "
            f"{QONNX[0]}"
        )
    if not node.outputs:
        raise NetworkError(f"{node}: has no output")
    for item in proto.attribute:
        where = f"{node}: attribute {shown(item.name)}"
        if item.type not in ATTRIBUTES:
            raise NetworkError(f"{where}: must be numbers, a string or a tensor")
        value = getattr(item, ATTRIBUTES[item.type])
        if item.type == AttributeProto.TENSOR:
            value = _array(value, where)
        elif item.type == AttributeProto.STRING:
            value = value.decode("utf-8", "replace")
        elif item.type in (AttributeProto.FLOATS, AttributeProto.INTS):
            value = list(value)
        attributes[item.name] = value
        kind = KINDS.get(item.name)
        if kind and not all(isinstance(part, kind) for part in _parts(value)):
            raise NetworkError(f"{where}: must be of {kind.__name__}, not {shown(value)}")
        if kind and isinstance(value, list) != (item.name in LISTS):
            raise NetworkError(f"{where}: must be {'a list' if item.name in LISTS else 'one'}")
    return node


def _parts(value):
    return value if isinstance(value, list) else [value]


def _constant(node):
    for name in "value", "value_float", "value_floats", "value_int", "value_ints":
        if name in node.attributes:
            array = np.asarray(node.attributes[name])
            return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    raise NetworkError(f"{node}: value must be a tensor or numbers")
