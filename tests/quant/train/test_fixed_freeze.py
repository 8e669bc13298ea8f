# SPDX-License-Identifier: Apache-2.0
import random

import pytest
import torch
from torch import nn

from carrysave.quant.data import load
from carrysave.quant.formats import OVERFLOWS, ROUNDINGS, Fixed
from carrysave.quant.golden.fixed import fixed_cast
from carrysave.quant.golden.khot import khot_multiply
from carrysave.quant.train.fixed_freeze import freeze
from carrysave.quant.train.fixed_linear import FixedLinear, FixedNetwork, apart, fixed_mlp
from carrysave.quant.train.fixed_point import FixedPoint
from carrysave.quant.train.mlp import Recipe, accuracy, fit, float_mlp

RECIPE = Recipe()
WIDTHS = [64, 32, 10]


@torch.no_grad()
def compare(model, x):
    """Every value of the trained model and of its integers; the number of them."""
    model, network = model.double(), freeze(model)
    trained, frozen = model.trace(x.double()), network.run(network.encode(x))
    for values, (fmt, integers) in zip(trained, frozen, strict=True):
        low, high = fmt.limits
        assert integers.dtype == torch.int64 and values.dtype == torch.float64
        assert low <= int(integers.min()) and int(integers.max()) <= high
        assert int((values != integers.double() * 2.0**fmt.lsb).sum()) == 0
    return sum(values.numel() for values in trained)


# The digits.


@pytest.fixture(scope="module")
def digits(one_thread):
    """Data, and the float model that all others begin with."""
    data = load("digits")
    x, x_test = (torch.from_numpy(x / 16).float() for x in (data.x_train, data.x_test))
    y, y_test = torch.from_numpy(data.y_train), torch.from_numpy(data.y_test)
    torch.manual_seed(RECIPE.seed)
    model = float_mlp(WIDTHS)
    fit(model, x, y, recipe=RECIPE, epochs=RECIPE.epochs, learning_rate=RECIPE.learning_rate)
    return model, x, y, x_test, y_test


def correct(model, x, y):
    with torch.no_grad():
        return round(accuracy(model(x), y) * len(y))


def train(digits, bits, *, epochs=RECIPE.quantised_epochs, moved=0, learn=True, rate=1e-2,
          **options):
    """A model in fixed point from the float one, and its binary points before training.

    ``moved``: how far all binary points are put away from where the data puts them.
    """
    floating, x, y, _, _ = digits
    model = fixed_mlp(WIDTHS, weight_bits=bits, activation_bits=bits, signed=False, **options)
    sources = [module for module in floating if isinstance(module, nn.Linear)]
    for source, target in zip(sources, model.layers, strict=True):
        target.load_state_dict(source.state_dict(), strict=False)
    with torch.no_grad():
        model(x)
        for quantiser in points(model):
            quantiser.f += moved
            quantiser.f.requires_grad_(learn)
    before = [quantiser.format for quantiser in points(model)]
    fit(model, x, y, recipe=RECIPE, epochs=epochs, learning_rate=RECIPE.quantised_learning_rate,
        parameters=apart(model, learning_rate=rate))
    return model, before


def points(model):
    return [module for module in model.modules() if isinstance(module, FixedPoint)]


@pytest.mark.parametrize("bits, khot, lost", [(8, None, 0.01), (6, None, 0.01), (6, 2, 0.02)])
def test_digits(digits, bits, khot, lost, compared):
    """As accurate as the float model, but for one sample in a hundred, or two with 2-hot weights;
    the integers are the trained model's in every value."""
    floating, x, _, x_test, y_test = digits
    model, _ = train(digits, bits, khot=khot)
    assert len(y_test) == 360
    found, reference = correct(model, x_test, y_test), correct(floating, x_test, y_test)
    print(f"{bits} bits, khot {khot}: {found} of 360, float {reference}")
    assert reference >= 0.96 * 360
    assert found >= reference - lost * 360
    compared(compare(model, x_test))
    compared(compare(model, x))
    network = freeze(model)
    frozen = network.run(network.encode(x_test))[-1][1]
    assert accuracy(frozen, y_test) == correct(model, x_test.double(), y_test) / 360
    for layer in network.layers:
        assert layer.weight_format.width == bits and layer.khot == khot
        ones = max(abs(n).bit_count() for n in layer.weights.ravel().tolist())
        assert ones == khot if khot else ones > 3


def test_learned_binary_points_help(digits, compared):
    """From ranges eight times too small: learned ones move back, kept ones cost accuracy."""
    _, _, _, x_test, y_test = digits
    found = {}
    for learn in True, False:
        model, before = train(digits, 6, epochs=12, moved=3, learn=learn, rate=3e-2)
        after = [quantiser.format for quantiser in points(model)]
        moves = [b.fraction - a.fraction for a, b in zip(after, before, strict=True)]
        assert min(moves) >= 1 if learn else after == before
        found[learn] = correct(model, x_test, y_test)
    print(f"learned {found[True]}, kept {found[False]} of 360")
    assert found[True] >= 0.95 * 360 > 0.85 * 360 > found[False]
    compared(2 * len(y_test))


def test_reproducible(digits, compared):
    first, second = (train(digits, 4, epochs=2)[0].state_dict() for _ in range(2))
    assert list(first) == list(second)
    for name in first:
        assert torch.equal(first[name], second[name])
        compared(first[name].numel())


# Small models.


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_every_mode(rounding, overflow, compared):
    """Frozen and trained, with ranges too small, so that casts overflow."""
    rng = random.Random(f"{rounding} {overflow}")
    torch.manual_seed(rng.randrange(1000))
    options = {"rounding": rounding, "overflow": overflow}
    for khot in None, 2:
        bits = [rng.randint(2, 9) for _ in range(4)]
        unsigned = {**options, "overflow": "WRAP"} if overflow == "WRAP_SM" else options
        model = FixedNetwork(FixedPoint(bits[0], **options), [
            FixedLinear(9, 8, weight_bits=bits[1], activation_bits=bits[2], **unsigned),
            FixedLinear(8, 7, weight_bits=bits[2], activation_bits=bits[3], khot=khot, relu=False,
                        **options),
            FixedLinear(7, 6, weight_bits=bits[3], activation_bits=bits[0], relu=False, **options),
        ])
        x = torch.randn(200, 9)
        with torch.no_grad():
            model(x)
            for quantiser in points(model):
                quantiser.f += rng.uniform(-1, 2)
        compared(compare(model, 3 * x))


def test_by_hand():
    model = FixedNetwork(FixedPoint(4, fraction=1), [
        FixedLinear(2, 1, weight_bits=4, activation_bits=3, rounding="TRN"),
    ])
    layer = model.layers[0]
    layer.weight_quantiser, layer.output_quantiser = (
        FixedPoint(4, fraction=2),
        FixedPoint(3, signed=False, rounding="TRN", overflow="SAT", fraction=0),
    )
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.5, -0.55]]))
        layer.bias.fill_(0.3)
    network = freeze(model)
    (frozen,) = network.layers
    # Weights in quarters, inputs in halves, so accumulators in eighths: 0.3 becomes 2.
    assert frozen.weights.tolist() == [[6, -2]] and frozen.bias.tolist() == [2]
    # The greatest sum is 8 * 8 + 2 = 66.
    assert frozen.accumulator_format == Fixed(8, 5)
    assert (frozen.input_format.name, frozen.weight_format.name) == ("q4.3", "q4.2")
    x = network.encode([[2.0, -1.0], [-3.0, 0.5], [3.5, 3.5], [3.5, -4.0]])
    assert x.tolist() == [[4, -2], [-6, 1], [7, 7], [7, -8]]
    (_, accumulators), (fmt, outputs) = network.run(x)[1:]
    assert accumulators.tolist() == [[30], [-36], [30], [60]]
    assert outputs.tolist() == [[3], [0], [3], [7]] and fmt == Fixed(3, 3, False, "TRN", "SAT")


def test_without_a_cast_the_output_is_the_accumulator():
    torch.manual_seed(0)
    model = fixed_mlp([4, 3], weight_bits=5, activation_bits=5)
    model(torch.randn(9, 4))
    (layer,) = freeze(model).layers
    assert layer.output_format == layer.accumulator_format
    accumulators, outputs = layer.run(torch.ones(2, 4).long())
    assert torch.equal(accumulators, outputs)


def test_accumulator_holds_every_sum(compared):
    """And none narrower would: the extreme inputs reach the last bit's range."""
    torch.manual_seed(0)
    model = fixed_mlp([12, 9, 8], weight_bits=6, activation_bits=5)
    model(torch.randn(50, 12))
    for layer in freeze(model).layers:
        low, high = layer.input_format.limits
        extreme = torch.where(layer.weights > 0, high, low)
        sums = torch.stack([layer.run(x)[0].diagonal() for x in (extreme, low + high - extreme)])
        least, greatest = layer.accumulator_format.limits
        assert least <= int(sums.min()) and int(sums.max()) <= greatest
        assert int(sums.abs().max()) > greatest // 4
        compared(sums.numel())


def test_few_ones_are_shifts_and_adds(compared):
    """The frozen layer again, without a multiplication."""
    torch.manual_seed(0)
    model = fixed_mlp([10, 8], weight_bits=7, activation_bits=6, khot=2)
    model(torch.randn(40, 10))
    (layer,) = freeze(model).layers
    low, high = layer.input_format.limits
    x = torch.randint(low, high + 1, (30, 10))
    sums = khot_multiply(x[:, None], layer.weights).sum(dim=-1) + layer.bias
    accumulators, outputs = layer.run(x)
    assert torch.equal(sums, accumulators)
    assert torch.equal(fixed_cast(sums, layer.accumulator_format, layer.output_format), outputs)
    compared(sums.numel())


# Errors.


def test_not_yet_trained():
    with pytest.raises(ValueError) as caught:
        freeze(fixed_mlp([4, 3], weight_bits=4, activation_bits=4))
    assert str(caught.value) == "Binary point must be set first: call the module on data"


@pytest.mark.parametrize("bias, text", [
    (float("nan"), "nan"), (float("inf"), "inf"), (1e30, "2.56e+32"),
])
def test_bias_too_large(bias, text):
    model = FixedNetwork(FixedPoint(8, fraction=4), [
        FixedLinear(4, 3, weight_bits=8, activation_bits=None),
    ])
    model.layers[0].weight_quantiser = FixedPoint(8, fraction=4)
    with torch.no_grad():
        model.layers[0].bias[1] = bias
    with pytest.raises(ValueError) as caught:
        freeze(model)
    assert str(caught.value) == (
        f"Layer 1: bias must be below 2 ** 53 accumulator units, not {text}"
    )


def test_accumulator_too_wide():
    model = FixedNetwork(FixedPoint(30, fraction=20), [
        FixedLinear(4, 3, weight_bits=30, activation_bits=None).double(),
    ])
    model(torch.ones(1, 4, dtype=torch.float64))
    with pytest.raises(ValueError) as caught:
        freeze(model)
    assert str(caught.value).startswith("Layer 1: no accumulator fits: Width must be 1 to 53, not ")


@pytest.mark.parametrize("x, error, text", [
    ([[8, 0]], ValueError, "X must be -8 to 7 in q4.4, not 0 to 8"),
    ([[0.5, 0]], TypeError, "X must be integers, not torch.float32"),
])
def test_inputs_refused(x, error, text):
    model = FixedNetwork(FixedPoint(4, fraction=0), [
        FixedLinear(2, 3, weight_bits=4, activation_bits=None),
    ])
    model(torch.ones(1, 2))
    with pytest.raises(error) as caught:
        freeze(model).run(torch.tensor(x))
    assert str(caught.value) == text
