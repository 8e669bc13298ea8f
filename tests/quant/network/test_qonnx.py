# SPDX-License-Identifier: Apache-2.0
import logging
import warnings

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
)
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from carrysave.config import load_config
from carrysave.errors import BadInput
from carrysave.quant.network import NetworkError, load, save
from carrysave.quant.network.qonnx import load_qonnx
from carrysave.quant.train.freeze import freeze_module
from carrysave.quant.train.quantisers import Int8Act
from carrysave.subject import load_subject

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from brevitas.export import export_qonnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.transformation.quantize_graph import QuantizeGraph
    from qonnx.util.cleanup import cleanup_model

QUANT = "qonnx.custom_op.general"
Short = Int8Act.let(collect_stats_steps=3)


class Residual(nn.Module):
    """Every kind of layer that Brevitas and this kit both have."""

    def __init__(self, weights, act=Short):
        super().__init__()
        quant = {"weight_quant": weights}
        tensor = weights if weights is Int8WeightPerTensorFixedPoint else Int8WeightPerTensorFloat
        self.begin, self.relu = qnn.QuantIdentity(act_quant=act), qnn.QuantReLU(act_quant=act)
        self.conv = qnn.QuantConv2d(2, 6, 3, stride=(2, 1), padding=1, bias=True, **quant)
        self.norm, self.pool = nn.BatchNorm2d(6), nn.MaxPool2d(2)
        self.deep = qnn.QuantConv2d(6, 6, 3, padding=1, groups=6, bias=False, weight_bit_width=4,
                                    **quant)
        self.same, self.sum = qnn.QuantIdentity(act_quant=act), qnn.QuantReLU(act_quant=act)
        self.mean, self.short = nn.AvgPool2d(2, stride=1), qnn.QuantIdentity(act_quant=act)
        self.drop = nn.Dropout()
        self.fc = qnn.QuantLinear(6 * 2 * 2, 4, bias=True, weight_quant=tensor)

    def forward(self, x):
        x = self.same(self.pool(self.relu(self.norm(self.conv(self.begin(x))))))
        x = self.sum(x + self.same(self.deep(x)))
        x = self.short(self.mean(x))
        return self.fc(self.drop(torch.flatten(x, 1)))


SHAPE = (2, 12, 6)


def settled(weights, act=Short):
    """A calibrated module's network, and the module."""
    torch.manual_seed(1)
    module = Residual(weights, act).train()
    with torch.no_grad():
        for _ in range(5):
            module(torch.randn(16, *SHAPE))
    return freeze_module(module.eval(), SHAPE)


def exported(module, path, *, dynamo=False, kind=torch.float64):
    """A QONNX file as Brevitas writes it."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        args = torch.zeros(1, *SHAPE, dtype=kind)
        more = {"verbose": False} if dynamo else {}
        export_qonnx(module, args=args, export_path=str(path), dynamo=dynamo, **more)
        logging.getLogger("torch.onnx").setLevel(level)
    return path


def executed(path, samples):
    """What qonnx computes of a file: one output for each sample, as the file orders them."""
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = ModelWrapper(model).transform(InferShapes())
    (entry,) = [v for v in model.graph.input if model.get_initializer(v.name) is None]
    rows = []
    for sample in samples:
        result = execute_onnx(model, {entry.name: sample[None].astype(np.float32)})
        rows.append(result[model.graph.output[0].name].ravel())
    return np.stack(rows)


def same_logits(path, samples):
    """Network and qonnx agree exactly on samples (samples, channels, …); the logits compared."""
    network = load_qonnx(path)
    flat = np.moveaxis(samples, 1, -1).reshape(len(samples), -1)
    logits = network.run(network.encode(flat)).logits.double().numpy() * network.units[-1]
    expected = executed(path, samples).astype(np.float64)
    assert expected.shape == logits.shape and len(np.unique(expected)) > 20
    assert np.array_equal(logits, expected)
    return logits.size


@pytest.mark.parametrize(
    "weights",
    [Int8WeightPerTensorFloat, Int8WeightPerChannelFloat, Int8WeightPerTensorFixedPoint],
)
@pytest.mark.parametrize("dynamo", [False, True])
def test_brevitas(weights, dynamo, tmp_path, compared):
    """A file of either of Brevitas' exporters is the network that freezing the module gives."""
    if dynamo and weights is not Int8WeightPerChannelFloat:
        pytest.skip("one is enough: that exporter is slow")
    network, module = settled(weights)
    found = load_qonnx(exported(module, tmp_path / "a.onnx", dynamo=dynamo))
    assert found.identity == network.identity and found.units == network.units
    x = np.random.default_rng(0).normal(size=(100, 12 * 6 * 2))
    traces = [n.run(n.encode(x)) for n in (network, found)]
    for ours, theirs in zip(traces[0].activations, traces[1].activations, strict=True):
        assert torch.equal(ours, theirs)
    compared(sum(x.numel() for x in traces[0].activations))
    save(found, tmp_path / "folder")
    assert load(tmp_path / "folder").identity == network.identity


def test_brevitas_executed(tmp_path, compared):
    """With powers of two qonnx computes in float32 what the network computes in integers."""
    _, module = settled(Int8WeightPerTensorFixedPoint, Int8ActPerTensorFixedPoint)
    path = exported(module.float(), tmp_path / "a.onnx", kind=torch.float32)
    samples = np.random.default_rng(0).normal(size=(20, *SHAPE)) * 2
    compared(same_logits(path, samples))


def test_other_tool(tmp_path, compared):
    """A float ONNX file by torch, quantised by qonnx: unchanged."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24, 10),
    ).eval()
    path, x = tmp_path / "float.onnx", torch.zeros(1, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), str(path), dynamo=False)
        wrapped = cleanup_model(ModelWrapper(str(path)))
        act, weight, bias = (2.0**-5, 0, 8, 0, 1), (2.0**-7, 0, 8, 1, 1), (2.0**-12, 0, 24, 0, 1)
        places = [(("input", k), (*p, "ROUND")) for k, p in enumerate((act, weight, bias))]
        wrapped = wrapped.transform(QuantizeGraph({"op_type": {"Conv": places, "Gemm": places}}))
        wrapped.save(str(path))
    kinds = [layer.kind for layer in load_qonnx(path).layers]
    assert kinds == ["conv", "max_pool", "conv", "flatten", "linear"]
    samples = np.random.default_rng(0).normal(size=(30, 1, 8, 8))
    compared(same_logits(path, samples))


def digits():
    """A small network for the digits: a flat input that gets its axes."""
    f = File((64,))
    f("Div", float32(16.0))
    f.quant(scale=2.0**-6)
    f("Reshape", np.array([-1, 1, 8, 8]))
    f("Conv", f.weights((4, 1, 3, 3)), float32([1, 2, 3, -4]), kernel_shape=[3, 3], strides=[2, 2])
    f("Relu")
    f.quant(scale=1.0)
    f("Flatten")
    f("Gemm", f.weights((36, 10), seed=1))
    return f


def build(path, model):
    onnx.save(model, path.with_suffix(".onnx"))
    path.write_text(f'name = "try"\n[model]\nnetwork = "{path.stem}.onnx"\n', encoding="utf-8")
    return load_config(path)


def test_build(tmp_path, compared):
    """``model.network`` may name a QONNX file; what is wrong with it is bad input."""
    subject = load_subject(build(tmp_path / "a.toml", digits().model()))
    assert subject.network.shapes[0] == (8, 8, 1)
    x = subject.data.x_test[:30].astype(np.float32)
    logits = subject.network.run(subject.network.encode(x)).logits.double().numpy()
    expected = executed(tmp_path / "a.onnx", x)
    assert np.array_equal(logits * subject.network.units[-1], expected)
    compared(expected.size)
    model = digits().model()
    model.graph.node[5].op_type = "Sigmoid"
    with pytest.raises(BadInput) as caught:
        load_subject(build(tmp_path / "b.toml", model))
    assert str(caught.value) == (
        f"model.network: {tmp_path}/b.onnx: node n5 (Sigmoid): is not supported; nearest: Relu"
    )


class File:
    """A file written by hand, node by node."""

    def __init__(self, shape):
        self.nodes, self.constants, self.shape, self.last = [], {}, shape, "x"

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def __call__(self, op, *constants, source=None, **attributes):
        inputs = [source or self.last, *(
            c if isinstance(c, str) else self.constant(np.asarray(c)) for c in constants
        )]
        domain = QUANT if op == "Quant" else ""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, domain=domain, **attributes))
        self.last = name
        return name

    def quant(self, source=None, *, scale=0.25, zero=0.0, bits=8.0, signed=1, narrow=0,
              rounding_mode="ROUND"):
        parts = [np.asarray(p, np.float32) for p in (scale, zero, bits)]
        return self("Quant", *parts, source=source, signed=signed, narrow=narrow,
                    rounding_mode=rounding_mode)

    def weights(self, shape, *, seed=0, scale=0.5, bits=4.0, **more):
        rng, last = np.random.default_rng(seed), self.last
        values = rng.integers(-7, 8, shape).astype(np.float32) * np.asarray(scale, np.float32)
        name = self.quant(self.constant(values), scale=scale, bits=bits, **more)
        self.last = last
        return name

    def model(self):
        dims = ["n", *self.shape]
        entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
        exit_ = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        tensors = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", [entry], [exit_], tensors)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QUANT, 1)]
        return helper.make_model(graph, opset_imports=opsets)


def float32(values):
    return np.asarray(values, np.float32)


def picture():
    """Channels last, as tools that come from Keras have it; an affine input; every operation."""
    f = File((6, 6, 2))
    f("Sub", float32([0.5, -0.25]))
    f("Mul", float32(2.0))
    f.quant()
    f("Transpose", perm=[0, 3, 1, 2])
    f("Conv", f.weights((4, 2, 2, 3), scale=float32([0.5, 1, 2, 0.5]).reshape(4, 1, 1, 1)),
      auto_pad="SAME_UPPER", kernel_shape=[2, 3])
    # The factors are 2, -1, 0.5 and 0.
    f("BatchNormalization", float32([4, -2, 1, 0]), float32([3, 1, -2, 5]),
      float32([1, 0.5, 0, 0]), float32([4, 4, 4, 4]), epsilon=0.0)
    f("Clip", float32(-20.0), float32(25.0))
    x = f.quant(scale=1.0)
    f("Relu")
    f("MaxPool", kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])
    y = f.quant(scale=1.0, bits=6.0)
    f("Add", y, source=x)
    x = f.quant(scale=2.0)
    f("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    f.quant(scale=1.0, bits=7.0, signed=0)
    f("Transpose", perm=[0, 2, 3, 1])
    f("Reshape", np.array([-1, 36]))
    f("MatMul", f.weights((36, 5)))
    f("Add", float32([1, 2, -3.5, 0, 8]))
    f("Relu")
    f.quant(scale=4.0)
    f("Gemm", f.weights((3, 5), seed=1), float32([0, 2, -2]), transB=1)
    return f


def test_every_operation(tmp_path, compared):
    path = tmp_path / "a.onnx"
    onnx.save(picture().model(), path)
    network = load_qonnx(path)
    assert [layer.kind for layer in network.layers] == [
        "conv", "rescale", "max_pool", "rescale", "add", "average_pool", "flatten", "linear",
        "linear",
    ]
    assert network.shapes[0] == (6, 6, 2) and network.layers[1].low == 0
    assert network.layers[0].group.scale_bits == 8 and network.layers[0].weight_scales is None
    samples = np.random.default_rng(0).normal(size=(40, 6, 6, 2)) * 2
    flat = samples.reshape(40, -1)
    flat = flat.astype(np.float32)
    logits = network.run(network.encode(flat)).logits.double().numpy() * network.units[-1]
    expected = executed(path, samples)
    assert len(np.unique(expected)) > 20 and np.array_equal(logits, expected)
    compared(expected.size)


@pytest.mark.parametrize("size", [2, 3, 4, 12])
def test_groups_of_scales(size, tmp_path, compared):
    """Scales that change along K are integer scales of groups."""
    rng = np.random.default_rng(3)
    scales = np.repeat(rng.integers(1, 200, (4, 12 // size)), size, axis=1) * 2.0**-6
    path, f = tmp_path / "a.onnx", File((12,))
    f.quant()
    f("Gemm", f.weights((4, 12), scale=float32(scales)), transB=1)
    onnx.save(f.model(), path)
    (layer,) = load_qonnx(path).layers
    assert layer.group.size == size and layer.scales.shape == (4, 12 // size)
    compared(same_logits(path, rng.normal(size=(30, 12)) * 4))


# What is refused: a file that works, and one change to it.


def small():
    f = File((1, 4, 4))
    f.quant()
    f("Conv", f.weights((3, 1, 3, 3)), float32([1, 2, 3]), kernel_shape=[3, 3])
    f("Relu")
    f.quant(scale=2.0)
    f("Flatten")
    f("Gemm", f.weights((12, 2), seed=1))
    return f


def node(model, op, number=0):
    return [n for n in model.graph.node if n.op_type == op][number]


def put(op, position, value):
    """Another constant as an input of the first node of its kind."""

    def change(model):
        name = node(model, op).input[position]
        (tensor,) = [t for t in model.graph.initializer if t.name == name]
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), tensor.name))

    return change


def attribute(op, name, value, number=0):
    def change(model):
        found = node(model, op, number)
        kept = [a for a in found.attribute if a.name != name]
        del found.attribute[:]
        found.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def operation(op, other, domain=None):
    def change(model):
        found = node(model, op)
        found.op_type = other
        if domain is not None:
            found.domain = domain

    return change


def external(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def short(model):
    model.graph.initializer[3].raw_data = model.graph.initializer[3].raw_data[:-1]


def huge(model):
    model.graph.initializer[3].dims[:] = [1 << 40, 1 << 40]


def unknown(model):
    node(model, "Relu").input[0] = "nowhere\nat all"


def unquantised(model):
    node(model, "Conv").input[1] = node(model, "Quant", 1).input[0]


def at_output(model):
    last = model.graph.node[-1]
    quant = helper.make_node("Quant", [last.output[0], *node(model, "Quant").input[1:]], ["q"], "q",
                             domain=QUANT)
    model.graph.node.append(quant)
    model.graph.output[0].name = "q"


def open_axis(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2]))


def too_few(model):
    del node(model, "Conv").input[1:]


def opset(model):
    model.opset_import[0].version = 99


def type_of(model):
    model.graph.initializer[3].data_type = TensorProto.STRING


def function(model):
    model.functions.add().name = "f"


def twice(model):
    found = node(model, "Quant", 2)
    again = helper.make_node("Add", [found.input[0], found.output[0]], ["twice"], "twice")
    index = list(model.graph.node).index(found)
    model.graph.node.insert(index + 1, again)
    node(model, "Flatten").input[0] = "twice"


BAD = [
    (operation("Relu", "Sigmoid"), "node n3 (Sigmoid): is not supported; nearest: Relu"),
    (operation("Relu", "Trunc", QUANT), "node n3 (Trunc): is not supported; nearest: Quant with"),
    (operation("Quant", "BipolarQuant"), "(BipolarQuant): is not supported; nearest: Quant of 2"),
    (operation("Relu", "Cos"), "node n3 (Cos): is not supported; supported are Quant, Conv, Gemm"),
    (operation("Relu", "Relu", "my.ops"), "node n3 (Relu): domain my.ops is not supported"),
    (external, "tensor c0: its data lie in another file; nearest: data in the file"),
    (short, "tensor c3: must hold 27 elements"),
    (huge, "must hold 1208925819614629174706176 elements, its shape, not"),
    (type_of, "tensor c3: its type must be a float, INT32 or INT64, not STRING"),
    (unknown, r"node n3 (Relu): input nowhere\nat all is no tensor that is known before it"),
    (function, "functions and sparse tensors are not supported; nearest: plain nodes"),
    (opset, "opset must be 7 to 26, not 99"),
    (open_axis, "input x: axis 2 must be a size of 1 to 65536, not height; only the samples"),
    (two_inputs, "there must be one input, not 2 (x, y)"),
    (too_few, "node n2 (Conv): has too few or too many inputs, 1"),
    (put("Quant", 1, float32(0)), "node n0 (Quant): scale must be positive, 2 ** -100 to 2 ** 100"),
    (put("Quant", 1, float32(-1)), "scale must be positive, 2 ** -100 to 2 ** 100, not -1"),
    (put("Quant", 1, float32(np.nan)), "node n0 (Quant): scale must be finite numbers"),
    (put("Quant", 1, float32([1, 2])), "scale of an activation must be one number for the tensor"),
    (put("Quant", 2, float32(3)), "node n0 (Quant): zero point must be 0; nearest: a symmetric"),
    (put("Quant", 3, float32(9)), "node n0 (Quant): bit width must be 2 to 8, not 9"),
    (put("Quant", 3, float32(3.5)), "node n0 (Quant): bit width must be 2 to 8, not 3.5"),
    (put("Conv", 2, float32([1, np.inf, 0])), "node n2 (Conv): bias must be finite numbers"),
    (put("Conv", 2, float32([1, 2])), "node n2 (Conv): its bias must have 3 elements, not 2"),
    (put("Conv", 2, float32([1e30, 2, 3])), "its bias must be below 2 ** 31 accumulator units"),
    (attribute("Quant", "signed", 0), "must have at most 8 bits signed or 7 unsigned, not 8"),
    (attribute("Quant", "rounding_mode", "FLOOR"), "rounding_mode must be ROUND, not 'FLOOR'"),
    (attribute("Conv", "dilations", [2, 2]), "(Conv): dilations must be [1, 1], not [2, 2]"),
    (attribute("Conv", "group", 2), "groups must divide 1 input and 3 output channels, not 2"),
    (attribute("Conv", "group", "two"), "node n2 (Conv): attribute group: must be of int, not two"),
    (attribute("Conv", "strides", [0, 1]), "kernel_shape and strides must be 1 or more"),
    (attribute("Conv", "kernel_shape", [5, 5]), "kernel_shape must be [3, 3] as the weights"),
    (attribute("Gemm", "alpha", 2.0), "node n7 (Gemm): alpha must be 1.0, not 2.0"),
    (attribute("Flatten", "axis", 2), "node n5 (Flatten): axis must be 1, not 2"),
    (unquantised, "node n2 (Conv): its weights must be a Quant of a constant; put a Quant behind"),
    (at_output, "the logits must not be quantised; nearest: no Quant at the output"),
    (twice, "node n2 (Conv) is read twice before it is quantised; put a Quant behind it"),
]


@pytest.mark.parametrize("change, message", BAD)
def test_refused(change, message, tmp_path):
    path, model = tmp_path / "bad.onnx", small().model()
    onnx.save(model, path)
    load_qonnx(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError) as caught:
        load_qonnx(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and text.startswith(f"{path}: ") and message in text


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an ONNX file, or one without nodes"),
        (b"\xff" * 100, "not an ONNX file"),
        (b"\x0a" * 1000, "not an ONNX file"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_no_file(content, message, tmp_path):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NetworkError, match=message) as caught:
        load_qonnx(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_damaged(tmp_path):
    """Whatever byte is damaged: a network, or one line."""
    path, content = tmp_path / "bad.onnx", small().model().SerializeToString()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        bad = bytearray(content)
        for place in rng.integers(len(bad), size=rng.integers(1, 4)):
            bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            load_qonnx(path)
        except NetworkError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert 100 < refused < 300
