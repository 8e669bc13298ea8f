# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from carrysave.quant import formats
from carrysave.quant.accuracy import tasks as module
from carrysave.quant.accuracy.tasks import Task, activations, score, trained
from carrysave.quant.data import Data
from carrysave.quant.train.cnn import parse_layers, weighted
from carrysave.quant.train.mlp import Recipe
from carrysave.quant.train.proxies import quantiser_of
from carrysave.quant.train.train import train

LAYERS = parse_layers([
    {"conv": 4, "stride": 2}, {"residual": [{"conv": 4, "kernel": 1}]}, {"max_pool": 2},
    {"average_pool": 2}, {"linear": 8},
])
RECIPE = Recipe(epochs=30, batch=32, noise=0.0, quantised_epochs=1)


@pytest.fixture(scope="module")
def task():
    """Waves of two axes, 16 samples long, of three frequencies and any phase."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    angle = np.arange(16) * (y + 1)[:, None] * 0.5 + rng.uniform(0, 7, (400, 1))
    x = np.stack([np.sin(angle), np.cos(angle)], axis=-1) + rng.normal(0, 0.3, (400, 16, 2))
    x = x.reshape(400, 32)
    data = Data(x[:256], y[:256], x[256:], y[256:], ["a", "b", "c"], (16, 2))
    return Task(data, LAYERS, (16, 2), "standard", RECIPE)


@pytest.fixture(scope="module")
def model(task):
    return trained(task)


def count(share):
    """Of the 144 samples, how many are right."""
    right = round(share * 144)
    assert share == right / 144
    return right


def test_the_network_of_train(task, model, compared):
    """The same float network to the last bit, and its accuracy counted by hand."""
    theirs = train(task.data, name="waves", group_size=4, recipe=RECIPE, layers=LAYERS,
                   shape=task.shape, normalise=task.normalise).floating.state_dict()
    assert theirs.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name])
        compared(value.numel())
    offset, spread = task.data.x_train.mean(axis=0), task.data.x_train.std(axis=0)
    x = torch.from_numpy((task.data.x_test - offset) / spread).float()
    with torch.no_grad():
        found = model(x).argmax(dim=1).numpy()
    assert count(score(task, model)) == (found == task.data.y_test).sum() > 100


def test_more_bits_are_more_accurate(task, model, compared):
    """fp16 loses nothing, two bits nearly all, training brings back much of it."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    right = {name: count(score(task, model, formats.get(name), "ptq"))
             for name in ("fp16", "int8", "int2")}
    exact = count(score(task, model))
    assert abs(right["fp16"] - exact) <= 1 and abs(right["int8"] - exact) <= 8
    assert right["int2"] < exact - 30
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    compared(3 * 144)


def test_training_in_a_format(task, model, monkeypatch, compared):
    """It helps; nothing is left to chance; samples are gone through as often as is said."""
    fmt = formats.get("int3")
    rounded, epochs = count(score(task, model, fmt, "ptq")), []
    right = module.fit
    monkeypatch.setattr(module, "SAMPLES", 2570)

    def watched(model, x, y, **options):
        epochs.append((options["epochs"], len(x)))
        right(model, x, y, **options)

    monkeypatch.setattr(module, "fit", watched)
    found = [count(score(task, model, fmt, "qat")) for _ in range(2)]
    assert found[0] == found[1] > rounded + 10
    monkeypatch.setattr(module, "SAMPLES", 100)
    score(task, model, fmt, "qat")
    assert epochs == [(10, 256), (10, 256), (1, 100)]
    compared(2 * 144)


@pytest.mark.parametrize("name", ["int4", "e4m3", "mxfp4", "nvfp4", "olive4", "nf4", "bf16",
                                  "int4g128", "uint4g128z"])
def test_weights_and_activations_are_of_the_format(task, model, name, compared):
    """Of groups the weights alone; each layer has its weights merged with the normalisation."""
    fmt, learned = formats.get(name), []
    found = module._quantised(task, model, fmt)
    found.eval()
    offset, spread = task.data.x_train.mean(axis=0), task.data.x_train.std(axis=0)
    x = torch.from_numpy((task.data.x_test[:5] - offset) / spread).float()
    for part in found.modules():
        for kind, expected in ("weight_quant", fmt), ("act_quant", activations(fmt)):
            if quantiser := quantiser_of(getattr(part, kind, None)):
                assert quantiser.fmt is expected
                learned.append(isinstance(getattr(quantiser.scaling, "value", None),
                                          torch.nn.Parameter))
    with torch.no_grad():
        found(x)
    assert len(learned) == 4 + 5  # two convolutions, two linear; the input, and what they give
    own = name in ("mxfp4", "nvfp4", "bf16")
    grouped = name in ("int4g128", "uint4g128z")
    assert sum(learned) == (0 if own else 5 if grouped else 9)
    assert activations(fmt) is (formats.get("int8") if grouped else fmt)
    assert len(weighted(found)) == 4
    compared(len(learned))


def test_wrong_arguments(task, model):
    with pytest.raises(ValueError, match=r"^Transform must be one of none, ptq, qat, not 'no'$"):
        score(task, model, formats.get("int8"), "no")
    for arguments in (None, "ptq"), (formats.get("int8"), "none"):
        with pytest.raises(ValueError, match=r"^Fmt must be given with ptq and qat, and only then"):
            score(task, model, *arguments)
