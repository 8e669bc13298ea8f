# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from carrysave.quant.data import Data
from carrysave.quant.data import load as load_data
from carrysave.quant.network import load, save
from carrysave.quant.train.cnn import LayersError, parse_layers
from carrysave.quant.train.freeze import trained_trace
from carrysave.quant.train.mlp import Recipe, accuracy, fit, float_mlp, quantised_mlp
from carrysave.quant.train.train import normalisation, train

SHORT = Recipe(epochs=2, quantised_epochs=8, batch=32)


@pytest.fixture(scope="module")
def blobs():
    """Three classes in six dimensions that a small network tells apart."""
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(3, 6))
    y = np.arange(200) % 3
    x = centres[y] + rng.normal(size=(200, 6))
    return Data(x[:150], y[:150], x[150:], y[150:], ["a", "b", "c"], (6,))


def short(data, *, recipe=SHORT, hidden=(5,), **kwargs):
    return train(data, name="try", hidden=hidden, group_size=4, recipe=recipe, **kwargs)


def compare(trained, x):
    """All values of the trained model and its network; the number of them."""
    network = trained.network
    trace = network.run(network.encode(x))
    values, _ = trained_trace(trained.quantised, torch.from_numpy(network.input.normalise(x)))
    names = ["input", *(layer.name for layer in network.layers)]
    assert [name for name in values if name in names] == names
    for name, integers, unit in zip(names, trace.activations, network.units, strict=True):
        assert torch.equal(values[name], integers.double() * unit)
    return sum(value.numel() for value in values.values())


@pytest.fixture(scope="module")
def digits():
    """The default recipe on the shipped data, with the stages it reported."""
    data, stages = load_data("digits"), []
    trained = train(
        data,
        name="digits",
        hidden=[32],
        group_size=16,
        recipe=Recipe(),
        progress=lambda *at: stages.append(at),
    )
    return data, trained, stages


def test_digits_accuracy(digits, compared):
    data, trained, _ = digits
    network, y = trained.network, torch.from_numpy(data.y_test)
    trace = network.run(network.encode(data.x_test))
    x = torch.from_numpy(network.input.normalise(data.x_test))
    with torch.no_grad():
        floating = int((trained.floating(x.float()).argmax(dim=1) == y).sum())
    integer = int((trace.classes == y).sum())
    assert len(y) == 360
    assert integer >= 0.96 * 360
    assert abs(integer - floating) <= 0.005 * 360
    assert accuracy(trace.logits, y) == integer / 360
    compared(len(y))


def test_digits_model_and_network_are_equal(digits, compared):
    data, trained, _ = digits
    compared(compare(trained, data.x_test))
    compared(compare(trained, data.x_train))
    assert trained.network.layers[0].requantiser.differing == 0
    assert trained.network.layers[0].requantiser.multiplier < 1 << 8


def test_digits_file(digits, tmp_path):
    _, trained, _ = digits
    save(trained.network, tmp_path)
    network = load(tmp_path)
    assert network.identity == trained.network.identity
    assert network.labels == list("0123456789") and network.name == "digits"
    assert [(layer.inputs, layer.outputs) for layer in network.layers] == [(64, 32), (32, 10)]
    assert {layer.group.size for layer in network.layers} == {16}


def test_digits_progress(digits):
    _, _, stages = digits
    recipe = Recipe()
    assert stages == [
        (stage, epoch + 1, epochs)
        for stage, epochs in (("float", recipe.epochs), ("quantised", recipe.quantised_epochs))
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize(
    "hidden, normalise", [((), "max"), ((5,), "standard"), ((7, 6, 5), "none")]
)
def test_stacks(blobs, hidden, normalise, compared):
    trained = short(blobs, hidden=hidden, normalise=normalise)
    network = trained.network
    assert [layer.outputs for layer in network.layers] == [*hidden, 3]
    assert network.name == "try" and network.labels == ["a", "b", "c"]
    compared(compare(trained, blobs.x_test))


def test_a_width_for_each_layer(blobs, compared):
    trained = short(blobs, hidden=(7, 6), bits=(2, 8, 5))
    assert [layer.group.element.bits for layer in trained.network.layers] == [2, 8, 5]
    assert all(int(la.weights.abs().max()) <= 1 << la.group.element.bits - 1
               for la in trained.network.layers)
    compared(compare(trained, blobs.x_test))
    with pytest.raises(LayersError, match="or 3, one for each layer with weights, not 1"):
        short(blobs, hidden=(7, 6), bits=(2,))


def test_it_learns(blobs):
    network = short(blobs, recipe=Recipe(epochs=15, quantised_epochs=8, batch=32)).network
    classes = network.run(network.encode(blobs.x_test)).classes
    assert int((classes == torch.from_numpy(blobs.y_test)).sum()) >= 45


def test_reproducible(blobs, compared):
    torch.manual_seed(1)
    first = short(blobs)
    torch.manual_seed(2)
    torch.rand(7)
    second = short(blobs)
    for a, b in (
        (first.floating, second.floating),
        (first.quantised, second.quantised),
    ):
        left, right = a.state_dict(), b.state_dict()
        assert list(left) == list(right)
        for name in left:
            assert torch.equal(left[name], right[name])
            compared(left[name].numel())
    assert first.network.identity == second.network.identity
    assert first.network.input.scale == second.network.input.scale


def test_the_seed_counts(blobs):
    other = Recipe(**{**vars(SHORT), "seed": 1})
    assert short(blobs).network.identity != short(blobs, recipe=other).network.identity


def test_threads_are_put_back(blobs):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        short(blobs)
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError):
            short(blobs, normalise="other")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_few_steps(blobs, epochs, compared):
    """None, 5 or 10 steps, of the 30 over which Brevitas initialises activation scales."""
    trained = short(blobs, recipe=Recipe(epochs=1, quantised_epochs=epochs, batch=32))
    compared(compare(trained, blobs.x_test))


# Parts.


def test_models():
    floating, quantised = float_mlp([6, 5, 3]), quantised_mlp([6, 5, 3], group_size=4)
    assert [type(m).__name__ for m in floating] == ["Linear", "ReLU", "Linear"]
    assert [type(m).__name__ for m in quantised] == [
        "QuantIdentity",
        "QuantLinear",
        "QuantReLU",
        "QuantLinear",
    ]
    group = quantised[1].weight_quant.tensor_quant.group
    assert (group.size, group.scale_bits, group.element.name) == (4, 8, "int4")
    assert [type(m).__name__ for m in float_mlp([6, 3])] == ["Linear"]


def test_fit_is_reproducible_and_leaves_the_model_ready(blobs):
    x, y = torch.from_numpy(blobs.x_train).float(), torch.from_numpy(blobs.y_train)
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        model, seen = float_mlp([6, 4, 3]), []
        fit(
            model,
            x,
            y,
            recipe=SHORT,
            epochs=3,
            learning_rate=1e-2,
            progress=lambda *at, seen=seen: seen.append(at),
        )
        assert not model.training and seen == [(1, 3), (2, 3), (3, 3)]
        results.append(model[0].weight.detach())
    assert torch.equal(*results)


def test_accuracy():
    logits = torch.tensor([[0, 1], [1, 0], [0, 2], [5, 2]])
    assert accuracy(logits, torch.tensor([1, 0, 0, 0])) == 0.75


def test_normalisation_max():
    offset, gain = normalisation(np.array([[1.0, -8.0], [4.0, 2.0]]), "max")
    assert offset.tolist() == [0] and gain.tolist() == [0.125]
    _, gain = normalisation(np.zeros((2, 2)), "max")
    assert np.isfinite(gain).all()


def test_normalisation_standard():
    x = np.array([[1.0, 5.0, 0.0], [3.0, 5.0, 8.0]])
    offset, gain = normalisation(x, "standard")
    assert offset.tolist() == [2, 5, 4] and gain.tolist() == [1, 1, 0.25]


def test_normalisation_of_a_constant_feature():
    _, gain = normalisation(np.full((1437, 1), 0.1), "standard")
    assert gain.tolist() == [1]


def test_normalisation_none():
    offset, gain = normalisation(np.ones((2, 2)), "none")
    assert offset.tolist() == [0] and gain.tolist() == [1]


def test_normalisation_unknown():
    with pytest.raises(ValueError) as caught:
        normalisation(np.ones((2, 2)), "unit")
    text = "Normalisation must be one of max, standard, channel, none, not 'unit'"
    assert str(caught.value) == text


# Convolutional networks.

LAYERS = [
    {"conv": 4, "kernel": 3, "stride": 2},
    {"residual": [{"conv": 4}]},
    {"average_pool": "all"},
]


@pytest.fixture(scope="module")
def waves():
    """Three frequencies on two axes, at any phase."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    time = np.arange(24)[:, None] + rng.uniform(0, 24, (240, 1, 2))
    x = 3 * np.sin(time * np.array([0.3, 0.9, 2.0])[y][:, None, None]) + np.array([5, -1])
    x = (x + 0.3 * rng.normal(size=x.shape)).reshape(240, -1)
    return Data(x[:180], y[:180], x[180:], y[180:], ["a", "b", "c"], (24, 2))


def test_convolutions(waves, tmp_path, compared):
    """They learn; the network equals the model; the same again; and from a file."""
    recipe = Recipe(epochs=30, quantised_epochs=8, batch=32, noise=0.0)
    options = {
        "name": "try", "layers": parse_layers(LAYERS), "shape": (24, 2), "group_size": 8,
        "normalise": "channel",
    }
    trained = train(waves, recipe=recipe, **options)
    compared(compare(trained, waves.x_test))
    network = trained.network
    classes = network.logits(network.encode(waves.x_test)).argmax(dim=1)
    assert int((classes == torch.from_numpy(waves.y_test)).sum()) >= 57
    assert train(waves, recipe=recipe, **options).network.identity == network.identity
    save(network, tmp_path)
    assert load(tmp_path).identity == network.identity


def test_shape_of_the_data(waves):
    layers = parse_layers([{"conv": 2}])
    short = Recipe(epochs=0, quantised_epochs=1)
    options = {"name": "try", "layers": layers, "group_size": 8, "recipe": short}
    assert train(waves, **options).network.input_shape == (24, 2, 1)
    for shape in (24, 3), (48,), (2, 2, 2, 6), ():
        with pytest.raises(LayersError) as caught:
            train(waves, shape=shape, **options)
        assert str(caught.value) == (
            "Shape must be (length, channels) or (height, width, channels) of 48 elements, "
            f"not {list(shape)}"
        )


@pytest.mark.parametrize("both", [{}, {"hidden": [3], "layers": []}])
def test_one_of_hidden_and_layers(blobs, both):
    with pytest.raises(ValueError, match="^One of hidden and layers must be given$"):
        train(blobs, name="try", group_size=4, recipe=SHORT, **both)


def test_normalisation_of_channels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4, 3)) * [1, 2, 0] + [3, 4, 0.1]
    offset, gain = normalisation(x.reshape(50, 12), "channel", channels=3)
    flat = x.reshape(-1, 3)
    assert offset.tolist() == np.tile(flat.mean(axis=0), 4).tolist()
    assert gain.tolist() == np.tile([*(1 / flat.std(axis=0)[:2]), 1], 4).tolist()
