# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import pickle
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from carrysave.quant.golden.requantise import requantise, search
from carrysave.quant.network import NetworkError, load, save


@pytest.fixture
def folder(make_network, tmp_path):
    """A folder with a sound network."""
    save(make_network(), tmp_path)
    return tmp_path


def message(folder):
    """The one line that refuses a folder."""
    with pytest.raises(NetworkError) as caught:
        load(folder)
    text = str(caught.value)
    assert text and len(text.splitlines()) == 1 and "Traceback" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert str(folder) in text
    return text.replace(str(folder), "FOLDER")


def edit(folder, change):
    """Change the description in place."""
    path = folder / "network.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def put_tensors(folder, content):
    """Replace the tensors, with the hash that goes with them."""
    (folder / "network.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(folder, lambda description: description.update(tensors_sha256=digest))


def edit_tensors(folder, change):
    tensors = load_tensors((folder / "network.safetensors").read_bytes())
    change(tensors)
    put_tensors(folder, save_tensors(tensors))


def fields(network):
    """All that a network is, in comparable values."""
    layers = [
        {
            name: (value.dtype, value.tolist()) if isinstance(value, torch.Tensor) else value
            for name, value in vars(layer).items()
        }
        for layer in network.layers
    ]
    scaling = network.input
    affine = (scaling.scale, scaling.offset.tolist(), scaling.gain.tolist())
    return network.name, affine, layers, network.labels


@pytest.mark.parametrize("widths", [(5, 3), (5, 4, 3), (33, 20, 10, 8, 2), (1, 1)])
@pytest.mark.parametrize("size", [1, 4, 16])
@pytest.mark.parametrize("per_feature", [False, True])
def test_round_trip(make_network, tmp_path, widths, size, per_feature, compared):
    network = make_network(widths, size=size, per_feature=per_feature)
    save(network, tmp_path / "new" / "folder")
    loaded = load(tmp_path / "new" / "folder")
    assert fields(loaded) == fields(network)
    assert loaded.identity == network.identity
    x = torch.arange(-60, 60)[:, None].expand(-1, widths[0])
    assert torch.equal(loaded.run(x).logits, network.run(x).logits)
    compared(120 * widths[-1])


def brute_force(layer):
    """How many reachable accumulators the requantiser gets wrong, each of them tried; and of how
    many."""
    r, m = layer.requantiser, layer.accumulator_scale / Fraction(layer.output_scale)
    low, high = (0 if layer.relu else -128), 127
    z_min, z_max = layer.accumulator_range
    z = np.arange(z_min, z_max + 1)
    assert 2 * m.numerator * max(-z_min, z_max) < 1 << 62 > 2 * m.denominator
    exact, rest = np.divmod(2 * m.numerator * z, 2 * m.denominator)
    exact += (rest > m.denominator) | ((rest == m.denominator) & (exact % 2 == 1))
    found = requantise(z, multiplier=r.multiplier, shift=r.shift, low=low, high=high)
    return int((found.numpy() != exact.clip(low, high)).sum()), len(z)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("multiplier, shift", [(1, 9), (201, 17), (205, 17), (13, 13), (1, 40)])
def test_claims_are_recomputed(make_network, tmp_path, relu, multiplier, shift, compared):
    save(make_network(relu=relu), tmp_path)
    change = {"multiplier": multiplier, "shift": shift}
    edit(tmp_path, set_in("layers", 0, "requantiser", change))
    layer = load(tmp_path).layers[0]
    r = layer.requantiser
    assert (r.multiplier, r.shift) == (multiplier, shift)
    assert (r.differing, r.reachable) == brute_force(layer)
    compared(r.reachable)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("multiplier, shift", [(12, 13), (10, 13), (11, 14), (11 * 2**12 + 1, 25)])
def test_altered_multiplier_is_told(make_network, tmp_path, relu, multiplier, shift, compared):
    network = make_network(relu=relu)
    first, last = network.layers
    z_min, z_max = first.accumulator_range
    found = search(
        first.accumulator_scale * 64,
        z_min=z_min,
        z_max=z_max,
        low=0 if relu else -128,
        high=127,
    )
    assert (found.multiplier, found.shift, found.differing) == (11, 13, 0)
    first = replace(first, output_scale=1 / 64, requantiser=found)
    network = replace(network, layers=[first, replace(last, input_scale=1 / 64)])
    save(network, tmp_path)
    assert fields(load(tmp_path)) == fields(network)
    assert brute_force(first) == (0, found.reachable)
    change = {"multiplier": multiplier, "shift": shift}
    edit(tmp_path, set_in("layers", 0, "requantiser", change))
    altered = load(tmp_path).layers[0]
    assert altered.requantiser.differing > 0
    assert (altered.requantiser.differing, altered.requantiser.reachable) == brute_force(altered)
    compared(2 * found.reachable)


def test_product_too_wide(make_network, tmp_path):
    network = make_network((100, 4, 3), scale_bits=16)
    save(network, tmp_path)
    most = max(-network.layers[0].accumulator_range[0], network.layers[0].accumulator_range[1])
    least = -(-(2**62) // most)  # that is refused
    assert least < 1 << 32
    edit(tmp_path, set_in("layers", 0, "requantiser", "multiplier", least - 1))
    assert load(tmp_path).layers[0].requantiser.multiplier == least - 1
    edit(tmp_path, set_in("layers", 0, "requantiser", "multiplier", least))
    assert message(tmp_path) == (
        f"FOLDER/network.json: layer fc1: multiplier {least} times {most} exceeds 62 bits"
    )


def test_same_network_same_bytes(make_network, tmp_path):
    for name in "a", "b":
        save(make_network(), tmp_path / name)
    save(load(tmp_path / "a"), tmp_path / "b")
    for name in "network.json", "network.safetensors":
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_extremes(make_network, tmp_path):
    network = make_network((4, 2), size=2, scale_bits=16)
    layer = replace(
        network.layers[0],
        weights=torch.tensor([[-8, 7, -8, 7], [7, 7, -8, -8]], dtype=torch.int8),
        scales=torch.tensor([[0, 65535], [65535, 65535]], dtype=torch.int32),
        bias=torch.tensor([-(2**31), 2**31 - 1]),
        exponent=-1000,
        input_scale=5e-324,
    )
    network = replace(network, layers=[layer], input=replace(network.input, scale=5e-324))
    network = replace(network, name="é", labels=["ü\n", ""])
    save(network, tmp_path)
    assert fields(load(tmp_path)) == fields(network)


def test_path_as_text(folder):
    assert fields(load(str(folder))) == fields(load(folder))


# Damage.


@pytest.mark.parametrize("name", ["network.json", "network.safetensors"])
def test_file_missing(folder, name):
    (folder / name).unlink()
    text = message(folder)
    assert text.startswith(
        "FOLDER is not a network folder (network.json and network.safetensors): "
    )
    assert f"FOLDER/{name}" in text


def test_folder_missing(tmp_path):
    assert message(tmp_path / "none").startswith("FOLDER is not a network folder")


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert message(tmp_path / "file").startswith("FOLDER is not a network folder")


def test_every_byte_of_the_tensors_counts(folder, compared):
    path = folder / "network.safetensors"
    content = path.read_bytes()
    for position in range(len(content)):  # header and values
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        text = "is not the file that network.json describes: SHA-256 differs"
        assert message(folder) == f"FOLDER/network.safetensors {text}"
    compared(len(content))


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_tensors_truncated(folder, length):
    path = folder / "network.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert message(folder).endswith("SHA-256 differs")


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_tensors_truncated_with_their_hash(folder, length):
    put_tensors(folder, (folder / "network.safetensors").read_bytes()[:length])
    assert re.match(r"FOLDER/network.safetensors: \S", message(folder))


def test_description_truncated(folder, compared):
    path = folder / "network.json"
    content = path.read_bytes().rstrip()
    lengths = range(0, len(content), 11)
    for length in lengths:
        path.write_bytes(content[:length])
        assert message(folder).startswith("FOLDER/network.json: the file: Invalid JSON")
    compared(len(lengths))


def test_pickle_in_place_of_the_tensors(folder):
    class Dangerous:
        def __reduce__(self):
            return pytest.fail, ("the pickle was executed",)

    put_tensors(folder, pickle.dumps(Dangerous()))
    assert message(folder).startswith("FOLDER/network.safetensors: ")


def test_torch_file_in_place_of_the_tensors(folder, tmp_path):
    torch.save({"fc1.weights": torch.zeros(4, 5, dtype=torch.int8)}, tmp_path / "model.pt")
    put_tensors(folder, (tmp_path / "model.pt").read_bytes())
    assert message(folder).startswith("FOLDER/network.safetensors: ")


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "the file: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"\xff\xfe", "'utf-8' codec"),
        (b"\x00" * 100, "the file: Invalid JSON"),
        (b"[]", "the file: Input should be an object"),
        (b"null", "the file: Input should be an object"),
        (b"[" * 100_000, "the file: Invalid JSON: recursion limit exceeded"),
        (b'{"name": "something else", "version": "1.0"}', "format: Field required"),
        (b'{"architectures": ["LlamaForCausalLM"]}', "format: Field required"),
    ],
)
def test_foreign_description(folder, content, text):
    (folder / "network.json").write_bytes(content)
    assert text in message(folder)


def set_in(*path):
    """A change that sets the last of the path's steps."""
    *steps, last, value = path

    def change(description):
        for step in steps:
            description = description[step]
        description[last] = value

    return change


VERSION_1 = "network.json: version must be 2 for anything but 4-bit linear layers, not 1"
FIELDS = [
    (("format", "onnx"), "format: Input should be 'carrysave-network'"),
    (("version", 3), "version: Input should be 1 or 2"),
    (("version", "1"), "version: Input should be 1 or 2"),
    (("name", ""), "name: String should have at least 1 character"),
    (("name", 3), "name: Input should be a valid string"),
    (("input_scale", 0), "input_scale: Input should be greater than 0"),
    (("input_scale", -1.0), "input_scale: Input should be greater than 0"),
    (("input_scale", float("nan")), "input_scale: Input should be a finite number"),
    (("input_scale", float("inf")), "input_scale: Input should be a finite number"),
    (("input_scale", "0.1"), "input_scale: Input should be a valid number"),
    (("labels", ["a"]), "labels must name 3 classes, not 1"),
    (("labels", [0, 1, 2]), "labels.0: Input should be a valid string"),
    (("layers", []), "layers: List should have at least 1 item after validation, not 0"),
    (("surprise", 1), "surprise: Extra inputs are not permitted"),
    (("layers", 0, "surprise", 1), "layers.0.surprise: Extra inputs are not permitted"),
    (
        ("layers", 0, "kind", "lstm"),
        "layers.0.kind: Input should be one of linear, conv, max_pool, average_pool, rescale, add, "
        "flatten, not 'lstm'",
    ),
    (("layers", 0, "name", "a/b"), "layers.0.name: String should match pattern"),
    (("layers", 0, "name", "fc1\n"), "layers.0.name: String should match pattern"),
    (("layers", 0, "inputs", 0), "layers.0.inputs: Input should be greater than or equal to 1"),
    (("layers", 0, "inputs", 5.0), "layers.0.inputs: Input should be a valid integer"),
    (("layers", 0, "inputs", True), "layers.0.inputs: Input should be a valid integer"),
    (("layers", 0, "group", "element", "e2m1"), "layers.0.group.element: Input should be 'int2', "),
    (("layers", 0, "group", "size", 0), "layers.0.group.size: Input should be greater"),
    (("layers", 0, "group", "scale_bits", 17), "layers.0.group.scale_bits: Input should be less"),
    (("layers", 0, "exponent", 1001), "layers.0.exponent: Input should be less"),
    (("layers", 0, "relu", 1), "layers.0.relu: Input should be a valid boolean"),
    (("layers", 0, "input_scale", float("nan")), "layers.0.input_scale: Input should be a finite"),
    (("layers", 0, "output_scale", float("nan")), "layers.0.output_scale: Input should be a f"),
    (("layers", 0, "requantiser", "multiplier", 0), "layers.0.requantiser.multiplier: Input s"),
    (("layers", 0, "requantiser", "shift", 63), "layers.0.requantiser.shift: Input should be less"),
    (("layers", 0, "requantiser", "shift", -1), "layers.0.requantiser.shift: Input should be gr"),
    # Claims are worked out anew, not read:
    (("layers", 0, "requantiser", "differing", 0), "layers.0.requantiser.differing: Extra inputs"),
    (("layers", 0, "requantiser", "reachable", 1), "layers.0.requantiser.reachable: Extra inputs"),
    # What fits each field, but not the network:
    (("layers", 0, "requantiser", None), "layer fc1: requantiser and output_scale must be given"),
    (("layers", 0, "output_scale", None), "layer fc1: requantiser and output_scale must be given"),
    (
        ("layers", 1, "requantiser", {"multiplier": 1, "shift": 1}),
        "layer fc2: requantiser and output_scale must not be given here",
    ),
    (("layers", 1, "output_scale", 0.5), "layer fc2: requantiser and output_scale must not be"),
    (("layers", 1, "relu", True), "layer fc2: relu must be false on the last layer"),
    (("layers", 1, "name", "fc1"), "layer fc1: the name occurs twice"),
    (("layers", 1, "inputs", 5), "layer fc2: inputs must be 4, not 5"),
    (("layers", 1, "input_scale", 0.5), "layer fc2: input_scale must be 0.0134277343"),
    (("input_scale", 0.5), "layer fc1: input_scale must be 0.5, not 0.0107421875"),
    (("layers", 0, "name", "fc3"), "tensor fc3.weights is missing"),
    (("layers", 0, "inputs", 6), "fc1.weights must be torch.int8 (4, 6), not torch.int8 (4, 5)"),
    (("layers", 1, "outputs", 2), "fc2.weights must be torch.int8 (2, 4), not torch.int8 (3, 4)"),
    (("layers", 0, "group", "size", 5), "fc1.scales must be torch.int32 (4, 1), not torch.int32"),
    (("layers", 0, "group", "scale_bits", 1), "fc1.scales must be within 0 to 1"),
    (("tensors_sha256", ""), "SHA-256 differs"),
    # What version 1 does not have:
    (("input_low", -100), VERSION_1),
    (("input_shape", [5]), VERSION_1),
    (("layers", 0, "group", "element", "int8"), VERSION_1),
    (("layers", 0, "high", 99), VERSION_1),
    (("layers", 0, "weight_scales", 1), VERSION_1),
    (("layers", 0, "sources", ["input"]), VERSION_1),
]


@pytest.mark.parametrize("path, text", FIELDS, ids=[text for _, text in FIELDS])
def test_field_wrong(folder, path, text):
    edit(folder, set_in(*path))
    found = message(folder)
    assert found.startswith("FOLDER/network.") and text in found


def test_every_field_is_needed(folder, compared):
    path = folder / "network.json"
    whole = json.loads(path.read_text())
    layer = whole["layers"][0]
    for where in ([], ["layers", 0], ["layers", 0, "group"], ["layers", 0, "requantiser"]):
        part = whole
        for step in where:
            part = part[step]
        for key in list(part):
            value = part.pop(key)
            path.write_text(json.dumps(whole))
            part[key] = value
            field = ".".join(map(str, [*where, key]))
            assert message(folder) == f"FOLDER/network.json: {field}: Field required"
            compared(1)
    assert layer is whole["layers"][0]


def with_value(name, index, value):
    def change(tensors):
        tensors[name].view(-1)[index] = value

    return change


TENSORS = [
    (with_value("fc1.weights", 3, 8), "fc1.weights must be within -8 to 7"),
    (with_value("fc1.weights", -1, -9), "fc1.weights must be within -8 to 7"),
    (with_value("fc1.scales", 0, 256), "fc1.scales must be within 0 to 255"),
    (with_value("fc2.scales", 0, -1), "fc2.scales must be within 0 to 255"),
    (with_value("fc2.bias", 0, 2**31), "fc2.bias must be within -2147483648 to 2147483647"),
    (with_value("fc2.bias", 0, -(2**31) - 1), "fc2.bias must be within -2147483648 to"),
    (with_value("input.gain", 0, float("nan")), "input.gain must be within -1e+300 to 1e+300"),
    (with_value("input.offset", 0, float("inf")), "input.offset must be within -1e+300 to 1e+300"),
    (lambda t: t.pop("fc2.bias"), "tensor fc2.bias is missing"),
    (lambda t: t.pop("input.gain"), "tensor input.gain is missing"),
    (lambda t: t.update(extra=torch.zeros(1)), "unknown tensor extra"),
    (
        lambda t: t.update({"fc1.weights": t["fc1.weights"].T.contiguous()}),
        "fc1.weights must be torch.int8 (4, 5), not torch.int8 (5, 4)",
    ),
    (
        lambda t: t.update({"fc1.weights": t["fc1.weights"].float()}),
        "fc1.weights must be torch.int8 (4, 5), not torch.float32 (4, 5)",
    ),
    (
        lambda t: t.update({"fc1.bias": t["fc1.bias"].int()}),
        "fc1.bias must be torch.int64 (4,), not torch.int32 (4,)",
    ),
    (
        lambda t: t.update({"fc1.scales": t["fc1.scales"].double() * float("nan")}),
        "fc1.scales must be torch.int32 (4, 2), not torch.float64 (4, 2)",
    ),
    (
        lambda t: t.update({"input.offset": torch.zeros(3).double()}),
        "input.offset must be torch.float64 (5,), not torch.float64 (3,)",
    ),
    (
        lambda t: t.update({"input.offset": torch.zeros(()).double()}),
        "input.offset must be torch.float64 (5,), not torch.float64 ()",
    ),
    (
        lambda t: t.update({"input.gain": torch.ones(1)}),
        "input.gain must be torch.float64 (1,), not torch.float32 (1,)",
    ),
]


@pytest.mark.parametrize("change, text", TENSORS, ids=[text for _, text in TENSORS])
def test_tensor_wrong(folder, change, text):
    edit_tensors(folder, change)
    found = message(folder)
    assert found.startswith("FOLDER/network.safetensors: ") and text in found


def test_another_networks_tensors(make_network, folder, tmp_path):
    save(make_network(seed=1), tmp_path / "other")
    content = (tmp_path / "other" / "network.safetensors").read_bytes()
    (folder / "network.safetensors").write_bytes(content)
    assert message(folder).endswith("SHA-256 differs")


def test_tensor_of_a_kind_that_torch_lacks(folder):
    content = (folder / "network.safetensors").read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8:size]), content[size:]
    header["extra"] = {
        "dtype": "F4",
        "shape": [2],
        "data_offsets": [len(body), len(body) + 1],
    }
    text = json.dumps(header).encode()
    put_tensors(folder, len(text).to_bytes(8, "little") + text + body + b"\0")
    text = "not a file of plain tensors: KeyError('F4')"
    assert message(folder) == f"FOLDER/network.safetensors: {text}"


def test_line_break_in_a_key(folder):
    edit(folder, set_in("two\nlines", 1))
    assert message(folder) == (
        r"FOLDER/network.json: two\nlines: Extra inputs are not permitted"
    )


def test_line_break_in_a_tensors_name(folder):
    edit_tensors(folder, lambda tensors: tensors.update({"two\nlines": torch.zeros(1)}))
    assert message(folder) == r"FOLDER/network.safetensors: unknown tensor two\nlines"


# Graphs.


@pytest.mark.parametrize("seed", range(3))
def test_round_trip_of_a_graph(make_graph, tmp_path, seed, compared):
    network = make_graph(seed)
    save(network, tmp_path)
    assert json.loads((tmp_path / "network.json").read_text())["version"] == 2
    loaded = load(tmp_path)
    assert fields(loaded) == fields(network) and loaded.identity == network.identity
    x = torch.randint(-128, 128, (40, 60))
    for a, b in zip(loaded.run(x).activations, network.run(x).activations, strict=True):
        assert torch.equal(a, b)
        compared(a.numel())


def test_lowest_version(make_network, tmp_path):
    """What version 1 can hold is written as before."""
    save(make_network(), tmp_path)
    text = (tmp_path / "network.json").read_text()
    assert json.loads(text)["version"] == 1 and "sources" not in text and "low" not in text
    edit(tmp_path, set_in("version", 2))
    assert fields(load(tmp_path)) == fields(make_network())


ONE = torch.ones(1, dtype=torch.float64)


@pytest.mark.parametrize(
    "change",
    [
        lambda n: {"input_shape": (5,)},
        lambda n: {"input": replace(n.input, high=126)},
        lambda n: {"layers": [replace(n.layers[0], sources=("input",)), n.layers[1]]},
        lambda n: {"layers": [n.layers[0], replace(n.layers[1], weight_scales=ONE)]},
    ],
)
def test_version_2_of_a_stack(make_network, tmp_path, change):
    network = make_network()
    network = replace(network, **change(network))
    save(network, tmp_path)
    assert json.loads((tmp_path / "network.json").read_text())["version"] == 2
    assert fields(load(tmp_path)) == fields(network)


def test_pooled_logits(make_graph, tmp_path):
    """The sums of an average are logits too; flatten passes them on."""
    network = make_graph()
    mean = replace(network.layers[4], kernel=(3, 3), stride=(3, 3), padding=((0, 0), (0, 0)),
                   output_scale=None, requantiser=None, sources=(), input_scale=0.25)
    layers = [*network.layers[:2], mean, network.layers[6]]
    network = replace(network, layers=layers, labels=list("abcdef"))
    save(network, tmp_path)
    assert fields(load(tmp_path)) == fields(network)
    assert network.units[-1] == 0.25 / 9


GRAPH = [
    (("input_shape", None), "json: input_shape must be given"),
    (("input_shape", [5, 6]), "layer stem: kernel [3, 3] must have an axis for each of"),
    (("input_shape", [5, 6, 3]), "layer stem: inputs must be 27, 9 taps of 3 channels, not 18"),
    (("input_shape", [5, 9, 2]), "layer fc: inputs must be 54, not 36"),
    (("input_shape", []), "input_shape: List should have at least 1 item"),
    (("input_low", 91), "input_low must be at most input_high, 90, not 91"),
    (("input_low", -129), "input_low: Input should be greater than or equal to -128"),
    (("layers", 0, "kernel", [3]), "layer stem: kernel, stride and padding must have as many"),
    (("layers", 0, "kernel", [3, 0]), "layers.0.kernel.1: Input should be greater"),
    (("layers", 0, "kernel", [3, 3, 3]), "layers.0.kernel: Tuple should have at most 2 items"),
    (("layers", 0, "kernel", "3"), "layers.0.kernel: Input should be a valid array"),
    (("layers", 0, "padding", [[1, 1], [1]]), "layers.0.padding.1.1: Field required"),
    (("layers", 0, "padding", [[1, 1], [1, -1]]), "layers.0.padding.1.1: Input should be greater"),
    (("layers", 0, "groups", 4), "layer stem: groups must divide 2 input and 6 output channels"),
    (("layers", 0, "groups", 2), "layer stem: inputs must be 9, 9 taps of 1 channels, not 18"),
    (("layers", 0, "sources", ["deep"]), "layer stem: sources must be layers before it, of input"),
    (("layers", 0, "sources", ["input", "input"]), "layer stem: sources must be one, not 2"),
    (("layers", 0, "output_scale", 0.3), "layer deep: input_scale must be 0.3, not 0.25"),
    (("layers", 0, "output_scale", None), "layer stem: requantiser and output_scale must be given"),
    (("layers", 1, "padding", [[2, 0], [0, 0]]), "layer pool: padding must be below the kernel, 2"),
    (("layers", 1, "kernel", [9, 9]), "layer pool: kernel [9, 9] on an input [5, 6, 6]: Kernel"),
    (("layers", 1, "name", "stem"), "layer stem: the name occurs twice"),
    (("layers", 1, "name", "input"), "layer input: the name occurs twice"),
    (("layers", 1, "scale", 1), "layers.1.scale: Extra inputs are not permitted"),
    (("layers", 2, "weight_scales", 5), "layer deep: weight_scales must be 0, 1 or 6, not 5"),
    (("layers", 2, "weight_scales", 0), "unknown tensor deep.weight_scales"),
    (("layers", 2, "channel_requantisers", False), "layer deep: requantiser and output_scale must"),
    (
        ("layers", 2, "requantiser", {"multiplier": 1, "shift": 1}),
        "layer deep: requantiser must be null where channel_requantisers is true",
    ),
    (("layers", 2, "high", -129), "layers.2.high: Input should be greater"),
    (("layers", 2, "low", 101), "layer deep: low must be at most high, 100, not 101"),
    (("layers", 2, "group", "element", "int4"), "deep.weights must be within -8 to 7"),
    (("layers", 3, "sources", ["deep"]), "layer short: input_scale must be 0.5, not 0.25"),
    (("layers", 3, "requantiser", None), "layers.3.requantiser: Input should be an object"),
    (("layers", 3, "requantiser", "multiplier", 1 << 32), "layers.3.requantiser.multiplier: Input"),
    (("layers", 4, "requantiser", None), "layer mean: requantiser and output_scale must be given"),
    (("layers", 5, "sources", ["deep"]), "layers.5.sources: List should have at least 2 items"),
    (("layers", 5, "sources", ["deep", "fc"]), "layer sum: sources must be layers before it, of "),
    (("layers", 5, "sources", ["mean", "deep"]), "layer sum: input_scales.0 must be 0.4, not 0.5"),
    (("layers", 5, "sources", ["deep", "deep"]), "layer sum: input_scales.1 must be 0.5, not 0.4"),
    (("layers", 5, "branches", []), "layers.5.branches.0: Field required"),
    (("layers", 5, "requantiser", "shift", 63), "layers.5.requantiser.shift: Input should be less"),
    (("layers", 6, "sources", ["mean"]), "layer fc: input_scale must be 0.4, not 0.5"),
    (("layers", 6, "sources", ["sum", "sum"]), "layer flat: sources must be one, not 2"),
    (("layers", 7, "sources", ["sum"]), "layer fc: inputs must be [3, 2, 6], not 36"),
    (("layers", 7, "high", 99), "layer fc: low and high must not be given on the last layer"),
    (("layers", 7, "weight_scales", 3), "layer fc: weight_scales must be one on the last layer"),
    (("layers", 7, "kind", "conv"), "layers.7.kernel: Field required"),
]


@pytest.mark.parametrize("path, text", GRAPH, ids=[text for _, text in GRAPH])
def test_field_of_a_graph_wrong(make_graph, tmp_path, path, text):
    save(make_graph(), tmp_path)
    edit(tmp_path, set_in(*path))
    assert text in message(tmp_path)


def drop(index):
    return lambda description: description["layers"].pop(index)


def swap(i, k):
    def change(description):
        layers = description["layers"]
        layers[i], layers[k] = layers[k], layers[i]

    return change


@pytest.mark.parametrize(
    "change, text",
    [
        (drop(7), "layer flat: the last layer must be linear, conv or average_pool, or"),
        (drop(5), "layer fc: input_scale must be 0.4, not 0.5"),
        (drop(1), "layer short: sources must be layers before it, of input, stem, deep, not pool"),
        (swap(4, 5), "layer sum: sources must be layers before it"),
        (set_in("layers", 5, "sources", ["short", "mean"]), "input_scales.0 must be 0.3, not 0.5"),
    ],
)
def test_graph_wrong(make_graph, tmp_path, change, text):
    save(make_graph(), tmp_path)
    edit(tmp_path, change)
    assert text in message(tmp_path)


def test_layer_that_nobody_reads(make_graph, tmp_path):
    network = make_graph()
    layers = [*network.layers]
    layers.insert(6, replace(layers[3], name="alone"))
    layers[7] = replace(layers[7], sources=("sum",))
    save(replace(network, layers=layers), tmp_path)
    assert message(tmp_path) == "FOLDER/network.json: layer alone: no layer reads it"


def test_logits_with_positions(make_graph, tmp_path):
    network = make_graph()
    stem = replace(network.layers[0], relu=False, output_scale=None, requantiser=None)
    save(replace(network, layers=[stem]), tmp_path)
    text = "layer stem: the logits must have one axis, not [5, 6, 6]"
    assert message(tmp_path) == f"FOLDER/network.json: {text}"


def test_every_field_of_a_graph_is_needed(make_graph, tmp_path, compared):
    """But for those that have a usual value."""
    save(make_graph(), tmp_path)
    path = tmp_path / "network.json"
    whole = json.loads(path.read_text())
    usual = {"low", "high", "sources", "channel_requantisers", "weight_scales"}
    for number, layer in enumerate(whole["layers"]):
        for key in [key for key in layer if key not in usual or layer["kind"] == "add"]:
            if key in usual - {"sources"}:
                continue
            value = layer.pop(key)
            path.write_text(json.dumps(whole))
            layer[key] = value
            text = f"FOLDER/network.json: layers.{number}.{key}: Field required"
            assert message(tmp_path) == text
            compared(1)


GRAPH_TENSORS = [
    (lambda t: t.pop("deep.multipliers"), "tensor deep.multipliers is missing"),
    (lambda t: t.pop("deep.weight_scales"), "tensor deep.weight_scales is missing"),
    (lambda t: t.update({"pool.weights": torch.zeros(1)}), "unknown tensor pool.weights"),
]


@pytest.mark.parametrize("change, text", GRAPH_TENSORS, ids=[text for _, text in GRAPH_TENSORS])
def test_tensor_of_a_graph_wrong(make_graph, tmp_path, change, text):
    save(make_graph(), tmp_path)
    edit_tensors(tmp_path, change)
    assert text in message(tmp_path)


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("deep.multipliers", 0, "deep.multipliers must be within 1 to 4294967295"),
        ("deep.shifts", 63, "deep.shifts must be within 0 to 62"),
        ("deep.weight_scales", 0, "deep.weight_scales must be within 5e-324 to 1e+300"),
        ("deep.weight_scales", float("nan"), "deep.weight_scales must be within"),
        ("stem.weights", 9, "stem.weights must be within -8 to 7"),
    ],
)
def test_value_of_a_graph_wrong(make_graph, tmp_path, name, value, text):
    save(make_graph(), tmp_path)
    edit_tensors(tmp_path, with_value(name, 1, value))
    assert text in message(tmp_path)


def test_claims_of_a_graph_are_recomputed(make_graph, tmp_path, compared):
    """Against the definition on every accumulator, where there are not too many."""
    save(make_graph(), tmp_path)
    for layer in load(tmp_path).layers:
        if layer.requantiser is None:
            continue
        each = hasattr(layer.requantiser, "channels")
        claims = layer.requantiser.channels if each else [layer.requantiser]
        for r, (scale, z_min, z_max) in zip(claims, layer.channels(each), strict=True):
            assert r.reachable == z_max - z_min + 1
            if r.reachable > 5000:
                continue
            (low, high), m = layer.bounds, scale / Fraction(layer.output_scale)
            assert r.differing == sum(
                min(max(round(z * m), low), high)
                != min(max(round(Fraction(z * r.multiplier, 1 << r.shift)), low), high)
                for z in range(z_min, z_max + 1)
            )
            compared(r.reachable)
        branches = getattr(layer, "branches", ())
        for scale, r in zip(layer.input_scales[: len(branches)], branches, strict=True):
            ratio = Fraction(scale) / Fraction(layer.branch_scale)
            assert r.reachable == 256 and r.differing == sum(
                round(z * ratio) != round(Fraction(z * r.multiplier, 1 << r.shift))
                for z in range(-128, 128)
            )
            compared(256)
